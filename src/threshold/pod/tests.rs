use super::*;

#[test]
fn nulls_are_read_as_absent() {
    let pod: WatchedPod = serde_json::from_str(
        r#"{"metadata": {"name": "p", "labels": null, "annotations": null, "creationTimestamp": null, "ownerReferences": null},
            "spec": {"nodeName": null, "schedulingGates": null, "initContainers": null, "priority": null},
            "status": {"phase": null, "startTime": null, "conditions": null, "containerStatuses":
            [{"name": "c", "state": null, "lastState": {"terminated": {"finishedAt": null}}}]}}"#,
    )
    .unwrap();
    assert_eq!(pod.metadata.name, "p");
    assert_eq!(pod.status.phase, Phase::Pending);
    assert_eq!(pod.status.container_statuses[0].last_run().unwrap().finished_at, None);
    let empty: WatchedPod = serde_json::from_str(r#"{"spec": null, "status": null}"#).unwrap();
    assert_eq!(empty, WatchedPod::default());
}

#[test]
fn a_time_at_or_before_the_epoch_is_no_time_anywhere_in_a_pod() {
    let pod: WatchedPod = serde_json::from_str(
        r#"{"metadata": {"creationTimestamp": "1970-01-01T00:00:00Z", "deletionTimestamp": "1754-08-30T22:43:41Z",
                "managedFields": [{"subresource": "status", "time": "1970-01-01T00:00:00Z"}]},
            "status": {"startTime": "1970-01-01T00:00:00Z",
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:00:00Z"}],
            "initContainerStatuses": [{"state": {"running": {"startedAt": "1970-01-01T00:00:00Z"}}}],
            "containerStatuses": [{"lastState": {"terminated": {"startedAt": "1969-12-31T23:00:00Z", "finishedAt": "1970-01-01T00:00:00Z"}}}]}}"#,
    )
    .unwrap();
    assert_eq!((pod.metadata.creation_timestamp, pod.metadata.deletion_timestamp), (None, None));
    assert_eq!((pod.metadata.status_written, pod.status.start_time), (None, None));
    assert_eq!(pod.status.changed("Ready"), None);
    assert_eq!(pod.status.init_container_statuses[0].first_started(), None);
    let last = pod.status.container_statuses[0].last_state.terminated.clone().unwrap();
    assert_eq!((last.started_at, last.finished_at), (None, None));
}

#[test]
fn the_last_write_of_the_status_is_read_out_of_managed_fields() {
    let pod: WatchedPod = serde_json::from_str(
        r#"{"metadata": {"managedFields": [{"manager": "kubectl", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:spec": {}}},
            {"manager": "kubelet", "subresource": "status", "time": "2026-01-02T00:00:00Z"},
            {"manager": "scheduler", "subresource": "status", "time": "2026-01-01T00:00:00Z"}, {}]}}"#,
    )
    .unwrap();
    assert_eq!(pod.metadata.status_written, "2026-01-02T00:00:00Z".parse().ok());
}

#[test]
fn a_label_without_a_value_is_an_empty_one() {
    let pod: WatchedPod = serde_json::from_str(r#"{"metadata": {"labels": {"team": null}}}"#).unwrap();
    assert_eq!(pod.metadata.labels["team"], "");
}

#[test]
fn an_unreadable_time_is_an_error() {
    for json in [
        r#"{"metadata": {"creationTimestamp": "yesterday"}}"#,
        r#"{"status": {"conditions": [{"lastTransitionTime": 5}]}}"#,
        r#"{"status": {"containerStatuses": [{"state": {"running": {"startedAt": ""}}}]}}"#,
    ] {
        let error = serde_json::from_str::<WatchedPod>(json).unwrap_err().to_string();
        assert!(error.contains("RFC 3339 time"), "{error}");
    }
}

#[test]
fn keeps_the_annotations_that_are_judged_by_and_no_others() {
    let pod: WatchedPod = serde_json::from_str(
        r#"{"metadata": {"annotations": {"a": "1", "stowage.dev/state-thresholds": "{}", "kubernetes.io/config.mirror": "x"}}}"#,
    )
    .unwrap();
    assert_eq!(pod.metadata.annotations.len(), 2);
}

#[test]
fn a_phase_of_a_later_kubernetes_is_unknown() {
    let pod: WatchedPod = serde_json::from_str(r#"{"status": {"phase": "Hibernated"}}"#).unwrap();
    assert_eq!(pod.status.phase, Phase::Unknown);
}
