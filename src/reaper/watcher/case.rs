//! A pod that is due, and where it stands.

use std::sync::Arc;

use jiff::Timestamp;

use crate::reaper::board::Rail;
use crate::reaper::said::Group;
use crate::threshold::State;

/// A pod that is due.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) deadline: Timestamp,
    pub(super) state: State,
    pub(super) namespace: Arc<str>,
    pub(super) owner: u64,
    pub(super) place: Place,
    /// What it counts in for the breaker; `None` for `running` and the like.
    pub(super) group: Option<Group>,
    /// When its notice ends, where it was found overdue.
    pub(super) notice: Option<Timestamp>,
    /// Whether the breaker has counted it.
    pub(super) is_counted: bool,
    /// Whether it was reported in this state.
    pub(super) is_reported: bool,
    /// How often a call failed.
    pub(super) tries: u32,
    /// Why it stays, for the board.
    pub(super) note: Option<Box<str>>,
}

/// Where a due pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has just come up.
    New,
    /// Its node is not ready; it is woken when it is.
    Node,
    /// Its notice lasts; the deadline was moved to its end.
    Notice,
    /// Too many are due with it.
    Breaker,
    /// In the line of its namespace.
    Line,
    /// Another pod of its owner is in hand.
    Parked,
    /// It is in hand.
    Hand,
    /// It comes up again.
    Later,
}

impl Place {
    /// The rail that holds it.
    pub(super) const fn rail(self) -> Option<Rail> {
        match self {
            Self::Node => Some(Rail::Node),
            Self::Notice => Some(Rail::Notice),
            Self::Breaker => Some(Rail::Breaker),
            Self::Line | Self::Parked => Some(Rail::Rate),
            Self::New | Self::Hand | Self::Later => None,
        }
    }
}
