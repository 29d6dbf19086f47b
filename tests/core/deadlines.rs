//! Properties of judging and of keeping deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use stowage::duration::{Threshold, parse};
use stowage::reaper::deadlines::{Deadlines, Kin, Seen};
use stowage::threshold::resolve::{Limit, Word};
use stowage::threshold::spec::OnExceeded;
use stowage::threshold::{Kept, NodeReadiness, State, Thresholds, WatchedPod, evaluate};

const DAY: i64 = 86_400;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Every threshold a pod could have, by the number of a policy.
fn thresholds(policy: u8) -> Thresholds {
    let limits = State::ALL.into_iter().enumerate().map(|(index, state)| {
        let seconds = 60 * (1 + u64::from(policy)) * (1 + index as u64);
        let threshold =
            if policy == 3 { Threshold::Never } else { Threshold::After(std::time::Duration::from_secs(seconds)) };
        let limit = Limit {
            threshold,
            word: Word::Policy,
            policy: "p".into(),
            on_exceeded: OnExceeded::default(),
            policy_threshold: Some(threshold),
        };
        (state, limit)
    });
    limits.collect()
}

fn moment() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => Just(json!("1970-01-01T00:00:00Z")),
        6 => (0..DAY).prop_map(|second| json!(at(second).to_string())),
    ]
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let waiting = prop::sample::select(vec![
        "ImagePullBackOff",
        "ErrImagePull",
        "CrashLoopBackOff",
        "CreateContainerError",
        "ContainerCreating",
        "",
    ]);
    let state = prop_oneof![
        waiting.prop_map(|reason| json!({"waiting": {"reason": reason}})),
        moment().prop_map(|time| json!({"running": {"startedAt": time}})),
        (moment(), moment(), 0..2).prop_map(
            |(from, to, code)| json!({"terminated": {"startedAt": from, "finishedAt": to, "exitCode": code}})
        ),
        Just(Value::Null),
    ];
    let last = prop_oneof![
        Just(Value::Null),
        (moment(), moment()).prop_map(|(from, to)| json!({"terminated": {"startedAt": from, "finishedAt": to}})),
    ];
    (state, last, 0..4).prop_map(move |(state, last, restarts)| json!({"name": name, "state": state, "lastState": last, "restartCount": restarts}))
}

fn condition(kind: &'static str) -> impl Strategy<Value = Value> {
    (prop::sample::select(vec!["True", "False", "Unknown"]), moment())
        .prop_map(move |(status, time)| json!({"type": kind, "status": status, "lastTransitionTime": time}))
}

prop_compose! {
    fn pod()(
        phase in prop::sample::select(vec!["Pending", "Running", "Succeeded", "Failed", "Unknown", ""]),
        node in prop::sample::select(vec!["", "n"]),
        created in 0..DAY,
        deleted in prop_oneof![4 => Just(Value::Null), 1 => moment()],
        started in moment(),
        gates in prop::sample::select(vec![json!(null), json!([]), json!([{"name": "g"}])]),
        conditions in (condition("PodScheduled"), condition("Initialized"), condition("Ready")),
        containers in prop::collection::vec(container("c"), 0..3),
        init in prop::collection::vec(container("i"), 0..3),
        sidecar in prop::bool::ANY,
    ) -> WatchedPod {
        let policy = if sidecar { "Always" } else { "" };
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "creationTimestamp": at(created).to_string(), "deletionTimestamp": deleted},
            "spec": {"nodeName": node, "schedulingGates": gates, "initContainers": [{"name": "i", "restartPolicy": policy}]},
            "status": {"phase": phase, "startTime": started, "conditions": [conditions.0, conditions.1, conditions.2],
                "containerStatuses": containers, "initContainerStatuses": init}
        })).unwrap()
    }
}

/// Pods with uids of their own, each with the number of its policy.
fn pods() -> impl Strategy<Value = Vec<(WatchedPod, u8)>> {
    prop::collection::vec((pod(), 0..4_u8), 1..40).prop_map(|mut pods| {
        for (index, (pod, _)) in pods.iter_mut().enumerate() {
            pod.metadata.uid = format!("00000000-0000-4000-8000-{index:012x}");
        }
        pods
    })
}

fn feed(deadlines: &mut Deadlines, pod: &WatchedPod, policy: u8) {
    let kept = Kept::next(deadlines.kept(&pod.metadata.uid).as_ref(), pod, at(0));
    let verdict = &evaluate(pod, NodeReadiness::Unheard, &thresholds(policy), at(0));
    deadlines.upsert(&Seen { pod, kept: &kept, verdict, terms: &Arc::default(), kin: Kin::Bare });
}

fn held(deadlines: &Deadlines, pods: &[(WatchedPod, u8)]) -> BTreeMap<String, Option<Timestamp>> {
    pods.iter().map(|(pod, _)| (pod.metadata.uid.clone(), deadlines.deadline(&pod.metadata.uid))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_later_now_never_undoes_a_due_verdict(pod in pod(), policy in 0..4_u8, now in 0..10 * DAY, later in 0..10 * DAY) {
        let thresholds = thresholds(policy);
        let before = evaluate(&pod, NodeReadiness::Unheard, &thresholds, at(now));
        let after = evaluate(&pod, NodeReadiness::Unheard, &thresholds, at(now + later));
        prop_assert!(!before.due || after.due);
        prop_assert_eq!((before.state, before.since, before.deadline), (after.state, after.since, after.deadline));
        if let Some(deadline) = before.deadline {
            prop_assert!(evaluate(&pod, NodeReadiness::Unheard, &thresholds, deadline).due);
            let just_before = Timestamp::from_nanosecond(deadline.as_nanosecond() - 1).unwrap();
            prop_assert!(!evaluate(&pod, NodeReadiness::Unheard, &thresholds, just_before).due);
        }
    }

    #[test]
    fn every_pod_that_the_api_server_has_taken_in_has_a_start_but_an_end_or_a_loss_without_a_time(pod in pod()) {
        let verdict = evaluate(&pod, NodeReadiness::Unheard, &thresholds(0), at(0));
        let may_lack = verdict.state.is_finished() || verdict.state == State::Unknown;
        prop_assert!(may_lack || verdict.since.is_some());
    }

    #[test]
    fn no_deadline_lies_before_creation_plus_threshold(pod in pod(), policy in 0..4_u8, back in prop::option::of(0..DAY)) {
        let node = back.map_or(NodeReadiness::Unheard, |back| NodeReadiness::Ready(Some(at(back))));
        let verdict = evaluate(&pod, node, &thresholds(policy), at(0));
        let created = pod.metadata.creation_timestamp;
        if let (Some(deadline), Some(length)) = (verdict.deadline, verdict.threshold.and_then(Threshold::length)) {
            let earliest = created.map(|created| created + length);
            prop_assert!(Some(deadline) >= earliest || verdict.state == State::Terminating, "{verdict:?} {created:?}");
        }
    }

    /// The watcher is fed old and new states of the pods in any order of pods, is restarted or lists again at any
    /// point, and is fed the newest state of each at the end of a list, as a watch does.
    #[test]
    fn any_order_of_arrival_and_any_restarts_give_the_same_deadlines(
        pods in pods(),
        events in prop::collection::vec((any::<prop::sample::Index>(), pod(), 0..10_u8), 0..120),
        order in any::<u64>(),
    ) {
        let mut straight = Deadlines::new();
        for (pod, policy) in &pods {
            feed(&mut straight, pod, *policy);
        }
        let mut other = Deadlines::new();
        for (which, mut earlier, what) in events {
            let (pod, policy) = which.get(&pods);
            earlier.metadata.uid.clone_from(&pod.metadata.uid);
            match what {
                0 => other = Deadlines::new(),
                1 => { other.remove(&pod.metadata.uid); }
                2 => { other.due(at(DAY / 2)).count(); }
                _ => feed(&mut other, &earlier, *policy),
            }
        }
        other.begin_list();
        let mut shuffled: Vec<&(WatchedPod, u8)> = pods.iter().collect();
        shuffled.sort_by_key(|(pod, _)| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            (order, &pod.metadata.uid).hash(&mut hasher);
            hasher.finish()
        });
        for (pod, policy) in shuffled {
            feed(&mut other, pod, *policy);
        }
        other.end_list();
        prop_assert_eq!(held(&straight, &pods), held(&other, &pods));
        prop_assert_eq!(straight.len(), other.len());
    }

    #[test]
    fn nothing_comes_up_early_or_twice_and_everything_comes_up(pods in pods(), steps in prop::collection::vec(1..DAY, 1..20)) {
        let mut deadlines = Deadlines::new();
        for (pod, policy) in &pods {
            feed(&mut deadlines, pod, *policy);
        }
        let (mut seen, mut now) = (BTreeSet::new(), 0);
        for step in steps {
            now += step;
            let mut last = at(0);
            for due in deadlines.due(at(now)).collect::<Vec<_>>() {
                prop_assert!(due.deadline <= at(now), "early");
                prop_assert!(due.deadline >= last, "the oldest first");
                last = due.deadline;
                prop_assert!(seen.insert(due.uid), "twice");
            }
            for (pod, policy) in &pods {
                feed(&mut deadlines, pod, *policy);
            }
            let expect: BTreeSet<String> = held(&deadlines, &pods)
                .into_iter()
                .filter(|(_, deadline)| deadline.is_some_and(|deadline| deadline <= at(now)))
                .map(|(uid, _)| uid)
                .collect();
            prop_assert_eq!(&seen, &expect);
            prop_assert!(deadlines.next_at().is_none_or(|next| next > at(now)));
        }
    }

    #[test]
    fn the_parser_takes_any_text_without_a_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn what_is_written_is_read_back(text in "([0-9]{1,4}([.][0-9]{1,12})? ?(s|MIN|hours?|d|w|y)[ ,]{0,2}){1,4}") {
        if let Ok(threshold) = parse(&text) {
            prop_assert_eq!(parse(&threshold.to_string()), Ok(threshold), "{}", threshold);
        }
    }
}
