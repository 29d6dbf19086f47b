//! What is told of pods, of the breaker and of removals: Events and log lines, as values.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::duration::Threshold;
use crate::reason::Reason;
use crate::threshold::State;
use crate::threshold::resolve::Word;

/// The object that an Event speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// `group/version`, or `v1`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
}

/// An Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Of what.
    pub on: ObjectRef,
    /// The Event's reason is its name.
    pub reason: Reason,
    /// What was done or left undone, in CamelCase.
    pub action: &'static str,
    /// The text.
    pub text: String,
}

/// What is due together: a waiting state, or what was found overdue, in whatever state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Pods that came due in this waiting state.
    State(State),
    /// Pods that were due already when they were first seen, and whose notice has ended.
    FoundOverdue,
}

impl Group {
    /// As metrics, texts and the annotation that releases have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::State(state) => state.name(),
            Self::FoundOverdue => "found_overdue",
        }
    }

    /// By [`Group::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "found_overdue" {
            return Some(Self::FoundOverdue);
        }
        State::from_name(name).filter(|state| state.waits()).map(Self::State)
    }
}

/// The breaker opened or closed: for an Event on the watcher's Deployment, a log line and an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerTurn {
    /// What is held, or no longer.
    pub group: Group,
    /// Under which policy; `None` over all.
    pub policy: Option<Arc<str>>,
    /// Whether it holds now.
    pub open: bool,
    /// How many pods are due in it.
    pub due: usize,
    /// Of how many that have a threshold for it.
    pub of: usize,
    /// The policies that match each of the due pods.
    pub common_policies: Vec<Arc<str>>,
    /// The Event's reason is its name.
    pub reason: Reason,
    /// The text.
    pub text: String,
}

/// The fields of the log line of a removal, or of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct RemovalLog {
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The state that it was in.
    pub state: State,
    /// Since when.
    pub since: Option<Timestamp>,
    /// How long it might be.
    pub threshold: Threshold,
    /// Who said so.
    pub word: Word,
    /// By which policy.
    pub policy: Arc<str>,
    /// How long it was.
    pub age: Duration,
    /// `delete`, `evict`, `delete-owner` or `report`.
    pub action: &'static str,
    /// What was deleted in the pod's stead, as `Job/train`.
    pub owner: Option<String>,
    /// Why, for people.
    pub why: String,
    /// Whether it was only said, by `--dry-run`.
    pub dry_run: bool,
}
