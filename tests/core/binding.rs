//! A preemption that may not be overridden binds the pod, whatever its maker writes.

use serde_json::{Value, json};

use crate::harness::{Answer, answer, pod, policies, policy};

const SPOT: &str = "  preemption: {mode: prevent, overridable: false, nodeSelector: {spot: \"true\"}}";
const FREE: &str = "  preemption: {mode: prevent, nodeSelector: {spot: \"true\"}}";

fn asks_for_spot(change: impl FnOnce(&mut Value)) -> Value {
    let mut given = pod(json!({}));
    given["spec"]["nodeSelector"] = json!({"spot": "true"});
    change(&mut given);
    given
}

fn under(spec: &str, given: &Value) -> Answer {
    answer(given, &policies(&policy("spot", &format!("{spec}\n  env: [{{name: A, value: a}}]"))))
}

fn is_kept_off(answer: &Answer) -> bool {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0";
    let keeps_off = answer.pod.pointer(terms).is_some_and(|term| term.to_string().contains("NotIn"));
    answer.is_allowed() && keeps_off && answer.pod.pointer("/spec/nodeSelector/spot").is_none()
}

#[test]
fn a_pod_that_opts_out_of_injection_is_bound_and_gets_nothing_else() {
    let annotated = |given: &mut Value| given["metadata"]["annotations"] = json!({"stowage.dev/inject": "false"});
    let labelled = |given: &mut Value| given["metadata"]["labels"]["stowage.dev/inject"] = json!("false");
    for given in [asks_for_spot(annotated), asks_for_spot(labelled)] {
        let bound = under(SPOT, &given);
        assert!(is_kept_off(&bound), "{}", bound.pod);
        assert!(!bound.pod.to_string().contains("\"A\""), "{}", bound.pod);
        let said = "stowage.dev/inject does not opt out of preemption: policy spot forbids overriding it";
        assert!(bound.warnings().contains(said), "{}", bound.warnings());
        assert_eq!(under(FREE, &given).pod, given, "where overriding is allowed, the opt-out holds");
    }
}

#[test]
fn a_pod_that_picks_its_node_is_refused_where_its_preemption_binds() {
    let picks = |given: &mut Value| given["spec"]["nodeName"] = json!("spot-1");
    let refused = under(SPOT, &asks_for_spot(picks));
    assert!(!refused.is_allowed());
    assert!(refused.message().contains("spec.nodeName is not allowed"), "{}", refused.message());
    assert!(refused.message().contains("policy spot"), "{}", refused.message());
    assert!(under(FREE, &asks_for_spot(picks)).is_allowed());
    let open = SPOT.replace("prevent", "allow");
    assert!(under(&open, &asks_for_spot(picks)).is_allowed(), "allow keeps a pod off no node");
    let of_the_system = |given: &mut Value| {
        picks(given);
        given["spec"]["priorityClassName"] = json!("system-node-critical");
    };
    assert!(under(SPOT, &asks_for_spot(of_the_system)).is_allowed());
}

fn owned(given: &mut Value, api_version: &str) {
    given["metadata"]["ownerReferences"] =
        json!([{"apiVersion": api_version, "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]);
}

fn pinned(given: &mut Value) {
    given["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}}});
}

#[test]
fn a_daemon_set_is_believed_with_what_its_controller_writes_alone() {
    let real = asks_for_spot(|given| {
        owned(given, "apps/v1");
        pinned(given);
    });
    let spared = under(SPOT, &real);
    assert_eq!(spared.pod["spec"]["nodeSelector"], json!({"spot": "true"}));
    assert!(spared.warnings().contains("it belongs to a DaemonSet"), "{}", spared.warnings());
    let forged = [
        asks_for_spot(|given| owned(given, "apps/v1")),
        asks_for_spot(|given| {
            owned(given, "nope.example/v1");
            pinned(given);
        }),
        asks_for_spot(|given| {
            owned(given, "apps/v1");
            given["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}});
        }),
    ];
    for given in forged {
        let bound = under(SPOT, &given);
        assert!(is_kept_off(&bound), "{}", bound.pod);
    }
}
