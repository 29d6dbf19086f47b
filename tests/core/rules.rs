//! What is refused of a policy's scheduling fields, field by field.
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use stowage::{
    field_error::Problems,
    placement::{
        preemption::{Preemption, PreemptionSpec},
        rules,
    },
};

fn paths(problems: &Problems) -> Vec<&str> {
    problems.iter().map(|problem| problem.path.as_str()).collect()
}

fn check_tolerations(json: Value, expected: &[&str]) {
    let wire: Vec<core::Toleration> = serde_json::from_value(json).unwrap();
    let problems = rules::tolerations("tolerations", &wire);
    assert_eq!(paths(&problems), expected, "{problems:?}");
}

fn check_affinity(json: Value, expected: &[&str]) {
    let wire: core::Affinity = serde_json::from_value(json).unwrap();
    let problems = rules::affinity("affinity", &wire);
    let prefixed: Vec<String> = expected.iter().map(|path| format!("affinity.{path}")).collect();
    assert_eq!(paths(&problems), prefixed, "{problems:?}");
}

#[test]
fn tolerations_follow_the_rules_of_the_api() {
    let good = json!([
        {"operator": "Exists"},
        {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
        {"key": "example.com/a", "value": "x", "effect": "NoSchedule"},
        {"key": "a", "operator": "", "effect": ""},
    ]);
    check_tolerations(good, &[]);
    let table = [
        (json!([{"key": "a", "operator": "Exists", "value": "x"}]), "tolerations[0].value"),
        (json!([{"operator": "Equal", "value": "x"}]), "tolerations[0].operator"),
        (json!([{"value": "x"}]), "tolerations[0].operator"),
        (json!([{"key": "a", "operator": "Gt", "value": "5"}]), "tolerations[0].operator"),
        (json!([{"key": "a", "operator": "exists"}]), "tolerations[0].operator"),
        (json!([{"key": "a", "value": "x y"}]), "tolerations[0].value"),
        (json!([{"key": "a b", "operator": "Exists"}]), "tolerations[0].key"),
        (json!([{"key": "a", "effect": "Never"}]), "tolerations[0].effect"),
        (json!([{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}]), "tolerations[0].effect"),
        (json!([{"key": "a", "tolerationSeconds": 1}]), "tolerations[0].effect"),
    ];
    for (json, path) in table {
        check_tolerations(json, &[path]);
    }
}

#[test]
fn node_selector_pairs_are_labels() {
    let pairs = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    assert_eq!(rules::node_selector("nodeSelector", &pairs("a.b/c", "")), []);
    assert_eq!(paths(&rules::node_selector("nodeSelector", &pairs("a b", "x"))), ["nodeSelector[\"a b\"]"]);
    assert_eq!(paths(&rules::node_selector("nodeSelector", &pairs("a", "x/y"))), ["nodeSelector.a"]);
}

#[test]
fn node_affinity_follows_the_rules_of_the_api() {
    let required = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let terms = "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let expression = |operator: &str, values: Value| {
        required(json!([{"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}]))
    };
    let field = |key: &str, operator: &str, values: Value| {
        required(json!([{"matchFields": [{"key": key, "operator": operator, "values": values}]}]))
    };
    for (operator, values) in
        [("In", json!(["x", ""])), ("NotIn", json!(["x"])), ("Exists", json!([])), ("Gt", json!(["-5"]))]
    {
        check_affinity(expression(operator, values), &[]);
    }
    check_affinity(field("metadata.name", "NotIn", json!(["n1"])), &[]);
    check_affinity(required(json!([])), &[terms]);
    check_affinity(required(json!([{}])), &[&format!("{terms}[0]")]);
    let at = |rest: &str| format!("{terms}[0].{rest}");
    let table = [
        (expression("In", json!([])), at("matchExpressions[0].values")),
        (expression("Exists", json!(["x"])), at("matchExpressions[0].values")),
        (expression("In", json!(["x y"])), at("matchExpressions[0].values[0]")),
        (expression("Gt", json!(["x"])), at("matchExpressions[0].values")),
        (expression("Lt", json!(["1", "2"])), at("matchExpressions[0].values")),
        (expression("Has", json!(["x"])), at("matchExpressions[0].operator")),
        (field("metadata.uid", "In", json!(["n1"])), at("matchFields[0].key")),
        (field("metadata.name", "Exists", json!(["n1"])), at("matchFields[0].operator")),
        (field("metadata.name", "In", json!(["n1", "n2"])), at("matchFields[0].values")),
    ];
    for (json, path) in table {
        check_affinity(json, &[&path]);
    }
}

#[test]
fn weights_and_pod_terms_follow_the_rules_of_the_api() {
    let preferred = |weight: i32| {
        let term = json!({"weight": weight, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}});
        json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}})
    };
    check_affinity(preferred(1), &[]);
    check_affinity(preferred(100), &[]);
    for weight in [0, 101] {
        let path = "nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight";
        check_affinity(preferred(weight), &[path]);
    }
    let pod = |term: Value| json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let at = |rest: &str| format!("podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].{rest}");
    check_affinity(pod(json!({"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["a"]})), &[]);
    let table = [
        (json!({"topologyKey": ""}), "topologyKey"),
        (json!({"topologyKey": "zone", "namespaces": ["A"]}), "namespaces[0]"),
        (json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "x y"}}}), "labelSelector.matchLabels.a"),
        (
            json!({"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}),
            "labelSelector.matchExpressions[0].operator",
        ),
        (json!({"topologyKey": "zone", "matchLabelKeys": ["a"]}), "matchLabelKeys"),
        (
            json!({"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["a"]}),
            "matchLabelKeys[0]",
        ),
    ];
    for (term, path) in table {
        check_affinity(pod(term), &[&at(path)]);
    }
}

#[test]
fn priority_class_is_a_subdomain() {
    assert_eq!(rules::priority_class_name("priorityClassName", "igz-workload-medium"), []);
    let problems = rules::priority_class_name("priorityClassName", "High");
    assert_eq!(paths(&problems), ["priorityClassName"]);
}

#[test]
fn every_spot_example_compiles_and_acts_in_a_namespace_of_its_own() {
    let text = include_str!("../../manifests/examples/spot.yaml");
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let of_kind = |kind: &str| documents.iter().filter(|one| one["kind"] == kind).count();
    assert_eq!((of_kind("ClusterInjectionPolicy"), of_kind("Pod"), documents.len()), (5, 1, 6));
    let mut namespaces = Vec::new();
    for policy in documents.iter().filter(|one| one["kind"] == "ClusterInjectionPolicy") {
        let spec: PreemptionSpec = serde_json::from_value(policy["spec"]["preemption"].clone()).unwrap();
        let compiled = Preemption::compile(&spec).unwrap();
        assert!(!compiled.is_empty() && compiled.is_overridable());
        namespaces.push(&policy["spec"]["match"]["namespaceSelector"]["matchLabels"]["stowage.dev/spot"]);
    }
    assert_eq!(namespaces, ["gke", "eks-karpenter", "eks-nodegroup", "aks", "iguazio"]);
}
