//! Defaults of `nodeSelector`, `tolerations` and `affinity`. A second pass is inside every answer; where the pod lands is
//! held against a model in `preemption_model`.

use serde_json::{Value, json};

use crate::harness::{answer, load, namespaced, pod, policies, policy};

const ALL: &str = "  defaults:
    nodeSelector: {pool: general}
    tolerations: [{key: pool, operator: Equal, value: general, effect: NoSchedule}]
    affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone}}]}}";

/// A pod with these fields of its spec.
fn with(fields: Value) -> Value {
    let mut pod = pod(json!({}));
    pod["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    pod
}

fn filled_in(key: &str) -> Value {
    json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
}

fn toleration(value: &str) -> Value {
    json!({"key": "pool", "operator": "Equal", "value": value, "effect": "NoSchedule"})
}

fn anti_affinity(zone: &str) -> Value {
    let term = json!({"weight": 1, "podAffinityTerm": {"topologyKey": zone}});
    json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}})
}

#[test]
fn each_is_set_as_a_whole_and_only_where_the_pod_says_nothing() {
    let always = [filled_in("not-ready"), filled_in("unreachable")];
    let table = [
        (json!({}), "all three"),
        (json!({"nodeSelector": {}, "tolerations": [], "affinity": {}}), "all three"),
        (json!({"nodeSelector": null, "tolerations": null, "affinity": {"nodeAffinity": {}}}), "all three"),
        (json!({"tolerations": always}), "all three"),
        (json!({"nodeSelector": {"pool": "gpu"}}), "no selector"),
        (json!({"nodeSelector": {"zone": "a"}}), "no selector"),
        (json!({"tolerations": [always[0], toleration("gpu")]}), "no tolerations"),
        (json!({"affinity": anti_affinity("host")}), "no affinity"),
    ];
    for (own, gets) in table {
        let answered = answer(&with(own.clone()), &policies(&policy("p", ALL)));
        let spec = &answered.pod["spec"];
        assert_eq!(spec["nodeSelector"] == json!({"pool": "general"}), gets != "no selector", "{own}: {spec}");
        let tolerates = spec["tolerations"].as_array().unwrap().contains(&toleration("general"));
        assert_eq!(tolerates, gets != "no tolerations", "{own}: {spec}");
        assert_eq!(
            spec["affinity"]["podAntiAffinity"] == anti_affinity("zone")["podAntiAffinity"],
            gets != "no affinity"
        );
        assert_eq!(answered.warnings(), "", "{own}");
    }
    // What the pod says itself stays as it is.
    let own =
        json!({"nodeSelector": {"pool": "gpu"}, "tolerations": [toleration("gpu")], "affinity": anti_affinity("host")});
    let kept = answer(&with(own.clone()), &policies(&policy("p", ALL)));
    for field in ["nodeSelector", "tolerations", "affinity"] {
        assert_eq!(kept.pod["spec"][field], own[field], "{field}");
        assert_eq!(
            kept.marker()["policies"][0]["skipped"][format!("defaults.{field}")],
            format!("SaidByPod: skipped {field}: the pod says it itself")
        );
    }
}

#[test]
fn a_policy_that_says_it_outright_comes_before_every_default() {
    let general = namespaced("general", "  defaults: {nodeSelector: {pool: general}}");
    let gpu = policy("gpu", "  nodeSelector: {gpu: \"1\"}");
    let answered = answer(&pod(json!({})), &policies(&(general.clone() + &gpu)));
    assert_eq!(answered.pod["spec"]["nodeSelector"], json!({"gpu": "1"}));
    let why = "SaidByPolicy: skipped nodeSelector: policy gpu nodeSelector says it outright";
    assert_eq!(answered.marker()["policies"][0]["skipped"]["defaults.nodeSelector"], why);
    assert_eq!(answered.warnings(), "", "that is what a default is for");
    let second = policy("second", "  defaults: {nodeSelector: {pool: other}}");
    let answered = answer(&pod(json!({})), &policies(&(general + &second)));
    assert_eq!(answered.pod["spec"]["nodeSelector"], json!({"pool": "general"}));
    assert!(
        answered.warnings().contains("policy team/general defaults.nodeSelector set it first"),
        "{}",
        answered.warnings()
    );
}

#[test]
fn pods_that_are_placed_already_get_none() {
    let daemon_set =
        json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]);
    for given in [with(json!({"nodeName": "n"})), with(json!({"priorityClassName": "system-node-critical"}))] {
        let answered = answer(&given, &policies(&policy("p", ALL)));
        assert_eq!(answered.pod["spec"], given["spec"]);
        assert!(
            answered.warnings().contains("defaults.nodeSelector: placement is not applied"),
            "{}",
            answered.warnings()
        );
    }
    let mut of_daemon_set =
        with(json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}}}}));
    of_daemon_set["metadata"]["ownerReferences"] = daemon_set;
    assert_eq!(answer(&of_daemon_set, &policies(&policy("p", ALL))).pod["spec"], of_daemon_set["spec"]);
}

#[test]
fn a_wish_that_preemption_takes_back_leaves_room_for_the_default() {
    let spot = json!({"key": "spot", "operator": "Exists"});
    let text = policy(
        "p",
        &format!("{ALL}\n  preemption: {{mode: prevent, nodeSelector: {{spot: \"1\"}}, tolerations: [{spot}]}}"),
    );
    let given = with(json!({"nodeSelector": {"spot": "1"}, "tolerations": [spot]}));
    let spec = answer(&given, &policies(&text)).pod["spec"].clone();
    assert_eq!(
        (&spec["nodeSelector"], &spec["tolerations"]),
        (&json!({"pool": "general"}), &json!([toleration("general")]))
    );
    // A default for preemptible nodes is no wish of the pod's, and goes all the same.
    let text = text.replace("{pool: general}", "{spot: \"1\", pool: general}");
    assert_eq!(answer(&pod(json!({})), &policies(&text)).pod["spec"]["nodeSelector"], json!({"pool": "general"}));
}

#[test]
fn wrong_ones_are_refused_by_their_field() {
    for (spec, field) in [
        ("{nodeSelector: {\"a b\": c}}", "spec.defaults.nodeSelector[\"a b\"]"),
        ("{tolerations: [{operator: Equal}]}", "spec.defaults.tolerations[0].operator"),
        (
            "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}}",
            "spec.defaults.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        ),
        ("{nodeSelector: {pool: \"{namespace}\"}}", "spec.defaults.nodeSelector.pool"),
    ] {
        let errors: Vec<String> =
            load(&policy("p", &format!("  defaults: {spec}"))).errors.iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.contains(field)), "{spec}: {errors:?}");
    }
}
