//! What the pods of each owner do, counted as they come and go.

use std::collections::HashMap;

use crate::threshold::{Siblings, State};

/// Counts by owner, of those alone whose pods are at work.
#[derive(Debug, Default)]
pub struct Tallies {
    by_owner: HashMap<u64, Siblings>,
}

impl Tallies {
    /// What the pods of an owner do; nothing for a bare pod, whose owner is 0.
    #[must_use]
    pub fn of(&self, owner: u64) -> Siblings {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    /// Moves a pod from one owner and state to another.
    pub fn turn(&mut self, before: Option<(u64, State)>, after: Option<(u64, State)>) {
        let counts = |(owner, state): &(u64, State)| *owner != 0 && matches!(state, State::Running | State::Succeeded);
        if let Some((owner, state)) = before.filter(counts)
            && let Some(tally) = self.by_owner.get_mut(&owner)
        {
            tally.discount(state);
            if !tally.are_at_work() {
                self.by_owner.remove(&owner);
            }
        }
        if let Some((owner, state)) = after.filter(counts) {
            self.by_owner.entry(owner).or_default().count(state);
        }
    }

    /// Whether no owner's pods are at work.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_owner.is_empty()
    }
}
