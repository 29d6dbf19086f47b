//! What the watcher and whoever speaks to the API server say to each other, as values.
//!
//! [`Watcher::due`](super::watcher::Watcher::due) gives [`Attempt`]s. For each the pod is read live, and
//! [`Watcher::decide`](super::watcher::Watcher::decide) is asked with what was read, again and again, as long as it says
//! [`NextStep::Read`]. What became of a [`NextStep::Act`] is told to
//! [`Watcher::answered`](super::watcher::Watcher::answered).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::said::{RemovalLog, Said};
use crate::duration::Threshold;
use crate::threshold::owner::OwnerObject;
use crate::threshold::pod::OwnerReference;
use crate::threshold::resolve::Word;
use crate::threshold::spec::ActionSpec;
use crate::threshold::{State, WatchedPod};

/// A pod that is due and has passed the rails: it is to be read live and decided about.
///
/// Each is to be ended by a [`NextStep`] that is none of [`NextStep::Read`] and [`NextStep::Act`], or by an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The pod's uid.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's name.
    pub name: String,
    /// The state in which it is due.
    pub state: State,
    /// Since when it is in that state.
    pub since: Option<Timestamp>,
    /// How long it may be.
    pub threshold: Threshold,
    /// Who says so.
    pub word: Word,
    /// The policy that set the threshold; for the pod's own word the first that matches.
    pub policy: Arc<str>,
    /// What that policy does.
    pub action: ActionSpec,
    /// Seconds that the policy gives the pod to end.
    pub grace_period_seconds: Option<u32>,
    /// When it came due: what lateness is measured from.
    pub deadline: Timestamp,
}

/// What reading an object live came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// It is there.
    There(Box<T>),
    /// 404.
    Absent,
    /// 403.
    Forbidden,
    /// 429, 5xx, a timeout, or what came cannot be read.
    Failed,
}

/// What was read live for one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFacts {
    /// The pod, by its name.
    pub pod: Read<WatchedPod>,
    /// The owners that [`NextStep::Read`] asked for, in that order.
    pub owners: Vec<Read<OwnerObject>>,
}

impl LiveFacts {
    /// The pod alone.
    #[must_use]
    pub const fn of_pod(pod: Read<WatchedPod>) -> Self {
        Self { pod, owners: Vec::new() }
    }
}

/// What comes next for an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum NextStep {
    /// This object is to be read, by name in the pod's namespace; what came is pushed to [`LiveFacts::owners`], and
    /// [`decide`](super::watcher::Watcher::decide) is asked again.
    Read(OwnerReference),
    /// This call is to be made, and its answer told.
    Act(Box<Act>),
    /// This is to be said, and nothing more is to be done; the watcher comes back to the pod by itself.
    Report(Box<Report>),
    /// Nothing is to be done: the pod is gone, or is in another state, or its owner is being removed already.
    Nothing,
    /// The watcher comes back to the pod then, by itself.
    Later(Timestamp),
}

/// A call that removes something.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// The pod's uid, for [`answered`](super::watcher::Watcher::answered).
    pub pod_uid: String,
    /// Which call.
    pub kind: ActKind,
    /// On what.
    pub target: Target,
    /// What becomes of what the target owns. Always said: a Job's default would leave its pods behind.
    pub propagation: Propagation,
    /// `gracePeriodSeconds`, of a pod only.
    pub grace_period_seconds: Option<u32>,
    /// What is logged of it once it is done.
    pub log: RemovalLog,
}

/// Which call removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActKind {
    /// DELETE of the pod.
    DeletePod,
    /// DELETE of an owner.
    DeleteOwner,
    /// An Eviction of the pod.
    Evict,
}

impl ActKind {
    /// Each.
    pub const ALL: [Self; 3] = [Self::DeletePod, Self::DeleteOwner, Self::Evict];

    /// As metrics and log lines have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeletePod => "delete",
            Self::DeleteOwner => "delete-owner",
            Self::Evict => "evict",
        }
    }
}

/// An object with what a call on it is bound to: both are preconditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// `group/version`, or `v1`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid, a precondition.
    pub uid: String,
    /// The version that was read, a precondition.
    pub resource_version: String,
}

/// `propagationPolicy` of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// What it owns goes after it, by the garbage collector.
    Background,
}

impl Propagation {
    /// As the API has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        "Background"
    }
}

/// What is said instead of a removal.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The Events; empty where the same was said of this pod and state before.
    pub said: Vec<Said>,
    /// What is logged, with the reason.
    pub log: RemovalLog,
}

/// What the API server answered to an [`Act`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200, 201 or 202.
    Done,
    /// 404.
    NotFound,
    /// 409: a precondition failed.
    Conflict,
    /// 429, with its Retry-After where there was one.
    TooMany(Option<Duration>),
    /// 403.
    Forbidden,
    /// Anything else, or nothing in time.
    Failed,
    /// The call was not made: the Lease was lost in the middle, say.
    NotTried,
}

impl Answer {
    /// As metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NotFound => "gone",
            Self::Conflict => "conflict",
            Self::TooMany(_) => "too-many",
            Self::Forbidden => "forbidden",
            Self::Failed => "failed",
            Self::NotTried => "not-tried",
        }
    }
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// It is removed: these Events go out and this line is logged; so late was it.
    Removed {
        /// On the pod, and on its owner.
        said: Vec<Said>,
        /// With state, since, threshold, age and action.
        log: Box<RemovalLog>,
        /// From the deadline to the call that was answered.
        lateness: Duration,
    },
    /// It was gone already.
    Gone,
    /// The watcher comes back to it then, by itself.
    Later(Timestamp),
    /// That kind of call is not made until then, and pods that need it are reported.
    Disabled(ActKind, Timestamp),
    /// Nobody asked for this answer.
    Unasked,
}
