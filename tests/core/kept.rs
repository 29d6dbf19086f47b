//! What a watcher keeps from one object of a pod to the next.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stowage::threshold::{Kept, Standing, State, WatchedPod};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

/// A pod out of the recordings of a kubelet.
fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/threshold/kubelet.json", env!("CARGO_MANIFEST_DIR"));
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let case = cases.into_iter().find(|case| case["name"] == name).unwrap();
    case["objects"][0].clone()
}

fn pod(object: &Value) -> WatchedPod {
    serde_json::from_value(object.clone()).unwrap()
}

fn kept(before: Option<&Kept>, object: &Value, now: &str) -> Kept {
    Kept::next(before, &pod(object), time(now))
}

#[test]
fn an_error_that_the_kubelet_hides_between_two_tries_goes_on() {
    let shown = recorded("config-gone-on-restart");
    let hidden = recorded("config-gone-on-restart-in-backoff");
    assert_eq!(Standing::of(&pod(&hidden)).state, State::Running, "alone, the object says that it runs");
    let first = kept(None, &shown, "2026-11-27T05:36:40Z");
    assert_eq!((first.state, first.since), (State::ContainerError, Some(time("2026-11-27T05:36:21Z"))));
    let second = kept(Some(&first), &hidden, "2026-11-27T05:37:05Z");
    assert_eq!(second, first);
    assert_eq!(kept(Some(&second), &shown, "2026-11-27T05:37:20Z"), first);
}

#[test]
fn a_hidden_error_ends_when_the_container_runs_or_the_pod_was_ready_between() {
    let first = kept(None, &recorded("config-gone-on-restart"), "2026-11-27T05:36:40Z");
    let mut runs = recorded("config-gone-on-restart-in-backoff");
    runs["status"]["containerStatuses"][0]["state"] = json!({"running": {"startedAt": "2026-11-27T05:37:10Z"}});
    assert_eq!(kept(Some(&first), &runs, "2026-11-27T05:37:11Z").state, State::Running);
    let mut crashed = recorded("config-gone-on-restart-in-backoff");
    let last = &mut crashed["status"]["containerStatuses"][0]["lastState"]["terminated"];
    *last = json!({"exitCode": 1, "startedAt": "2026-11-27T05:37:10Z", "finishedAt": "2026-11-27T05:37:12Z"});
    assert_eq!(kept(Some(&first), &crashed, "2026-11-27T05:37:20Z").state, State::Running, "it ran and crashed");
    let mut was_ready = recorded("config-gone-on-restart-in-backoff");
    for condition in was_ready["status"]["conditions"].as_array_mut().unwrap() {
        if condition["type"] == "ContainersReady" {
            condition["lastTransitionTime"] = json!("2026-11-27T05:37:00Z");
        }
    }
    assert_eq!(kept(Some(&first), &was_ready, "2026-11-27T05:37:20Z").state, State::Running);
}

#[test]
fn a_container_beside_the_hidden_one_says_nothing_of_it() {
    let waiting = |reason: &str| {
        json!({"name": "b", "restartCount": 1, "state": {"waiting": {"reason": reason}},
        "lastState": {"terminated": {"startedAt": "2026-01-01T00:01:00Z", "finishedAt": "2026-01-01T00:02:00Z"}}})
    };
    let object = |a: Value, b: Value| {
        json!({"metadata": {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [a, b],
            "conditions": [{"type": "ContainersReady", "status": "False", "lastTransitionTime": "2026-01-01T00:02:00Z"}]}})
    };
    let crashing = json!({"name": "a", "restartCount": 5, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"startedAt": "2026-01-01T00:01:00Z", "finishedAt": "2026-01-01T00:01:30Z"}}});
    let first = kept(None, &object(crashing.clone(), waiting("ErrImagePull")), "2026-01-01T00:03:00Z");
    assert_eq!(first.state, State::ImagePullBackoff);
    let hidden = object(crashing.clone(), waiting("CrashLoopBackOff"));
    assert_eq!(kept(Some(&first), &hidden, "2026-01-01T00:04:00Z").state, State::ImagePullBackoff);
    let healed = json!({"name": "b", "restartCount": 1, "state": {"running": {"startedAt": "2026-01-01T00:04:00Z"}}});
    let healed = kept(Some(&first), &object(crashing, healed), "2026-01-01T00:04:01Z");
    assert_eq!(healed.state, State::Running, "a crash-loops as before, but b is well");
}

#[test]
fn what_was_gated_waits_for_a_node_from_when_its_gates_were_seen_to_go() {
    let mut object = json!({"metadata": {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"schedulingGates": [{"name": "kueue"}]}, "status": {"phase": "Pending"}});
    let gated = kept(None, &object, "2026-01-01T08:00:00Z");
    assert_eq!((gated.state, gated.since), (State::SchedulingGated, Some(time("2026-01-01T00:00:00Z"))));
    object["spec"] = json!({});
    let open = kept(Some(&gated), &object, "2026-01-01T09:00:00Z");
    assert_eq!((open.state, open.since), (State::PendingNotScheduled, Some(time("2026-01-01T09:00:00Z"))));
    let later = kept(Some(&open), &object, "2026-01-01T10:00:00Z");
    assert_eq!(later.since, open.since);
}

#[test]
fn an_end_without_a_time_counts_from_when_it_was_first_seen() {
    let rejected = recorded("rejected-node-affinity");
    assert_eq!(Standing::of(&pod(&rejected)).since, None);
    let first = kept(None, &rejected, "2026-11-27T06:00:00Z");
    assert_eq!((first.state, first.since), (State::Failed, Some(time("2026-11-27T06:00:00Z"))));
    assert_eq!(kept(Some(&first), &rejected, "2026-11-27T07:00:00Z").since, first.since);
    let mut written = rejected;
    written["metadata"]["managedFields"] = json!([{"subresource": "status", "time": "2026-11-27T05:35:58Z"}]);
    assert_eq!(kept(None, &written, "2026-11-27T06:00:00Z").since, Some(time("2026-11-27T05:35:58Z")));
}

#[test]
fn a_pod_runs_from_its_first_start_though_the_object_has_lost_it() {
    let once = recorded("running-restarted-once");
    let first = kept(None, &once, "2026-11-27T05:36:20Z");
    assert_eq!(first.state, State::Running);
    let mut twice = once;
    let status = &mut twice["status"]["containerStatuses"][0];
    status["restartCount"] = json!(2);
    assert!(Standing::of(&pod(&twice)).since < first.since, "the object alone errs to earlier");
    assert_eq!(kept(Some(&first), &twice, "2026-11-27T05:37:10Z").since, first.since);
}

/// What happens next to a pod of an init container and two app containers, as a kubelet would report it.
#[derive(Debug, Clone, Copy)]
enum Happens {
    SandboxReady,
    SandboxLost,
    Initializing,
    Initialized,
    Runs(usize),
    Crashes(usize),
    BacksOff(usize),
    CannotPull(usize),
    CannotCreate(usize),
    CannotStart(usize),
    RestartsInPlace,
}

fn happens() -> impl Strategy<Value = Happens> {
    let container = 0..2_usize;
    prop_oneof![
        Just(Happens::SandboxReady),
        Just(Happens::SandboxLost),
        Just(Happens::Initializing),
        Just(Happens::Initialized),
        container.clone().prop_map(Happens::Runs),
        container.clone().prop_map(Happens::Crashes),
        container.clone().prop_map(Happens::BacksOff),
        container.clone().prop_map(Happens::CannotPull),
        container.clone().prop_map(Happens::CannotCreate),
        container.prop_map(Happens::CannotStart),
        Just(Happens::RestartsInPlace),
    ]
}

/// A pod that only ever changes forward in time.
///
/// An init container runs again only where the pod begins again.
struct Life(Value, bool);

impl Life {
    fn new() -> Self {
        let created = at(0).to_string();
        let mut life = Self(
            json!({"metadata": {"uid": "u", "creationTimestamp": created},
            "spec": {"nodeName": "n", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]},
            "status": {"phase": "Pending", "startTime": created, "conditions": [],
                "initContainerStatuses": [{"name": "i", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}],
                "containerStatuses": [{"name": "a", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}},
                    {"name": "b", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]}}),
            true,
        );
        for (kind, status) in [("PodScheduled", "True"), ("Initialized", "False"), ("ContainersReady", "False")] {
            life.condition(kind, status, &created);
        }
        life
    }

    fn condition(&mut self, kind: &str, status: &str, now: &str) {
        let conditions = self.0["status"]["conditions"].as_array_mut().unwrap();
        let new = json!({"type": kind, "status": status, "lastTransitionTime": now});
        match conditions.iter_mut().find(|condition| condition["type"] == kind) {
            Some(same) if same["status"] == status => {}
            Some(other) => *other = new,
            None => conditions.push(new),
        }
    }

    fn apply(&mut self, what: Happens, now: &str) {
        match what {
            Happens::SandboxReady => {
                let before = self.0["status"]["conditions"].clone();
                self.condition("PodReadyToStartContainers", "True", now);
                self.1 |= before != self.0["status"]["conditions"];
            }
            Happens::SandboxLost => {
                self.condition("PodReadyToStartContainers", "False", now);
                (0..2).for_each(|index| self.ends(index, now));
            }
            Happens::Initializing if !self.1 => {}
            Happens::Initializing => {
                self.0["status"]["initContainerStatuses"][0]["state"] = json!({"running": {"startedAt": now}});
            }
            Happens::Initialized if !self.1 => {}
            Happens::Initialized => {
                let ended =
                    json!({"terminated": {"exitCode": 0, "startedAt": now, "finishedAt": now, "reason": "Completed"}});
                self.0["status"]["initContainerStatuses"][0]["state"] = ended;
                self.condition("Initialized", "True", now);
                self.1 = false;
            }
            Happens::Runs(index) => {
                let container = &mut self.0["status"]["containerStatuses"][index];
                let restarted = !container["lastState"].is_null() || container["state"]["terminated"].is_object();
                if container["state"]["terminated"].is_object() {
                    container["lastState"] = container["state"].clone();
                }
                container["restartCount"] = json!(container["restartCount"].as_i64().unwrap() + i64::from(restarted));
                container["state"] = json!({"running": {"startedAt": now}});
            }
            Happens::Crashes(index) => self.ends(index, now),
            Happens::BacksOff(index) => self.waits(index, "CrashLoopBackOff", now),
            Happens::CannotPull(index) => self.waits(index, "ErrImagePull", now),
            Happens::CannotCreate(index) => self.waits(index, "CreateContainerConfigError", now),
            Happens::CannotStart(index) => {
                self.waits(index, "RunContainerError", now);
                let container = &mut self.0["status"]["containerStatuses"][index];
                let tries = i64::from(!container["lastState"].is_null());
                container["restartCount"] = json!(container["restartCount"].as_i64().unwrap() + tries);
                container["lastState"] = json!({"terminated": {"exitCode": 128, "reason": "StartError",
                    "startedAt": "1970-01-01T00:00:00Z", "finishedAt": now}});
            }
            Happens::RestartsInPlace => {
                self.condition("AllContainersRestarting", "True", now);
                self.condition("AllContainersRestarting", "False", now);
                self.1 = true;
            }
        }
        let apps: Vec<Value> = self.0["status"]["containerStatuses"].as_array().unwrap().clone();
        let ready = apps.iter().all(|container| container["state"]["running"].is_object());
        self.condition("ContainersReady", if ready { "True" } else { "False" }, now);
        let begun = apps.iter().all(|c| !c["state"]["waiting"].is_object() || c["lastState"]["terminated"].is_object());
        self.0["status"]["phase"] = json!(if begun { "Running" } else { "Pending" });
    }

    fn ends(&mut self, index: usize, now: &str) {
        let container = &mut self.0["status"]["containerStatuses"][index];
        if let Some(started) = container["state"]["running"]["startedAt"].as_str().map(str::to_owned) {
            container["state"] =
                json!({"terminated": {"exitCode": 1, "reason": "Error", "startedAt": started, "finishedAt": now}});
        }
    }

    fn waits(&mut self, index: usize, reason: &str, now: &str) {
        self.ends(index, now);
        let container = &mut self.0["status"]["containerStatuses"][index];
        if container["state"]["terminated"].is_object() {
            container["lastState"] = container["state"].clone();
        }
        container["state"] = json!({"waiting": {"reason": reason}});
    }

    /// Whether a first start is lost, which nothing but a watcher can know again.
    fn has_lost_a_start(&self) -> bool {
        self.0["status"]["containerStatuses"].as_array().unwrap().iter().any(|c| c["restartCount"].as_i64() > Some(0))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn while_a_state_stays_no_later_object_moves_its_start_back(
        steps in prop::collection::vec((happens(), 1..3_600_i64), 1..40),
    ) {
        let (mut life, mut now) = (Life::new(), 0);
        let mut kept: Option<Kept> = None;
        for (what, after) in steps {
            now += after;
            let before = pod(&life.0);
            let (before, knew) = (Standing::of(&before), !life.has_lost_a_start());
            life.apply(what, &at(now).to_string());
            let seen = pod(&life.0);
            let alone = Standing::of(&seen);
            prop_assert!(alone.since >= seen.metadata.creation_timestamp, "before its creation");
            prop_assert!(alone.since <= Some(at(now)), "after all that was known: {alone:?}");
            if alone.state == before.state && (knew && !life.has_lost_a_start()) && alone.waits == before.waits {
                prop_assert!(alone.since >= before.since, "{what:?}: {before:?}, then {alone:?}");
            }
            let next = Kept::next(kept.as_ref(), &seen, at(now));
            if let Some(kept) = kept.filter(|kept| kept.state == next.state) {
                prop_assert!(next.since >= kept.since, "{what:?}: {kept:?}, then {next:?}");
            }
            prop_assert!(next.since >= alone.since || next.state != alone.state, "kept is never earlier");
            kept = Some(next);
        }
    }
}
