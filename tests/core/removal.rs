//! What is done about a due pod, by its owner, that owner's other pods and what is known above.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use stowage::threshold::action::decide;
use stowage::threshold::owner::{JobBudget, OwnerKind, OwnerObject};
use stowage::threshold::pod::OwnerReference;
use stowage::threshold::resolve::{PolicyThresholds, resolve};
use stowage::threshold::spec::{OnExceeded, OnExceededSpec, StateThresholds, StateThresholdsSpec};
use stowage::threshold::{
    Action, ActionRules, Circumstances, NodeReadiness, Removal, RemovalSubject, Siblings, WatchedPod, evaluate,
};

const DUE: &str = "2026-01-02T00:00:00Z";
const RUNNING: fn() -> Value = || json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z"});
const WAITING: fn() -> Value = || json!({"phase": "Pending", "startTime": "2026-01-01T00:00:00Z"});
const ENDED: fn() -> Value = || {
    json!({"phase": "Failed", "containerStatuses":
        [{"name": "c", "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T01:00:00Z"}}}]})
};

fn pod(metadata: Value, status: Value) -> WatchedPod {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n"},
        "status": status
    });
    for (key, value) in metadata.as_object().unwrap() {
        pod["metadata"][key] = value.clone();
    }
    serde_json::from_value(pod).unwrap()
}

fn thresholds() -> StateThresholds {
    let spec: StateThresholdsSpec = serde_json::from_value(json!({"running": "1h", "pendingScheduled": "1h",
        "imagePullBackoff": "1h", "containerError": "1h", "succeeded": "1h", "failed": "1h", "terminating": "1h", "unknown": "1h"}))
    .unwrap();
    spec.compile().unwrap()
}

fn on_exceeded(spec: Value) -> OnExceeded {
    serde_json::from_value::<OnExceededSpec>(spec).unwrap().compile().unwrap()
}

/// Decides about a pod whose every state has a threshold of an hour.
fn decided(pod: &WatchedPod, on_exceeded: OnExceeded, around: &Circumstances, now: &str) -> Removal {
    let rules =
        ActionRules { owners: vec!["argoproj.io/Workflow".parse().unwrap()], own_namespace: "stowage".to_owned() };
    let (name, thresholds): (Arc<str>, _) = ("a".into(), thresholds());
    let policy = PolicyThresholds { name: &name, cluster: true, thresholds: Some(&thresholds), on_exceeded };
    let resolved = resolve(&pod.words(), &[policy]);
    let now: Timestamp = now.parse().unwrap();
    let verdict = evaluate(pod, NodeReadiness::Unheard, &resolved.thresholds, now);
    let limit = resolved.thresholds.effective(verdict.state);
    let around = Circumstances { is_spared: resolved.is_spared, ..around.clone() };
    decide(&pod.metadata.namespace, &RemovalSubject::of(pod), &verdict, limit, &around, &rules, now)
}

fn by(pod: &WatchedPod, action: &str) -> Removal {
    decided(pod, on_exceeded(json!({"action": action})), &Circumstances::default(), DUE)
}

fn among(pod: &WatchedPod, around: &Circumstances) -> Removal {
    decided(pod, OnExceeded::default(), around, DUE)
}

fn owned_by(api_version: &str, kind: &str) -> Value {
    json!({"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"},
        {"apiVersion": api_version, "kind": kind, "name": "o", "uid": "2", "controller": true}]})
}

fn reference(api_version: &str, kind: &str) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: "top".to_owned(),
        uid: "3".to_owned(),
        controller: true,
    }
}

fn at_work() -> Circumstances {
    Circumstances { siblings: Siblings { running: 2, succeeded: 0 }, ..Circumstances::default() }
}

const JOB: fn() -> Value = || owned_by("batch/v1", "Job");

#[test]
fn the_action_follows_the_controller_and_the_policy() {
    let bare = json!({"ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "1"}]});
    for (metadata, action, expect) in [
        (json!({}), "Auto", Action::Delete),
        (bare, "Auto", Action::Delete),
        (json!({}), "Owner", Action::Report),
        (json!({}), "Evict", Action::Evict),
        (json!({}), "Report", Action::Report),
        (JOB(), "Auto", Action::DeleteOwner),
        (JOB(), "Owner", Action::DeleteOwner),
        (JOB(), "Delete", Action::Delete),
        (JOB(), "Evict", Action::Evict),
        (JOB(), "Report", Action::Report),
        (owned_by("batch.volcano.sh/v1alpha1", "Job"), "Auto", Action::DeleteOwner),
        (owned_by("kubeflow.org/v2beta1", "MPIJob"), "Auto", Action::DeleteOwner),
        (owned_by("kubeflow.org/v1", "PaddleJob"), "Auto", Action::DeleteOwner),
        (owned_by("core.polyaxon.com/v1", "Operation"), "Auto", Action::DeleteOwner),
        (owned_by("sparkoperator.k8s.io/v1beta2", "SparkApplication"), "Auto", Action::DeleteOwner),
        (owned_by("argoproj.io/v1alpha1", "Workflow"), "Auto", Action::DeleteOwner),
        (owned_by("tekton.dev/v1", "TaskRun"), "Auto", Action::Report),
        (owned_by("evil.example/v1", "Job"), "Auto", Action::Report),
        (owned_by("batch/v1", "CronJob"), "Auto", Action::Report),
        (owned_by("v1", "Pod"), "Auto", Action::Report),
        (owned_by("apps/v1", "DaemonSet"), "Delete", Action::None),
        (owned_by("v1", "Node"), "Delete", Action::None),
    ] {
        for status in [RUNNING(), WAITING()] {
            let removal = by(&pod(metadata.clone(), status), action);
            assert_eq!(removal.action, expect, "{action} {metadata}: {}", removal.reason);
            assert!(!removal.reason.is_empty());
            assert_eq!(removal.owner.map(|owner| owner.uid), (expect == Action::DeleteOwner).then(|| "2".to_owned()));
        }
    }
}

#[test]
fn a_pod_that_waits_goes_alone_while_its_siblings_are_at_work_but_for_a_gang() {
    let succeeded = Circumstances { siblings: Siblings { running: 0, succeeded: 1 }, ..Circumstances::default() };
    let by_status = Circumstances { job: Some(JobBudget { succeeded: 1, ..budget(6, 0) }), ..Circumstances::default() };
    for (metadata, around, expect) in [
        (JOB(), at_work(), Action::Delete),
        (JOB(), succeeded, Action::Delete),
        (JOB(), by_status, Action::Delete),
        (JOB(), Circumstances::default(), Action::DeleteOwner),
        (owned_by("ray.io/v1", "RayCluster"), at_work(), Action::Delete),
        (owned_by("sparkoperator.k8s.io/v1beta2", "SparkApplication"), at_work(), Action::Delete),
        (owned_by("argoproj.io/v1alpha1", "Workflow"), at_work(), Action::Delete),
        (owned_by("kubeflow.org/v1", "PyTorchJob"), Circumstances { is_elastic: true, ..at_work() }, Action::Delete),
        (owned_by("kubeflow.org/v1", "PyTorchJob"), at_work(), Action::DeleteOwner),
        (owned_by("kubeflow.org/v2beta1", "MPIJob"), at_work(), Action::DeleteOwner),
        (owned_by("kubeflow.org/v1", "XGBoostJob"), at_work(), Action::DeleteOwner),
        (owned_by("jobset.x-k8s.io/v1alpha2", "JobSet"), at_work(), Action::DeleteOwner),
        (owned_by("trainer.kubeflow.org/v1alpha1", "TrainJob"), at_work(), Action::DeleteOwner),
        (owned_by("ray.io/v1", "RayJob"), at_work(), Action::DeleteOwner),
        (owned_by("batch.volcano.sh/v1alpha1", "Job"), at_work(), Action::DeleteOwner),
        (
            JOB(),
            Circumstances { above: vec![reference("kubeflow.org/v2beta1", "MPIJob")], ..at_work() },
            Action::DeleteOwner,
        ),
    ] {
        let removal = among(&pod(metadata.clone(), WAITING()), &around);
        assert_eq!(removal.action, expect, "{metadata} {around:?}: {}", removal.reason);
        let running = among(&pod(metadata.clone(), RUNNING()), &around);
        assert_eq!(running.action, Action::DeleteOwner, "a pod that ran too long takes its owner along: {metadata}");
    }
    let owner = decided(&pod(JOB(), WAITING()), on_exceeded(json!({"action": "Owner"})), &at_work(), DUE);
    assert_eq!(owner.action, Action::DeleteOwner, "the policy says so");
}

fn budget(backoff_limit: i64, failed: i64) -> JobBudget {
    JobBudget { backoff_limit, failed, per_index: None, has_failure_policy: false, succeeded: 0 }
}

#[test]
fn three_go_alone_at_most_and_none_that_would_end_its_job() {
    let waits = pod(JOB(), WAITING());
    let alone = |around: Circumstances| among(&waits, &around);
    for (removed_alone, expect) in [(0, Action::Delete), (2, Action::Delete), (3, Action::Report), (9, Action::Report)]
    {
        assert_eq!(alone(Circumstances { removed_alone, ..at_work() }).action, expect, "{removed_alone}");
    }
    for (job, expect, said) in [
        (budget(6, 0), Action::Delete, "alone"),
        (budget(6, 4), Action::Delete, "alone"),
        (budget(6, 5), Action::Report, "5 of 6 failures"),
        (budget(0, 0), Action::Report, "0 of 0 failures"),
        (JobBudget { has_failure_policy: true, ..budget(6, 0) }, Action::Report, "podFailurePolicy"),
        (JobBudget { per_index: Some(3), ..budget(6, 6) }, Action::Delete, "alone"),
        (JobBudget { per_index: Some(1), ..budget(6, 0) }, Action::Report, "of its index"),
    ] {
        let removal = alone(Circumstances { job: Some(job), ..at_work() });
        assert_eq!(removal.action, expect, "{job:?}: {}", removal.reason);
        assert!(removal.reason.contains(said), "{}", removal.reason);
    }
    let mut indexed = JOB();
    indexed["annotations"] = json!({"batch.kubernetes.io/job-index-failure-count": "2"});
    let around = Circumstances { job: Some(JobBudget { per_index: Some(3), ..budget(6, 0) }), ..at_work() };
    assert_eq!(among(&pod(indexed, WAITING()), &around).action, Action::Report);
}

#[test]
fn a_live_job_tells_its_budget_and_a_pytorchjob_whether_it_is_elastic() {
    let read = |object: Value| serde_json::from_value::<OwnerObject>(object).unwrap();
    let job = read(
        json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"podFailurePolicy": {"rules": []}, "backoffLimitPerIndex": 2},
        "status": {"failed": 3, "succeeded": null}}),
    );
    let expect = JobBudget { per_index: Some(2), has_failure_policy: true, ..budget(6, 3) };
    assert_eq!(job.job_budget(), Some(expect));
    assert!(!job.is_elastic());
    let torch = read(json!({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {"elasticPolicy": {}}}));
    assert!(torch.is_elastic() && torch.job_budget().is_none());
}

#[test]
fn the_topmost_known_owner_goes_and_nothing_below_an_unknown_one() {
    for (above, expect, owner) in [
        (vec![reference("core.polyaxon.com/v1", "Operation")], Action::DeleteOwner, Some("Operation")),
        (vec![reference("kubeflow.org/v2beta1", "MPIJob")], Action::DeleteOwner, Some("MPIJob")),
        (
            vec![
                reference("jobset.x-k8s.io/v1alpha2", "JobSet"),
                reference("trainer.kubeflow.org/v1alpha1", "TrainJob"),
            ],
            Action::DeleteOwner,
            Some("TrainJob"),
        ),
        (vec![reference("batch/v1", "CronJob")], Action::DeleteOwner, Some("Job")),
        (vec![reference("example.com/v1", "Pipeline")], Action::Report, None),
        (vec![reference("ray.io/v1", "RayJob"), reference("example.com/v1", "Pipeline")], Action::Report, None),
    ] {
        let removal =
            among(&pod(JOB(), RUNNING()), &Circumstances { above: above.clone(), ..Circumstances::default() });
        assert_eq!(removal.action, expect, "{above:?}: {}", removal.reason);
        assert_eq!(removal.owner.map(|owner| owner.kind).as_deref(), owner, "{above:?}");
    }
}

#[test]
fn living_pods_of_what_replaces_them_are_left_alone_and_finished_ones_go() {
    for kind in ["ReplicaSet", "StatefulSet"] {
        let owned = |status| pod(owned_by("apps/v1", kind), status);
        for action in ["Auto", "Delete", "Owner"] {
            assert_eq!(by(&owned(RUNNING()), action).action, Action::None, "{kind} {action}");
            assert_eq!(by(&owned(WAITING()), action).action, Action::Report, "{kind} {action}");
        }
        let auto = if kind == "ReplicaSet" { Action::Delete } else { Action::Report };
        assert_eq!(by(&owned(ENDED()), "Auto").action, auto);
        assert_eq!(by(&owned(ENDED()), "Delete").action, Action::Delete);
    }
    assert_eq!(by(&pod(owned_by("v1", "ReplicationController"), ENDED()), "Auto").action, Action::Delete);
}

#[test]
fn a_pod_that_has_ended_does_not_take_its_working_siblings_along() {
    let ended = |metadata: Value| pod(metadata, ENDED());
    assert_eq!(by(&ended(JOB()), "Auto").action, Action::Delete);
    assert_eq!(by(&ended(owned_by("kubeflow.org/v1", "PyTorchJob")), "Auto").action, Action::Report);
    assert_eq!(by(&ended(owned_by("kubeflow.org/v1", "PyTorchJob")), "Owner").action, Action::DeleteOwner);
    assert_eq!(by(&ended(owned_by("tekton.dev/v1", "TaskRun")), "Auto").action, Action::Report);
    assert_eq!(by(&ended(json!({})), "Auto").action, Action::Delete);
}

#[test]
fn a_terminating_pod_is_reported_with_what_holds_it() {
    // podgc deletes finalizer-held pods again every 20 s (kubernetes PR 141190).
    let terminating = pod(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), RUNNING());
    for action in ["Auto", "Evict", "Delete", "Owner"] {
        assert_eq!(by(&terminating, action).action, Action::Report, "{action}");
    }
    let forced = on_exceeded(json!({"action": "Delete", "gracePeriodSeconds": 0}));
    let around = Circumstances::default();
    assert_eq!(decided(&terminating, forced, &around, DUE).action, Action::Delete);
    let held = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["batch.kubernetes.io/job-tracking"]});
    let removal = decided(&pod(held, RUNNING()), forced, &around, DUE);
    assert_eq!(removal.action, Action::Report);
    assert!(removal.reason.contains("finalizer batch.kubernetes.io/job-tracking"), "{}", removal.reason);
}

#[test]
fn a_spark_executor_climbs_through_a_live_driver_only_and_never_while_it_waits() {
    let mut metadata = owned_by("v1", "Pod");
    metadata["labels"] = json!({"spark-role": "executor"});
    let runs = pod(metadata.clone(), RUNNING());
    let driven = |is_driver, above| among(&runs, &Circumstances { is_driver, above, ..Circumstances::default() });
    assert_eq!(driven(None, vec![]).owner.unwrap().kind, "Pod");
    assert_eq!(driven(Some(false), vec![]).action, Action::Report);
    let application = vec![reference("sparkoperator.k8s.io/v1beta2", "SparkApplication")];
    assert_eq!(driven(Some(true), application).owner.unwrap().kind, "SparkApplication");
    let waits = among(&pod(metadata, WAITING()), &Circumstances { is_driver: Some(true), ..Circumstances::default() });
    assert_eq!(waits.action, Action::Report);
}

#[test]
fn a_container_that_cannot_be_made_again_beside_one_at_work_is_reported_only() {
    let status = |rest: Value| {
        let broken = json!({"name": "log", "restartCount": 1, "state": {"waiting": {"reason": "ErrImagePull"}}, "lastState": rest});
        let works =
            json!({"name": "train", "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:01:00Z"}}});
        json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [works, broken]})
    };
    let ran = json!({"terminated": {"exitCode": 1, "startedAt": "2026-01-01T00:01:00Z", "finishedAt": "2026-01-01T00:02:00Z"}});
    for metadata in [json!({}), JOB()] {
        assert_eq!(by(&pod(metadata.clone(), status(ran.clone())), "Auto").action, Action::Report);
        let mut never = status(json!({}));
        never["containerStatuses"][1]["restartCount"] = json!(0);
        assert_ne!(by(&pod(metadata, never), "Auto").action, Action::Report, "it has never run");
    }
}

#[test]
fn an_action_of_a_state_is_for_that_state() {
    let by_state = on_exceeded(json!({"action": {"default": "Delete", "pendingScheduled": "Report"}}));
    let around = Circumstances::default();
    assert_eq!(decided(&pod(json!({}), WAITING()), by_state, &around, DUE).action, Action::Report);
    assert_eq!(decided(&pod(json!({}), RUNNING()), by_state, &around, DUE).action, Action::Delete);
}

#[test]
fn a_pod_that_asks_to_be_left_alone_is_reported() {
    let spared = pod(json!({"annotations": {"stowage.dev/reap": "false"}}), RUNNING());
    for action in ["Auto", "Delete", "Evict", "Owner"] {
        assert_eq!(by(&spared, action).action, Action::Report, "{action}");
    }
}

#[test]
fn what_belongs_to_the_cluster_is_never_touched() {
    let with = |metadata: Value, spec: Value| {
        let mut pod = pod(metadata, RUNNING());
        if let Some(priority) = spec["priority"].as_i64() {
            pod.spec.priority = i32::try_from(priority).unwrap();
        }
        pod.spec.priority_class_name = spec["priorityClassName"].as_str().unwrap_or_default().to_owned();
        by(&pod, "Delete").action
    };
    for (metadata, spec) in [
        (json!({"annotations": {"kubernetes.io/config.mirror": "x"}}), json!({})),
        (json!({"annotations": {"kubernetes.io/config.source": "file"}}), json!({})),
        (json!({"namespace": "kube-system"}), json!({})),
        (json!({"namespace": "stowage"}), json!({})),
        (json!({}), json!({"priority": 2_000_000_000})),
        (json!({}), json!({"priorityClassName": "system-cluster-critical"})),
    ] {
        assert_eq!(with(metadata.clone(), spec.clone()), Action::None, "{metadata} {spec}");
    }
    assert_eq!(with(json!({"annotations": {"kubernetes.io/config.source": "api"}}), json!({})), Action::Delete);
    assert_eq!(with(json!({}), json!({"priority": 1_000_000_000})), Action::Delete);
}

#[test]
fn a_pod_that_is_not_due_says_what_will_be_done_and_to_whom() {
    let early = "2026-01-01T00:30:00Z";
    let around = Circumstances::default();
    let bare = decided(&pod(json!({}), RUNNING()), OnExceeded::default(), &around, early);
    assert_eq!((bare.action, &*bare.reason), (Action::None, "then delete: it has no controller"));
    let owned = decided(&pod(JOB(), RUNNING()), OnExceeded::default(), &around, early);
    assert_eq!((owned.action, owned.owner.unwrap().name.as_str()), (Action::None, "o"));
}

#[test]
fn a_threshold_that_the_pod_made_shorter_reaches_the_owner_only_when_the_policys_has_passed_too() {
    let mut metadata = JOB();
    metadata["annotations"] = json!({"stowage.dev/running-threshold": "1m"});
    let pod = pod(metadata, RUNNING());
    let around = Circumstances::default();
    let early = decided(&pod, OnExceeded::default(), &around, "2026-01-01T00:30:00Z");
    assert_eq!((early.action, early.again), (Action::Report, "2026-01-01T01:00:00Z".parse().ok()));
    let later = decided(&pod, OnExceeded::default(), &around, "2026-01-01T01:00:00Z");
    assert_eq!(later.action, Action::DeleteOwner);
    let own = decided(&pod, on_exceeded(json!({"action": "Delete"})), &around, "2026-01-01T00:30:00Z");
    assert_eq!(own.action, Action::Delete, "its own pod it may end");
}

#[test]
fn a_forged_short_lived_pod_does_not_reach_an_owner() {
    let mut young = JOB();
    young["creationTimestamp"] = json!("2026-01-01T01:00:00Z");
    let mut ended_before = RUNNING();
    ended_before["startTime"] = json!("2026-01-01T00:00:00Z");
    let mut pod = pod(young, ended_before);
    pod.metadata.annotations.insert("stowage.dev/running-threshold".to_owned(), "1s".to_owned());
    let at = |now: &str| {
        let name: Arc<str> = "a".into();
        let spec: StateThresholdsSpec = serde_json::from_value(json!({"running": "1s"})).unwrap();
        let thresholds = spec.compile().unwrap();
        let policy = PolicyThresholds {
            name: &name,
            cluster: true,
            thresholds: Some(&thresholds),
            on_exceeded: OnExceeded::default(),
        };
        let resolved = resolve(&pod.words(), &[policy]);
        let now: Timestamp = now.parse().unwrap();
        let verdict = evaluate(&pod, NodeReadiness::Unheard, &resolved.thresholds, now);
        let limit = resolved.thresholds.effective(verdict.state);
        let (subject, rules) = (RemovalSubject::of(&pod), ActionRules::default());
        decide("ns", &subject, &verdict, limit, &Circumstances::default(), &rules, now)
    };
    assert_eq!(at("2026-01-01T01:00:29Z").action, Action::None);
    assert_eq!(at("2026-01-01T01:00:29Z").again, "2026-01-01T01:00:30Z".parse().ok());
    assert_eq!(at("2026-01-01T01:00:30Z").action, Action::DeleteOwner);
}

#[test]
fn nothing_but_unknown_and_terminating_is_due_while_its_node_is_not_ready() {
    let (name, thresholds): (Arc<str>, _) = ("a".into(), thresholds());
    let policy = PolicyThresholds {
        name: &name,
        cluster: true,
        thresholds: Some(&thresholds),
        on_exceeded: OnExceeded::default(),
    };
    let now: Timestamp = DUE.parse().unwrap();
    let at = |text: &str| text.parse::<Timestamp>().ok();
    let judged = |pod: &WatchedPod, node| evaluate(pod, node, &resolve(&pod.words(), &[policy]).thresholds, now);
    for node in [NodeReadiness::NotReady, NodeReadiness::Missing] {
        for status in [RUNNING(), WAITING(), ENDED()] {
            let verdict = judged(&pod(json!({}), status), node);
            assert!(!verdict.due && verdict.held_by_node && verdict.deadline.is_some_and(|deadline| deadline < now));
        }
        let terminating = pod(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), RUNNING());
        assert!(judged(&terminating, node).due);
    }
    let lost = judged(&pod(json!({}), WAITING()), NodeReadiness::Lost(at("2026-01-01T20:00:00Z")));
    assert_eq!((lost.state.name(), lost.since, lost.due), ("unknown", at("2026-01-01T20:00:00Z"), true));
    let back = NodeReadiness::Ready(at("2026-01-01T23:30:00Z"));
    let waits = judged(&pod(json!({}), WAITING()), back);
    assert_eq!((waits.since, waits.due), (at("2026-01-01T23:30:00Z"), false), "waiting begins with the node's return");
    assert_eq!(judged(&pod(json!({}), RUNNING()), back).since, at("2026-01-01T00:00:00Z"), "running goes on counting");
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
        "apps/Deployment",
        "batch/CronJob",
    ] {
        assert!(wrong.parse::<OwnerKind>().is_err(), "{wrong}");
    }
}
