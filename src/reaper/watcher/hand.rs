//! Pods that are in hand: handed out, and neither ended nor answered. Of one owner there is one at a time.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::duration::Threshold;
use crate::reaper::deadlines::Uid;
use crate::reaper::said::{RemovalLog, Said};
use crate::reaper::step::{ActKind, Target};
use crate::threshold::State;
use crate::threshold::pod::OwnerReference;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hand {
    held: HashMap<Uid, Held>,
    /// By owner, those that wait until its pod in hand is done with.
    parked: HashMap<u64, Vec<Uid>>,
}

/// A pod in hand.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) owner: u64,
    pub(super) namespace: Arc<str>,
    /// The call that was given out.
    pub(super) call: Option<Box<Call>>,
}

/// What is to be remembered of a call until it is answered.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: ActKind,
    pub(super) target: Target,
    /// The owners whose names are remembered once they are removed: the pod's own, and the topmost.
    pub(super) owners: Vec<OwnerReference>,
    /// The pod goes alone, and its owner is to notice before another one does.
    pub(super) is_alone: bool,
    pub(super) state: State,
    pub(super) threshold: Threshold,
    pub(super) deadline: Timestamp,
    pub(super) said: Vec<Said>,
    pub(super) log: RemovalLog,
}

impl Hand {
    /// Whether the pod, or another one of its owner, is in hand.
    pub(super) fn is_busy(&self, uid: Uid, owner: u64) -> bool {
        self.held.contains_key(&uid) || owner != 0 && self.parked.contains_key(&owner)
    }

    pub(super) fn holds(&self, uid: Uid) -> bool {
        self.held.contains_key(&uid)
    }

    pub(super) fn get_mut(&mut self, uid: Uid) -> Option<&mut Held> {
        self.held.get_mut(&uid)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn take(&mut self, uid: Uid, owner: u64, namespace: Arc<str>) {
        self.held.insert(uid, Held { owner, namespace, call: None });
        if owner != 0 {
            self.parked.entry(owner).or_default();
        }
    }

    pub(super) fn park(&mut self, uid: Uid, owner: u64) {
        self.parked.entry(owner).or_default().push(uid);
    }

    /// The pod is done with: what was held of it, and who waited for it.
    pub(super) fn let_go(&mut self, uid: Uid) -> Option<(Held, Vec<Uid>)> {
        let held = self.held.remove(&uid)?;
        let parked = if held.owner == 0 { None } else { self.parked.remove(&held.owner) };
        Some((held, parked.unwrap_or_default()))
    }

    /// All that are in hand.
    pub(super) fn all(&self) -> Vec<Uid> {
        self.held.keys().copied().collect()
    }
}
