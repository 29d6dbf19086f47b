//! A model of the scheduler's node filter, over plain structs read from a pod's JSON.
//!
//! Written from the Kubernetes documentation of `nodeSelector`, node affinity, taints and
//! tolerations, and from what the preemption modes promise. It shares nothing with the library.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Taint {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
    pub(crate) effect: String,
}

/// What of a pod the filter looks at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constraints {
    pub(crate) selector: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) terms: Option<Vec<Term>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Toleration {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) value: String,
    pub(crate) effect: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) labels: Vec<Requirement>,
    pub(crate) fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
pub(crate) struct Requirement {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) values: Vec<String>,
}

/// The preemptible labels and taints of a policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) tolerations: Vec<Toleration>,
}

impl Constraints {
    pub(crate) fn of(spec: &Value) -> Self {
        let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        Self {
            selector: strings(&spec["nodeSelector"]),
            tolerations: each(&spec["tolerations"], Toleration::of),
            terms: (!required.is_null()).then(|| each(&required["nodeSelectorTerms"], Term::of)),
        }
    }

    pub(crate) fn allows(&self, node: &Node) -> bool {
        let selected = self.selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
        let tolerated = node
            .taints
            .iter()
            .filter(|taint| taint.effect != "PreferNoSchedule")
            .all(|taint| self.tolerations.iter().any(|one| one.tolerates(taint)));
        let required = match &self.terms {
            None => true,
            Some(terms) => terms.iter().any(|term| term.matches(node)),
        };
        selected && tolerated && required
    }
}

impl Toleration {
    pub(crate) fn of(json: &Value) -> Self {
        let operator = text(&json["operator"]);
        Self {
            key: text(&json["key"]),
            operator: if operator.is_empty() { "Equal".into() } else { operator },
            value: text(&json["value"]),
            effect: text(&json["effect"]),
        }
    }

    fn tolerates(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        let numbers = (taint.value.parse::<i64>(), self.value.parse::<i64>());
        match self.operator.as_str() {
            "Exists" => true,
            "Equal" => self.value == taint.value,
            "Gt" => matches!(numbers, (Ok(taint), Ok(own)) if taint > own),
            "Lt" => matches!(numbers, (Ok(taint), Ok(own)) if taint < own),
            _ => false,
        }
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        let tuple = |one: &Self| (one.key.clone(), one.operator.clone(), one.value.clone(), one.effect.clone());
        tuple(self) == tuple(other)
    }
}

impl Term {
    fn of(json: &Value) -> Self {
        Self {
            labels: each(&json["matchExpressions"], Requirement::of),
            fields: each(&json["matchFields"], Requirement::of),
        }
    }

    fn matches(&self, node: &Node) -> bool {
        let is_empty = self.labels.is_empty() && self.fields.is_empty();
        let labels = self.labels.iter().all(|one| one.matches(&node.labels));
        let fields = BTreeMap::from([("metadata.name".to_owned(), node.name.clone())]);
        !is_empty && labels && self.fields.iter().all(|one| one.matches(&fields))
    }
}

impl Requirement {
    fn of(json: &Value) -> Self {
        Self { key: text(&json["key"]), operator: text(&json["operator"]), values: each(&json["values"], text) }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let own = labels.get(&self.key);
        let number = |text: &String| text.parse::<i64>().ok();
        let compared = || own.and_then(number).zip(self.values.first().and_then(number));
        match self.operator.as_str() {
            "In" => own.is_some_and(|own| self.values.contains(own)),
            "NotIn" => own.is_none_or(|own| !self.values.contains(own)),
            "Exists" => own.is_some(),
            "DoesNotExist" => own.is_none(),
            "Gt" => compared().is_some_and(|(own, bound)| own > bound),
            "Lt" => compared().is_some_and(|(own, bound)| own < bound),
            other => panic!("operator {other}"),
        }
    }
}

impl Settings {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.tolerations.is_empty()
    }

    fn is_preemptible(&self, node: &Node) -> bool {
        self.labels.iter().any(|(key, value)| node.labels.get(key) == Some(value))
    }

    /// The pod with the preemptible taints tolerated.
    fn tolerated(&self, pod: &Constraints) -> Constraints {
        let mut pod = pod.clone();
        pod.tolerations.extend(self.tolerations.iter().cloned());
        pod
    }

    /// The pod without its wish for preemptible nodes: the tolerations, `nodeSelector` pairs and
    /// expressions that ask for them; a term that this empties goes.
    pub(crate) fn without_wish(&self, pod: &Constraints) -> Constraints {
        let is_wish = |one: &Requirement| {
            let Some(label) = self.labels.get(&one.key) else { return false };
            one.operator == "Exists"
                || one.operator == "In" && !one.values.is_empty() && one.values.iter().all(|value| value == label)
        };
        let terms = pod.terms.as_ref().and_then(|terms| {
            let mut kept = Vec::new();
            for term in terms {
                let mut term = term.clone();
                let had = term.labels.len();
                term.labels.retain(|one| !is_wish(one));
                let is_emptied = term.labels.len() < had && term.labels.is_empty() && term.fields.is_empty();
                if !is_emptied {
                    kept.push(term);
                }
            }
            let was_wish_alone = kept.is_empty() && !terms.is_empty();
            (!was_wish_alone).then_some(kept)
        });
        let mut selector = pod.selector.clone();
        selector.retain(|key, value| self.labels.get(key) != Some(value));
        let mut tolerations = pod.tolerations.clone();
        tolerations.retain(|own| !self.tolerations.iter().any(|one| one.equals(own)));
        Constraints { selector, tolerations, terms }
    }

    /// The nodes that a mode promises to a pod, out of `nodes`.
    pub(crate) fn promised(&self, mode: &str, pod: &Constraints, nodes: &[Node]) -> BTreeSet<String> {
        let tolerated = self.tolerated(pod);
        let unwishing = self.without_wish(pod);
        let may = |node: &Node| match mode {
            _ if self.is_empty() => pod.allows(node),
            "none" => pod.allows(node),
            "allow" | "prefer" => tolerated.allows(node),
            "constrain" => tolerated.allows(node) && self.is_preemptible(node),
            "prevent" => unwishing.allows(node) && !self.is_preemptible(node),
            other => panic!("mode {other}"),
        };
        let promised = nodes.iter().filter(|node| may(node));
        promised.map(|node| node.name.clone()).collect()
    }
}

/// The names of the nodes that a pod may be scheduled to.
pub(crate) fn feasible(spec: &Value, nodes: &[Node]) -> BTreeSet<String> {
    let pod = Constraints::of(spec);
    let allowed = nodes.iter().filter(|node| pod.allows(node));
    allowed.map(|node| node.name.clone()).collect()
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn each<T>(json: &Value, read: impl Fn(&Value) -> T) -> Vec<T> {
    json.as_array().into_iter().flatten().map(read).collect()
}

fn strings(json: &Value) -> BTreeMap<String, String> {
    let pairs = json.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), text(value))).collect()
}
