//! Whose word a threshold is.

use std::sync::Arc;

use serde_json::{Value, json};
use stowage::duration::Threshold;
use stowage::threshold::resolve::{Limit, PolicyThresholds, Resolved, Word, resolve};
use stowage::threshold::spec::{ActionSpec, OnExceeded, OnExceededSpec, StateThresholds, StateThresholdsSpec};
use stowage::threshold::{State, WatchedPod};

struct Policy {
    name: Arc<str>,
    cluster: bool,
    thresholds: Option<StateThresholds>,
    on_exceeded: OnExceeded,
}

fn policy(name: &str, thresholds: Value, action: &str) -> Policy {
    let spec: StateThresholdsSpec = serde_json::from_value(thresholds).unwrap();
    Policy {
        name: name.into(),
        cluster: !name.starts_with("ns-"),
        thresholds: Some(spec.compile().unwrap()),
        on_exceeded: on_exceeded(json!({"action": action})),
    }
}

fn on_exceeded(spec: Value) -> OnExceeded {
    serde_json::from_value::<OnExceededSpec>(spec).unwrap().compile().unwrap()
}

fn resolved(pod: &WatchedPod, policies: &[Policy]) -> Resolved {
    let policies: Vec<PolicyThresholds<'_>> = policies
        .iter()
        .map(|policy| PolicyThresholds {
            name: &policy.name,
            cluster: policy.cluster,
            thresholds: policy.thresholds.as_ref(),
            on_exceeded: policy.on_exceeded,
        })
        .collect();
    resolve(&pod.words(), &policies)
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
    let many: serde_json::Map<String, Value> = (0..100).map(|n| (format!("s{n}"), json!("1h"))).collect();
    let pod = annotated(json!({"stowage.dev/state-thresholds": Value::Object(many).to_string()}));
    assert_eq!(self::resolved(&pod, &policies).warnings.len(), 16, "nobody reads a hundred");
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

#[test]
fn a_policy_with_on_exceeded_alone_says_what_happens_to_pods_whose_threshold_is_their_own() {
    let mut alone = policy("ns-team", json!({}), "Report");
    alone.thresholds = None;
    let policies = [alone, policy("b", json!({"failed": "1h"}), "Delete")];
    let resolved = resolved(&annotated(json!({"stowage.dev/running-threshold": "2h"})), &policies);
    let action = |state| limit(&resolved, state).on_exceeded.actions.of(state);
    assert_eq!(said(&resolved, State::Running), (threshold("2h"), Word::Pod, "ns-team"));
    assert_eq!(action(State::Running), ActionSpec::Report);
    assert_eq!((said(&resolved, State::Failed).2, action(State::Failed)), ("b", ActionSpec::Delete));
}

#[test]
fn a_pod_that_asks_to_be_left_alone_is_unless_a_policy_forbids_it() {
    let spared = annotated(json!({"stowage.dev/reap": "false"}));
    let by_label = pod(json!({"labels": {"stowage.dev/reap": "false"}}));
    let open = [policy("a", json!({"running": "1h"}), "Auto")];
    assert!(resolved(&spared, &open).is_spared && resolved(&by_label, &open).is_spared);
    assert!(!resolved(&annotated(json!({"stowage.dev/reap": "true"})), &open).is_spared);
    let closed = [policy("a", json!({"running": "1h", "overrides": {"allow": false}}), "Auto")];
    let forbidden = resolved(&spared, &closed);
    assert!(!forbidden.is_spared && forbidden.warnings[0].contains("allows no overrides"), "{:?}", forbidden.warnings);
    let wrong = resolved(&annotated(json!({"stowage.dev/reap": "no"})), &open);
    assert!(!wrong.is_spared && wrong.warnings[0].contains("neither true nor false"), "{:?}", wrong.warnings);
}

#[test]
fn the_words_of_a_pod_are_read_once_for_webhook_and_watcher() {
    let words = annotated(
        json!({"stowage.dev/executing-threshold": "5h", "stowage.dev/state-thresholds": r#"{"failed": -1}"#}),
    )
    .words();
    assert!(words.says_thresholds && words.warnings.is_empty(), "{:?}", words.warnings);
    let said: Vec<(State, Threshold)> = words.thresholds().collect();
    assert_eq!(said, [(State::Running, threshold("5h")), (State::Failed, Threshold::Never)]);
    let wrong = annotated(json!({"stowage.dev/executing-threshold": "soon"})).words();
    assert!(wrong.says_thresholds && wrong.warnings[0].contains("executing-threshold"), "{:?}", wrong.warnings);
}

#[test]
fn an_action_may_be_one_word_or_one_for_each_state() {
    let each =
        on_exceeded(json!({"action": {"default": "Delete", "pendingScheduled": "Report", "executing": "Owner"}}));
    for (state, action) in [
        (State::PendingScheduled, ActionSpec::Report),
        (State::Running, ActionSpec::Owner),
        (State::ImagePullBackoff, ActionSpec::Delete),
        (State::ContainerError, ActionSpec::Delete),
    ] {
        assert_eq!(each.actions.of(state), action, "{state:?}");
    }
    assert_eq!(on_exceeded(json!({})).actions.of(State::Failed), ActionSpec::Auto);
    for (wrong, field, word) in [
        (json!({"action": "Kill"}), "action", "Auto, Delete"),
        (json!({"action": 5}), "action", "Auto, Delete"),
        (json!({"action": {"default": "Kill"}}), "action.default", "Auto, Delete"),
        (json!({"action": {"pending": "Auto"}}), "action.pending", "pendingScheduled"),
        (json!({"action": {"running": "Auto", "executing": "Auto"}}), "action.running", "two names"),
        (json!({"noticeBefore": "soon"}), "noticeBefore", "unit"),
        (json!({"noticeBefore": -1}), "noticeBefore", "never"),
    ] {
        let errors = serde_json::from_value::<OnExceededSpec>(wrong.clone()).unwrap().compile().unwrap_err();
        let [error] = errors.as_slice() else { panic!("{wrong}: {errors:?}") };
        assert!(error.path.starts_with("action") || error.path == field, "{wrong}: {error}");
        assert!(error.message.contains(word), "{wrong}: {error}");
    }
    let notice = on_exceeded(json!({"noticeBefore": "10m"})).notice_before;
    assert_eq!(notice, Some(std::time::Duration::from_secs(600)));
}
