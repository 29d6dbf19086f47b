//! What is told: Events once, the rows of the board, missed injections.

use serde_json::json;
use stowage::policy::snapshot::Snapshot;
use stowage::reaper::board::RowFilter;
use stowage::reaper::missed::Registration;
use stowage::threshold::State;

use super::sim::{Sim, at, free, of, owner, policy, policy_for, running, stuck, with};

const HOUR: i64 = 3_600;

#[test]
fn a_removal_is_told_to_the_pod_and_its_owner_in_mlruns_words() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&policy("{running: 1h}"), free());
    sim.owners.push(job.clone());
    sim.put(of(running("p", 0), &job));
    sim.run(HOUR);
    let on: Vec<String> = sim.said.iter().map(|(_, said)| format!("{}/{}", said.on.kind, said.on.name)).collect();
    assert_eq!(on, ["Pod/p", "Job/train"]);
    let text = "Run aborted due to exceeded state threshold: running. Job/train was deleted: Job/train would only make it \
                again; it was 1h in the state, of 1h that policy p allows";
    assert_eq!(sim.said[0].1.text, text);
    assert_eq!(sim.said[1].1.text, format!("{text} (pod p)"));
    assert!(sim.said.iter().all(|(_, said)| said.reason.name() == "StateThresholdExceeded"));
}

#[test]
fn a_report_is_said_once_for_each_uid_and_state() {
    let mut sim = Sim::new(&policy_for("p", "{}", "{running: 1h, imagePullBackoff: 1h}", "{action: Report}"), free());
    sim.put(stuck("p", 0));
    sim.run(10 * HOUR);
    assert_eq!(sim.said.len(), 1);
    sim.put(running("p", 10 * HOUR));
    sim.run(20 * HOUR);
    let states: Vec<State> = sim.reports.iter().map(|(_, report)| report.log.state).collect();
    assert!(states.contains(&State::ImagePullBackoff) && states.contains(&State::Running));
    assert_eq!(sim.said.len(), 2, "{:?}", sim.said);
    assert!(
        sim.said[1]
            .1
            .text
            .starts_with("Exceeded state threshold: running. Nothing is removed: the policy only reports.")
    );
}

#[test]
fn finalizers_that_hold_a_pod_are_named_and_it_is_not_deleted_again() {
    let mut sim =
        Sim::new(&policy_for("p", "{}", "{terminating: 10m}", "{action: Delete, gracePeriodSeconds: 0}"), free());
    let mut pod = with(running("p", 0), "metadata.deletionTimestamp", json!(at(0).to_string()));
    pod["metadata"]["finalizers"] = json!(["example.com/one", "example.com/two"]);
    sim.put(pod);
    sim.run(24 * HOUR);
    assert!(sim.acts.is_empty());
    assert_eq!(sim.said.len(), 1);
    assert!(sim.said[0].1.text.contains("held by its finalizers example.com/one, example.com/two"), "{:?}", sim.said);
}

#[test]
fn a_policy_may_have_removals_announced_before() {
    let mut sim = Sim::new(&policy_for("p", "{}", "{running: 1h}", "{noticeBefore: 10m}"), free());
    sim.put(running("p", 0));
    sim.run(3_000 - 1);
    assert!(sim.said.is_empty());
    sim.run(HOUR - 1);
    let said: Vec<(i64, &str)> = sim.said.iter().map(|(at, said)| (*at, said.reason.name())).collect();
    assert_eq!(said, [(3_000, "RemovalAnnounced")]);
    assert!(sim.acts.is_empty());
    sim.run(HOUR);
    assert_eq!(sim.removed(), ["Pod/p"]);
}

#[test]
fn the_board_lists_pods_by_time_left_and_says_why_they_are_there() {
    let two = "{running: 1h, imagePullBackoff: 30m}";
    let mut sim = Sim::new(&policy_for("p", "{}", two, "{action: {default: Auto, running: Evict}}"), free());
    let job = owner("batch/v1", "Job", "train");
    sim.put_all([running("late", 0), stuck("early", 0), of(stuck("owned", 60), &job)]);
    sim.put(with(running("own", 30), "metadata.annotations", json!({"stowage.dev/running-threshold": "2h"})));
    let rows = sim.replicas[0].rows(at(60), &RowFilter::default());
    let told: Vec<(&str, &str, &str, Option<u64>, &str)> =
        rows.iter().map(|row| (row.name.as_str(), row.state, row.action, row.threshold, row.word)).collect();
    assert_eq!(
        told,
        [
            ("early", "image_pull_backoff", "delete", Some(1_800), "policy"),
            ("owned", "image_pull_backoff", "delete-owner", Some(1_800), "policy"),
            ("late", "running", "evict", Some(3_600), "policy"),
            ("own", "running", "evict", Some(7_200), "pod"),
        ]
    );
    assert!(rows.iter().all(|row| row.held.is_none()));
    let json = serde_json::to_value(&rows[0]).unwrap();
    assert_eq!(json["since"], "2026-01-01T00:00:00Z");
    assert_eq!(json["deadline"], "2026-01-01T00:30:00Z");
    let some = |filter: RowFilter| sim.replicas[0].rows(at(60), &filter).len();
    assert_eq!(some(RowFilter { namespace: Some("other".into()), ..Default::default() }), 0);
    assert_eq!(some(RowFilter { state: Some(State::Running), ..Default::default() }), 2);
    assert_eq!(some(RowFilter { limit: 1, ..Default::default() }), 1);
}

#[test]
fn pods_that_no_replica_saw_are_named_once() {
    let text = policy("{running: 24h}");
    let described = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n";
    let text = format!("{text}  env: [{{name: A, value: b}}]\n{described}");
    let mut sim = Sim::new(&text, free());
    let opted_out = serde_json::from_value(json!({"matchExpressions":
        [{"key": "stowage.dev/inject", "operator": "NotIn", "values": ["false"]}]}))
    .unwrap();
    let objects = stowage::labels::Selector::parse(&opted_out, "", &mut Vec::new());
    let registration = Registration { objects, created: Some(at(-100)), ..Registration::default() };
    let before = running("before", 0);
    sim.put(before);
    sim.replicas[0].registration(Some(registration.clone()), at(0));
    sim.now = 100;
    sim.put_all([
        running("missed", 90),
        with(running("marked", 90), "metadata.annotations", json!({"stowage.dev/injected": "{}"})),
        with(running("label", 90), "metadata.labels", json!({"stowage.dev/inject": "false"})),
        with(running("annotated", 90), "metadata.annotations", json!({"stowage.dev/inject": "false"})),
        with(running("elsewhere", 90), "metadata.namespace", json!("unknown")),
        with(running("mirror", 90), "metadata.annotations", json!({"kubernetes.io/config.mirror": "x"})),
        running("too-early", 3),
        of(running("daemon", 90), &owner("apps/v1", "DaemonSet", "d")),
    ]);
    sim.put(sim.pods["uid-missed"].clone());
    sim.run(200);
    let said: Vec<(&str, &str)> =
        sim.said.iter().map(|(_, said)| (said.reason.name(), said.on.name.as_str())).collect();
    assert_eq!(said, [("InjectionMissed", "missed"), ("InjectionMissed", "daemon")]);
    assert_eq!(sim.replicas[0].counts(at(200)).missed, 2);
    // Without a registration nobody was to answer.
    sim.replicas[0].registration(None, at(200));
    sim.put(running("later", 200));
    sim.run(300);
    assert_eq!(sim.said.len(), 2);
    // One that was changed counts from the change.
    sim.replicas[0].registration(Some(registration), at(300));
    sim.replicas[0].registration(Some(Registration { created: Some(at(-100)), ..Registration::default() }), at(400));
    sim.now = 410;
    sim.put(running("under-way", 401));
    sim.run(420);
    assert_eq!(sim.said.len(), 2);
    let _: &Snapshot = &sim.snapshot;
}
