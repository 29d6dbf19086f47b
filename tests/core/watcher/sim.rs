//! A small API server with pods and owners, and replicas of the watcher on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use stowage::policy::snapshot::Snapshot;
use stowage::reaper::options::WatcherOptions;
use stowage::reaper::said::{BreakerTurn, Said};
use stowage::reaper::step::{Act, ActKind, Answer, Attempt, LiveFacts, NextStep, Read, Report, What};
use stowage::reaper::watcher::Watcher;
use stowage::threshold::{WatchedNode, WatchedPod};

use crate::harness::policies;

/// Second 0 of every test.
const BEGIN: i64 = 1_767_225_600;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).unwrap()
}

fn text(second: i64) -> Value {
    json!(at(second).to_string())
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Acted(Box<Act>, What),
    Reported(Box<Report>),
    Nothing,
}

/// See the module.
pub(crate) struct Sim {
    pub(crate) now: i64,
    pub(crate) pods: BTreeMap<String, Value>,
    pub(crate) owners: Vec<Value>,
    pub(crate) replicas: Vec<Watcher>,
    pub(crate) leader: Option<usize>,
    /// Each call with its second.
    pub(crate) acts: Vec<(i64, Act)>,
    pub(crate) reports: Vec<(i64, Report)>,
    pub(crate) said: Vec<(i64, Said)>,
    pub(crate) turns: Vec<(i64, BreakerTurn)>,
    /// What the API server answers instead of doing it.
    pub(crate) refuse: Option<Answer>,
    pub(crate) snapshot: Arc<Snapshot>,
    version: u64,
}

/// A ClusterInjectionPolicy for every pod.
pub(crate) fn policy(thresholds: &str) -> String {
    policy_for("p", "{}", thresholds, "{}")
}

pub(crate) fn policy_for(name: &str, selector: &str, thresholds: &str, on_exceeded: &str) -> String {
    format!(
        "---\napiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {{name: {name}}}\nspec:\n  match: \
         {{podSelector: {selector}}}\n  stateThresholds: {thresholds}\n  onExceeded: {on_exceeded}\n"
    )
}

/// Everything at once, and no breaker: for tests of something else.
pub(crate) fn free() -> WatcherOptions {
    WatcherOptions {
        breaker: None,
        rate: None,
        namespace_rate: None,
        own_namespace: "stowage".into(),
        ..Default::default()
    }
}

impl Sim {
    /// One replica, which leads, and a node `n` that has always been ready.
    pub(crate) fn new(policy: &str, options: WatcherOptions) -> Self {
        let snapshot = Arc::new(policies(policy));
        let mut sim = Self {
            now: 0,
            pods: BTreeMap::new(),
            owners: Vec::new(),
            replicas: Vec::new(),
            leader: Some(0),
            acts: Vec::new(),
            reports: Vec::new(),
            said: Vec::new(),
            turns: Vec::new(),
            refuse: None,
            snapshot,
            version: 0,
        };
        sim.replica(options);
        sim
    }

    /// One replica more, which lists what there is.
    pub(crate) fn replica(&mut self, options: WatcherOptions) -> usize {
        let mut watcher = Watcher::new(options);
        let now = at(self.now);
        assert!(!watcher.snapshot(self.snapshot.clone(), now));
        watcher.begin_nodes();
        watcher.node(&node("n", "True", -1_000_000), now);
        watcher.end_nodes(now);
        watcher.begin_list();
        self.pods.values().for_each(|pod| watcher.pod(&parsed(pod), now));
        watcher.end_list(now);
        self.replicas.push(watcher);
        self.replicas.len() - 1
    }

    /// Other policies, and the relist that they ask for. Says whether they asked for one.
    pub(crate) fn policies(&mut self, text: &str) -> bool {
        self.snapshot = Arc::new(policies(text));
        let now = at(self.now);
        let mut wanted = false;
        for watcher in &mut self.replicas {
            if watcher.snapshot(self.snapshot.clone(), now) {
                wanted = true;
                watcher.begin_list();
                self.pods.values().for_each(|pod| watcher.pod(&parsed(pod), now));
                watcher.end_list(now);
            }
        }
        wanted
    }

    /// A pod is made, or is another.
    pub(crate) fn put(&mut self, mut pod: Value) {
        self.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let object = parsed(&pod);
        self.pods.insert(uid, pod);
        self.replicas.iter_mut().for_each(|watcher| watcher.pod(&object, at(self.now)));
    }

    pub(crate) fn put_all(&mut self, pods: impl IntoIterator<Item = Value>) {
        pods.into_iter().for_each(|pod| self.put(pod));
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.replicas.iter_mut().for_each(|watcher| watcher.gone(uid, at(self.now)));
    }

    pub(crate) fn set_node(&mut self, node: &WatchedNode) {
        self.replicas.iter_mut().for_each(|watcher| watcher.node(node, at(self.now)));
    }

    /// Lets time pass: whatever comes due by `until` is done.
    pub(crate) fn run(&mut self, until: i64) {
        self.tick();
        loop {
            let leader = self.leader;
            let now = at(self.now);
            let times = self.replicas.iter_mut().enumerate().map(|(index, w)| w.next_at(now, leader == Some(index)));
            let Some(next) = times.flatten().min().filter(|next| *next <= at(until)) else { break };
            let next = next.as_second() - BEGIN + i64::from(next.subsec_nanosecond() > 0);
            self.now = next.max(self.now + 1);
            if self.now > until {
                break;
            }
            self.tick();
        }
        self.now = self.now.max(until);
    }

    /// Asks every replica once.
    pub(crate) fn tick(&mut self) {
        for index in 0..self.replicas.len() {
            let leads = self.leader == Some(index);
            for _ in 0..1_000 {
                let due = self.replicas[index].due(at(self.now), leads);
                let attempts = due.attempts.clone();
                assert!(leads || due.attempts.is_empty() && due.said.is_empty(), "a standby does nothing");
                if leads {
                    self.said.extend(due.said.into_iter().map(|said| (self.now, said)));
                    self.turns.extend(due.turns.into_iter().map(|turn| (self.now, turn)));
                }
                for attempt in &attempts {
                    self.attempt(index, attempt);
                }
                if attempts.is_empty() {
                    break;
                }
            }
        }
    }

    /// Takes an attempt to its end.
    pub(crate) fn attempt(&mut self, index: usize, attempt: &Attempt) -> Outcome {
        let pod = self.pods.values().find(|pod| {
            pod["metadata"]["name"] == attempt.name.as_str() && pod["metadata"]["namespace"] == *attempt.namespace
        });
        let mut facts = LiveFacts::of_pod(pod.map_or(Read::Absent, |pod| Read::There(Box::new(parsed(pod)))));
        loop {
            match self.replicas[index].decide(attempt, &facts, at(self.now)) {
                NextStep::Read(reference) => {
                    let found = self.owners.iter().find(|owner| {
                        owner["kind"] == reference.kind.as_str()
                            && owner["apiVersion"] == reference.api_version.as_str()
                            && owner["metadata"]["name"] == reference.name.as_str()
                    });
                    let read = found.map_or(Read::Absent, |owner| {
                        if owner["forbidden"] == true { Read::Forbidden } else { Read::There(Box::new(from(owner))) }
                    });
                    facts.owners.push(read);
                    assert!(facts.owners.len() < 20, "a climb without an end");
                }
                NextStep::Act(act) => {
                    self.acts.push((self.now, (*act).clone()));
                    let answer = self.refuse.unwrap_or_else(|| self.apply(&act));
                    let what = self.replicas[index].answered(&act.pod_uid, answer, at(self.now));
                    if let What::Removed { said, .. } = &what {
                        self.said.extend(said.iter().map(|said| (self.now, said.clone())));
                    }
                    return Outcome::Acted(act, what);
                }
                NextStep::Report(report) => {
                    self.said.extend(report.said.iter().map(|said| (self.now, said.clone())));
                    self.reports.push((self.now, (*report).clone()));
                    return Outcome::Reported(report);
                }
                NextStep::Nothing | NextStep::Later(_) => return Outcome::Nothing,
            }
        }
    }

    /// Does what was asked for, bound to uid and version.
    pub(crate) fn apply(&mut self, act: &Act) -> Answer {
        let target = &act.target;
        if act.kind == ActKind::DeleteOwner && target.kind != "Pod" {
            let Some(place) = self.owners.iter().position(|owner| owner["metadata"]["uid"] == target.uid.as_str())
            else {
                return Answer::NotFound;
            };
            self.owners.remove(place);
            self.collect();
            return Answer::Done;
        }
        let Some(pod) = self.pods.get(&target.uid) else { return Answer::NotFound };
        if pod["metadata"]["resourceVersion"] != target.resource_version.as_str() {
            return Answer::Conflict;
        }
        self.remove(&target.uid);
        self.collect();
        Answer::Done
    }

    /// Takes out whatever names a controller that is not there.
    fn collect(&mut self) {
        loop {
            let there: BTreeSet<String> = self
                .owners
                .iter()
                .chain(self.pods.values())
                .map(|object| object["metadata"]["uid"].as_str().unwrap().to_owned())
                .collect();
            let is_left = |object: &Value| {
                let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
                owners.iter().any(|owner| {
                    // What a test has not put there was never there.
                    owner["tracked"] != false && !there.contains(owner["uid"].as_str().unwrap())
                })
            };
            let pods: Vec<String> =
                self.pods.iter().filter(|(_, pod)| is_left(pod)).map(|(uid, _)| uid.clone()).collect();
            let before = self.owners.len();
            self.owners.retain(|owner| !is_left(owner));
            if pods.is_empty() && self.owners.len() == before {
                return;
            }
            pods.iter().for_each(|uid| self.remove(uid));
        }
    }

    /// The names of what was removed, in order.
    pub(crate) fn removed(&self) -> Vec<String> {
        self.acts.iter().map(|(_, act)| format!("{}/{}", act.target.kind, act.target.name)).collect()
    }

    /// Why nothing was removed, in order.
    pub(crate) fn whys(&self) -> Vec<String> {
        self.reports.iter().map(|(_, report)| report.log.why.clone()).collect()
    }
}

pub(crate) fn parsed(pod: &Value) -> WatchedPod {
    serde_json::from_value(pod.clone()).unwrap()
}

fn from<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

pub(crate) fn node(name: &str, ready: &str, since: i64) -> WatchedNode {
    from(&json!({"metadata": {"name": name, "uid": name},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": text(since)}]}}))
}

/// A pod of namespace `ns` on the node `n`.
pub(crate) fn pod(name: &str, created: i64, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "creationTimestamp": text(created),
            "labels": {"app": "train"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        "status": status
    })
}

/// Runs since then.
pub(crate) fn running(name: &str, since: i64) -> Value {
    let status = json!({"phase": "Running", "startTime": text(since),
        "containerStatuses": [{"name": "c", "state": {"running": {"startedAt": text(since)}}}]});
    pod(name, since, status)
}

/// Cannot pull since then.
pub(crate) fn stuck(name: &str, since: i64) -> Value {
    let status = json!({"phase": "Pending", "startTime": text(since),
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": text(since)}],
        "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
    pod(name, since, status)
}

/// Has ended well.
pub(crate) fn ended(name: &str, end: i64) -> Value {
    let status = json!({"phase": "Succeeded", "containerStatuses":
        [{"name": "c", "state": {"terminated": {"exitCode": 0, "finishedAt": text(end)}}}]});
    pod(name, end - 1, status)
}

/// The pod, controlled by that.
pub(crate) fn of(mut object: Value, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true}]);
    object
}

/// An owner in namespace `ns`, with the label that the pods have.
pub(crate) fn owner(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{kind}-{name}"), "resourceVersion": "7",
            "creationTimestamp": text(-1_000), "labels": {"app": "train"}},
        "spec": {}, "status": {}})
}

/// The value with something in it set.
pub(crate) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut place = &mut object;
    for key in pointer.split('.') {
        place = &mut place[key];
    }
    *place = value;
    object
}
