//! Events on pods and on their owners, sent behind the decision's back.
//!
//! A decision never waits: what does not fit into the queue is dropped and counted. A [`Pace`] says how many are sent; the
//! same words on the same object become one event that is counted up.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use crate::metrics::{Delivery, Metrics};

/// What is said of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The object's apiVersion.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, where it is known.
    pub uid: String,
    /// One word in CamelCase.
    pub reason: String,
    /// What was done or left undone, in CamelCase.
    pub action: &'static str,
    /// The text, at most 1 KiB of it is sent.
    pub note: String,
}

/// Takes notices in, and never waits.
#[derive(Clone)]
pub struct Notices {
    queue: Sender<Notice>,
    metrics: Arc<Metrics>,
}

/// How many events may wait, and how many are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Those that wait; what comes beyond them is left out.
    pub queue: usize,
    /// Those sent at once.
    pub burst: u32,
    /// Over time, one in this time.
    pub interval: Duration,
}

/// The webhook's: what it says of a pod, the pod's marker says too.
pub const ADVICE: Pace = Pace { queue: 256, burst: 100, interval: Duration::from_millis(200) };

/// What the API takes in a note.
const NOTE: usize = 1024;

impl Notices {
    /// Sends an event soon, or counts that it was left out.
    pub fn send(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.metrics.cluster.events.count(Delivery::Dropped);
        }
    }
}

/// What waits, for [`deliver`].
pub struct Undelivered {
    notices: Receiver<Notice>,
    pace: Pace,
}

/// Both ends of the queue; the second goes to [`deliver`].
#[must_use]
pub fn queue(metrics: Arc<Metrics>, pace: Pace) -> (Notices, Undelivered) {
    let (queue, notices) = channel(pace.queue);
    (Notices { queue, metrics }, Undelivered { notices, pace })
}

/// Sends what comes until nobody sends any more. `instance` is the name of the pod that runs this.
pub async fn deliver(client: Client, instance: Option<String>, waiting: Undelivered, metrics: Arc<Metrics>) {
    let Undelivered { mut notices, pace } = waiting;
    let reporter = Reporter { controller: "stowage".to_owned(), instance };
    let mut recorders = Recorders { client, reporter, by_words: HashMap::new(), looked: Instant::now() };
    let mut allowance = Allowance::full(pace, Instant::now());
    let mut failed = false;
    while let Some(notice) = notices.recv().await {
        if let Some(until) = allowance.take(Instant::now()) {
            sleep_until(until).await;
        }
        let recorder = recorders.of(&notice, Instant::now());
        let (event, regarding) = event(notice);
        let error = match timeout(PATIENCE, recorder.publish(&event, &regarding)).await {
            Ok(Ok(())) => {
                metrics.cluster.events.count(Delivery::Sent);
                failed = false;
                continue;
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let error = error.as_ref().map(|error| error as &dyn std::error::Error);
        metrics.cluster.events.count(Delivery::Failed);
        if std::mem::replace(&mut failed, true) {
            debug!(error, "an event was not taken");
        } else {
            warn!(error, "events are not taken");
        }
    }
}

/// How long one event may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long words are remembered; kube's recorder counts an event up for as long.
const REMEMBERED: Duration = Duration::from_secs(6 * 60);

/// One recorder for the same words on the same object: kube's takes every event of one reason and action on an object for
/// the same, counts it up, and loses what the later ones say.
struct Recorders {
    client: Client,
    reporter: Reporter,
    by_words: HashMap<u64, (Recorder, Instant)>,
    looked: Instant,
}

impl Recorders {
    fn of(&mut self, notice: &Notice, now: Instant) -> Recorder {
        if now.duration_since(self.looked) > REMEMBERED {
            self.by_words.retain(|_, (_, used)| now.duration_since(*used) <= REMEMBERED);
            self.looked = now;
        }
        let mut hasher = DefaultHasher::new();
        notice.hash(&mut hasher);
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, used) = self.by_words.entry(hasher.finish()).or_insert_with(new);
        *used = now;
        recorder.clone()
    }
}

fn event(notice: Notice) -> (Event, ObjectReference) {
    let mut note = notice.note;
    let end = (0..=NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    note.truncate(end);
    let event = Event {
        type_: EventType::Warning,
        reason: notice.reason,
        note: Some(note),
        action: notice.action.to_owned(),
        secondary: None,
    };
    let regarding = ObjectReference {
        api_version: Some(notice.api_version),
        kind: Some(notice.kind),
        namespace: Some(notice.namespace),
        name: Some(notice.name),
        uid: Some(notice.uid),
        ..ObjectReference::default()
    };
    (event, regarding)
}

/// A token bucket, as the moment at which it will be full.
struct Allowance {
    pace: Pace,
    full_at: Instant,
}

impl Allowance {
    const fn full(pace: Pace, now: Instant) -> Self {
        Self { pace, full_at: now }
    }

    /// Takes a token; the moment at which it is there, where that is not now.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let Pace { burst, interval, .. } = self.pace;
        self.full_at = self.full_at.max(now) + interval;
        self.full_at.checked_sub(interval * burst).filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::mock::{MockReply, server};

    #[test]
    fn a_hundred_go_at_once_and_then_five_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::full(ADVICE, start);
        for _ in 0..ADVICE.burst {
            assert_eq!(allowance.take(start), None);
        }
        assert_eq!(allowance.take(start), Some(start + ADVICE.interval));
        assert_eq!(allowance.take(start), Some(start + ADVICE.interval * 2));
        assert_eq!(allowance.take(start + Duration::from_secs(60)), None);
    }

    fn notice(note: &str) -> Notice {
        Notice {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            namespace: "team".to_owned(),
            name: "train".to_owned(),
            uid: "1".to_owned(),
            reason: "Skipped".to_owned(),
            action: "Inject",
            note: note.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_words_are_counted_up_and_others_are_said_too() {
        let (asked, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let mut tries = 0;
        let client = server(move |request| {
            tries += 1;
            asked.send((request.method.clone(), request.body.clone())).unwrap();
            // One that hangs holds up nothing for long.
            if tries == 1 { MockReply::Hang } else { MockReply::Json(request.body.clone()) }
        });
        let metrics = Arc::new(Metrics::new("1").unwrap());
        let (notices, waiting) = queue(Arc::clone(&metrics), ADVICE);
        tokio::spawn(deliver(client, None, waiting, Arc::clone(&metrics)));
        for note in ["lost", "one", "other", "one"] {
            notices.send(notice(note));
        }
        let mut calls = Vec::new();
        for _ in 0..4 {
            let (method, body) = heard.recv().await.unwrap();
            calls.push((method, body["note"].as_str().unwrap_or_default().to_owned(), body["series"]["count"].clone()));
        }
        let post = |note: &str| ("POST".to_owned(), note.to_owned(), Value::Null);
        assert_eq!(calls[..3], [post("lost"), post("one"), post("other")]);
        assert_eq!((&*calls[3].0, &calls[3].2), ("PATCH", &json!(2)));
        assert_eq!(metrics.cluster.events.total(Delivery::Failed), 1);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Arc::new(Metrics::new("1").unwrap());
        let (notices, _kept) = queue(Arc::clone(&metrics), ADVICE);
        let notice = notice(&"ä".repeat(600));
        for _ in 0..ADVICE.queue + 3 {
            notices.send(notice.clone());
        }
        assert_eq!(metrics.cluster.events.total(Delivery::Dropped), 3);
        assert_eq!(event(notice).0.note.unwrap().len(), NOTE);
    }
}
