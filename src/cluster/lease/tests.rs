use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::cluster::mock::{Asked, MockReply, server};

/// A Lease on a server, as several clients see it.
#[derive(Clone, Default)]
struct SharedLease(Arc<StdMutex<(Option<Value>, u64)>>);

impl SharedLease {
    /// A client that is answered unless it is `cut_off`.
    fn client(&self, cut_off: &Arc<AtomicBool>) -> Client {
        let (lease, cut_off) = (self.clone(), Arc::clone(cut_off));
        server(move |asked| if cut_off.load(Ordering::Relaxed) { MockReply::Hang } else { lease.answer(asked) })
    }

    fn answer(&self, asked: &Asked) -> MockReply {
        let mut held = self.0.lock().unwrap();
        let (lease, version) = &mut *held;
        assert!(asked.path.contains("/namespaces/stowage/leases"), "{}", asked.path);
        match (asked.method.as_str(), &*lease) {
            ("GET", None) => return MockReply::Status(404, "NotFound"),
            ("GET", Some(lease)) => return MockReply::Json(lease.clone()),
            ("POST", None) => {}
            ("PUT", Some(lease))
                if asked.body["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"] => {}
            _ => return MockReply::Status(409, "Conflict"),
        }
        *version += 1;
        let mut written = asked.body.clone();
        written["metadata"]["resourceVersion"] = json!(version.to_string());
        *lease = Some(written.clone());
        MockReply::Json(written)
    }

    fn holder(&self) -> String {
        let held = self.0.lock().unwrap();
        held.0.as_ref().map_or_else(String::new, |lease| lease["spec"]["holderIdentity"].as_str().unwrap().to_owned())
    }
}

/// A wall clock that stands still; the monotonic one of the tests runs.
fn wall() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn contend(lease: &SharedLease, identity: &str, cut_off: &Arc<AtomicBool>) -> (Arc<Elector>, Leadership) {
    let candidate = Candidate {
        namespace: "stowage".to_owned(),
        name: "stowage-watcher".to_owned(),
        identity: identity.to_owned(),
        clock: wall,
    };
    let (elector, leadership) = Elector::new(lease.client(cut_off), candidate);
    tokio::spawn(Arc::clone(&elector).run(|_| {}));
    (elector, leadership)
}

async fn until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let lease = SharedLease::default();
    let cut_off = Arc::new(AtomicBool::new(false));
    let (_first, first_leads) = contend(&lease, "first", &cut_off);
    until("the first leads", || first_leads.holds(wall())).await;
    let (_second, second_leads) = contend(&lease, "second", &Arc::default());
    sleep(Duration::from_secs(60)).await;
    assert!(first_leads.holds(wall()) && !second_leads.holds(wall()));
    cut_off.store(true, Ordering::Relaxed);
    let stopped = until("the first stops", || !first_leads.holds(wall())).await;
    assert!(!second_leads.holds(wall()), "two act at once");
    let begun = until("the second begins", || second_leads.holds(wall())).await;
    assert!(stopped <= TERM, "{stopped:?}");
    assert!(begun >= Duration::from_secs(3), "what the first sent last may still be under way after {begun:?}");
    assert!(stopped + begun <= DURATION + RETRY * 2, "{stopped:?} + {begun:?}");
    assert_eq!(lease.holder(), "second");
    // Back again it waits as anybody does.
    cut_off.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert!(!first_leads.holds(wall()) && second_leads.holds(wall()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_up_is_taken_at_once_and_not_asked_for_again() {
    let lease = SharedLease::default();
    let (first, first_leads) = contend(&lease, "first", &Arc::default());
    until("the first leads", || first_leads.holds(wall())).await;
    let (_second, second_leads) = contend(&lease, "second", &Arc::default());
    sleep(Duration::from_secs(5)).await;
    first.release().await;
    assert!(!first_leads.holds(wall()));
    assert!(until("the second leads", || second_leads.holds(wall())).await <= RETRY);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(lease.holder(), "second");
}

#[tokio::test(start_paused = true)]
async fn a_term_ends_by_the_wall_clock_too() {
    let lease = SharedLease::default();
    let (_elector, leads) = contend(&lease, "first", &Arc::default());
    until("it leads", || leads.holds(wall())).await;
    // A machine that was suspended: the monotonic clock stood still.
    assert!(!leads.holds(wall() + TERM));
    assert!(Leadership::undisputed().holds(wall() + TERM));
}

#[test]
fn two_processes_of_one_pod_have_two_names() {
    let name = Candidate::identity("stowage-watcher-0");
    assert!(name.starts_with("stowage-watcher-0_"));
    assert_ne!(name, Candidate::identity("stowage-watcher-0"));
}
