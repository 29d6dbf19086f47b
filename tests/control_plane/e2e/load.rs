//! Pods created without a pause, each looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{lab::Lab, unscheduled, until, variable};

/// The variable that the policy of the load sets.
pub(super) const VARIABLE: &str = "LOADED";
/// The name of that policy, of the label's value and of the namespace.
pub(super) const NAME: &str = "load";

/// How many are in flight.
const WORKERS: usize = 4;

/// What became of a creation that was not injected.
#[derive(Debug)]
pub(super) enum Lost {
    /// Admitted, without what the policy says.
    Uninjected,
    /// Refused by the API server, with its message.
    Refused(String),
    /// The API server did not answer.
    Unreachable,
}

/// A creation that went wrong.
#[derive(Debug)]
pub(super) struct Loss {
    pub(super) begun: Instant,
    pub(super) lost: Lost,
}

/// What became of all.
pub(super) struct Tally {
    pub(super) injected: usize,
    pub(super) losses: Vec<Loss>,
    pub(super) markers: Markers,
}

/// How many pods have a marker of these fields.
pub(super) type Markers = BTreeMap<BTreeSet<String>, usize>;

/// Creations that go on until [`Load::end`].
pub(super) struct Load {
    lab: &'static Lab,
    ended: Arc<AtomicBool>,
    injected: Arc<AtomicUsize>,
    markers: Arc<Mutex<Markers>>,
    workers: Vec<JoinHandle<Vec<Loss>>>,
    at_least: usize,
}

/// How many creations each failure is tried under at least: `STOWAGE_E2E_CREATIONS` says it, or the tests are left out,
/// since they take minutes.
pub(super) fn creations() -> Option<usize> {
    let asked = std::env::var("STOWAGE_E2E_CREATIONS").ok().map(|text| text.parse().unwrap());
    let required = std::env::var_os("STOWAGE_REQUIRE_CONTROL_PLANE").map(|_| 200);
    asked.or(required)
}

impl Load {
    pub(super) fn begin(lab: &'static Lab) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let injected = Arc::new(AtomicUsize::new(0));
        let markers = Arc::default();
        let worker = |_| tokio::spawn(create(lab, Arc::clone(&ended), Arc::clone(&injected), Arc::clone(&markers)));
        let workers = (0..WORKERS).map(worker).collect();
        Self { lab, ended, injected, markers, workers, at_least: creations().unwrap() }
    }

    /// Waits until so many more were injected.
    pub(super) async fn more(&self, number: usize) {
        let before = self.injected.load(Ordering::Relaxed);
        until("the load goes on", async || self.injected.load(Ordering::Relaxed) >= before + number).await;
    }

    /// Ends it once there were [`creations`] of them, and deletes the pods.
    pub(super) async fn end(mut self) -> Tally {
        until("there were creations enough", async || self.injected.load(Ordering::Relaxed) >= self.at_least).await;
        self.ended.store(true, Ordering::Relaxed);
        let mut losses = Vec::new();
        for worker in std::mem::take(&mut self.workers) {
            losses.extend(worker.await.unwrap());
        }
        losses.sort_by_key(|loss| loss.begun);
        let path = format!("/api/v1/namespaces/{NAME}/pods?gracePeriodSeconds=0");
        // A busy API server does not get through thousands in the minute that it gives a request.
        until("its pods are deleted", async || {
            self.lab.cluster.call(Method::DELETE, &path, None).await.status.is_success()
        })
        .await;
        let markers = std::mem::take(&mut *self.markers.lock().unwrap());
        Tally { injected: self.injected.load(Ordering::Relaxed), losses, markers }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// The fields of the pod's marker and of the first of its records, of whatever release.
pub(super) fn fields(pod: &Value) -> BTreeSet<String> {
    let text = pod["metadata"]["annotations"]["stowage.dev/injected"].as_str().unwrap_or_default();
    let marker: Value = serde_json::from_str(text).unwrap_or_default();
    let record = marker["policies"][0].as_object().into_iter().flatten().map(|(key, _)| format!("policies[].{key}"));
    marker.as_object().into_iter().flatten().map(|(key, _)| key.clone()).chain(record).collect()
}

async fn create(
    lab: &Lab,
    ended: Arc<AtomicBool>,
    injected: Arc<AtomicUsize>,
    markers: Arc<Mutex<Markers>>,
) -> Vec<Loss> {
    let path = format!("/api/v1/namespaces/{NAME}/pods");
    let pod = unscheduled(NAME);
    let mut losses = Vec::new();
    let mut connection = None;
    while !ended.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let lost = async {
            if connection.is_none() {
                connection = lab.cluster.connect().await.ok();
            }
            let open = connection.as_mut().ok_or(Lost::Unreachable)?;
            let sent = lab.cluster.send(open, Method::POST, &path, Some(&pod)).await;
            let reply = sent.map_err(|_| Lost::Unreachable)?;
            if !reply.status.is_success() {
                return Err(Lost::Refused(reply.message().to_owned()));
            }
            let fields = fields(&reply.body);
            if fields.is_empty() || variable(&reply.body, VARIABLE).is_none() {
                return Err(Lost::Uninjected);
            }
            *markers.lock().unwrap().entry(fields).or_default() += 1;
            Ok(())
        }
        .await;
        match lost {
            Ok(()) => {
                injected.fetch_add(1, Ordering::Relaxed);
            }
            Err(lost) => {
                if matches!(lost, Lost::Unreachable) {
                    connection = None;
                }
                losses.push(Loss { begun, lost });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    losses
}
