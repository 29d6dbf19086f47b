//! Defaults that set a field of the pod's spec as a whole, pull secrets beside the pod's, and the mode `prefer`. A second
//! pass is inside every answer.

use std::sync::Arc;

use serde_json::{Value, json};
use stowage::{
    admission::admit,
    policy::snapshot::{Classes, PriorityClass, RuntimeClass, Snapshot},
};

use crate::harness::{answer, injected, load, once, pod, policies, policy, review};

/// A pod with these fields of its spec.
fn with(fields: Value) -> Value {
    let mut pod = pod(json!({}));
    pod["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    pod
}

#[test]
fn a_default_is_set_only_where_the_pod_says_nothing() {
    let spread = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]);
    let table = [
        ("runtimeClassName", json!("gvisor"), json!(null), json!("kata")),
        ("schedulerName", json!("volcano"), json!("default-scheduler"), json!("yunikorn")),
        ("enableServiceLinks", json!(false), json!(true), json!(null)),
        (
            "topologySpreadConstraints",
            spread,
            json!([]),
            json!([{"maxSkew": 2, "topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule"}]),
        ),
        ("priorityClassName", json!("low"), json!(""), json!("high")),
    ];
    for (field, wanted, nothing, own) in table {
        let policy = policy("p", &format!("  defaults: {}", json!({field: wanted})));
        assert_eq!(injected(&pod(json!({})), &policy)["spec"][field], wanted, "{field}");
        assert_eq!(injected(&with(json!({field: nothing})), &policy)["spec"][field], wanted, "{field}");
        assert_eq!(injected(&with(json!({field: wanted})), &policy)["spec"][field], wanted, "{field}");
        if !own.is_null() {
            let answer = answer(&with(json!({field: own})), &policies(&policy));
            assert_eq!((&answer.pod["spec"][field], answer.warnings()), (&own, String::new()), "{field}");
        }
    }
}

#[test]
fn of_two_defaults_the_first_policy_has_its_way() {
    let both = format!(
        "{}{}",
        policy("a", "  defaults: {schedulerName: one, priorityClassName: low}"),
        policy("b", "  defaults: {schedulerName: two, priorityClassName: high}")
    );
    let answer = answer(&pod(json!({})), &policies(&both));
    assert_eq!(
        (&answer.pod["spec"]["schedulerName"], &answer.pod["spec"]["priorityClassName"]),
        (&json!("one"), &json!("low"))
    );
    assert!(answer.warnings().contains("schedulerName"), "{}", answer.warnings());
}

#[test]
fn a_class_that_the_cluster_does_not_have_is_skipped_with_a_warning() {
    let text = policy("p", "  defaults: {runtimeClassName: gvisor, priorityClassName: low}");
    let class = RuntimeClass { node_selector: [("runtime".to_owned(), "gvisor".to_owned())].into_iter().collect() };
    let known = |runtime: Option<(&str, RuntimeClass)>, priority: &[&str]| {
        let classes = Classes {
            priority: Some(priority.iter().map(|name| ((*name).into(), PriorityClass::default())).collect()),
            runtime: Some(runtime.into_iter().map(|(name, class)| (name.into(), class)).collect()),
        };
        Snapshot { classes: Arc::new(classes), ..policies(&text) }
    };
    let spec = |pod: Value, snapshot: &Snapshot| {
        let answer = answer(&pod, snapshot);
        let name = |field: &str| answer.pod["spec"][field].as_str().unwrap_or("-").to_owned();
        (format!("{} {}", name("runtimeClassName"), name("priorityClassName")), answer.warnings())
    };
    let (set, said) = spec(pod(json!({})), &known(None, &[]));
    assert_eq!(set, "- -");
    assert!(said.contains("no runtime class gvisor") && said.contains("no priority class low"), "{said}");
    let all = known(Some(("gvisor", class)), &["low"]);
    assert_eq!(spec(pod(json!({})), &all), ("gvisor low".to_owned(), String::new()));
    let (set, said) = spec(with(json!({"nodeSelector": {"runtime": "runc"}})), &all);
    assert_eq!(set, "- low");
    assert!(said.contains("gvisor asks for another value of runtime"), "{said}");
}

#[test]
fn a_service_account_that_the_namespace_does_not_have_leaves_its_place_to_the_next_policys() {
    let text =
        ["a", "b"].map(|name| policy(name, &format!("  defaults: {{serviceAccountName: {name}-runner}}"))).concat();
    let (all, pod) = (policies(&text), with(json!({"serviceAccountName": "default"})));
    let asked = |snapshot: &Snapshot| admit(review(&pod).to_string().as_bytes(), snapshot).unwrap().account;
    let account = |snapshot: &Snapshot| {
        let answer = answer(&pod, snapshot);
        (answer.pod["spec"]["serviceAccountName"].as_str().unwrap().to_owned(), answer.warnings())
    };
    assert_eq!((asked(&all).as_deref(), account(&all).0.as_str()), (Some("a-runner"), "a-runner"));
    let without = all.without_account("a-runner");
    assert_eq!(asked(&without).as_deref(), Some("b-runner"), "the next is asked for as well");
    let (name, said) = account(&without);
    assert_eq!(name, "b-runner");
    assert!(said.contains("namespace team has no service account a-runner"), "{said}");
    let neither = without.without_account("b-runner");
    assert_eq!((asked(&neither), account(&neither).0.as_str()), (None, "default"));
    // Whoever names it is answered by the API server, and nobody is asked for what an earlier pass has set.
    let own = with(json!({"serviceAccountName": "a-runner"}));
    assert_eq!(answer(&own, &without).pod["spec"]["serviceAccountName"], "a-runner");
    let again = once(&review(&answer(&pod, &all).pod), &all);
    assert_eq!(again.patch, json!([]));
}

#[test]
fn the_clusters_default_priority_class_counts_as_nothing_said() {
    let class = PriorityClass { value: 5, global_default: true };
    let classes = Classes {
        priority: Some([("usual".into(), class), ("low".into(), PriorityClass::default())].into_iter().collect()),
        runtime: None,
    };
    for spec in ["  priorityClassName: low", "  defaults: {priorityClassName: low}"] {
        let snapshot = Snapshot { classes: Arc::new(classes.clone()), ..policies(&policy("p", spec)) };
        let pod = with(json!({"priorityClassName": "usual", "priority": 5, "preemptionPolicy": "Never"}));
        let made = answer(&pod, &snapshot).pod;
        assert_eq!((&made["spec"]["priorityClassName"], &made["spec"]["priority"]), (&json!("low"), &Value::Null));
    }
}

#[test]
fn pull_secrets_stand_beside_those_of_the_pod_and_are_there_once() {
    let names = |pod: &Value| -> Vec<String> {
        let list = pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten();
        list.map(|secret| secret["name"].as_str().unwrap().to_owned()).collect()
    };
    let beside = policy("p", "  imagePullSecrets: [{name: mirror}, {name: own}]");
    assert_eq!(names(&injected(&pod(json!({})), &beside)), ["mirror", "own"]);
    let own = with(json!({"imagePullSecrets": [{"name": "own"}]}));
    assert_eq!(names(&injected(&own, &beside)), ["own", "mirror"]);
    let both = policy("p", "  imagePullSecrets: [{name: mirror}]\n  defaults: {imagePullSecrets: [{name: usual}]}");
    assert_eq!(names(&injected(&pod(json!({})), &both)), ["usual", "mirror"]);
    assert_eq!(names(&injected(&own, &both)), ["own", "mirror"]);
    let noted = load(&policy("p", "  imagePullSecrets: [{name: m}]\n  defaults: {serviceAccountName: a}"));
    assert!(noted.notes[0].to_string().contains("pull secrets of the new account"), "{:?}", noted.notes);
}

#[test]
fn preferred_nodes_are_preferred_and_their_taints_tolerated() {
    let text = policy(
        "p",
        "  preemption: {mode: prefer, nodeSelector: {spot: \"true\"}, tolerations: [{key: spot, operator: Exists}]}",
    );
    let spec = &injected(&pod(json!({})), &text)["spec"];
    let term = json!({"weight": 100, "preference": {"matchExpressions": [{"key": "spot", "operator": "In", "values": ["true"]}]}});
    let preferred = &spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!((preferred, spec["tolerations"][0]["key"].as_str()), (&json!([term]), Some("spot")));
}

#[test]
fn wrong_defaults_are_refused_by_their_field() {
    let spread = |fields: &str| format!("  defaults: {{topologySpreadConstraints: [{{{fields}}}]}}");
    for (spec, field) in [
        ("  defaults: {runtimeClassName: Wrong_}".to_owned(), "spec.defaults.runtimeClassName"),
        ("  defaults: {schedulerName: \"a b\"}".to_owned(), "spec.defaults.schedulerName"),
        ("  defaults: {priorityClassName: High}".to_owned(), "spec.defaults.priorityClassName"),
        (
            spread("maxSkew: 0, topologyKey: a, whenUnsatisfiable: DoNotSchedule"),
            "topologySpreadConstraints[0].maxSkew",
        ),
        (spread("maxSkew: 1, topologyKey: a, whenUnsatisfiable: Never"), "[0].whenUnsatisfiable"),
        ("  imagePullSecrets: [{name: \"{namespace}\"}]".to_owned(), "spec.imagePullSecrets[0].name"),
    ] {
        let errors: Vec<String> = load(&policy("p", &spec)).errors.iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.contains(field)), "{spec}: {errors:?}");
    }
}
