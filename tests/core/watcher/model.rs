//! Properties: whatever comes in whatever order, nothing is removed early, twice, or that is never to be touched.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use stowage::reaper::options::{BreakerRule, Rate, WatcherOptions};
use stowage::reaper::step::ActKind;
use stowage::threshold::State;

use super::sim::{Sim, at, ended, free, node, of, owner, policy, running, stuck, with};

const HOUR: i64 = 3_600;
const THRESHOLDS: &str = "{running: 40m, imagePullBackoff: 20m, succeeded: 30m}";
const OTHER: &str = "{running: 20m, imagePullBackoff: 1h, succeeded: 30m}";

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A pod is made or becomes another: which, and what.
    Pod(u8, u8),
    Gone(u8),
    Node(&'static str),
    Leader(Option<u8>),
    Policies(bool),
    /// A replica is restarted.
    Restart(u8),
    /// The API server's mood.
    Refuse(u8),
}

fn events() -> impl Strategy<Value = Vec<(i64, Event)>> {
    let event = prop_oneof![
        8 => (0..12_u8, 0..8_u8).prop_map(|(which, what)| Event::Pod(which, what)),
        1 => (0..12_u8).prop_map(Event::Gone),
        2 => prop::sample::select(vec!["True", "False", "Unknown"]).prop_map(Event::Node),
        2 => prop::option::of(0..2_u8).prop_map(Event::Leader),
        1 => any::<bool>().prop_map(Event::Policies),
        1 => (0..2_u8).prop_map(Event::Restart),
        1 => (0..6_u8).prop_map(Event::Refuse),
    ];
    prop::collection::vec((1..1_500_i64, event), 1..60)
}

fn options() -> WatcherOptions {
    WatcherOptions { rate: Some(Rate::per_second(5)), namespace_rate: Some(Rate::per_second(1)), ..free() }
}

/// Pods 0 to 2 are bare, 3 to 5 of a Job, 6 to 8 of a gang; the others are never to be touched.
fn make(which: u8, what: u8, now: i64, life: usize) -> Value {
    let name = format!("p{which}-{life}");
    let object = match what {
        0..=3 => running(&name, now),
        4..=6 => stuck(&name, now),
        _ => ended(&name, now),
    };
    match which {
        3..=5 => of(object, &owner("batch/v1", "Job", "train")),
        6..=8 => of(object, &owner("kubeflow.org/v1", "MPIJob", "mpi")),
        9 => with(object, "metadata.annotations", json!({"kubernetes.io/config.mirror": "x"})),
        10 => of(object, &owner("apps/v1", "DaemonSet", "daemon")),
        11 => with(object, "metadata.namespace", json!("kube-system")),
        _ => object,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn nothing_is_removed_early_or_twice_or_that_is_never_touched(events in events()) {
        let mut sim = Sim::new(&policy(THRESHOLDS), options());
        sim.replica(options());
        let mut lives: BTreeMap<u8, usize> = BTreeMap::new();
        let mut ready = true;
        // Since when each pod is in its state.
        let mut began: BTreeMap<String, i64> = BTreeMap::new();
        let mut checked = 0;
        for (pause, event) in events {
            let until = sim.now + pause;
            sim.run(until);
            for (second, act) in sim.acts.iter().skip(checked) {
                prop_assert!(ready, "{act:?} on a node that is not ready");
                if act.kind == ActKind::DeleteOwner {
                    prop_assert!(matches!(act.target.kind.as_str(), "Job" | "MPIJob"), "{act:?}");
                } else {
                    let which: u8 = act.target.name[1..].split('-').next().unwrap().parse().unwrap();
                    prop_assert!(which < 9, "{act:?} is never to be touched");
                }
                let shortest = if act.log.state == State::Succeeded { 30 } else { 20 } * 60;
                prop_assert!(*second >= began[&act.pod_uid] + shortest, "{act:?} at {second}");
                prop_assert!(sim.leader.is_some());
            }
            checked = sim.acts.len();
            match event {
                Event::Pod(which, what) => {
                    let life = *lives.entry(which).or_default();
                    let now = sim.now;
                    let is_there = sim.pods.contains_key(&format!("uid-p{which}-{life}"));
                    let life = if is_there { life } else { life + 1 };
                    let uid = format!("uid-p{which}-{life}");
                    lives.insert(which, life);
                    if (3..=5).contains(&which) && !sim.owners.iter().any(|owner| owner["kind"] == "Job") {
                        sim.owners.push(owner("batch/v1", "Job", "train"));
                    }
                    if (6..=8).contains(&which) && !sim.owners.iter().any(|owner| owner["kind"] == "MPIJob") {
                        sim.owners.push(owner("kubeflow.org/v1", "MPIJob", "mpi"));
                    }
                    let mut object = make(which, what, now, life);
                    if let Some(before) = sim.pods.get(&uid).filter(|_| is_there) {
                        object["metadata"]["creationTimestamp"] = before["metadata"]["creationTimestamp"].clone();
                    }
                    began.insert(uid, now);
                    sim.put(object);
                }
                Event::Gone(which) => {
                    let uid = format!("uid-p{which}-{}", lives.get(&which).copied().unwrap_or_default());
                    sim.remove(&uid);
                }
                Event::Node(status) => {
                    ready = status == "True";
                    let since = sim.now;
                    sim.set_node(&node("n", status, since));
                }
                Event::Leader(leader) => sim.leader = leader.map(usize::from),
                Event::Policies(other) => {
                    sim.policies(&policy(if other { OTHER } else { THRESHOLDS }));
                }
                Event::Restart(which) => {
                    sim.replica(options());
                    sim.replicas.swap_remove(usize::from(which));
                    // The node is told anew.
                    let status = if ready { "True" } else { "False" };
                    let since = sim.now;
                    sim.set_node(&node("n", status, since));
                }
                Event::Refuse(mood) => {
                    use stowage::reaper::step::Answer;
                    sim.refuse = [None, None, Some(Answer::Conflict), Some(Answer::Failed), Some(Answer::TooMany(None)),
                        Some(Answer::Forbidden)][usize::from(mood)];
                }
            }
        }
        let mut done = BTreeSet::new();
        for (_, said) in sim.said.iter().filter(|(_, said)| said.reason.name() == "StateThresholdExceeded") {
            // One and the same object is said to be removed once; owners of that name come back with their uid here.
            prop_assert!(said.on.kind != "Pod" || done.insert(said.on.uid.clone()), "{said:?} twice");
        }
    }

    /// Left alone for long enough, every pod that may be removed is.
    #[test]
    fn no_pod_stays_past_its_threshold(pods in prop::collection::vec((0..9_u8, 0..8_u8, 0..2 * HOUR), 1..30)) {
        let mut sim = Sim::new(&policy(THRESHOLDS), options());
        sim.owners = vec![owner("batch/v1", "Job", "train"), owner("kubeflow.org/v1", "MPIJob", "mpi")];
        let mut pods = pods;
        pods.sort_by_key(|(_, _, when)| *when);
        for (life, (which, what, when)) in pods.into_iter().enumerate() {
            sim.run(when);
            // What is made for an owner that is gone has no owner.
            let kind = match which { 3..=5 => "Job", 6..=8 => "MPIJob", _ => "" };
            if !kind.is_empty() && !sim.owners.iter().any(|owner| owner["kind"] == kind) {
                continue;
            }
            sim.put(make(which, what, sim.now, life));
        }
        sim.run(sim.now + 12 * HOUR);
        // A gang's pod that has ended is left to its owner, which nobody removes for it.
        let left: Vec<&str> = sim
            .pods
            .values()
            .filter(|pod| pod["status"]["phase"] != "Succeeded")
            .map(|pod| pod["metadata"]["name"].as_str().unwrap())
            .collect();
        // Where a sibling has succeeded, one pod after the other goes alone, three at most, and the rest is reported.
        let reported: BTreeSet<String> = sim.reports.iter().map(|(_, report)| report.log.pod.clone()).collect();
        prop_assert!(left.iter().all(|name| reported.contains(*name)), "{left:?} {:?}", sim.whys());
    }

    #[test]
    fn the_breaker_holds_a_policy_that_breaks_every_new_pod(
        old in 0..200_i64,
        new in 15..60_i64,
        pause in 1..30_i64,
        percent in 1..=100_u8,
    ) {
        let breaker = Some(BreakerRule { percent, window: std::time::Duration::from_secs(600) });
        let mut sim = Sim::new(&policy("{imagePullBackoff: 1h}"), WatcherOptions { breaker, ..free() });
        sim.put_all((0..old).map(|n| running(&format!("old{n}"), -10)));
        for n in 0..new {
            sim.run(n * pause);
            sim.put(stuck(&format!("new{n}"), sim.now));
        }
        sim.run(new * pause + 3 * HOUR);
        prop_assert!(sim.acts.len() < 10, "{} of {new} are gone", sim.acts.len());
        prop_assert!(sim.turns.iter().filter(|(_, turn)| turn.open && turn.policy.is_some()).count() == 1);
    }
}

#[test]
fn a_thousand_due_pods_are_each_removed_once_over_a_change_of_leader() {
    let options =
        || WatcherOptions { rate: Some(Rate::per_second(50)), namespace_rate: Some(Rate::per_second(10)), ..free() };
    let mut sim = Sim::new(&policy("{running: 1h}"), options());
    sim.replica(options());
    let pods =
        (0..1_000).map(|n| with(running(&format!("p{n}"), 0), "metadata.namespace", json!(format!("ns{}", n % 20))));
    sim.put_all(pods);
    sim.run(HOUR + 5);
    let before = sim.acts.len();
    assert!((200..800).contains(&before), "{before}");
    // It is killed with pods in hand: some it has removed already, of which the other one is not told yet.
    let last = sim.replicas[0].due(at(sim.now + 1), true);
    assert!(!last.attempts.is_empty());
    for attempt in last.attempts.iter().take(10) {
        sim.attempt(0, attempt);
    }
    sim.leader = None;
    sim.run(sim.now + 15);
    sim.leader = Some(1);
    sim.run(sim.now + 60);
    let removed: BTreeSet<String> = sim.acts.iter().map(|(_, act)| act.target.uid.clone()).collect();
    assert_eq!((sim.acts.len(), removed.len(), sim.pods.len()), (1_000, 1_000, 0));
}
