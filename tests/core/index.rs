//! The index finds what a linear scan finds, in the order in which policies act.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::json;
use stowage::{
    labels::Labels,
    policy::{
        Policy,
        index::{PolicyIndex, matches},
        snapshot::Snapshot,
    },
};

use crate::harness::loaded;

#[derive(Clone, Debug)]
struct Pod(BTreeMap<String, String>);

impl Labels for Pod {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        self.0.iter().for_each(|(key, value)| visit(key, value));
    }
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("[abc]", "[xyz]", 0..4)
}

fn selector() -> impl Strategy<Value = serde_json::Value> {
    let expression =
        ("[abc]", 0..4_u8, proptest::collection::vec("[xyz]", 1..3)).prop_map(|(key, kind, values)| match kind {
            0 => json!({"key": key, "operator": "In", "values": values}),
            1 => json!({"key": key, "operator": "NotIn", "values": values}),
            2 => json!({"key": key, "operator": "Exists"}),
            _ => json!({"key": key, "operator": "DoesNotExist"}),
        });
    (labels(), proptest::collection::vec(expression, 0..3))
        .prop_map(|(labels, expressions)| json!({"matchLabels": labels, "matchExpressions": expressions}))
}

fn policy() -> impl Strategy<Value = serde_json::Value> {
    (selector(), proptest::option::of(selector()), -1..2_i32, 0..3_u8).prop_map(|(pods, namespaces, priority, kind)| {
        let mut spec = json!({"priority": priority, "match": {"podSelector": pods}, "labels": {"l": "v"}});
        let mut metadata = json!({});
        if kind == 0 {
            if let Some(namespaces) = namespaces {
                spec["match"]["namespaceSelector"] = namespaces;
            }
        } else {
            metadata["namespace"] = format!("n{kind}").into();
        }
        let kind = if kind == 0 { "ClusterInjectionPolicy" } else { "InjectionPolicy" };
        json!({"apiVersion": "stowage.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    })
}

fn compile(policies: Vec<serde_json::Value>) -> Vec<Arc<Policy>> {
    let mut loaded = loaded();
    for (number, mut policy) in policies.into_iter().enumerate() {
        policy["metadata"]["name"] = format!("p{number}").into();
        loaded.add("f", &policy.to_string());
    }
    assert!(loaded.errors.is_empty(), "{}", loaded.errors[0]);
    loaded.policies
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn equals_a_linear_scan(
        policies in proptest::collection::vec(policy(), 0..12), pod in labels(), namespace in labels(), which in 1..4_u8,
        turn in 0..12_usize,
    ) {
        let mut policies = compile(policies);
        let name = format!("n{which}");
        let snapshot = Snapshot {
            namespaces: Arc::new([(name.clone(), namespace)].into_iter().collect()), ..Snapshot::default()
        };
        let namespace = snapshot.namespace(&name);
        let pod = Pod(pod);
        let mut scan: Vec<_> = policies.iter().filter(|policy| matches(policy, &name, &namespace, &pod)).cloned().collect();
        scan.sort_by(|a, b| a.order(b));
        let scan: Vec<String> = scan.iter().map(|policy| policy.id.to_string()).collect();
        if !policies.is_empty() {
            let turn = turn % policies.len();
            policies.rotate_left(turn);
        }
        let index = PolicyIndex::new(policies);
        let found: Vec<String> = index.matching(&name, &namespace, &pod).iter().map(|policy| policy.id.to_string()).collect();
        prop_assert_eq!(found, scan);
    }
}

#[test]
fn acts_by_kind_then_priority_then_name() {
    let named = |name: &str, priority: i32, namespace: Option<&str>| {
        let kind = if namespace.is_some() { "InjectionPolicy" } else { "ClusterInjectionPolicy" };
        json!({"apiVersion": "stowage.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
            "spec": {"priority": priority, "match": {"podSelector": {}}, "labels": {"l": "v"}}})
    };
    let mut loaded = loaded();
    for policy in [named("c-b", 5, None), named("c-a", 5, None), named("c-z", 9, None), named("n", -3, Some("ns"))] {
        loaded.add("f", &policy.to_string());
    }
    let snapshot = loaded.snapshot();
    let pod = Pod(BTreeMap::new());
    let found = snapshot.policies.matching("ns", &snapshot.namespace("ns"), &pod);
    let names: Vec<&str> = found.iter().map(|policy| &*policy.id.name).collect();
    assert_eq!(names, ["n", "c-z", "c-a", "c-b"]);
}
