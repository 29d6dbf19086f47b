//! The watcher's mind: what is known of pods and nodes, what comes due, and what is to be done about it.
//!
//! One owner, no clock, no I/O: everything is an argument, and what is to be said or done is a value. The way of a pod:
//! [`Watcher::pod`] for each of its objects, [`Watcher::due`] when [`Watcher::next_at`] has come, [`Watcher::decide`] with
//! what was read live, [`Watcher::answered`] with what the API server said.
//!
//! A standby is fed and asked as the leader is, by [`Watcher::due`] with `is_leader` false: it goes through every rail and
//! hands out nothing, so that a change of leader loses nothing and delays nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::board::{BoardRow, Counts, RowFilter};
use super::deadlines::Deadlines;
use super::missed::Registration;
use super::options::WatcherOptions;
use super::said::{BreakerTurn, Said};
use super::step::{Answer, Attempt, LiveFacts, Step, What};
use crate::policy::snapshot::Snapshot;
use crate::threshold::{WatchedNode, WatchedPod};

/// The state machine. See the module.
#[derive(Debug)]
pub struct Watcher {
    options: WatcherOptions,
    snapshot: Arc<Snapshot>,
    records: Deadlines,
}

/// What came due.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Due {
    /// Pods to be read live and decided about, in this order. Empty for a standby.
    pub attempts: Vec<Attempt>,
    /// Events to be sent: found overdue, announced before, created while no replica answered. Empty for a standby.
    pub said: Vec<Said>,
    /// The breaker opened or closed. A standby says it too, for its own metrics; the leader alone sends the Event.
    pub turns: Vec<BreakerTurn>,
}

impl Due {
    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.said.is_empty() && self.turns.is_empty()
    }
}

/// Why the annotation that releases the breaker says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` releases nothing: write the time until which due pods are let go, RFC 3339, and after a blank what is held, \
     such as `2026-01-31T12:00:00Z image_pull_backoff,found_overdue`; the time alone is everything"
)]
pub struct ReleaseError {
    value: String,
}

impl Watcher {
    /// Nothing is known yet, and nothing comes due before pods and nodes were listed once and a snapshot was given.
    #[must_use]
    pub fn new(options: WatcherOptions) -> Self {
        Self { options, snapshot: Arc::default(), records: Deadlines::new() }
    }

    /// The options it was made with.
    #[must_use]
    pub const fn options(&self) -> &WatcherOptions {
        &self.options
    }

    /// Takes in policies and namespaces. Says whether a relist of pods is wanted: policies that speak to the watcher, or
    /// namespaces' labels, are others. Until the relist pods keep their deadlines by the older ones, and are judged by the
    /// newer ones when they are read live.
    #[must_use]
    pub fn snapshot(&mut self, snapshot: Arc<Snapshot>, _now: Timestamp) -> bool {
        let is_other = !Arc::ptr_eq(&self.snapshot.policies, &snapshot.policies)
            || !Arc::ptr_eq(&self.snapshot.namespaces, &snapshot.namespaces);
        self.snapshot = snapshot;
        is_other
    }

    /// Takes in the webhook's live registration; `None` where there is none, and then no pod counts as missed.
    pub fn registration(&mut self, _registration: Option<Registration>, _now: Timestamp) {}

    /// A list of all pods begins: at the start, after the watch lost its place, or because a snapshot wants it.
    pub fn begin_list(&mut self) {
        self.records.begin_list();
    }

    /// The list of pods is complete: forgets those that were not in it. Says how many.
    pub fn end_list(&mut self, _now: Timestamp) -> usize {
        self.records.end_list()
    }

    /// Takes in a pod, from a list or a watch.
    pub fn pod(&mut self, _pod: &WatchedPod, _now: Timestamp) {}

    /// A pod is gone.
    pub fn gone(&mut self, uid: &str, _now: Timestamp) {
        self.records.remove(uid);
    }

    /// A list of all nodes begins.
    pub fn begin_nodes(&mut self) {}

    /// The list of nodes is complete: those that were not in it do not exist.
    pub fn end_nodes(&mut self, _now: Timestamp) {}

    /// Takes in a node.
    pub fn node(&mut self, _node: &WatchedNode, _now: Timestamp) {}

    /// A node is gone.
    pub fn node_gone(&mut self, _name: &str, _now: Timestamp) {}

    /// Takes in the value of the annotation [`RELEASE`] on the watcher's Deployment. Each value works once, and again
    /// given does nothing.
    ///
    /// # Errors
    ///
    /// When it is no such value.
    pub fn release(&mut self, value: &str, _now: Timestamp) -> Result<(), ReleaseError> {
        Err(ReleaseError { value: value.chars().take(64).collect() })
    }

    /// What came due and passed every rail, and what is to be said. For a standby nothing is handed out; a leader that
    /// stops leading is one from the next call on, and what it has in hand comes up again later.
    #[must_use]
    pub fn due(&mut self, _now: Timestamp, _is_leader: bool) -> Due {
        Due::default()
    }

    /// What comes next for an attempt, by what was read live.
    #[must_use]
    pub fn decide(&mut self, _attempt: &Attempt, _facts: &LiveFacts, _now: Timestamp) -> Step {
        Step::Nothing
    }

    /// Takes in what the API server answered to the [`Act`](super::step::Act) for that pod.
    #[must_use]
    pub fn answered(&mut self, _pod_uid: &str, _answer: Answer, _now: Timestamp) -> What {
        What::Unasked
    }

    /// When [`Watcher::due`] has something next; `None` when nothing will without news. A moment that has passed is now.
    #[must_use]
    pub fn next_at(&mut self, _now: Timestamp, _is_leader: bool) -> Option<Timestamp> {
        None
    }

    /// The rows of the board: pods with a deadline, by time left.
    #[must_use]
    pub fn rows(&self, _now: Timestamp, _filter: &RowFilter) -> Vec<BoardRow> {
        Vec::new()
    }

    /// What metrics are made of.
    #[must_use]
    pub fn counts(&mut self, _now: Timestamp) -> Counts {
        Counts::default()
    }
}

/// The annotation on the watcher's Deployment that lets go what the breaker holds.
pub const RELEASE: &str = "stowage.dev/release-breaker";
