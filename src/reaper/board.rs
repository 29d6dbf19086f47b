//! What is shown of the watcher: the board's rows, and the counts that metrics are made of.

use jiff::Timestamp;
use serde::Serialize;

use super::said::Group;
use super::step::ActKind;
use crate::threshold::State;

/// One tracked pod. Neither a secret nor a variable's value is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BoardRow {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
    /// The state, as [`State::name`].
    pub state: &'static str,
    /// Since when, RFC 3339.
    pub since: Option<Timestamp>,
    /// How long it may be, in seconds.
    pub threshold: Option<u64>,
    /// Who says so: `pod` or `policy`.
    pub word: &'static str,
    /// Which policy; for the pod's own word the first that matches.
    pub policy: String,
    /// When it is due, RFC 3339.
    pub deadline: Timestamp,
    /// What would be done: `delete`, `evict`, `delete-owner`, `report`, or `none`.
    pub action: &'static str,
    /// Why it is still there though it is due.
    pub held: Option<String>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowFilter {
    /// Of this namespace only.
    pub namespace: Option<String>,
    /// In this state only.
    pub state: Option<State>,
    /// At most so many, those with the least time left; 0 is all.
    pub limit: usize,
}

/// What keeps a due pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rail {
    /// Its node is not ready.
    Node,
    /// It was found overdue, and its notice lasts.
    Notice,
    /// Too many are due with it.
    Breaker,
    /// Others come first.
    Rate,
}

impl Rail {
    /// Each, in the order in which they are asked.
    pub const ALL: [Self; 4] = [Self::Node, Self::Notice, Self::Breaker, Self::Rate];

    /// As metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Notice => "notice",
            Self::Breaker => "breaker",
            Self::Rate => "rate",
        }
    }
}

/// What metrics are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tracked pods by state, every state.
    pub tracked: Vec<(State, usize)>,
    /// Due pods that a rail holds, every rail that holds any.
    pub held: Vec<(Rail, State, usize)>,
    /// When the next deadline comes.
    pub next_deadline: Option<Timestamp>,
    /// What the breaker holds, each group once.
    pub open: Vec<Group>,
    /// Calls that the API server forbids, and until when they are not made.
    pub disabled: Vec<(ActKind, Timestamp)>,
    /// Pods that are in hand: handed out and not answered.
    pub in_hand: usize,
    /// Pods that were created while no replica answered, since the start.
    pub missed: u64,
}
