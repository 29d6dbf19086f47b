use super::*;
use crate::threshold::farthest;
use crate::threshold::pod::OwnerReference;

/// Tracks the pod, with what is kept of it.
fn track(deadlines: &mut Deadlines, pod: &WatchedPod, verdict: &Verdict) -> bool {
    let kept = Kept::next(deadlines.kept(&pod.metadata.uid).as_ref(), pod, at(0));
    keep(deadlines, pod, &kept, verdict)
}

fn keep(deadlines: &mut Deadlines, pod: &WatchedPod, kept: &Kept, verdict: &Verdict) -> bool {
    deadlines.upsert(&Seen { pod, kept, verdict, terms: &Arc::default(), kin: Kin::Bare })
}

#[test]
fn a_record_knows_its_siblings_whatever_they_become() {
    let mut deadlines = Deadlines::new();
    let owned = |uid: &str| {
        let owner = OwnerReference { uid: "owner".to_owned(), controller: true, ..OwnerReference::default() };
        let mut pod = pod(uid);
        pod.metadata.owner_references = vec![owner];
        pod
    };
    let siblings = |running, succeeded| Siblings { running, succeeded };
    for (uid, state) in
        [("a", State::Running), ("b", State::Succeeded), ("c", State::Failed), ("d", State::ImagePullBackoff)]
    {
        track(&mut deadlines, &owned(uid), &verdict(state, None));
    }
    track(&mut deadlines, &pod("bare"), &verdict(State::Running, None));
    assert_eq!((deadlines.siblings("a"), deadlines.siblings("d")), (siblings(0, 1), siblings(1, 1)));
    assert_eq!(deadlines.siblings("bare"), siblings(0, 0));
    assert!(deadlines.has_run("a") && deadlines.has_run("c") && !deadlines.has_run("d"));
    track(&mut deadlines, &owned("a"), &verdict(State::ContainerError, None));
    assert_eq!(deadlines.siblings("d"), siblings(0, 1));
    assert!(deadlines.has_run("a"), "it ran before");
    deadlines.begin_list();
    track(&mut deadlines, &owned("d"), &verdict(State::ImagePullBackoff, None));
    assert_eq!((deadlines.end_list().len(), deadlines.siblings("d")), (4, siblings(0, 0)));
    assert!(deadlines.tallies.is_empty());
}

#[test]
fn what_is_kept_of_a_pod_comes_back_and_a_record_stays_small() {
    let mut object = pod("a");
    object.metadata.creation_timestamp = Some(at(1_000));
    let kept = Kept::next(None, &object, at(5_000));
    let mut deadlines = Deadlines::new();
    keep(&mut deadlines, &object, &kept, &verdict(kept.state, None));
    assert_eq!(deadlines.kept("a"), Some(kept));
    assert!(size_of::<Record>() <= 88, "{} bytes", size_of::<Record>());
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pod(uid: &str) -> WatchedPod {
    let mut pod = WatchedPod::default();
    pod.metadata.uid = uid.to_owned();
    pod.metadata.name = format!("pod-{uid}");
    pod.metadata.namespace = "ns".to_owned();
    pod
}

fn verdict(state: State, deadline: Option<i64>) -> Verdict {
    Verdict { state, since: Some(at(0)), threshold: None, deadline: deadline.map(at), due: false, held_by_node: false }
}

fn names(deadlines: &mut Deadlines, now: i64) -> Vec<String> {
    deadlines.due(at(now)).map(|due| due.uid).collect()
}

#[test]
fn pods_come_up_in_order_once_and_not_early() {
    let mut deadlines = Deadlines::new();
    for (uid, deadline) in [("b", 20), ("a", 10), ("c", 30)] {
        assert!(track(&mut deadlines, &pod(uid), &verdict(State::Running, Some(deadline))));
    }
    track(&mut deadlines, &pod("d"), &verdict(State::Running, None));
    assert_eq!(deadlines.len(), 4);
    assert_eq!(deadlines.next_at(), Some(at(10)));
    assert!(names(&mut deadlines, 9).is_empty());
    assert_eq!(names(&mut deadlines, 20), ["a", "b"]);
    assert!(!track(&mut deadlines, &pod("a"), &verdict(State::Running, Some(10))));
    assert!(names(&mut deadlines, 25).is_empty());
    assert_eq!(deadlines.next_at(), Some(at(30)));
}

#[test]
fn a_fraction_of_a_second_is_not_early() {
    let mut deadlines = Deadlines::new();
    let exact: Timestamp = "2026-01-01T00:00:00.0005Z".parse().unwrap();
    let verdict = Verdict { deadline: Some(exact), ..verdict(State::Running, None) };
    track(&mut deadlines, &pod("a"), &verdict);
    assert_eq!(deadlines.due("2026-01-01T00:00:00.0004Z".parse().unwrap()).count(), 0);
    assert_eq!(deadlines.due("2026-01-01T00:00:00.001Z".parse().unwrap()).count(), 1);
}

#[test]
fn a_postponed_deadline_does_not_wake_early() {
    // kube-rs's Scheduler keeps the earlier of two times for one key.
    let mut deadlines = Deadlines::new();
    track(&mut deadlines, &pod("a"), &verdict(State::Running, Some(10)));
    track(&mut deadlines, &pod("a"), &verdict(State::Running, Some(50)));
    assert_eq!(deadlines.next_at(), Some(at(50)));
    assert!(names(&mut deadlines, 49).is_empty());
    assert!(deadlines.postpone(Uid::of("a"), at(60)));
    assert!(names(&mut deadlines, 59).is_empty());
    let due: Vec<DuePod> = deadlines.due(at(60)).collect();
    assert_eq!(due[0].deadline, at(50), "lateness counts from the deadline");
    assert!(deadlines.postpone(Uid::of("a"), at(70)), "to retry after it has come up");
    assert_eq!(names(&mut deadlines, 70), ["a"]);
}

#[test]
fn a_removed_pod_never_comes_up_and_one_of_the_same_name_is_another() {
    // Volcano cancels timers by the pod's name.
    let mut deadlines = Deadlines::new();
    let (mut old, mut new) = (pod("old"), pod("new"));
    old.metadata.name = "p".to_owned();
    new.metadata.name = "p".to_owned();
    track(&mut deadlines, &old, &verdict(State::Running, Some(10)));
    track(&mut deadlines, &new, &verdict(State::Running, Some(20)));
    assert!(deadlines.remove("old"));
    assert!(!deadlines.remove("old"));
    assert_eq!(names(&mut deadlines, 30), ["new"]);
    assert!(!deadlines.postpone(Uid::of("old"), at(40)));
}

#[test]
fn a_list_drops_the_pods_that_are_not_in_it() {
    let mut deadlines = Deadlines::new();
    for uid in ["a", "b"] {
        track(&mut deadlines, &pod(uid), &verdict(State::Running, Some(10)));
    }
    deadlines.begin_list();
    track(&mut deadlines, &pod("b"), &verdict(State::Running, Some(10)));
    assert_eq!(deadlines.end_list(), [Uid::of("a")]);
    assert_eq!(names(&mut deadlines, 10), ["b"]);
}

#[test]
fn stale_entries_do_not_pile_up() {
    let mut deadlines = Deadlines::new();
    for deadline in 0..100_000 {
        track(&mut deadlines, &pod("a"), &verdict(State::Running, Some(deadline)));
    }
    assert!(deadlines.heap.len() <= SLACK + 2);
    assert_eq!(names(&mut deadlines, 99_999), ["a"]);
}

#[test]
fn uids_are_given_back_as_they_came() {
    let uuid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    assert_eq!(Uid::of_uuid(uuid).unwrap().to_string(), uuid);
    for odd in ["", "u", "0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9f"] {
        assert_eq!(Uid::of_uuid(odd), None);
    }
    let mut deadlines = Deadlines::new();
    for uid in [uuid, "u-1"] {
        track(&mut deadlines, &pod(uid), &verdict(State::Running, Some(1)));
    }
    let mut seen = names(&mut deadlines, 1);
    seen.sort();
    assert_eq!(seen, [uuid, "u-1"]);
}

#[test]
fn the_farthest_deadline_is_held_and_never_comes_up_too_soon() {
    let mut deadlines = Deadlines::new();
    let far = Verdict { deadline: Some(farthest()), ..verdict(State::Running, None) };
    track(&mut deadlines, &pod("a"), &far);
    assert_eq!(deadlines.next_at(), Some(farthest()));
    assert_eq!(deadlines.due(at(4_000_000_000)).count(), 0);
}

#[test]
fn names_that_many_share_are_kept_once_and_go_with_the_last() {
    let mut deadlines = Deadlines::new();
    for (uid, node) in [("a", "n1"), ("b", "n1"), ("c", "n2")] {
        let mut pod = pod(uid);
        pod.spec.node_name = node.to_owned();
        track(&mut deadlines, &pod, &verdict(State::Running, None));
    }
    let mut on: Vec<String> = deadlines.on_node("n1").into_iter().map(|uid| deadlines.text(uid)).collect();
    on.sort();
    assert_eq!(on, ["a", "b"]);
    assert_eq!((deadlines.nodes.len(), deadlines.namespaces.len()), (2, 1));
    let mut moved = pod("c");
    moved.spec.node_name = "n3".to_owned();
    track(&mut deadlines, &moved, &verdict(State::Running, None));
    assert!(deadlines.on_node("n2").is_empty());
    assert_eq!(deadlines.node(deadlines.record(Uid::of("c")).unwrap()), "n3");
    assert!(["a", "b", "c"].into_iter().all(|uid| deadlines.remove(uid)));
    assert_eq!((deadlines.nodes.len(), deadlines.namespaces.len()), (0, 0));
    assert_eq!(deadlines.in_state(State::Running), 0);
}
