//! The watcher's mind: what is known of pods and nodes, what comes due, and what is to be done about it.
//!
//! One owner, no clock, no I/O: everything is an argument, and what is to be said or done is a value. The way of a pod:
//! [`Watcher::pod`] for each of its objects, [`Watcher::due`] when [`Watcher::next_at`] has come, [`Watcher::decide`] with
//! what was read live, [`Watcher::answered`] with what the API server said.
//!
//! A standby is fed and asked as the leader is, by [`Watcher::due`] with `is_leader` false: it goes through every rail and
//! hands out nothing, so that a change of leader loses nothing and delays nothing.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::acted::Acted;
use super::answer::Disabled;
use super::breaker::Breaker;
use super::deadlines::{Deadlines, Uid};
use super::missed::Missed;
use super::nodes::Nodes;
use super::options::WatcherOptions;
use super::rate::Turns;
use super::said::{BreakerTurn, Said};
use super::step::Attempt;
use super::terms::{Terms, TermsTable};
use crate::policy::snapshot::Snapshot;
use crate::threshold::ActionRules;

mod answered;
mod case;
mod decide;
mod feed;
mod hand;
mod live;
mod rails;
mod show;

pub use rails::{RELEASE, ReleaseError};

use case::Case;
use hand::Hand;

/// The state machine. See the module.
#[derive(Debug)]
pub struct Watcher {
    options: WatcherOptions,
    rules: ActionRules,
    snapshot: Arc<Snapshot>,
    has_snapshot: bool,
    terms: TermsTable,
    nothing: Arc<Terms>,
    records: Deadlines,
    nodes: Nodes,
    /// A list of pods is under way.
    is_listing: bool,
    /// All pods were told once.
    is_listed: bool,
    /// What the last call of [`Watcher::due`] said.
    is_leader: bool,
    /// The breaker let something go, which is not sorted yet.
    is_released: bool,
    /// The pods that are due, each with where it stands.
    cases: HashMap<Uid, Case>,
    turns: Turns,
    breaker: Breaker,
    hand: Hand,
    acted: Acted,
    disabled: Disabled,
    missed: Missed,
    /// Found overdue, and not yet said by this process.
    unsaid: Vec<Uid>,
    said: Vec<Said>,
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

impl Watcher {
    /// Nothing is known yet, and nothing comes due before pods and nodes were listed once and a snapshot was given.
    #[must_use]
    pub fn new(options: WatcherOptions) -> Self {
        Self {
            rules: ActionRules { owners: options.owners.clone(), own_namespace: options.own_namespace.clone() },
            snapshot: Arc::default(),
            has_snapshot: false,
            terms: TermsTable::default(),
            nothing: Arc::default(),
            records: Deadlines::new(),
            nodes: Nodes::default(),
            is_listing: false,
            is_listed: false,
            is_leader: false,
            is_released: false,
            cases: HashMap::new(),
            turns: Turns::new(options.rate, options.namespace_rate),
            breaker: Breaker::new(options.breaker),
            hand: Hand::default(),
            acted: Acted::default(),
            disabled: Disabled::default(),
            missed: Missed::default(),
            unsaid: Vec::new(),
            said: Vec::new(),
            options,
        }
    }

    /// The options it was made with.
    #[must_use]
    pub const fn options(&self) -> &WatcherOptions {
        &self.options
    }

    /// Whether pods, nodes and policies were told once: before, nothing comes due.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.has_snapshot && self.is_listed && self.nodes.is_listed()
    }

    /// When [`Watcher::due`] has something next; `None` when nothing will without news. A moment that has passed is now.
    #[must_use]
    pub fn next_at(&mut self, now: Timestamp, is_leader: bool) -> Option<Timestamp> {
        if !self.is_synced() {
            return None;
        }
        let to_say = is_leader && (!self.said.is_empty() || !self.unsaid.is_empty());
        let turn = self.turns.next_at(now).filter(|_| is_leader);
        let times = [self.records.next_at(), self.breaker.next_at(), turn, to_say.then_some(now)];
        times.into_iter().flatten().min()
    }
}
