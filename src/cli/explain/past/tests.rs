use serde_json::{Value, json};

use super::*;

const MADE: &str = "2026-11-22T13:00:00Z";

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn replica(since: &str) -> Pod {
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": since});
    read(json!({"metadata": {"name": "stowage-a-1", "uid": "1"}, "status": {"conditions": [ready]}}))
}

fn deployment(replicas: i32, strategy: Value, available: &str, since: &str) -> Deployment {
    let condition = json!({"type": "Available", "status": available, "lastTransitionTime": since});
    read(json!({
        "metadata": {"name": "stowage", "generation": 3, "creationTimestamp": "2026-11-22T12:00:00Z"},
        "spec": {"replicas": replicas, "selector": {}, "template": {}, "strategy": strategy},
        "status": {"observedGeneration": 3, "conditions": [condition]},
    }))
}

fn event(name: &str, uid: &str, reason: &str, at: &str) -> Event {
    read(json!({
        "metadata": {}, "involvedObject": {"name": name, "uid": uid}, "reason": reason,
        "message": "Readiness probe failed: 503", "firstTimestamp": at, "lastTimestamp": at,
    }))
}

fn neighbour(name: &str, at: &str, annotation: &str) -> ObjectMeta {
    read(json!({"name": name, "uid": name, "creationTimestamp": at, "annotations": {annotation: "{}"}}))
}

/// Nothing is there, and all of it may be read.
fn nothing() -> Past {
    Past {
        replicas: Some(Vec::new()),
        deployments: Some(Vec::new()),
        events: Some(Vec::new()),
        neighbours: Some(Vec::new()),
        said: Some(Vec::new()),
    }
}

fn text(past: &Past) -> String {
    let rows = past.rows(Some(Made { at: MADE.parse().unwrap(), uid: "me", is_marked: false }));
    rows.into_iter().map(|(name, line)| format!("{name}: {line}\n")).collect()
}

#[test]
fn a_replica_that_is_there_says_whether_it_was_ready() {
    let with = |since: &str| text(&Past { replicas: Some(vec![replica(since)]), ..nothing() });
    assert!(with("2026-11-22T12:59:59Z").contains("ready then: yes, stowage-a-1 was\n"));
    assert!(with(MADE).contains("ready then: yes"), "times are of whole seconds");
    assert!(with("2026-11-22T13:00:01Z").contains("ready then: none is known to have been"));
    let marked = nothing().rows(Some(Made { at: MADE.parse().unwrap(), uid: "me", is_marked: true }));
    assert_eq!(marked.last().unwrap().1, "yes, one answered: the pod carries the marker");
    // Of a workload nothing is said but which replicas there are.
    assert_eq!(nothing().rows(None), [("replica", "none is there".to_owned())]);
}

#[test]
fn the_deployment_says_since_when_there_were_enough() {
    let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
    let base = rolling(json!(0), json!(1));
    let with = |replicas, strategy: &Value, available, since| {
        let deployments = Some(vec![deployment(replicas, strategy.clone(), available, since)]);
        text(&Past { deployments, ..nothing() })
    };
    let (before, after) = ("2026-11-22T12:30:00Z", "2026-11-22T13:30:00Z");
    let said = with(2, &base, "True", before);
    assert!(said.contains("stowage has 2 ready at least since 2026-11-22T12:30:00Z, so it had when the pod"), "{said}");
    assert!(said.contains("ready then: yes, 2 at least\n"), "{said}");
    for (available, since) in [("True", after), ("False", before), ("False", after)] {
        let said = with(2, &base, available, since);
        assert!(said.contains("ready then: none is known"), "{said}");
    }
    assert!(with(2, &base, "False", before).contains("lacks some of 2 since 2026-11-22T12:30:00Z, so it did when"));
    // What may be missing counts as missing, and a Deployment of none has all that it needs.
    assert!(with(2, &rolling(json!("50%"), json!(0)), "True", before).contains("yes, 1 at least"));
    for (replicas, strategy) in [
        (0, &base),
        (1, &rolling(json!(1), json!(1))),
        (1, &rolling(json!("25%"), json!(0))),
        (2, &rolling(json!("100%"), json!(1))),
    ] {
        let said = with(replicas, strategy, "True", before);
        assert!(!said.contains("deployment:") && !said.contains("yes"), "{replicas} {strategy}: {said}");
    }
    let mut unseen = deployment(2, base, "True", before);
    unseen.metadata.generation = Some(4);
    assert!(!text(&Past { deployments: Some(vec![unseen]), ..nothing() }).contains("yes"));
}

#[test]
fn a_replica_that_is_gone_ran_from_its_start_to_its_end() {
    let gone = |events: Vec<Event>| {
        let deployments = Some(vec![deployment(0, Value::Null, "True", MADE)]);
        let replicas = Some(vec![replica("2026-11-22T14:00:00Z")]);
        text(&Past { deployments, replicas, events: Some(events), ..nothing() })
    };
    let ran = |name: &str, uid: &str, from: &str, to: &str| {
        let at = |time: &str| format!("2026-11-22T{time}:00Z");
        vec![event(name, uid, "Started", &at(from)), event(name, uid, "Killing", &at(to))]
    };
    let said = gone(ran("stowage-b-2", "2", "12:00", "13:10"));
    let line = "stowage-b-2 ran from 2026-11-22T12:00:00Z to 2026-11-22T13:10:00Z, so it may have been ready";
    assert!(said.contains(line) && said.contains("ready then: not known"), "{said}");
    let mut unready = ran("stowage-b-2", "2", "12:00", "13:10");
    unready
        .extend(["12:50", "13:01"].map(|at| event("stowage-b-2", "2", "Unhealthy", &format!("2026-11-22T{at}:00Z"))));
    assert!(
        gone(unready).contains("; its readiness probe failed between 2026-11-22T12:50:00Z and 2026-11-22T13:01:00Z\n")
    );
    // Before it, after it, the watcher's, and one that is there.
    for (name, uid, from, to, others) in [
        ("stowage-b-2", "2", "12:00", "12:59", 1),
        ("stowage-b-2", "2", "13:01", "13:02", 1),
        ("stowage-watcher-b-2", "2", "12:00", "13:10", 0),
        ("stowage-a-1", "1", "12:00", "13:10", 0),
    ] {
        let said = gone(ran(name, uid, from, to));
        assert!(said.contains(&format!("gone: of {others} replicas that Events still tell of none ran")), "{said}");
        assert!(said.contains("ready then: none is known"), "{said}");
    }
    let said = gone(vec![event("stowage-b-2", "2", "Started", "2026-11-22T12:00:00Z")]);
    assert!(said.contains("to a moment that nobody noted"), "{said}");
}

#[test]
fn the_nearest_pods_with_the_marker_say_that_somebody_answered() {
    let neighbours = Some(vec![
        neighbour("long-before", "2026-11-22T12:00:00Z", INJECTED),
        neighbour("before", "2026-11-22T12:59:58Z", INJECTED),
        neighbour("bare", "2026-11-22T12:59:59Z", "other"),
        neighbour("me", MADE, INJECTED),
        neighbour("after", "2026-11-22T13:01:00Z", INJECTED),
        neighbour("long-after", "2026-11-22T14:00:00Z", INJECTED),
    ]);
    let said = text(&Past { neighbours, ..nothing() });
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("neighbour")).collect();
    assert_eq!(
        lines,
        [
            "neighbour: before, made 2s before, carries the marker: a replica answered then",
            "neighbour: after, made 1m after, carries the marker: a replica answered then",
        ]
    );
}

#[test]
fn what_may_not_be_read_is_not_known_and_the_watcher_has_its_word() {
    let said = text(&Past { events: None, ..nothing() });
    assert!(said.contains("ready then: not known: what is told of") && !said.contains("gone:"), "{said}");
    let missed = event("me", "me", Reason::InjectionMissed.name(), MADE);
    let said = text(&Past { said: Some(vec![missed, event("me", "me", "Pulled", MADE)]), ..nothing() });
    assert_eq!(said.matches("watcher: ").count(), 1, "{said}");
}
