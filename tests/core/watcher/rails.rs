//! The rails between a deadline and a removal, in their order.

use serde_json::json;
use stowage::reaper::board::{Rail, RowFilter};
use stowage::reaper::options::{BreakerRule, Rate, WatcherOptions};
use stowage::reaper::said::Group;
use stowage::threshold::State;

use super::sim::{Sim, at, free, node, of, owner, parsed, pod, policy, policy_for, running, stuck, with};

const HOUR: i64 = 3_600;

#[test]
fn a_pod_is_removed_at_its_deadline_and_not_before() {
    let mut sim = Sim::new(&policy("{running: 1h, imagePullBackoff: 10m}"), free());
    sim.put_all([running("a", 0), stuck("b", 0), running("c", HOUR)]);
    sim.run(599);
    assert!(sim.acts.is_empty());
    sim.run(2 * HOUR - 1);
    let removed: Vec<(i64, &str)> = sim.acts.iter().map(|(at, act)| (*at, act.target.name.as_str())).collect();
    assert_eq!(removed, [(600, "b"), (HOUR, "a")]);
    let act = &sim.acts[0].1;
    assert_eq!((act.target.uid.as_str(), act.target.resource_version.as_str()), ("uid-b", "2"));
    assert_eq!((act.propagation.name(), act.grace_period_seconds), ("Background", None));
}

#[test]
fn nothing_comes_due_before_everything_was_told_once() {
    use stowage::reaper::watcher::Watcher;
    let mut sim = Sim::new(&policy("{running: 1h}"), free());
    let snapshot = sim.snapshot.clone();
    for missing in 0..3 {
        let mut watcher = Watcher::new(WatcherOptions { overdue_notice: std::time::Duration::ZERO, ..free() });
        if missing != 0 {
            let _ = watcher.snapshot(snapshot.clone(), at(0));
        }
        if missing != 1 {
            watcher.begin_nodes();
            watcher.node(&node("n", "True", -10), at(0));
            watcher.end_nodes(at(0));
        }
        watcher.begin_list();
        watcher.pod(&parsed(&running("a", 0)), at(0));
        if missing != 2 {
            watcher.end_list(at(0));
        }
        assert!(watcher.due(at(2 * HOUR), true).is_empty(), "{missing}");
        assert_eq!(watcher.next_at(at(2 * HOUR), true), None);
        if missing == 2 {
            watcher.end_list(at(2 * HOUR));
            assert_eq!(watcher.due(at(2 * HOUR), true).attempts.len(), 1);
        }
    }
    sim.run(1);
}

#[test]
fn nothing_is_due_on_a_node_that_is_not_ready_or_not_there() {
    let mut sim = Sim::new(&policy("{running: 1h, imagePullBackoff: 1h, unknown: 2h}"), free());
    let elsewhere = with(running("elsewhere", 0), "spec.nodeName", json!("gone"));
    sim.put_all([running("runs", 0), stuck("waits", 0), elsewhere]);
    sim.now = 10;
    sim.set_node(&node("n", "False", 10));
    sim.run(HOUR + 100);
    assert!(sim.acts.is_empty() && sim.reports.is_empty());
    let held = sim.replicas[0].counts(at(sim.now)).held;
    assert_eq!(held, [(Rail::Node, State::ImagePullBackoff, 1), (Rail::Node, State::Running, 2)]);
    let rows = sim.replicas[0].rows(at(sim.now), &RowFilter::default());
    assert!(rows.iter().all(|row| row.held.as_deref() == Some("its node is not ready")), "{rows:?}");
    // It is back: what runs went on counting, what waits begins anew.
    sim.set_node(&node("n", "True", sim.now));
    sim.run(sim.now + 1);
    assert_eq!(sim.removed(), ["Pod/runs"]);
    let back = HOUR + 100;
    sim.run(back + HOUR - 1);
    assert_eq!(sim.acts.len(), 1);
    sim.run(back + HOUR);
    assert_eq!(sim.removed(), ["Pod/runs", "Pod/waits"]);
}

#[test]
fn a_pod_on_a_lost_node_is_unknown_since_the_loss() {
    let mut sim = Sim::new(&policy("{running: 1h, unknown: 2h}"), free());
    sim.put(running("a", 0));
    sim.now = 100;
    sim.set_node(&node("n", "Unknown", 100));
    sim.run(100 + 2 * HOUR - 1);
    assert!(sim.acts.is_empty());
    sim.run(100 + 2 * HOUR);
    assert_eq!(sim.removed(), ["Pod/a"]);
    assert_eq!(sim.acts[0].1.log.state, State::Unknown);
}

#[test]
fn a_pod_that_was_found_overdue_is_announced_first() {
    let mut sim = Sim::new(&policy("{running: 1h}"), free());
    sim.now = 2 * HOUR;
    sim.put(running("old", 0));
    sim.run(2 * HOUR + 599);
    assert!(sim.acts.is_empty());
    let announced: Vec<_> =
        sim.said.iter().map(|(at, said)| (*at, said.reason.name(), said.on.name.as_str())).collect();
    assert_eq!(announced, [(2 * HOUR, "FoundOverdue", "old")]);
    assert_eq!(sim.replicas[0].counts(at(sim.now)).held, [(Rail::Notice, State::Running, 1)]);
    // The kubelet's heartbeats begin no new notice.
    let again = sim.pods["uid-old"].clone();
    sim.put(again);
    sim.run(2 * HOUR + 600);
    assert_eq!(sim.removed(), ["Pod/old"]);
}

#[test]
fn a_shorter_threshold_finds_pods_overdue_and_a_new_state_that_is_due_at_once_does_not() {
    let mut sim = Sim::new(&policy("{running: 24h, imagePullBackoff: 5m, pendingScheduled: 1h}"), free());
    sim.put(running("long", 0));
    let mut creating = stuck("slow", 0);
    creating["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "ContainerCreating"}});
    sim.put(creating);
    sim.run(400);
    // The first try failed after more than the threshold: it was seen before it was due.
    sim.put(stuck("slow", 0));
    sim.run(401);
    assert_eq!(sim.removed(), ["Pod/slow"]);
    sim.run(2 * HOUR);
    assert!(sim.policies(&policy("{running: 1h}")));
    sim.run(2 * HOUR + 599);
    assert_eq!(sim.acts.len(), 1);
    sim.run(2 * HOUR + 600);
    assert_eq!(sim.removed(), ["Pod/slow", "Pod/long"]);
}

#[test]
fn a_relist_is_wanted_only_where_the_watcher_is_spoken_to() {
    let mut sim = Sim::new(&policy("{running: 1h}"), free());
    assert!(!sim.policies(&policy("{running: 2h}")), "without pods there is nothing to judge again");
    sim.put(running("a", 0));
    let other = policy("{running: 2h}");
    assert!(!sim.policies(&format!("{other}  env: [{{name: A, value: b}}]\n")), "admission alone");
    assert!(sim.policies(&policy("{running: 3h}")), "another threshold");
    assert!(sim.policies(&policy_for("p", "{matchLabels: {app: train}}", "{running: 3h}", "{}")), "another selector");
    assert!(
        sim.policies(&policy_for("p", "{matchLabels: {app: train}}", "{running: 3h}", "{action: Report}")),
        "an action"
    );
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns, labels: {a: b}}\n";
    let text = policy_for("p", "{matchLabels: {app: train}}", "{running: 3h}", "{action: Report}");
    assert!(sim.policies(&format!("{text}{namespace}")), "labels of a namespace with pods");
    let elsewhere = namespace.replace("name: ns", "name: elsewhere");
    assert!(!sim.policies(&format!("{text}{namespace}{elsewhere}")), "labels of one without");
}

fn broken(percent: u8) -> WatcherOptions {
    let breaker = Some(BreakerRule { percent, window: std::time::Duration::from_secs(600) });
    WatcherOptions { breaker, ..free() }
}

#[test]
fn many_that_come_due_together_are_held_and_few_are_not() {
    for (stuck_pods, running_pods, held) in [(4, 0, false), (5, 0, true), (5, 19, true), (5, 20, false), (6, 20, true)]
    {
        let mut sim = Sim::new(&policy("{imagePullBackoff: 1h}"), broken(20));
        sim.put_all((0..running_pods).map(|n| running(&format!("r{n}"), 0)));
        sim.put_all((0..stuck_pods).map(|n| stuck(&format!("s{n}"), 0)));
        sim.run(HOUR + 60);
        let removed = sim.acts.len();
        assert_eq!(removed, if held { 0 } else { stuck_pods }, "{stuck_pods} of {}", stuck_pods + running_pods);
        assert_eq!(sim.replicas[0].counts(at(sim.now)).open.len(), usize::from(held));
    }
}

#[test]
fn the_breaker_says_once_what_it_holds_and_which_policies_the_pods_have_in_common() {
    let two = format!(
        "{}{}",
        policy_for("all", "{}", "{imagePullBackoff: 1h}", "{}"),
        policy_for("gpu", "{matchLabels: {gpu: 'yes'}}", "{running: 9h}", "{}")
    );
    let mut sim = Sim::new(&two, broken(20));
    let pods = (0..12).map(|n| with(stuck(&format!("s{n}"), n), "metadata.labels", json!({"gpu": "yes"})));
    sim.put_all(pods);
    sim.run(2 * HOUR);
    // The first four were gone before five were due.
    assert_eq!(sim.acts.len(), 4);
    let opened: Vec<_> = sim.turns.iter().filter(|(_, turn)| turn.open).collect();
    assert_eq!(opened.len(), 2, "over all, and under one policy: {opened:?}");
    for (second, turn) in opened {
        assert_eq!((*second, turn.group), (HOUR + 4, Group::State(State::ImagePullBackoff)));
        assert_eq!(turn.common_policies, ["all".into(), "gpu".into()]);
        assert!(turn.text.contains("none of them is removed") && turn.text.contains("all, gpu"), "{}", turn.text);
    }
    let rows = sim.replicas[0].rows(at(sim.now), &RowFilter::default());
    assert!(rows.iter().all(|row| row.held.as_deref().unwrap().contains("the breaker holds image_pull_backoff")));
}

#[test]
fn what_is_held_goes_on_once_fewer_are_due() {
    let mut sim = Sim::new(&policy("{imagePullBackoff: 1h}"), broken(20));
    sim.put_all((0..6).map(|n| stuck(&format!("s{n}"), 0)));
    sim.run(HOUR + 700);
    assert!(sim.acts.is_empty(), "held while that many are due, beyond the window");
    // Two recover; four are no outage.
    sim.put(running("s0", HOUR + 700));
    sim.put(running("s1", HOUR + 700));
    sim.run(HOUR + 720);
    assert_eq!(sim.acts.len(), 4);
    assert!(sim.turns.iter().any(|(_, turn)| !turn.open));
}

#[test]
fn an_annotation_lets_go_once_what_was_due_until_its_time() {
    let mut sim = Sim::new(&policy("{imagePullBackoff: 1h}"), broken(20));
    sim.put_all((0..6).map(|n| stuck(&format!("s{n}"), 0)));
    sim.run(HOUR + 60);
    let release = |sim: &mut Sim, value: &str| sim.replicas[0].release(value, at(sim.now));
    for wrong in ["", "yes", "2026-01-01T01:00:00Z running", "2126-01-01T00:00:00Z"] {
        let error = release(&mut sim, wrong).unwrap_err().to_string();
        assert!(error.contains("stowage.dev/release-breaker") && error.contains("image_pull_backoff"), "{error}");
    }
    let other_state = format!("{} pending_scheduled", at(sim.now));
    release(&mut sim, &other_state).unwrap();
    sim.run(sim.now + 10);
    assert!(sim.acts.is_empty());
    let value = at(sim.now).to_string();
    release(&mut sim, &value).unwrap();
    sim.run(sim.now + 10);
    assert_eq!(sim.acts.len(), 6);
    sim.put_all((0..6).map(|n| stuck(&format!("t{n}"), sim.now)).collect::<Vec<_>>());
    sim.run(sim.now + HOUR + 10);
    release(&mut sim, &value).unwrap();
    sim.run(sim.now + 10);
    assert_eq!(sim.acts.len(), 6, "each value works once");
}

#[test]
fn a_policy_that_breaks_every_new_pod_is_held_however_many_old_ones_run() {
    let mut sim = Sim::new(&policy("{imagePullBackoff: 1h}"), broken(20));
    sim.put_all((0..500).map(|n| running(&format!("old{n}"), 0)));
    // One new pod a minute, and none gets to run.
    for n in 0..60 {
        sim.now = 1_000 + n * 60;
        sim.put(stuck(&format!("new{n:02}"), sim.now));
        sim.run(sim.now + 59);
    }
    sim.run(1_000 + 3 * HOUR);
    assert!(sim.acts.len() < 15, "{} of 60 are gone", sim.acts.len());
    assert!(!sim.replicas[0].counts(at(sim.now)).open.is_empty());
    // A newer one gets through: they were stuck by themselves.
    sim.put(running("through", sim.now));
    sim.run(sim.now + 700);
    assert_eq!(sim.acts.len(), 60);
}

#[test]
fn pods_of_one_job_are_one_work_and_no_outage_among_many() {
    let mut sim = Sim::new(&policy("{imagePullBackoff: 1h}"), broken(20));
    let job = owner("batch/v1", "Job", "sweep");
    sim.owners.push(job.clone());
    sim.put_all((0..100).map(|n| running(&format!("old{n}"), 0)));
    sim.put_all((0..15).map(|n| of(stuck(&format!("s{n}"), 10), &job)));
    sim.run(HOUR + 60);
    assert_eq!(sim.removed(), ["Job/sweep"]);
}

#[test]
fn what_was_found_overdue_counts_together_in_every_state() {
    for (overdue, held) in [(20, false), (30, true)] {
        let mut sim = Sim::new(&policy("{running: 24h, imagePullBackoff: 24h}"), broken(20));
        sim.put_all((0..100 - overdue).map(|n| running(&format!("young{n}"), 2 * HOUR)));
        sim.put_all((0..overdue / 2).map(|n| running(&format!("old{n}"), 0)));
        sim.put_all((overdue / 2..overdue).map(|n| stuck(&format!("old{n}"), 0)));
        sim.run(2 * HOUR);
        // 24m was meant to be 24h.
        assert!(sim.policies(&policy("{running: 90m, imagePullBackoff: 90m}")));
        sim.run(2 * HOUR + 650);
        assert_eq!(sim.acts.len(), if held { 0 } else { 20 });
        let open = sim.replicas[0].counts(at(sim.now)).open;
        assert_eq!(open, if held { vec![Group::FoundOverdue] } else { vec![] });
    }
}

#[test]
fn buckets_give_the_oldest_first_and_every_namespace_its_turn() {
    let options =
        WatcherOptions { rate: Some(Rate::per_second(2)), namespace_rate: Some(Rate::per_second(1)), ..free() };
    let mut sim = Sim::new(&policy("{running: 1h}"), options);
    let placed =
        |name: &str, namespace: &str, since: i64| with(running(name, since), "metadata.namespace", json!(namespace));
    sim.put_all((0..50).map(|n| placed(&format!("a{n:02}"), "crowd", 0)));
    sim.put_all([placed("older", "crowd", -1), placed("b", "quiet", 5), placed("c", "still", 5)]);
    sim.run(HOUR + 100);
    let removed: Vec<(i64, &str)> = sim.acts.iter().map(|(at, act)| (at - HOUR, act.target.name.as_str())).collect();
    assert_eq!(removed[0], (-1, "older"));
    assert_eq!(removed.len(), 53);
    for second in -1..100 {
        let now: Vec<_> = sim.acts.iter().filter(|(at, _)| *at - HOUR == second).collect();
        assert!(now.len() <= 2, "{second}: {}", now.len());
        let crowd = now.iter().filter(|(_, act)| act.target.namespace == "crowd").count();
        assert!(crowd <= 1, "{second}: {crowd}");
    }
    let when = |name: &str| removed.iter().find(|(_, removed)| *removed == name).unwrap().0;
    assert!(when("b") <= 6 && when("c") <= 6, "a crowd keeps nobody waiting: {} {}", when("b"), when("c"));
}

#[test]
fn a_report_costs_no_token() {
    let options =
        WatcherOptions { rate: Some(Rate::per_second(1)), namespace_rate: Some(Rate::per_second(1)), ..free() };
    let mut sim = Sim::new(&policy_for("p", "{}", "{running: 1h}", "{action: Report}"), options);
    sim.put_all((0..50).map(|n| running(&format!("a{n}"), 0)));
    sim.run(HOUR + 1);
    assert_eq!(sim.reports.len(), 50);
}

#[test]
fn a_standby_sees_what_the_leader_sees_and_delays_nothing() {
    let mut sim = Sim::new(&policy("{running: 1h}"), free());
    sim.replica(free());
    sim.put_all((0..10).map(|n| running(&format!("a{n}"), n)));
    sim.leader = None;
    sim.run(HOUR + 5);
    assert!(sim.acts.is_empty());
    sim.leader = Some(1);
    sim.run(HOUR + 6);
    // The six that came due meanwhile go at once, without a notice, and the next in its second.
    let when: Vec<i64> = sim.acts.iter().map(|(at, _)| at - HOUR).collect();
    assert_eq!(when, [5, 5, 5, 5, 5, 5, 6]);
}

#[test]
fn pods_without_a_threshold_or_left_alone_never_come_due() {
    let mut sim = Sim::new(&policy("{running: 1h, succeeded: -1}"), free());
    let owned = |name: &str, api: &str, kind: &str| of(running(name, 0), &owner(api, kind, "o"));
    sim.put_all([
        owned("daemon", "apps/v1", "DaemonSet"),
        owned("web", "apps/v1", "ReplicaSet"),
        owned("db", "apps/v1", "StatefulSet"),
        with(running("mirror", 0), "metadata.annotations", json!({"kubernetes.io/config.mirror": "x"})),
        with(running("static", 0), "metadata.annotations", json!({"kubernetes.io/config.source": "file"})),
        with(running("system", 0), "metadata.namespace", json!("kube-system")),
        with(running("itself", 0), "metadata.namespace", json!("stowage")),
        with(running("critical", 0), "spec.priorityClassName", json!("system-node-critical")),
        pod("young", 0, json!({"phase": "Pending"})),
    ]);
    assert_eq!(sim.replicas[0].next_at(at(0), true), None);
    sim.run(100 * HOUR);
    assert!(sim.acts.is_empty() && sim.reports.is_empty());
    assert!(sim.replicas[0].rows(at(sim.now), &RowFilter::default()).is_empty());
}

#[test]
fn a_node_that_blinks_ends_no_notice() {
    let mut sim = Sim::new(&policy("{running: 1h, unknown: 9h}"), free());
    sim.now = 2 * HOUR;
    sim.put(running("old", 0));
    sim.run(2 * HOUR + 60);
    sim.set_node(&node("n", "Unknown", 2 * HOUR + 60));
    sim.run(2 * HOUR + 100);
    sim.set_node(&node("n", "True", 2 * HOUR + 100));
    sim.run(2 * HOUR + 599);
    assert!(sim.acts.is_empty());
    sim.run(2 * HOUR + 700);
    assert_eq!(sim.removed(), ["Pod/old"]);
}
