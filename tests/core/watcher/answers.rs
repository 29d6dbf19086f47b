//! What the API server may answer, and what follows.

use std::time::Duration;

use serde_json::json;
use stowage::reaper::options::WatcherOptions;
use stowage::reaper::step::{ActKind, Answer, Attempt, LiveFacts, NextStep, Read, What};

use super::sim::{Sim, at, free, of, owner, parsed, policy, policy_for, running, stuck, with};

const HOUR: i64 = 3_600;

/// One pod that has just come due, and the call that is to be made.
fn called(options: WatcherOptions) -> Sim {
    let mut sim = Sim::new(&policy("{running: 1h}"), options);
    sim.put(running("p", 0));
    sim
}

#[test]
fn each_answer_has_its_consequence() {
    for (answer, again) in [
        (Answer::Conflict, Some(0)),
        (Answer::Failed, Some(1)),
        (Answer::TooMany(None), Some(8)),
        (Answer::TooMany(Some(Duration::from_secs(60))), Some(60)),
        (Answer::NotTried, Some(0)),
        (Answer::NotFound, None),
    ] {
        let mut sim = called(free());
        sim.refuse = Some(answer);
        sim.now = HOUR;
        let due = sim.replicas[0].due(at(HOUR), true);
        assert_eq!(due.attempts.len(), 1);
        let outcome = sim.attempt(0, &due.attempts[0]);
        let super::sim::Outcome::Acted(_, what) = outcome else { panic!("{answer:?}: {outcome:?}") };
        match again {
            Some(pause) => {
                assert_eq!(what, What::Later(at(HOUR + pause)), "{answer:?}");
                assert!(pause == 0 || sim.replicas[0].due(at(HOUR + pause - 1), true).is_empty());
                assert_eq!(sim.replicas[0].due(at(HOUR + pause), true).attempts.len(), 1, "{answer:?}");
            }
            None => {
                assert_eq!(what, What::Gone);
                assert!(sim.replicas[0].due(at(100 * HOUR), true).is_empty());
            }
        }
    }
}

#[test]
fn a_removal_is_said_with_how_late_it_was_and_the_pod_is_looked_at_again_where_it_stays() {
    let mut sim = called(free());
    sim.refuse = Some(Answer::Done);
    sim.now = HOUR;
    let due = sim.replicas[0].due(at(HOUR + 2), true);
    sim.now = HOUR + 3;
    let super::sim::Outcome::Acted(act, What::Removed { said, log, lateness }) = sim.attempt(0, &due.attempts[0])
    else {
        panic!("not removed")
    };
    assert_eq!((act.kind, lateness), (ActKind::DeletePod, Duration::from_secs(3)));
    assert_eq!((log.age, log.action, log.dry_run), (Duration::from_secs(HOUR as u64 + 3), "delete", false));
    assert!(said[0].text.starts_with("Run aborted due to exceeded state threshold: running. "), "{}", said[0].text);
    assert!(sim.replicas[0].due(at(HOUR + 200), true).is_empty());
    assert_eq!(sim.replicas[0].due(at(HOUR + 303), true).attempts.len(), 1);
}

#[test]
fn conflicts_are_answered_at_once_three_times_and_then_more_slowly() {
    let mut sim = called(free());
    sim.refuse = Some(Answer::Conflict);
    sim.run(HOUR + 60);
    let seconds: Vec<i64> = sim.acts.iter().map(|(at, _)| at - HOUR).collect();
    assert!(seconds.len() >= 4 && seconds.len() < 12, "{seconds:?}");
    sim.refuse = None;
    sim.run(HOUR + 600);
    assert!(sim.pods.is_empty());
}

#[test]
fn what_is_forbidden_is_reported_instead_and_tried_again_after_an_hour() {
    let mut sim = called(free());
    sim.refuse = Some(Answer::Forbidden);
    sim.put_all((0..20).map(|n| running(&format!("p{n}"), n)));
    sim.run(HOUR + 60);
    assert_eq!(sim.acts.len(), 1, "no loop of errors");
    assert_eq!(sim.reports.len(), 21);
    assert!(sim.said.iter().all(|(_, said)| said.reason.name() == "RemovalForbidden"), "{:?}", sim.said);
    assert_eq!(sim.replicas[0].counts(at(sim.now)).disabled.len(), 1);
    sim.refuse = None;
    sim.run(3 * HOUR);
    assert!(sim.pods.is_empty());
}

#[test]
fn a_pod_that_changed_between_is_judged_again() {
    let mut sim = Sim::new(&policy("{imagePullBackoff: 1h}"), free());
    sim.put(stuck("p", 0));
    sim.now = HOUR;
    let due = sim.replicas[0].due(at(HOUR), true);
    let attempt: &Attempt = &due.attempts[0];
    // It began to run a moment ago, and the watch has not told yet.
    let live = parsed(&running("p", HOUR));
    let facts = LiveFacts::of_pod(Read::There(Box::new(live)));
    assert_eq!(sim.replicas[0].decide(attempt, &facts, at(HOUR)), NextStep::Nothing);
    assert_eq!(sim.replicas[0].answered(&attempt.uid, Answer::Done, at(HOUR)), What::Unasked);
    assert!(sim.replicas[0].due(at(100 * HOUR), true).is_empty());
}

#[test]
fn another_pod_of_the_same_name_is_not_the_one() {
    let mut sim = called(free());
    let due = sim.replicas[0].due(at(HOUR), true);
    let other = with(running("p", 0), "metadata.uid", json!("another"));
    let facts = LiveFacts::of_pod(Read::There(Box::new(parsed(&other))));
    assert_eq!(sim.replicas[0].decide(&due.attempts[0], &facts, at(HOUR)), NextStep::Nothing);
    assert!(sim.replicas[0].due(at(100 * HOUR), true).is_empty());
}

#[test]
fn what_cannot_be_read_is_read_again_later() {
    let mut sim = called(free());
    let due = sim.replicas[0].due(at(HOUR), true);
    let facts = LiveFacts::of_pod(Read::Failed);
    assert_eq!(sim.replicas[0].decide(&due.attempts[0], &facts, at(HOUR)), NextStep::Later(at(HOUR + 1)));
    let due = sim.replicas[0].due(at(HOUR + 1), true);
    assert_eq!(sim.replicas[0].decide(&due.attempts[0], &facts, at(HOUR + 1)), NextStep::Later(at(HOUR + 3)));
}

#[test]
fn a_dry_run_walks_the_same_path_and_only_reports() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&policy("{running: 1h}"), WatcherOptions { dry_run: true, ..free() });
    sim.owners.push(job.clone());
    sim.put_all((0..10).map(|n| of(running(&format!("p{n}"), 0), &job)));
    sim.put(running("bare", 0));
    sim.run(5 * HOUR);
    assert!(sim.acts.is_empty());
    let said: Vec<&str> = sim.said.iter().map(|(_, said)| said.text.as_str()).collect();
    // The bare pod, and the Job with the pod that it was found by: once.
    assert!(said.len() == 3 && said.iter().all(|text| text.contains("Without --dry-run")), "{said:?}");
    assert!(sim.reports.iter().all(|(_, report)| report.log.dry_run));
}

#[test]
fn evictions_and_grace_periods_are_as_the_policy_says() {
    let mut sim = Sim::new(&policy_for("p", "{}", "{running: 1h}", "{action: Evict, gracePeriodSeconds: 5}"), free());
    sim.put(of(running("p", 0), &owner("argoproj.io/v1alpha1", "Workflow", "flow")));
    sim.run(HOUR);
    let act = &sim.acts[0].1;
    assert_eq!((act.kind, act.grace_period_seconds, act.kind.name()), (ActKind::Evict, Some(5), "evict"));
}

#[test]
fn who_stops_leading_hands_nothing_out_and_comes_back_to_what_it_had_in_hand() {
    let mut sim = called(free());
    let due = sim.replicas[0].due(at(HOUR), true);
    assert_eq!(due.attempts.len(), 1);
    assert!(sim.replicas[0].due(at(HOUR + 1), false).is_empty());
    let facts = LiveFacts::of_pod(Read::There(Box::new(parsed(&sim.pods["uid-p"]))));
    assert_eq!(sim.replicas[0].decide(&due.attempts[0], &facts, at(HOUR + 1)), NextStep::Nothing, "it leads no longer");
    assert_eq!(sim.replicas[0].due(at(HOUR + 40), true).attempts.len(), 1);
}

#[test]
fn a_pod_that_is_gone_does_not_come_back_by_what_was_read_before() {
    let mut sim = called(free());
    let due = sim.replicas[0].due(at(HOUR), true);
    let facts = LiveFacts::of_pod(Read::There(Box::new(parsed(&sim.pods["uid-p"]))));
    sim.now = HOUR;
    sim.remove("uid-p");
    assert_eq!(sim.replicas[0].decide(&due.attempts[0], &facts, at(HOUR)), NextStep::Nothing);
    assert!(sim.replicas[0].counts(at(HOUR)).tracked.iter().all(|(_, count)| *count == 0));
}

#[test]
fn pods_of_one_job_that_ended_go_without_waiting_for_it_to_notice() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&policy("{succeeded: 1h}"), free());
    sim.owners.push(job.clone());
    sim.put_all((0..50).map(|n| of(super::sim::ended(&format!("p{n}"), 0), &job)));
    sim.run(HOUR + 1);
    assert_eq!((sim.acts.len(), sim.pods.len()), (50, 0));
}
