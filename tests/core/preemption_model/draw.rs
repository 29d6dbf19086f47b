//! Random pods, settings and nodes, from an alphabet so small that they collide all the time.

use serde_json::{Map, Value, json};

use super::node_filter::{Node, Taint};

const KEYS: [&str; 3] = ["a", "b", "cloud.example.com/spot"];
const VALUES: [&str; 5] = ["x", "y", "5", "7", ""];
const NAMES: [&str; 3] = ["n0", "n1", "n2"];
const TAINT_KEYS: [&str; 2] = ["spot", "gpu"];
const TAINT_VALUES: [&str; 3] = ["", "5", "7"];
const EFFECTS: [&str; 3] = ["NoSchedule", "NoExecute", "PreferNoSchedule"];

/// SplitMix64: a case is its seed, so a failure can be repeated from the number it prints. What is
/// configured is drawn first and then often again in the pod, since that is where modes differ.
pub(crate) struct Draw {
    state: u64,
    configured: Vec<(String, Value)>,
    tolerations: Vec<Value>,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give one stream shifted by a draw.
        Self { state: mix(seed), configured: Vec::new(), tolerations: Vec::new() }
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.state) % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        self.one_of(from)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn pairs(&mut self, most: usize) -> Map<String, Value> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.pair()).collect()
    }

    fn pair(&mut self) -> (String, Value) {
        if !self.configured.is_empty() && self.one_in(3) {
            let index = self.below(self.configured.len());
            return self.configured[index].clone();
        }
        (self.pick(&KEYS).to_owned(), self.pick(&VALUES).into())
    }

    /// `spec.preemption` without a mode.
    pub(crate) fn settings(&mut self) -> Value {
        let count = self.below(4);
        let tolerations: Vec<Value> = (0..count).map(|_| self.toleration(false)).collect();
        let most = self.below(4);
        let labels = self.pairs(most);
        self.configured = labels.clone().into_iter().collect();
        self.tolerations.clone_from(&tolerations);
        json!({"nodeSelector": labels, "tolerations": tolerations})
    }

    pub(crate) fn nodes(&mut self) -> Vec<Node> {
        let count = 2 + self.below(5);
        (0..count).map(|index| self.node(index)).collect()
    }

    fn node(&mut self, index: usize) -> Node {
        let labels = self.pairs(3).into_iter();
        let labels = labels.map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned()));
        let labels = labels.collect();
        let count = self.below(4).saturating_sub(1);
        let taints = (0..count).map(|_| Taint {
            key: self.pick(&TAINT_KEYS).to_owned(),
            value: self.pick(&TAINT_VALUES).to_owned(),
            effect: self.pick(&EFFECTS).to_owned(),
        });
        Node { name: format!("n{index}"), labels, taints: taints.collect() }
    }

    /// A pod's `spec` as an API server would accept it, with the spellings of "nothing" mixed.
    pub(crate) fn spec(&mut self) -> Value {
        let mut spec = Map::new();
        spec.insert("containers".into(), json!([{"name": "base", "future": {"kept": true}}]));
        let selector = Value::Object(self.pairs(2));
        self.maybe(&mut spec, "nodeSelector", selector);
        let count = self.below(4);
        let tolerations: Vec<Value> = (0..count).map(|_| self.toleration(true)).collect();
        self.maybe(&mut spec, "tolerations", tolerations.into());
        let affinity = self.affinity();
        self.maybe(&mut spec, "affinity", affinity);
        Value::Object(spec)
    }

    fn maybe(&mut self, into: &mut Map<String, Value>, field: &str, value: Value) {
        match self.below(10) {
            0 => {}
            1 => drop(into.insert(field.to_owned(), Value::Null)),
            _ => drop(into.insert(field.to_owned(), value)),
        }
    }

    fn affinity(&mut self) -> Value {
        let mut affinity = Map::from_iter([("future".to_owned(), json!([1, 2]))]);
        let mut node = Map::from_iter([("future".to_owned(), json!("kept"))]);
        let count = 1 + self.below(3);
        let terms: Vec<Value> = (0..count).map(|tag| self.term(tag)).collect();
        let required = json!({"nodeSelectorTerms": terms, "future": 1});
        self.maybe(&mut node, "requiredDuringSchedulingIgnoredDuringExecution", required);
        let preferred = json!([{"weight": 1, "preference": self.term(9)}]);
        self.maybe(&mut node, "preferredDuringSchedulingIgnoredDuringExecution", preferred);
        self.maybe(&mut affinity, "nodeAffinity", Value::Object(node));
        let pods = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]});
        self.maybe(&mut affinity, "podAntiAffinity", pods);
        Value::Object(affinity)
    }

    fn term(&mut self, tag: usize) -> Value {
        let mut term = Map::from_iter([("future".to_owned(), json!(tag))]);
        let count = self.below(4);
        let expressions: Vec<Value> = (0..count).map(|_| self.expression()).collect();
        self.maybe(&mut term, "matchExpressions", expressions.into());
        if self.one_in(4) {
            let operator = self.pick(&["In", "NotIn"]);
            let field = json!({"key": "metadata.name", "operator": operator, "values": [self.pick(&NAMES)]});
            term.insert("matchFields".into(), json!([field]));
        }
        Value::Object(term)
    }

    fn expression(&mut self) -> Value {
        if self.one_in(3) {
            let (key, value) = self.pair();
            let operator = self.pick(&["In", "In", "NotIn"]);
            return json!({"key": key, "operator": operator, "values": [value]});
        }
        let key = self.pick(&KEYS);
        match self.below(8) {
            0..4 => {
                let operator = self.pick(&["In", "In", "NotIn"]);
                let count = 1 + self.below(2);
                let values: Vec<&str> = (0..count).map(|_| self.pick(&VALUES)).collect();
                json!({"key": key, "operator": operator, "values": values})
            }
            4 => json!({"key": key, "operator": "Exists"}),
            5 => json!({"key": key, "operator": "DoesNotExist", "values": null}),
            _ => {
                let operator = self.pick(&["Gt", "Lt"]);
                json!({"key": key, "operator": operator, "values": [self.pick(&["4", "5", "6", "7"])]})
            }
        }
    }

    pub(crate) fn toleration(&mut self, of_pod: bool) -> Value {
        if of_pod && !self.tolerations.is_empty() && self.one_in(4) {
            let index = self.below(self.tolerations.len());
            return self.tolerations[index].clone();
        }
        let mut toleration = Map::new();
        let mut set = |field: &str, value: &str| {
            if !value.is_empty() {
                toleration.insert(field.to_owned(), value.into());
            }
        };
        let is_blanket = self.one_in(6);
        let operators: &[&str] = match (is_blanket, of_pod) {
            (true, _) => &["Exists"],
            (false, true) => &["", "Equal", "Equal", "Exists", "Exists", "Gt", "Lt"],
            (false, false) => &["", "Equal", "Exists"],
        };
        let operator = self.pick(operators);
        set("operator", operator);
        if !is_blanket {
            set("key", self.pick(&TAINT_KEYS));
        }
        match operator {
            "Exists" => {}
            "Gt" | "Lt" => set("value", self.pick(&["4", "6"])),
            _ => set("value", self.pick(&TAINT_VALUES)),
        }
        let effect = self.pick(&["", "NoSchedule", "NoExecute", "PreferNoSchedule"]);
        set("effect", effect);
        if effect == "NoExecute" && self.one_in(2) {
            toleration.insert("tolerationSeconds".into(), self.below(3).into());
        }
        if of_pod && self.one_in(4) {
            toleration.insert("future".into(), true.into());
        }
        Value::Object(toleration)
    }
}

fn mix(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
