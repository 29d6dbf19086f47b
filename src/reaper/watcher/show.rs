//! What is shown: the rows of the board, and the counts that metrics are made of.

use jiff::Timestamp;

use super::Watcher;
use super::case::Place;
use crate::duration::rough;
use crate::reaper::board::{BoardRow, Counts, Rail, RowFilter};
use crate::reaper::deadlines::{Kin, Record, Uid};
use crate::threshold::resolve::Word;
use crate::threshold::spec::ActionSpec;
use crate::threshold::{Action, State};

impl Watcher {
    /// The rows of the board: pods with a deadline, by time left.
    #[must_use]
    pub fn rows(&self, now: Timestamp, filter: &RowFilter) -> Vec<BoardRow> {
        let is_wanted = |record: &Record| {
            filter.state.is_none_or(|state| state == record.state())
                && filter.namespace.as_ref().is_none_or(|name| **name == *self.records.namespace(record))
        };
        let mut wanted: Vec<(Timestamp, Uid)> = self
            .records
            .records()
            .filter_map(|(uid, record)| Some((record.deadline()?, uid)).filter(|_| is_wanted(record)))
            .collect();
        wanted.sort_unstable();
        let limit = if filter.limit == 0 { usize::MAX } else { filter.limit };
        wanted.into_iter().take(limit).filter_map(|(deadline, uid)| self.row(uid, deadline, now)).collect()
    }

    fn row(&self, uid: Uid, deadline: Timestamp, now: Timestamp) -> Option<BoardRow> {
        let record = self.records.record(uid)?;
        let limit = record.terms().thresholds.effective(record.state())?;
        let length = limit.threshold.length()?;
        let is_at_work = self.records.siblings(&self.records.text(uid)).are_at_work();
        let spec = limit.on_exceeded.actions.of(record.state());
        Some(BoardRow {
            namespace: self.records.namespace(record).to_string(),
            name: record.name().to_owned(),
            uid: self.records.text(uid),
            state: record.state().name(),
            since: deadline.checked_sub(length).ok(),
            threshold: Some(length.as_secs()),
            word: match limit.word {
                Word::Pod => "pod",
                Word::Policy => "policy",
            },
            policy: limit.policy.to_string(),
            deadline,
            action: outlook(spec, record, record.terms().is_spared, is_at_work).name(),
            held: self.held(uid, now),
        })
    }

    /// Why a due pod is still there.
    fn held(&self, uid: Uid, now: Timestamp) -> Option<String> {
        let Some(case) = self.cases.get(&uid) else {
            let verdict = self.verdict(uid, now)?;
            return verdict.held_by_node.then(|| "its node is not ready".to_owned());
        };
        let held = match case.place {
            Place::Node => "its node is not ready".to_owned(),
            Place::Notice => {
                let left = case.notice.map(|until| until.duration_since(now)).and_then(|left| left.try_into().ok());
                format!("found overdue, acted on in {}", rough(left.unwrap_or_default()))
            }
            Place::Breaker => {
                let group = case.group.map_or("", |group| group.name());
                format!("the breaker holds {group}: too many came due together")
            }
            Place::New | Place::Line => "waits for its turn".to_owned(),
            Place::Parked => "another pod of its owner is in hand".to_owned(),
            Place::Hand => "in hand".to_owned(),
            Place::Later => return case.note.as_deref().map(str::to_owned),
        };
        Some(held)
    }

    /// What metrics are made of.
    #[must_use]
    pub fn counts(&mut self, now: Timestamp) -> Counts {
        let mut held: Vec<(Rail, State, usize)> = Vec::new();
        for (rail, state) in self.cases.values().filter_map(|case| Some((case.place.rail()?, case.state))) {
            match held.iter_mut().find(|(known, of, _)| (*known, *of) == (rail, state)) {
                Some((_, _, count)) => *count += 1,
                None => held.push((rail, state, 1)),
            }
        }
        held.sort_unstable();
        Counts {
            tracked: State::ALL.map(|state| (state, self.records.in_state(state))).to_vec(),
            held,
            next_deadline: self.records.next_at(),
            open: self.breaker.open(),
            disabled: self.disabled.now(now),
            in_hand: self.hand.len(),
            missed: self.missed.count,
        }
    }
}

/// What would be done, as far as it is known before owners are read.
fn outlook(spec: ActionSpec, record: &Record, is_spared: bool, siblings_at_work: bool) -> Action {
    let (state, kin) = (record.state(), record.kin());
    let replaces = matches!(kin, Kin::ReplicaSet | Kin::StatefulSet);
    if replaces && !state.is_finished() && state != State::Terminating {
        return if state == State::Running { Action::None } else { Action::Report };
    }
    if is_spared || spec == ActionSpec::Report || state == State::Terminating {
        return Action::Report;
    }
    match (spec, kin) {
        (ActionSpec::Delete, _) => Action::Delete,
        (ActionSpec::Evict, _) => Action::Evict,
        (ActionSpec::Owner, Kin::Job | Kin::Independent | Kin::Gang | Kin::Driver) => Action::DeleteOwner,
        (ActionSpec::Owner, _) | (_, Kin::Unknown) => Action::Report,
        (_, Kin::Bare) => Action::Delete,
        (_, Kin::Job | Kin::ReplicaSet) if state.is_finished() => Action::Delete,
        (_, Kin::Driver) if state.waits() => Action::Report,
        (_, _) if state.is_finished() => Action::Report,
        (_, Kin::Job | Kin::Independent) if state.waits() && siblings_at_work => Action::Delete,
        (_, _) => Action::DeleteOwner,
    }
}
