//! Whose word a threshold is, and what is done about a due pod.

use std::sync::Arc;

use serde_json::{Value, json};
use stowage::duration::Threshold;
use stowage::threshold::action::OwnerKind;
use stowage::threshold::resolve::{Limit, PolicyThresholds, Resolved, Word, resolve};
use stowage::threshold::spec::{OnExceededSpec, StateThresholds, StateThresholdsSpec};
use stowage::threshold::{Action, ActionRules, Decision, State, WatchedPod, judge};

struct Policy {
    name: Arc<str>,
    cluster: bool,
    thresholds: StateThresholds,
    on_exceeded: OnExceededSpec,
}

fn policy(name: &str, thresholds: Value, action: &str) -> Policy {
    let spec: StateThresholdsSpec = serde_json::from_value(thresholds).unwrap();
    Policy {
        name: name.into(),
        cluster: !name.starts_with("ns-"),
        thresholds: spec.compile().unwrap(),
        on_exceeded: serde_json::from_value(json!({"action": action})).unwrap(),
    }
}

fn resolved(pod: &WatchedPod, policies: &[Policy]) -> Resolved {
    let policies: Vec<PolicyThresholds<'_>> = policies
        .iter()
        .map(|policy| PolicyThresholds {
            name: &policy.name,
            cluster: policy.cluster,
            thresholds: &policy.thresholds,
            on_exceeded: policy.on_exceeded,
        })
        .collect();
    resolve(pod, &policies)
}

fn pod(metadata: Value) -> WatchedPod {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}
    });
    for (key, value) in metadata.as_object().unwrap() {
        pod["metadata"][key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn annotated(annotations: Value) -> WatchedPod {
    pod(json!({"annotations": annotations}))
}

fn limit(resolved: &Resolved, state: State) -> &Limit {
    resolved.thresholds.effective(state).unwrap()
}

fn said(resolved: &Resolved, state: State) -> (Threshold, Word, &str) {
    let limit = limit(resolved, state);
    (limit.threshold, limit.word, &limit.policy)
}

fn threshold(text: &str) -> Threshold {
    text.parse().unwrap()
}

#[test]
fn the_pod_goes_before_the_first_policy_state_by_state() {
    let policies = [
        policy("ns-a", json!({"running": "3h"}), "Report"),
        policy("b", json!({"running": "24h", "imagePullBackoff": "1h"}), "Delete"),
    ];
    let pod = annotated(json!({"stowage.dev/running-threshold": "2h"}));
    let resolved = resolved(&pod, &policies);
    assert_eq!(said(&resolved, State::Running), (threshold("2h"), Word::Pod, "ns-a"));
    assert_eq!(limit(&resolved, State::Running).policy_threshold, Some(threshold("3h")));
    assert_eq!(said(&resolved, State::ImagePullBackoff), (threshold("1h"), Word::Policy, "b"));
    assert!(resolved.thresholds.effective(State::Failed).is_none());
}

#[test]
fn a_key_of_a_state_goes_before_the_json_and_an_annotation_before_a_label() {
    let policies = [policy("a", json!({"running": "24h"}), "Auto")];
    let pod = pod(json!({
        "labels": {"stowage.dev/running-threshold": "4h", "stowage.dev/pending-scheduled-threshold": "90m"},
        "annotations": {"stowage.dev/running-threshold": "3h",
            "stowage.dev/state-thresholds": r#"{"executing": "5h", "image_pull_backoff": "1 minute and 30s", "failed": -1}"#}
    }));
    let resolved = resolved(&pod, &policies);
    assert_eq!(said(&resolved, State::Running).0, threshold("3h"));
    assert_eq!(said(&resolved, State::PendingScheduled).0, threshold("90m"));
    assert_eq!(said(&resolved, State::ImagePullBackoff).0, threshold("90s"));
    assert_eq!(said(&resolved, State::Failed).0, Threshold::Never);
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
}

#[test]
fn a_wrong_time_string_warns_and_the_policys_threshold_stands() {
    // descheduler takes the annotation `evict: "false"` for a yes (#1659).
    let policies = [policy("a", json!({"running": "24h", "failed": "1h"}), "Auto")];
    let pod = annotated(json!({"stowage.dev/running-threshold": "soon",
        "stowage.dev/state-thresholds": r#"{"running": "1h", "failed": 5, "done": "1h"}"#}));
    let resolved = resolved(&pod, &policies);
    assert_eq!(said(&resolved, State::Running), (threshold("24h"), Word::Policy, "a"));
    assert_eq!(said(&resolved, State::Failed), (threshold("1h"), Word::Policy, "a"));
    let told = resolved.warnings.join("\n");
    for word in ["stowage.dev/running-threshold: `soon` has no number", "failed: neither", "`done` is not a state"] {
        let word = word.replace("`soon` has no number", "`soon` is not a unit");
        assert!(told.contains(&word), "{word}: {told}");
    }
    for json in ["[]", "{", "\"1h\""] {
        let pod = annotated(json!({"stowage.dev/state-thresholds": json}));
        assert_eq!(self::resolved(&pod, &policies).warnings.len(), 1, "{json}");
    }
}

#[test]
fn two_names_of_one_state_that_differ_are_no_word() {
    let policies = [policy("a", json!({"running": "24h"}), "Auto")];
    let pod = annotated(json!({"stowage.dev/state-thresholds": r#"{"running": "1h", "executing": "2h"}"#}));
    let resolved = resolved(&pod, &policies);
    assert_eq!(said(&resolved, State::Running).0, threshold("24h"));
    assert_eq!(resolved.warnings.len(), 1);
}

#[test]
fn without_a_policy_a_pod_has_no_threshold_whatever_it_says() {
    let pod = annotated(json!({"stowage.dev/running-threshold": "2h"}));
    let resolved = resolved(&pod, &[]);
    assert!(resolved.thresholds.is_empty());
    assert!(resolved.warnings[0].contains("no policy that matches has stateThresholds"));
}

#[test]
fn a_cluster_policys_bounds_bind_the_pod_and_every_namespaced_policy_alike() {
    let policies = [
        policy("ns-a", json!({"running": "30d", "failed": "1s", "succeeded": "2h"}), "Auto"),
        policy("b", json!({"running": "24h", "overrides": {"min": "1h", "max": "48h"}}), "Auto"),
    ];
    let of_namespace = resolved(&annotated(json!({})), &policies);
    assert_eq!(said(&of_namespace, State::Running), (threshold("48h"), Word::Policy, "ns-a"));
    assert_eq!(said(&of_namespace, State::Failed).0, threshold("1h"));
    assert_eq!(said(&of_namespace, State::Succeeded).0, threshold("2h"));
    assert_eq!(of_namespace.warnings.len(), 2);
    let of_pod = resolved(
        &annotated(json!({"stowage.dev/running-threshold": "forever", "stowage.dev/initializing-threshold": "-1"})),
        &policies,
    );
    assert_eq!(said(&of_pod, State::Running), (threshold("48h"), Word::Pod, "ns-a"));
    assert_eq!(said(&of_pod, State::Initializing).0, threshold("48h"), "an unnamed state is no way around the bound");
    let own = [policy("b", json!({"running": "90d", "overrides": {"max": "48h"}}), "Auto")];
    assert_eq!(
        said(&resolved(&annotated(json!({})), &own), State::Running).0,
        threshold("90d"),
        "its own word is not an override"
    );
}

#[test]
fn a_namespaced_policys_bounds_bind_the_pod_only_and_yield_to_a_cluster_policys() {
    let policies = [
        policy("ns-a", json!({"overrides": {"min": "5h"}}), "Auto"),
        policy("b", json!({"running": "1h", "overrides": {"max": "2h"}}), "Auto"),
    ];
    let resolved = resolved(&annotated(json!({"stowage.dev/running-threshold": "3h"})), &policies);
    assert_eq!(said(&resolved, State::Running).0, threshold("2h"));
}

#[test]
fn where_overrides_are_not_allowed_others_words_are_left_out() {
    let policies = [
        policy("ns-a", json!({"running": "30d", "failed": "1h"}), "Auto"),
        policy("b", json!({"running": "24h", "overrides": {"allow": false}}), "Auto"),
    ];
    let resolved = resolved(&annotated(json!({"stowage.dev/running-threshold": "2h"})), &policies);
    assert_eq!(said(&resolved, State::Running), (threshold("24h"), Word::Policy, "b"));
    assert!(resolved.thresholds.effective(State::Failed).is_none());
    assert_eq!(resolved.warnings.len(), 3);
}

/// A pod that has been running for a day, under `running: 1h`.
fn decided(metadata: Value, spec: Value, action: &str) -> Decision {
    let mut pod = pod(metadata);
    if let Some(priority) = spec["priority"].as_i64() {
        pod.spec.priority = i32::try_from(priority).unwrap();
    }
    pod.spec.priority_class_name = spec["priorityClassName"].as_str().unwrap_or_default().to_owned();
    decision(&pod, action, "2026-01-02T00:00:00Z")
}

fn decision(pod: &WatchedPod, action: &str, now: &str) -> Decision {
    let rules =
        ActionRules { owners: vec!["argoproj.io/Workflow".parse().unwrap()], own_namespace: "stowage".to_owned() };
    let policies = [policy("a", json!({"running": "1h", "succeeded": "1h", "terminating": "1h"}), action)];
    let resolved = resolved(pod, &policies);
    judge(pod, &resolved.thresholds, &rules, now.parse().unwrap()).decision
}

fn owned_by(api_version: &str, kind: &str) -> Value {
    json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"},
        {"apiVersion": api_version, "kind": kind, "name": "o", "uid": "2", "controller": true}]})
}

#[test]
fn the_action_follows_the_controller_and_the_policy() {
    let job = || owned_by("batch/v1", "Job");
    let bare = json!({"ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "1"}]});
    for (metadata, action, expect) in [
        (json!({}), "Auto", Action::Delete),
        (bare, "Auto", Action::Delete),
        (json!({}), "Owner", Action::Report),
        (json!({}), "Evict", Action::Evict),
        (json!({}), "Report", Action::Report),
        (job(), "Auto", Action::DeleteOwner),
        (job(), "Owner", Action::DeleteOwner),
        (job(), "Delete", Action::Delete),
        (job(), "Evict", Action::Evict),
        (job(), "Report", Action::Report),
        (owned_by("batch.volcano.sh/v1alpha1", "Job"), "Auto", Action::DeleteOwner),
        (owned_by("kubeflow.org/v2beta1", "MPIJob"), "Auto", Action::DeleteOwner),
        (owned_by("sparkoperator.k8s.io/v1beta2", "SparkApplication"), "Auto", Action::DeleteOwner),
        (owned_by("argoproj.io/v1alpha1", "Workflow"), "Auto", Action::DeleteOwner),
        (owned_by("tekton.dev/v1", "TaskRun"), "Auto", Action::Report),
        (owned_by("evil.example/v1", "Job"), "Auto", Action::Report),
        (owned_by("v1", "Pod"), "Auto", Action::Report),
        (owned_by("apps/v1", "ReplicaSet"), "Auto", Action::Report),
        (owned_by("apps/v1", "StatefulSet"), "Delete", Action::Report),
        (owned_by("apps/v1", "DaemonSet"), "Delete", Action::None),
        (owned_by("v1", "Node"), "Delete", Action::None),
    ] {
        let decision = decided(metadata.clone(), json!({}), action);
        assert_eq!(decision.action, expect, "{action} {metadata}: {}", decision.reason);
        assert!(!decision.reason.is_empty());
        if expect == Action::DeleteOwner {
            assert_eq!(decision.owner.unwrap().uid, "2");
        }
    }
}

#[test]
fn what_belongs_to_the_cluster_is_never_touched() {
    for (metadata, spec) in [
        (json!({"annotations": {"kubernetes.io/config.mirror": "x"}}), json!({})),
        (json!({"annotations": {"kubernetes.io/config.source": "file"}}), json!({})),
        (json!({"namespace": "kube-system"}), json!({})),
        (json!({"namespace": "stowage"}), json!({})),
        (json!({}), json!({"priority": 2_000_000_000})),
        (json!({}), json!({"priorityClassName": "system-cluster-critical"})),
    ] {
        let decision = decided(metadata.clone(), spec.clone(), "Delete");
        assert_eq!(decision.action, Action::None, "{metadata} {spec}");
    }
    assert_eq!(
        decided(json!({"annotations": {"kubernetes.io/config.source": "api"}}), json!({}), "Delete").action,
        Action::Delete
    );
    assert_eq!(decided(json!({}), json!({"priority": 1_000_000_000}), "Delete").action, Action::Delete);
}

#[test]
fn a_pod_that_is_not_due_says_what_will_be_done() {
    let decision = decision(&pod(json!({})), "Auto", "2026-01-01T00:30:00Z");
    assert_eq!(decision.action, Action::None);
    assert_eq!(decision.reason, "then delete: it has no controller");
}

#[test]
fn a_threshold_that_the_pod_made_shorter_reaches_the_owner_only_when_the_policys_has_passed_too() {
    let mut metadata = owned_by("batch/v1", "Job");
    metadata["annotations"] = json!({"stowage.dev/running-threshold": "1m"});
    let pod = pod(metadata);
    let early = decision(&pod, "Auto", "2026-01-01T00:30:00Z");
    assert_eq!((early.action, early.again), (Action::Report, "2026-01-01T01:00:00Z".parse().ok()));
    assert_eq!(decision(&pod, "Auto", "2026-01-01T01:00:00Z").action, Action::DeleteOwner);
    assert_eq!(decision(&pod, "Delete", "2026-01-01T00:30:00Z").action, Action::Delete, "its own pod it may end");
}

#[test]
fn a_forged_short_lived_pod_does_not_reach_an_owner() {
    let policies = [policy("a", json!({"running": "1s"}), "Auto")];
    let pod = pod(owned_by("batch/v1", "Job"));
    let resolved = resolved(&pod, &policies);
    let at = |now: &str| judge(&pod, &resolved.thresholds, &ActionRules::default(), now.parse().unwrap()).decision;
    assert_eq!(at("2026-01-01T00:00:29Z").action, Action::None);
    assert_eq!(at("2026-01-01T00:00:29Z").again, "2026-01-01T00:00:30Z".parse().ok());
    assert_eq!(at("2026-01-01T00:00:30Z").action, Action::DeleteOwner);
}

#[test]
fn a_spark_executor_climbs_through_its_driver() {
    let mut metadata = owned_by("v1", "Pod");
    metadata["labels"] = json!({"spark-role": "executor"});
    let decision = decided(metadata, json!({}), "Auto");
    assert_eq!(decision.action, Action::DeleteOwner);
    assert_eq!(decision.owner.unwrap().kind, "Pod");
}

#[test]
fn a_pod_that_has_ended_does_not_take_its_working_siblings_along() {
    let ended = |metadata: Value| {
        let mut pod = pod(metadata);
        pod.status.phase = stowage::threshold::pod::Phase::Succeeded;
        let ended = json!({"name": "c", "state": {"terminated": {"finishedAt": "2026-01-01T01:00:00Z"}}});
        pod.status.container_statuses = vec![serde_json::from_value(ended).unwrap()];
        pod
    };
    let now = "2026-01-02T00:00:00Z";
    assert_eq!(decision(&ended(owned_by("batch/v1", "Job")), "Auto", now).action, Action::Delete);
    assert_eq!(decision(&ended(owned_by("kubeflow.org/v1", "PyTorchJob")), "Auto", now).action, Action::Report);
    assert_eq!(decision(&ended(owned_by("kubeflow.org/v1", "PyTorchJob")), "Owner", now).action, Action::DeleteOwner);
    assert_eq!(decision(&ended(json!({})), "Auto", now).action, Action::Delete);
}

#[test]
fn a_pod_that_is_being_deleted_is_not_deleted_again_unasked() {
    // podgc deletes finalizer-held pods again every 20 s (kubernetes PR 141190).
    let terminating = pod(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    let now = "2026-01-02T00:00:00Z";
    assert_eq!(decision(&terminating, "Auto", now).action, Action::Report);
    assert_eq!(decision(&terminating, "Evict", now).action, Action::Report);
    assert_eq!(decision(&terminating, "Delete", now).action, Action::Delete);
}

#[test]
fn an_owner_kind_is_a_group_and_a_kind() {
    assert!("argoproj.io/Workflow".parse::<OwnerKind>().is_ok());
    for wrong in [
        "Workflow",
        "argoproj.io/v1/Workflow",
        "argoproj.io/",
        "/Pod",
        "apps/v1",
        "v1/pod",
        "apps/ReplicaSet",
        "apps/DaemonSet",
        "batch/CronJob",
    ] {
        assert!(wrong.parse::<OwnerKind>().is_err(), "{wrong}");
    }
}
