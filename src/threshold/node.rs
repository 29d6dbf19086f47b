//! Whether the node of a pod is there: of a Node its name and its Ready condition.

use jiff::Timestamp;
use serde::Deserialize;

use super::State;
use super::pod::{Metadata, Status, or_default};

/// A Node as far as a judgement reads it.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct WatchedNode {
    /// `metadata`.
    pub metadata: Metadata,
    /// `status`, of which the conditions.
    pub status: Status,
}

/// What is known of a pod's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeReadiness {
    /// The pod has none yet, or nobody has said anything of it.
    Unheard,
    /// Its kubelet is well, since then.
    Ready(Option<Timestamp>),
    /// Its kubelet says that it is not, or has said nothing yet.
    NotReady,
    /// Its kubelet has not been heard of since then: the Ready condition is Unknown.
    Lost(Option<Timestamp>),
    /// There is no such node.
    Missing,
}

impl WatchedNode {
    /// The node's readiness.
    pub fn readiness(&self) -> NodeReadiness {
        let Some(ready) = self.status.condition("Ready") else {
            return NodeReadiness::NotReady;
        };
        match ready.status.as_str() {
            "True" => NodeReadiness::Ready(ready.last_transition_time),
            "False" => NodeReadiness::NotReady,
            _ => NodeReadiness::Lost(ready.last_transition_time),
        }
    }
}

impl NodeReadiness {
    /// Whether pods on the node may be due.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Unheard | Self::Ready(_))
    }

    /// The same, where the node does not say when it was lost: as its pod does.
    #[must_use]
    pub fn dated_by(self, pod: Option<Timestamp>) -> Self {
        if self == Self::Lost(None) { Self::Lost(pod) } else { self }
    }

    /// The state of a pod on that node, and since when. A pod on a lost node is `unknown`, whatever it showed last; what
    /// waits began to wait not before the node's last return.
    pub fn apply(self, state: State, since: Option<Timestamp>) -> (State, Option<Timestamp>) {
        let has_no_node = matches!(state, State::SchedulingGated | State::PendingNotScheduled);
        let ended = state.is_finished() || state == State::Terminating;
        match self {
            Self::Lost(lost) if !has_no_node && !ended => {
                (State::Unknown, lost.or_else(|| since.filter(|_| state == State::Unknown)))
            }
            Self::Ready(back) if state.waits() && !has_no_node => {
                (state, since.map(|since| back.map_or(since, |back| since.max(back))))
            }
            _ => (state, since),
        }
    }

    /// Whether the node keeps a pod in `state` from being due.
    pub fn holds(self, state: State) -> bool {
        !self.is_ready() && !matches!(state, State::Unknown | State::Terminating)
    }
}
