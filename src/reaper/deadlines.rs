//! One compact record and one deadline for each pod that the watcher tracks.
//!
//! No clock and no I/O: `now` is passed in, and the caller sleeps until [`Deadlines::next_at`]. The objects themselves are not
//! kept. A deadline that comes up says which pod to read and judge once more; it is no order to delete. What is held
//! depends on the last object fed for each uid only, so a restart, a new list or another order of arrival gives the same
//! deadlines.
//!
//! Postponed and removed entries stay in the heap until they surface (a generation tells them apart) or until they
//! outnumber the pods, when the heap is rebuilt.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::reaper::siblings::Tallies;
use crate::reaper::terms::Terms;
use crate::threshold::{Kept, Siblings, State, Verdict, WatchedPod};

mod moment;
mod record;
mod uid;

pub use record::{Kin, Record};
pub use uid::{Uid, owner_hash};

use moment::{NEVER, rounded_up, timestamp, whole_seconds};
use record::{Marks, SharedNames};

/// Stale entries that are always tolerated: rebuilding a small heap costs more than it frees.
const SLACK: usize = 1_024;

/// The pods that are tracked, and when each is to be judged once more.
#[derive(Debug, Default)]
pub struct Deadlines {
    records: HashMap<Uid, Record>,
    /// The text of uids that are no UUIDs. The API server makes UUIDs only; files may hold others.
    odd_uids: HashMap<Uid, Box<str>>,
    namespaces: SharedNames,
    nodes: SharedNames,
    /// What the pods of each owner do, by a hash of its uid.
    tallies: Tallies,
    by_state: [usize; State::ALL.len()],
    heap: BinaryHeap<Reverse<Entry>>,
    generation: u64,
    round: u32,
}

/// A pod whose deadline has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePod {
    /// The pod's uid.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's name.
    pub name: String,
    /// The state it was in when it was last seen.
    pub state: State,
    /// The deadline that has come, not the moment of a [`Deadlines::postpone`]: what lateness is measured from.
    pub deadline: Timestamp,
}

/// A pod as it is now, with what was made of it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The object.
    pub pod: &'a WatchedPod,
    /// What is to be kept.
    pub kept: &'a Kept,
    /// The verdict.
    pub verdict: &'a Verdict,
    /// What holds for it.
    pub terms: &'a Arc<Terms>,
    /// What makes it again.
    pub kin: Kin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: i64,
    uid: Uid,
    generation: u64,
}

impl Deadlines {
    /// Tracks nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many pods are tracked, those without a deadline among them.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no pod is tracked.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many pods are in that state.
    pub fn in_state(&self, state: State) -> usize {
        self.by_state.get(state as usize).copied().unwrap_or_default()
    }

    /// Takes in a pod as it is now. Says whether its state or deadline is new.
    ///
    /// A deadline that has come up already does not come up again for the same state: the caller has it in hand, and
    /// asks for it by [`Deadlines::postpone`]. Status heartbeats of a due pod are no reason to delete it twice.
    pub fn upsert(&mut self, seen: &Seen<'_>) -> bool {
        let metadata = &seen.pod.metadata;
        let uid = self.uid(&metadata.uid);
        let owner = metadata.controller().map_or(0, |owner| owner_hash(&owner.uid));
        let round = self.round;
        if let Some(record) = self.records.get_mut(&uid) {
            record.round = round;
            record.kept = seen.kept.packed();
            record.kin = seen.kin;
            if !Arc::ptr_eq(&record.terms, seen.terms) {
                record.terms = seen.terms.clone();
            }
            let (old_node, old_owner) = (record.node, record.owner);
            if self.nodes.name(old_node).is_none_or(|node| **node != *seen.pod.spec.node_name) {
                self.nodes.give_back(old_node);
                let node = self.nodes.take(&seen.pod.spec.node_name);
                if let Some(record) = self.records.get_mut(&uid) {
                    record.node = node;
                }
            }
            if old_owner != owner {
                self.reown(uid, owner);
            }
            return self.settle(uid, seen.verdict);
        }
        let record = Record {
            name: metadata.name.as_str().into(),
            terms: seen.terms.clone(),
            deadline: NEVER,
            generation: self.generation,
            owner,
            kept: seen.kept.packed(),
            round,
            namespace: self.namespaces.take(&metadata.namespace),
            node: self.nodes.take(&seen.pod.spec.node_name),
            created: metadata.creation_timestamp.map_or(0, whole_seconds),
            state: seen.verdict.state,
            kin: seen.kin,
            marks: Marks::default(),
        };
        self.tally(None, Some((owner, record.state)));
        self.records.insert(uid, record);
        self.settle(uid, seen.verdict);
        true
    }

    /// Takes in another verdict on a tracked pod, of which nothing else is new. Says whether its state or deadline is.
    pub fn settle(&mut self, uid: Uid, verdict: &Verdict) -> bool {
        let deadline = verdict.deadline.map_or(NEVER, rounded_up);
        let Some(record) = self.records.get_mut(&uid) else { return false };
        let ran = record.marks.has(Marks::HAS_RUN) || verdict.state == State::Running || verdict.state.is_finished();
        record.marks.set(Marks::HAS_RUN, ran);
        if record.deadline == deadline && record.state == verdict.state {
            return false;
        }
        let (owner, before) = (record.owner, record.state);
        record.state = verdict.state;
        record.deadline = deadline;
        record.marks.set(Marks::OVERDUE, false);
        record.marks.set(Marks::ANNOUNCED, false);
        self.tally(Some((owner, before)), Some((owner, verdict.state)));
        self.arm(uid, deadline);
        true
    }

    fn reown(&mut self, uid: Uid, owner: u64) {
        let Some(record) = self.records.get_mut(&uid) else { return };
        let (before, state) = (std::mem::replace(&mut record.owner, owner), record.state);
        self.tally(Some((before, state)), Some((owner, state)));
    }

    /// Forgets a pod: it is gone, or was read and is not there (404). Says whether it was tracked.
    pub fn remove(&mut self, uid: &str) -> bool {
        let uid = Uid::of(uid);
        self.odd_uids.remove(&uid);
        let known = self.records.remove(&uid);
        if let Some(record) = &known {
            self.let_go(record);
        }
        self.compact();
        known.is_some()
    }

    fn let_go(&mut self, record: &Record) {
        self.tally(Some((record.owner, record.state)), None);
        self.namespaces.give_back(record.namespace);
        self.nodes.give_back(record.node);
    }

    /// What is kept of a pod; `None` for one that is not tracked.
    pub fn record(&self, uid: Uid) -> Option<&Record> {
        self.records.get(&uid)
    }

    /// All that is kept.
    pub fn records(&self) -> impl Iterator<Item = (Uid, &Record)> {
        self.records.iter().map(|(uid, record)| (*uid, record))
    }

    /// What is kept of a pod, for [`Kept::next`]; `None` for one that is not tracked.
    pub fn kept(&self, uid: &str) -> Option<Kept> {
        Some(self.records.get(&Uid::of(uid))?.kept())
    }

    /// The text of a uid that is tracked.
    pub fn text(&self, uid: Uid) -> String {
        match self.odd_uids.get(&uid) {
            Some(text) => text.to_string(),
            None => uid.to_string(),
        }
    }

    /// The namespace of a record.
    pub fn namespace(&self, record: &Record) -> Arc<str> {
        self.namespaces.name(record.namespace).cloned().unwrap_or_default()
    }

    /// The node of a record; empty where it has none.
    pub fn node(&self, record: &Record) -> &str {
        self.nodes.name(record.node).map_or("", |name| name)
    }

    /// The namespaces of all pods.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.names()
    }

    /// The pods on a node.
    pub fn on_node(&self, node: &str) -> Vec<Uid> {
        let Some(number) = self.nodes.number(node) else { return Vec::new() };
        self.records.iter().filter(|(_, record)| record.node == number).map(|(uid, _)| *uid).collect()
    }

    /// Marks that the pod was due already when it was first seen so.
    pub fn mark_overdue(&mut self, uid: Uid) {
        self.mark(uid, Marks::OVERDUE);
    }

    /// Marks that the pod's deadline was announced before it came.
    pub fn mark_announced(&mut self, uid: Uid) {
        self.mark(uid, Marks::ANNOUNCED);
    }

    fn mark(&mut self, uid: Uid, mark: u8) {
        if let Some(record) = self.records.get_mut(&uid) {
            record.marks.set(mark, true);
        }
    }

    /// Whether the pod was ever seen to run, or has ended.
    pub fn has_run(&self, uid: &str) -> bool {
        self.records.get(&Uid::of(uid)).is_some_and(|record| record.marks.has(Marks::HAS_RUN))
    }

    /// What the other pods of the pod's owner do; nothing for a bare pod, and for one that is not tracked.
    pub fn siblings(&self, uid: &str) -> Siblings {
        let record = self.records.get(&Uid::of(uid));
        record.map(|record| self.tallies.of(record.owner).without(record.state)).unwrap_or_default()
    }

    /// Moves a pod from one owner and state to another in the counts.
    fn tally(&mut self, before: Option<(u64, State)>, after: Option<(u64, State)>) {
        if let Some(count) = before.and_then(|(_, state)| self.by_state.get_mut(state as usize)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = after.and_then(|(_, state)| self.by_state.get_mut(state as usize)) {
            *count += 1;
        }
        self.tallies.turn(before, after);
    }

    /// Has a pod come up at `at`, once more or at another time than planned: to retry, or when time alone changes the
    /// decision. Says whether the pod is tracked.
    pub fn postpone(&mut self, uid: Uid, at: Timestamp) -> bool {
        if !self.records.contains_key(&uid) {
            return false;
        }
        self.arm(uid, rounded_up(at));
        true
    }

    /// The pods whose deadline is at or before `now`, the oldest first, each once. What is not taken out stays.
    pub fn due(&mut self, now: Timestamp) -> impl Iterator<Item = DuePod> {
        std::iter::from_fn(move || {
            let (uid, at) = self.pop(now)?;
            let record = self.records.get(&uid)?;
            Some(DuePod {
                uid: self.text(uid),
                namespace: self.namespace(record),
                name: record.name.to_string(),
                state: record.state,
                deadline: record.deadline().unwrap_or(at),
            })
        })
    }

    /// When the next deadline comes; `None` when none will.
    pub fn next_at(&mut self) -> Option<Timestamp> {
        while let Some(Reverse(entry)) = self.heap.peek().copied() {
            if self.counts(&entry) {
                return Some(timestamp(entry.at));
            }
            self.heap.pop();
        }
        None
    }

    /// The pod's deadline, come up or not; `None` for never, and for a pod that is not tracked.
    pub fn deadline(&self, uid: &str) -> Option<Timestamp> {
        self.records.get(&Uid::of(uid))?.deadline()
    }

    /// A list of all pods begins, at the start or because the watch has lost its place.
    pub fn begin_list(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The list is complete: forgets the pods that were not in it, whose deletion the watch has missed. Says which.
    pub fn end_list(&mut self) -> Vec<Uid> {
        let round = self.round;
        let gone: Vec<(Uid, Record)> = self.records.extract_if(|_, record| record.round != round).collect();
        gone.iter().for_each(|(_, record)| self.let_go(record));
        self.odd_uids.retain(|uid, _| self.records.contains_key(uid));
        self.compact();
        gone.into_iter().map(|(uid, _)| uid).collect()
    }

    /// Takes out the pod that comes up next, if it does by `now`, and when it was to.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Uid, Timestamp)> {
        // Rounded up, deadlines compare with a now that is rounded down: nothing comes up early.
        let now = now.as_millisecond();
        while let Some(Reverse(entry)) = self.heap.peek().copied() {
            if entry.at > now && self.counts(&entry) {
                return None;
            }
            self.heap.pop();
            if !self.counts(&entry) {
                continue;
            }
            self.records.get_mut(&entry.uid)?.marks.set(Marks::ARMED, false);
            return Some((entry.uid, timestamp(entry.at)));
        }
        None
    }

    fn arm(&mut self, uid: Uid, at: i64) {
        self.generation += 1;
        if let Some(record) = self.records.get_mut(&uid) {
            record.generation = self.generation;
            record.marks.set(Marks::ARMED, at != NEVER);
        }
        if at != NEVER {
            self.heap.push(Reverse(Entry { at, uid, generation: self.generation }));
        }
        self.compact();
    }

    fn counts(&self, entry: &Entry) -> bool {
        let record = self.records.get(&entry.uid);
        record.is_some_and(|record| record.marks.has(Marks::ARMED) && record.generation == entry.generation)
    }

    /// Rebuilds the heap when stale entries are a quarter of the pods.
    fn compact(&mut self) {
        if self.heap.len() <= SLACK + self.records.len() + self.records.len() / 4 {
            return;
        }
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse(entry)| self.counts(entry));
        entries.shrink_to_fit();
        self.heap = entries.into();
    }

    fn uid(&mut self, text: &str) -> Uid {
        if let Some(uid) = Uid::of_uuid(text) {
            return uid;
        }
        let uid = Uid::of(text);
        self.odd_uids.entry(uid).or_insert_with(|| text.into());
        uid
    }
}

#[cfg(test)]
mod tests;
