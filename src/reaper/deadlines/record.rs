//! What is kept of one pod.

use std::collections::HashMap;
use std::sync::Arc;

use super::moment::{NEVER, timestamp};
use crate::reaper::terms::Terms;
use crate::threshold::owner::{Kinship, OwnerKind, is_kind, kinship, replaces_its_pods};
use crate::threshold::pod::OwnerReference;
use crate::threshold::{PackedKept, RemovalSubject, State};

/// What is kept of one pod. Every byte is there 100,000 times.
#[derive(Debug)]
pub struct Record {
    pub(super) name: Box<str>,
    pub(super) terms: Arc<Terms>,
    /// Milliseconds since the epoch, rounded up; [`NEVER`] where there is none.
    pub(super) deadline: i64,
    /// That of the one entry in the heap that counts.
    pub(super) generation: u64,
    /// The controller's uid by a hash; 0 for a bare pod.
    pub(super) owner: u64,
    /// What one object does not tell.
    pub(super) kept: PackedKept,
    /// The last list that held the pod.
    pub(super) round: u32,
    /// A name in the table of namespaces.
    pub(super) namespace: u32,
    /// A name in the table of nodes; that of the empty one for a pod that has none.
    pub(super) node: u32,
    /// When the API server took the pod in, in whole seconds.
    pub(super) created: u32,
    pub(super) state: State,
    pub(super) kin: Kin,
    pub(super) marks: Marks,
}

/// Yes or no, in one byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// The pod was ever seen to run, or has ended.
    pub(super) const HAS_RUN: u8 = 1;
    /// The deadline is still to come up.
    pub(super) const ARMED: u8 = 2;
    /// The pod was due already when it was first seen so.
    pub(super) const OVERDUE: u8 = 4;
    /// Its deadline was announced before.
    pub(super) const ANNOUNCED: u8 = 8;

    pub(super) const fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    pub(super) const fn set(&mut self, mark: u8, on: bool) {
        if on {
            self.0 |= mark;
        } else {
            self.0 &= !mark;
        }
    }
}

/// What makes a pod again, as far as it decides what would be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kin {
    /// Nothing.
    #[default]
    Bare,
    /// A Job.
    Job,
    /// A known owner whose pods work by themselves.
    Independent,
    /// A known owner whose pods work together only.
    Gang,
    /// The driver of a Spark executor.
    Driver,
    /// A ReplicaSet or ReplicationController.
    ReplicaSet,
    /// A StatefulSet.
    StatefulSet,
    /// Anything else.
    Unknown,
}

impl Kin {
    /// That of a pod.
    #[must_use]
    pub fn of(subject: &RemovalSubject, more: &[OwnerKind]) -> Self {
        let Some(owner) = subject.controller.as_deref() else { return Self::Bare };
        if is_kind(owner, "batch", "Job") {
            return Self::Job;
        }
        if is_kind(owner, "", "Pod") {
            return if subject.is_spark_executor { Self::Driver } else { Self::Unknown };
        }
        if replaces_its_pods(owner) {
            return if is_kind(owner, "apps", "StatefulSet") { Self::StatefulSet } else { Self::ReplicaSet };
        }
        Self::known(owner, more)
    }

    fn known(owner: &OwnerReference, more: &[OwnerKind]) -> Self {
        match kinship(owner, more) {
            None => Self::Unknown,
            Some(Kinship::Independent) => Self::Independent,
            Some(Kinship::Gang | Kinship::GangUnlessElastic) => Self::Gang,
        }
    }
}

impl Record {
    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What holds for it.
    #[must_use]
    pub const fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// The state that it is in, its node looked at.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// When it is due in that state.
    #[must_use]
    pub fn deadline(&self) -> Option<jiff::Timestamp> {
        (self.deadline != NEVER).then(|| timestamp(self.deadline))
    }

    /// What one object of it does not tell.
    #[must_use]
    pub fn kept(&self) -> crate::threshold::Kept {
        self.kept.unpacked()
    }

    /// Its controller by a hash of the uid; 0 for a bare pod.
    #[must_use]
    pub const fn owner(&self) -> u64 {
        self.owner
    }

    /// What makes it again.
    #[must_use]
    pub const fn kin(&self) -> Kin {
        self.kin
    }

    /// When the API server took it in, in seconds since the epoch; 0 where that is not known.
    #[must_use]
    pub const fn created(&self) -> u32 {
        self.created
    }

    /// Whether it was due already when it was first seen so.
    #[must_use]
    pub const fn is_overdue(&self) -> bool {
        self.marks.has(Marks::OVERDUE)
    }

    /// Whether its deadline was announced before.
    #[must_use]
    pub const fn is_announced(&self) -> bool {
        self.marks.has(Marks::ANNOUNCED)
    }
}

/// Names that many records share, each once and for as long as one has it.
#[derive(Debug, Default)]
pub(super) struct SharedNames {
    by_name: HashMap<Arc<str>, u32>,
    slots: Vec<(Arc<str>, u32)>,
    free: Vec<u32>,
}

impl SharedNames {
    /// The number of a name, for one more record.
    pub(super) fn take(&mut self, name: &str) -> u32 {
        if let Some(known) = self.by_name.get(name) {
            if let Some((_, count)) = usize::try_from(*known).ok().and_then(|at| self.slots.get_mut(at)) {
                *count += 1;
            }
            return *known;
        }
        let new: Arc<str> = name.into();
        let at = match self.free.pop() {
            Some(at) => at,
            None => u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
        };
        match usize::try_from(at).ok().and_then(|at| self.slots.get_mut(at)) {
            Some(slot) => *slot = (new.clone(), 1),
            None => self.slots.push((new.clone(), 1)),
        }
        self.by_name.insert(new, at);
        at
    }

    /// One record fewer has it.
    pub(super) fn give_back(&mut self, at: u32) {
        let Some((name, count)) = usize::try_from(at).ok().and_then(|at| self.slots.get_mut(at)) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.by_name.remove(name);
            self.free.push(at);
        }
    }

    /// The name of a number.
    pub(super) fn name(&self, at: u32) -> Option<&Arc<str>> {
        self.slots.get(usize::try_from(at).ok()?).map(|(name, _)| name)
    }

    /// The number of a name that some record has.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(AsRef::as_ref)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }
}
