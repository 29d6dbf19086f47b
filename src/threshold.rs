//! From a pod, its thresholds and a moment to a verdict: in which state, since when, due when.
//!
//! Pure. State and start come from the object alone, so a restart of the watcher changes no deadline, and a state is
//! timed by itself: MLRun counts every state from the submission of the run, and aborts a run that queued for 23 hours
//! after one hour of work.
//!
//! [`resolve::resolve`] says which thresholds a pod has, [`evaluate`] when it is due, [`action::decide`] what is to be done
//! then, and [`Kept`] holds what a watcher knows that one object does not.

use jiff::Timestamp;

use crate::duration::Threshold;

pub mod action;
mod containers;
mod kept;
pub mod mlrun;
mod node;
pub mod owner;
pub mod pod;
pub mod resolve;
mod since;
pub mod spec;
mod subject;
pub mod words;

pub use action::{Action, ActionRules, Circumstances, Removal};
pub use kept::{Kept, PackedKept};
pub use node::{NodeReadiness, WatchedNode};
pub use pod::WatchedPod;
pub use resolve::{Limit, Resolved, Thresholds};
pub use since::{Caveat, Standing};
pub use subject::{RemovalSubject, Siblings};

/// What a pod is doing, as far as patience with it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Waits for a node.
    PendingNotScheduled,
    /// Has a node and waits for the kubelet; whatever of phase Pending is nothing more exact.
    PendingScheduled,
    /// A container's image cannot be pulled; between two attempts too.
    ImagePullBackoff,
    /// Runs. MLRun calls it `executing`, its documentation `running`; both are read.
    Running,
    /// A scheduling gate holds it back, of a queue for instance.
    SchedulingGated,
    /// A container cannot be created, for lack of a config map for instance.
    ContainerError,
    /// Init containers are at work, or crash again and again.
    Initializing,
    /// Is being deleted.
    Terminating,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly; or evicted.
    Failed,
    /// The node is lost.
    Unknown,
}

impl State {
    /// Every state, MLRun's four first.
    pub const ALL: [Self; 11] = [
        Self::PendingNotScheduled,
        Self::PendingScheduled,
        Self::ImagePullBackoff,
        Self::Running,
        Self::SchedulingGated,
        Self::ContainerError,
        Self::Initializing,
        Self::Terminating,
        Self::Succeeded,
        Self::Failed,
        Self::Unknown,
    ];

    /// The state in MLRun's manner, as in everything printed and in pod overrides: `image_pull_backoff`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PendingNotScheduled => "pending_not_scheduled",
            Self::PendingScheduled => "pending_scheduled",
            Self::ImagePullBackoff => "image_pull_backoff",
            Self::Running => "running",
            Self::SchedulingGated => "scheduling_gated",
            Self::ContainerError => "container_error",
            Self::Initializing => "initializing",
            Self::Terminating => "terminating",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The state as a key of `stateThresholds`: `imagePullBackoff`.
    pub fn field(self) -> &'static str {
        match self {
            Self::PendingNotScheduled => "pendingNotScheduled",
            Self::PendingScheduled => "pendingScheduled",
            Self::ImagePullBackoff => "imagePullBackoff",
            Self::Running => "running",
            Self::SchedulingGated => "schedulingGated",
            Self::ContainerError => "containerError",
            Self::Initializing => "initializing",
            Self::Terminating => "terminating",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The state by [`State::name`], or MLRun's `executing`.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "executing" {
            return Some(Self::Running);
        }
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The key under which a pod says its own threshold, as an annotation or a label.
    pub fn pod_key(self) -> &'static str {
        match self {
            Self::PendingNotScheduled => "stowage.dev/pending-not-scheduled-threshold",
            Self::PendingScheduled => "stowage.dev/pending-scheduled-threshold",
            Self::ImagePullBackoff => "stowage.dev/image-pull-backoff-threshold",
            Self::Running => "stowage.dev/running-threshold",
            Self::SchedulingGated => "stowage.dev/scheduling-gated-threshold",
            Self::ContainerError => "stowage.dev/container-error-threshold",
            Self::Initializing => "stowage.dev/initializing-threshold",
            Self::Terminating => "stowage.dev/terminating-threshold",
            Self::Succeeded => "stowage.dev/succeeded-threshold",
            Self::Failed => "stowage.dev/failed-threshold",
            Self::Unknown => "stowage.dev/unknown-threshold",
        }
    }

    /// The state whose threshold holds for this one where nobody sets its own.
    pub fn falls_under(self) -> Option<Self> {
        matches!(self, Self::ContainerError | Self::Initializing).then_some(Self::PendingScheduled)
    }

    /// Whether the pod's containers have ended for good.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// Whether the pod waits for something outside it: what a registry, a driver or a wrong policy does to many at once.
    pub fn waits(self) -> bool {
        !self.is_finished() && !matches!(self, Self::Running | Self::Terminating)
    }
}

/// One optional value for each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerState<T>([Option<T>; State::ALL.len()]);

impl<T> Default for PerState<T> {
    fn default() -> Self {
        Self([const { None }; State::ALL.len()])
    }
}

impl<T> PerState<T> {
    /// The value that the state itself has.
    pub fn own(&self, state: State) -> Option<&T> {
        self.0.get(state as usize)?.as_ref()
    }

    /// The value that holds for the state: its own, else that of the state it falls under.
    pub fn effective(&self, state: State) -> Option<&T> {
        self.own(state).or_else(|| self.own(state.falls_under()?))
    }

    /// Sets the state's own value.
    pub fn set(&mut self, state: State, value: T) {
        if let Some(slot) = self.0.get_mut(state as usize) {
            *slot = Some(value);
        }
    }

    /// The states that have an own value, with it.
    pub fn iter(&self) -> impl Iterator<Item = (State, &T)> {
        State::ALL.into_iter().filter_map(|state| Some((state, self.own(state)?)))
    }

    /// Whether no state has a value.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

impl<T> FromIterator<(State, T)> for PerState<T> {
    fn from_iter<I: IntoIterator<Item = (State, T)>>(values: I) -> Self {
        let mut per_state = Self::default();
        for (state, value) in values {
            per_state.set(state, value);
        }
        per_state
    }
}

/// What there is to say about a pod at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// Since when; `None` where the object cannot tell, which is never due.
    pub since: Option<Timestamp>,
    /// The state's threshold; `None` where nobody sets one.
    pub threshold: Option<Threshold>,
    /// The first moment at which the pod is due; `None` for never. At most [`farthest`].
    pub deadline: Option<Timestamp>,
    /// Whether now is at or after the deadline, and its node does not keep it from being due.
    pub due: bool,
    /// Whether the pod's node is not ready, so that nothing but `unknown` and `terminating` is due on it.
    pub held_by_node: bool,
}

/// Judges a pod by its object alone and what is known of its node.
pub fn evaluate(pod: &WatchedPod, node: NodeReadiness, thresholds: &Thresholds, now: Timestamp) -> Verdict {
    let standing = Standing::of(pod);
    evaluate_standing(standing.state, standing.since, node.dated_by(pod.lost()), thresholds, now)
}

/// Judges a pod by the state it is in and since when, before its node is looked at.
///
/// Due at `now >= since + threshold`: the API's times are whole seconds, so `1h` means the first second at which an hour
/// has passed. A start in the future (node and scheduler have their own clocks) is simply due later.
pub fn evaluate_standing(
    state: State,
    since: Option<Timestamp>,
    node: NodeReadiness,
    thresholds: &Thresholds,
    now: Timestamp,
) -> Verdict {
    let (state, since) = node.apply(state, since);
    let threshold = thresholds.effective(state).map(|limit| limit.threshold);
    let deadline = deadline(since, threshold);
    let held_by_node = node.holds(state);
    let due = deadline.is_some_and(|deadline| now >= deadline) && !held_by_node;
    Verdict { state, since, threshold, deadline, due, held_by_node }
}

/// The first moment at which a state that began at `since` is due; `None` for never.
pub fn deadline(since: Option<Timestamp>, threshold: Option<Threshold>) -> Option<Timestamp> {
    let length = threshold?.length()?;
    let far = since?.checked_add(length).unwrap_or_else(|_| farthest());
    Some(far.min(farthest()))
}

/// The farthest deadline: the last whole second that a timestamp can hold. A threshold of 9,000 years is legal.
pub fn farthest() -> Timestamp {
    Timestamp::from_second(Timestamp::MAX.as_second()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_found_by_its_name_and_keeps_its_own_value() {
        let all: PerState<&str> = State::ALL.into_iter().map(|s| (s, s.name())).collect();
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(all.own(state), Some(&state.name()));
            assert!(state.pod_key().contains(&state.name().replace('_', "-")));
        }
        assert_eq!(State::from_name("executing"), Some(State::Running));
        assert_eq!(State::from_name("Running"), None);
    }

    #[test]
    fn container_error_and_initializing_fall_under_pending_scheduled() {
        let mut values = PerState::default();
        values.set(State::PendingScheduled, 1);
        assert_eq!(values.effective(State::Initializing), Some(&1));
        values.set(State::ContainerError, 2);
        assert_eq!(values.effective(State::ContainerError), Some(&2));
        assert_eq!(values.effective(State::Running), None);
    }

    #[test]
    fn a_far_deadline_is_clamped() {
        let since = "2026-01-01T00:00:00Z".parse().ok();
        let far = deadline(since, "9999y".parse().ok()).unwrap();
        assert_eq!(far, farthest());
        assert_eq!(far.subsec_nanosecond(), 0);
    }
}
