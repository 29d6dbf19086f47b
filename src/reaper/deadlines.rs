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
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;

use crate::threshold::{Kept, PackedKept, Siblings, State, Verdict, WatchedPod, farthest};

/// Stale entries that are always tolerated: rebuilding a small heap costs more than it frees.
const SLACK: usize = 1_024;

/// The pods that are tracked, and when each is to be judged once more.
#[derive(Debug, Default)]
pub struct Deadlines {
    records: HashMap<Uid, Record>,
    /// The text of uids that are no UUIDs. The API server makes UUIDs only; files may hold others.
    odd_uids: HashMap<Uid, Box<str>>,
    namespaces: HashSet<Arc<str>>,
    /// What the pods of each owner do, by a hash of its uid.
    tallies: HashMap<u64, Siblings>,
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

/// 16 bytes instead of a string of 36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Uid([u64; 2]);

#[derive(Debug)]
struct Record {
    namespace: Arc<str>,
    name: Box<str>,
    /// Milliseconds since the epoch, rounded up; [`NEVER`] where there is none.
    deadline: i64,
    /// That of the one entry in the heap that counts.
    generation: u64,
    /// The controller's uid by a hash; 0 for a bare pod.
    owner: u64,
    /// What one object does not tell.
    kept: PackedKept,
    /// The last list that held the pod.
    round: u32,
    state: State,
    /// Whether the pod was ever seen to run, or has ended.
    has_run: bool,
    /// Whether the deadline is still to come up.
    armed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: i64,
    uid: Uid,
    generation: u64,
}

const NEVER: i64 = i64::MAX;

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

    /// Takes in a pod as it is now. Says whether its state or deadline is new.
    ///
    /// A deadline that has come up already does not come up again for the same state: the caller has it in hand, and
    /// asks for it by [`Deadlines::postpone`]. Status heartbeats of a due pod are no reason to delete it twice.
    pub fn upsert(&mut self, pod: &WatchedPod, kept: &Kept, verdict: &Verdict) -> bool {
        let uid = self.uid(&pod.metadata.uid);
        let owner = pod.metadata.controller().map_or(0, |owner| owner_hash(&owner.uid));
        let before = self.records.get(&uid).map(|record| (record.owner, record.state));
        self.tally(before, Some((owner, verdict.state)));
        let runs = verdict.state == State::Running || verdict.state.is_finished();
        let deadline = verdict.deadline.map_or(NEVER, rounded_up);
        let generation = self.generation;
        let round = self.round;
        if let Some(record) = self.records.get_mut(&uid) {
            record.round = round;
            record.owner = owner;
            record.kept = kept.packed();
            record.has_run |= runs;
            if record.deadline == deadline && record.state == verdict.state {
                return false;
            }
            record.state = verdict.state;
            record.deadline = deadline;
            record.armed = false;
            record.generation = generation;
        } else {
            let record = Record {
                namespace: self.namespace(&pod.metadata.namespace),
                name: pod.metadata.name.as_str().into(),
                deadline,
                generation,
                owner,
                kept: kept.packed(),
                round,
                state: verdict.state,
                has_run: runs,
                armed: false,
            };
            self.records.insert(uid, record);
        }
        self.arm(uid, deadline);
        true
    }

    /// Forgets a pod: it is gone, or was read and is not there (404). Says whether it was tracked.
    pub fn remove(&mut self, uid: &str) -> bool {
        let uid = self.known_uid(uid);
        self.odd_uids.remove(&uid);
        let known = self.records.remove(&uid);
        if let Some(record) = &known {
            self.tally(Some((record.owner, record.state)), None);
        }
        self.compact();
        known.is_some()
    }

    /// What is kept of a pod, for [`Kept::next`]; `None` for one that is not tracked.
    pub fn kept(&self, uid: &str) -> Option<Kept> {
        Some(self.records.get(&self.known_uid(uid))?.kept.unpacked())
    }

    /// Whether the pod was ever seen to run, or has ended.
    pub fn has_run(&self, uid: &str) -> bool {
        self.records.get(&self.known_uid(uid)).is_some_and(|record| record.has_run)
    }

    /// What the other pods of the pod's owner do; nothing for a bare pod, and for one that is not tracked.
    pub fn siblings(&self, uid: &str) -> Siblings {
        let record = self.records.get(&self.known_uid(uid)).filter(|record| record.owner != 0);
        let others = record.and_then(|record| Some(self.tallies.get(&record.owner)?.without(record.state)));
        others.unwrap_or_default()
    }

    /// Moves a pod from one owner and state to another in the counts.
    fn tally(&mut self, before: Option<(u64, State)>, after: Option<(u64, State)>) {
        let counts = |state: State| matches!(state, State::Running | State::Succeeded);
        if let Some((owner, state)) = before.filter(|(owner, state)| *owner != 0 && counts(*state))
            && let Some(tally) = self.tallies.get_mut(&owner)
        {
            tally.discount(state);
            if !tally.are_at_work() {
                self.tallies.remove(&owner);
            }
        }
        if let Some((owner, state)) = after.filter(|(owner, state)| *owner != 0 && counts(*state)) {
            self.tallies.entry(owner).or_default().count(state);
        }
    }

    /// Has a pod come up at `at`, once more or later than planned: to retry, or when time alone changes the decision.
    /// Says whether the pod is tracked.
    pub fn postpone(&mut self, uid: &str, at: Timestamp) -> bool {
        let uid = self.known_uid(uid);
        if !self.records.contains_key(&uid) {
            return false;
        }
        self.arm(uid, rounded_up(at));
        true
    }

    /// The pods whose deadline is at or before `now`, the oldest first, each once. What is not taken out stays.
    pub fn due(&mut self, now: Timestamp) -> impl Iterator<Item = DuePod> {
        std::iter::from_fn(move || self.pop(now))
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
        let record = self.records.get(&self.known_uid(uid))?;
        (record.deadline != NEVER).then(|| timestamp(record.deadline))
    }

    /// A list of all pods begins, at the start or because the watch has lost its place.
    pub fn begin_list(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The list is complete: forgets the pods that were not in it, whose deletion the watch has missed. Says how many.
    pub fn end_list(&mut self) -> usize {
        let before = self.records.len();
        let round = self.round;
        let gone: Vec<(u64, State)> = self
            .records
            .extract_if(|_, record| record.round != round)
            .map(|(_, record)| (record.owner, record.state))
            .collect();
        gone.into_iter().for_each(|gone| self.tally(Some(gone), None));
        self.odd_uids.retain(|uid, _| self.records.contains_key(uid));
        self.namespaces.retain(|ns| Arc::strong_count(ns) > 1);
        self.compact();
        before - self.records.len()
    }

    fn pop(&mut self, now: Timestamp) -> Option<DuePod> {
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
            let record = self.records.get_mut(&entry.uid)?;
            record.armed = false;
            let at = if record.deadline == NEVER { entry.at } else { record.deadline };
            return Some(DuePod {
                uid: match self.odd_uids.get(&entry.uid) {
                    Some(text) => text.to_string(),
                    None => entry.uid.to_string(),
                },
                namespace: record.namespace.clone(),
                name: record.name.to_string(),
                state: record.state,
                deadline: timestamp(at),
            });
        }
        None
    }

    fn arm(&mut self, uid: Uid, at: i64) {
        self.generation += 1;
        if let Some(record) = self.records.get_mut(&uid) {
            record.generation = self.generation;
            record.armed = at != NEVER;
        }
        if at != NEVER {
            self.heap.push(Reverse(Entry { at, uid, generation: self.generation }));
        }
        self.compact();
    }

    fn counts(&self, entry: &Entry) -> bool {
        let record = self.records.get(&entry.uid);
        record.is_some_and(|record| record.armed && record.generation == entry.generation)
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

    fn namespace(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        self.namespaces.insert(new.clone());
        new
    }

    fn uid(&mut self, text: &str) -> Uid {
        let uid = self.known_uid(text);
        if Uid::of_uuid(text).is_none() {
            self.odd_uids.entry(uid).or_insert_with(|| text.into());
        }
        uid
    }

    fn known_uid(&self, text: &str) -> Uid {
        Uid::of_uuid(text).unwrap_or_else(|| Uid::of_text(text))
    }
}

impl Uid {
    /// The bits of a UUID written as the API server writes it, in lower case.
    fn of_uuid(text: &str) -> Option<Self> {
        let mut halves = [0_u64; 2];
        let mut digits = 0_usize;
        for (at, byte) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            if byte.is_ascii_uppercase() {
                return None;
            }
            let digit = char::from(byte).to_digit(16)?;
            let half = halves.get_mut(digits / 16)?;
            *half = *half << 4 | u64::from(digit);
            digits += 1;
        }
        (text.len() == 36).then_some(Self(halves))
    }

    /// A hash, for a text that is no UUID.
    fn of_text(text: &str) -> Self {
        let half = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, text).hash(&mut hasher);
            hasher.finish()
        };
        Self([half(0), half(1)])
    }
}

/// As the API server writes it.
impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([high, low]) = self;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

/// Of an owner's uid what tells owners apart; never 0.
fn owner_hash(uid: &str) -> u64 {
    let Uid([high, low]) = Uid::of_uuid(uid).unwrap_or_else(|| Uid::of_text(uid));
    (high ^ low.rotate_left(1)).max(1)
}

/// Whole milliseconds, not before the moment itself.
fn rounded_up(at: Timestamp) -> i64 {
    let millis = at.as_millisecond();
    if timestamp(millis) < at { millis + 1 } else { millis }
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_else(|_| farthest())
}

#[cfg(test)]
mod tests;
