//! Cases recorded from MLRun, with the nodes that Stowage's modes promise for them.

use serde::Deserialize;
use serde_json::Value;
use stowage::placement::preemption::{Preemption, PreemptionSpec};

use super::inject;
use super::node_filter::{Node, feasible};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "why")]
    _why: String,
    policies: Vec<Value>,
    pod: Value,
    #[serde(default)]
    nodes: Vec<Node>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expect {
    nodes: Option<Vec<String>>,
    #[serde(default)]
    unchanged: bool,
    policy_refused: Option<String>,
}

#[test]
fn recorded_cases_land_on_the_expected_nodes() {
    let text = include_str!("../../fixtures/preemption.json");
    let cases: Vec<Case> = serde_json::from_str(text).unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let [policy] = case.policies.as_slice() else {
            panic!("{}: one policy is expected", case.id);
        };
        let spec = policy["spec"]["preemption"].clone();
        let spec: PreemptionSpec = serde_json::from_value(spec).unwrap();
        let compiled = Preemption::compile(&spec);
        if let Some(field) = &case.expect.policy_refused {
            let problems = compiled.unwrap_err();
            let paths = problems.iter().map(|problem| format!("preemption.{}", problem.path));
            assert!(paths.into_iter().any(|path| path == *field), "{}", case.id);
            continue;
        }
        let (after, _) = inject(&compiled.unwrap(), spec.mode, &case.pod, &|| case.id.clone());
        let landed: Vec<String> = feasible(&after["spec"], &case.nodes).into_iter().collect();
        assert_eq!(Some(landed), case.expect.nodes, "{}", case.id);
        if case.expect.unchanged {
            assert_eq!(after, case.pod, "{}", case.id);
        }
    }
}
