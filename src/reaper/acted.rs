//! What was done about owners: which are being removed, which were removed and came back, and how many of their pods went
//! alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::duration::Threshold;
use crate::threshold::State;
use crate::threshold::pod::OwnerReference;

/// How many of each are remembered.
const REMEMBERED: usize = 16_384;

/// How long an owner that was deleted may take to go before it is looked at again.
pub const GOING: SignedDuration = SignedDuration::from_mins(5);

/// See the module.
#[derive(Debug, Default)]
pub struct Acted {
    going: HashMap<String, Timestamp>,
    quiet: HashMap<u64, Timestamp>,
    removed: HashMap<OwnerName, Removed>,
    alone: HashMap<(u64, State), Alone>,
}

/// What an owner is called: it comes back under the same name and with another uid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OwnerName {
    namespace: Arc<str>,
    group: String,
    kind: String,
    name: String,
}

#[derive(Debug)]
struct Removed {
    uid: String,
    at: Timestamp,
    /// Who comes back until then was made again.
    until: Timestamp,
}

#[derive(Debug)]
struct Alone {
    count: u32,
    at: Timestamp,
}

impl OwnerName {
    fn of(namespace: &Arc<str>, owner: &OwnerReference) -> Self {
        Self {
            namespace: namespace.clone(),
            group: owner.group().to_owned(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        }
    }
}

impl Acted {
    /// An owner is being removed, or was said to be by `--dry-run`, until then at least.
    pub fn going(&mut self, uid: &str, until: Timestamp) {
        bound(&mut self.going, |until| *until);
        self.going.insert(uid.to_owned(), until);
    }

    /// Whether an owner is being removed.
    #[must_use]
    pub fn is_going(&self, uid: &str, now: Timestamp) -> bool {
        self.going.get(uid).is_some_and(|until| now < *until)
    }

    /// No other pod of the owner is acted on until then.
    pub fn quiet(&mut self, owner: u64, until: Timestamp) {
        if owner != 0 {
            bound(&mut self.quiet, |until| *until);
            self.quiet.insert(owner, until);
        }
    }

    /// Until when no pod of the owner is acted on, where that is not over.
    #[must_use]
    pub fn quiet_until(&self, owner: u64, now: Timestamp) -> Option<Timestamp> {
        self.quiet.get(&owner).copied().filter(|until| now < *until)
    }

    /// An owner was removed for that threshold.
    pub fn removed(&mut self, namespace: &Arc<str>, owner: &OwnerReference, threshold: Threshold, now: Timestamp) {
        bound(&mut self.removed, |removed| removed.at);
        let until = threshold.length().and_then(|length| now.checked_add(length).ok()).unwrap_or(Timestamp::MAX);
        self.removed.insert(OwnerName::of(namespace, owner), Removed { uid: owner.uid.clone(), at: now, until });
    }

    /// Whether an owner, made at that moment, is one that was removed and came back within its threshold.
    #[must_use]
    pub fn is_made_again(&self, namespace: &Arc<str>, owner: &OwnerReference, created: Option<Timestamp>) -> bool {
        let removed = self.removed.get(&OwnerName::of(namespace, owner));
        removed
            .is_some_and(|removed| removed.uid != owner.uid && created.is_none_or(|created| created <= removed.until))
    }

    /// A pod of an owner was removed alone.
    pub fn alone(&mut self, owner: u64, state: State, now: Timestamp) {
        bound(&mut self.alone, |alone| alone.at);
        let alone = self.alone.entry((owner, state)).or_insert(Alone { count: 0, at: now });
        alone.count = alone.count.saturating_add(1);
        alone.at = now;
    }

    /// How many pods of an owner were removed alone in that state.
    #[must_use]
    pub fn removed_alone(&self, owner: u64, state: State) -> u32 {
        self.alone.get(&(owner, state)).map_or(0, |alone| alone.count)
    }
}

/// Makes room for one more: the older half goes.
fn bound<K: Hash + Eq, V>(map: &mut HashMap<K, V>, at: impl Fn(&V) -> Timestamp) {
    if map.len() < REMEMBERED {
        return;
    }
    let mut times: Vec<Timestamp> = map.values().map(&at).collect();
    times.sort_unstable();
    if let Some(middle) = times.get(times.len() / 2).copied() {
        map.retain(|_, value| at(value) > middle);
    }
}
