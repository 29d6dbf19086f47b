//! Defaults of placement against the same model: where the pod says nothing it lands where it would if it said the default
//! itself, and preemption keeps its promise on that.

use serde_json::{Value, json};
use stowage::placement::preemption::Mode;

use super::draw::Draw;
use super::node_filter::{Constraints, Settings, Toleration, feasible};
use crate::harness::{answer, policies, policy};

const CASES: u64 = 1_500;
const FIELDS: [&str; 3] = ["nodeSelector", "tolerations", "affinity"];

#[test]
fn a_default_is_as_if_the_pod_said_it_and_every_mode_keeps_its_promise() {
    let mut decided = 0;
    for seed in 0..CASES {
        let mut draw = Draw::new(seed);
        let mode = draw.one_of(&super::MODES);
        let settings = draw.settings();
        let labels: Vec<&String> = settings["nodeSelector"].as_object().unwrap().keys().collect();
        let tolerations = settings["tolerations"].as_array().unwrap();
        if mode == Mode::Constrain && labels.is_empty() && !tolerations.is_empty() {
            continue;
        }
        let mut own = draw.spec();
        let nothing = [json!(null), json!({}), json!([]), filled_in()];
        for field in FIELDS {
            if draw.one_in(3) {
                continue;
            }
            let fits = |value: &&Value| if field == "tolerations" { !value.is_object() } else { !value.is_array() };
            let blank: Vec<&Value> = nothing.iter().filter(fits).collect();
            own[field] = blank[draw.below(blank.len())].clone();
        }
        let wishes = |value: &Value| {
            let text = value.to_string();
            let own = || value.as_array().into_iter().flatten().map(Toleration::of);
            let tolerates = |one: &Value| own().any(|own| own.equals(&Toleration::of(one)));
            labels.iter().any(|key| text.contains(&format!("{key:?}"))) || tolerations.iter().any(tolerates)
        };
        // What is taken back of a pod's wish may leave nothing said, and then the default acts.
        if mode == Mode::Prevent && FIELDS.iter().any(|field| wishes(&own[*field])) {
            continue;
        }
        let defaults = defaults(&mut draw, mode, &labels);
        let nodes = draw.nodes();
        let mut preemption = settings.clone();
        preemption["mode"] = mode.as_str().into();
        let spec = format!("  preemption: {preemption}\n  defaults: {defaults}");
        let mut pod = json!({"metadata": {"name": "p"}, "spec": own});
        let after = answer(&pod, &policies(&policy("p", &spec))).pod;
        for field in FIELDS {
            if is_nothing(&pod["spec"][field]) {
                pod["spec"][field] = defaults[field].clone();
            }
        }
        let model = Settings {
            labels: serde_json::from_value(settings["nodeSelector"].clone()).unwrap(),
            tolerations: tolerations.iter().map(Toleration::of).collect(),
        };
        let expected = model.promised(mode.as_str(), &Constraints::of(&pod["spec"]), &nodes);
        assert_eq!(feasible(&after["spec"], &nodes), expected, "seed {seed} {spec}\n{own}\n{after}");
        decided += 1;
    }
    assert!(decided > CASES / 3, "{decided} cases");
}

/// What the API server gives to every pod.
fn filled_in() -> Value {
    let one = |key: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    json!([one("not-ready"), one("unreachable")])
}

fn is_nothing(value: &Value) -> bool {
    *value == filled_in() || is_blank(value)
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.values().all(is_blank),
        _ => false,
    }
}

/// `defaults` with some of the three fields. Under `prevent` the affinity asks for nothing preemptible: what a policy asks
/// for there is dropped by terms, which is another promise.
fn defaults(draw: &mut Draw, mode: Mode, labels: &[&String]) -> Value {
    let count = draw.below(3);
    let tolerations: Vec<Value> = (0..count).map(|_| draw.toleration(false)).collect();
    let mut terms = Vec::new();
    for _ in 0..draw.below(3) {
        let pairs = draw.pairs(2).into_iter();
        let pairs = pairs.filter(|(key, _)| mode != Mode::Prevent || !labels.contains(&key));
        let expressions: Vec<Value> = pairs
            .map(|(key, value)| json!({"key": key, "operator": draw.pick(&["In", "NotIn"]), "values": [value]}))
            .collect();
        if !expressions.is_empty() {
            terms.push(json!({"matchExpressions": expressions}));
        }
    }
    let mut defaults = json!({"nodeSelector": draw.pairs(2), "tolerations": tolerations});
    if !terms.is_empty() {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        defaults["affinity"] = json!({"nodeAffinity": required});
    }
    defaults
}
