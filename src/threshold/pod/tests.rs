use super::*;

#[test]
fn nulls_are_read_as_absent() {
    let pod: PodView = serde_json::from_str(
        r#"{"metadata": {"name": "p", "labels": null, "annotations": null, "creationTimestamp": null, "ownerReferences": null},
            "spec": {"nodeName": null, "schedulingGates": null, "initContainers": null, "priority": null},
            "status": {"phase": null, "startTime": null, "conditions": null, "containerStatuses":
            [{"name": "c", "state": null, "lastState": {"terminated": {"finishedAt": null}}}]}}"#,
    )
    .unwrap();
    assert_eq!(pod.metadata.name, "p");
    assert_eq!(pod.status.phase, Phase::Pending);
    assert_eq!(pod.status.container_statuses[0].last_finished(), None);
    let empty: PodView = serde_json::from_str(r#"{"spec": null, "status": null}"#).unwrap();
    assert_eq!(empty, PodView::default());
}

#[test]
fn an_unreadable_time_is_an_error_that_names_the_field() {
    for (json, field) in [
        (r#"{"metadata": {"creationTimestamp": "yesterday"}}"#, "metadata.creationTimestamp"),
        (r#"{"status": {"conditions": [{"lastTransitionTime": 5}]}}"#, "status.conditions[].lastTransitionTime"),
        (r#"{"status": {"containerStatuses": [{"state": {"running": {"startedAt": ""}}}]}}"#, "startedAt"),
    ] {
        let error = serde_json::from_str::<PodView>(json).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn keeps_the_annotations_that_are_judged_by_and_no_others() {
    let pod: PodView = serde_json::from_str(
        r#"{"metadata": {"annotations": {"a": "1", "stowage.dev/state-thresholds": "{}", "kubernetes.io/config.mirror": "x"}}}"#,
    )
    .unwrap();
    assert_eq!(pod.metadata.annotations.len(), 2);
}

#[test]
fn a_phase_of_a_later_kubernetes_is_unknown() {
    let pod: PodView = serde_json::from_str(r#"{"status": {"phase": "Hibernated"}}"#).unwrap();
    assert_eq!(pod.status.phase, Phase::Unknown);
}
