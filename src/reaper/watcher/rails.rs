//! From a deadline to an attempt: the node, the notice of what was found overdue, the breaker, the buckets, in this order.

use std::sync::Arc;

use jiff::Timestamp;

use super::case::{Case, Place};
use super::{Due, Watcher};
use crate::duration::Threshold;
use crate::reaper::breaker::{Came, Population};
use crate::reaper::deadlines::{Deadlines, Record, Uid};
use crate::reaper::said::{Group, ObjectRef, Said};
use crate::reaper::step::Attempt;
use crate::reaper::terms::TermsTable;
use crate::reason::Reason;
use crate::threshold::State;

/// The annotation on the watcher's Deployment that lets go what the breaker holds.
pub const RELEASE: &str = "stowage.dev/release-breaker";

/// How long after the leadership went a pod that was in hand comes up again.
const AFTER_LEADING: std::time::Duration = std::time::Duration::from_secs(30);

/// Why the annotation that releases the breaker says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{RELEASE}: `{value}` releases nothing: write the time until which due pods are let go, RFC 3339 and not in the future, \
     and after a blank what is held, such as `2026-01-31T12:00:00Z image_pull_backoff,found_overdue`; the time alone is \
     everything"
)]
pub struct ReleaseError {
    value: String,
}

impl Watcher {
    /// Takes in the value of the annotation [`RELEASE`] on the watcher's Deployment: what came due until the time it
    /// names passes the breaker. Each value works once, and again given does nothing.
    ///
    /// # Errors
    ///
    /// When it is no such value, or a time that has not come.
    pub fn release(&mut self, value: &str, now: Timestamp) -> Result<(), ReleaseError> {
        let refuse = || ReleaseError { value: value.chars().take(64).collect() };
        let (time, groups) = value.trim().split_once(' ').unwrap_or_else(|| (value.trim(), ""));
        // A minute is what two clocks may differ.
        let until: Timestamp = time.parse().map_err(|_| refuse())?;
        if until.duration_since(now) > jiff::SignedDuration::from_mins(1) {
            return Err(refuse());
        }
        let words = groups.split([',', ' ']).filter(|word| !word.is_empty());
        let groups: Option<Vec<Group>> = words.map(Group::from_name).collect();
        let groups = groups.ok_or_else(refuse)?;
        self.is_released |= self.breaker.release(value, until, &groups);
        Ok(())
    }

    /// What came due and passed every rail, and what is to be said. For a standby nothing is handed out; a leader that
    /// stops leading is one from the next call on, and what it has in hand comes up again later.
    #[must_use]
    pub fn due(&mut self, now: Timestamp, is_leader: bool) -> Due {
        let mut due = Due::default();
        if !self.is_synced() {
            return due;
        }
        if !is_leader {
            self.put_down(now);
        }
        while let Some((uid, _)) = self.records.pop(now) {
            self.come_up(uid, now);
        }
        let population = Tracked { records: &self.records, terms: &self.terms };
        due.turns = self.breaker.settle(now, &population);
        if !due.turns.is_empty() || std::mem::take(&mut self.is_released) {
            self.sort_by_breaker();
        }
        self.is_leader = is_leader;
        if is_leader {
            self.say_overdue(now);
            due.said = std::mem::take(&mut self.said);
            due.attempts = self.hand_out(now);
        } else {
            // What a standby has seen missed the leader has seen too.
            self.said.clear();
        }
        due
    }

    /// A pod's deadline has come, or the moment to which it was moved.
    fn come_up(&mut self, uid: Uid, now: Timestamp) {
        let Some(verdict) = self.verdict(uid, now) else { return };
        let Some(record) = self.records.record(uid) else { return };
        let Some(deadline) = record.deadline() else { return };
        if now < deadline {
            self.before_the_deadline(uid, deadline);
            return;
        }
        let (is_overdue, namespace) = (record.is_overdue(), self.records.namespace(record));
        let group = match verdict.state {
            _ if is_overdue => Some(Group::FoundOverdue),
            state => state.waits().then_some(Group::State(state)),
        };
        let case = self.cases.entry(uid).or_insert_with(|| Case {
            deadline,
            state: record.state(),
            namespace,
            owner: record.owner(),
            place: Place::New,
            group,
            notice: None,
            is_counted: false,
            is_reported: false,
            tries: 0,
            note: None,
        });
        if matches!(case.place, Place::Line | Place::Parked | Place::Hand) {
            return;
        }
        case.place = Place::New;
        if verdict.held_by_node {
            case.place = Place::Node;
            return;
        }
        if is_overdue {
            let notice = self.options.overdue_notice;
            let is_new = case.notice.is_none();
            let until = *case.notice.get_or_insert_with(|| now.checked_add(notice).unwrap_or(Timestamp::MAX));
            if is_new {
                self.unsaid.push(uid);
            }
            if now < until {
                case.place = Place::Notice;
                self.records.postpone(uid, until);
                return;
            }
        }
        self.count_and_line_up(uid, now);
    }

    /// The breaker and the line of the namespace.
    fn count_and_line_up(&mut self, uid: Uid, now: Timestamp) {
        let Some(case) = self.cases.get_mut(&uid) else { return };
        if let Some(group) = case.group.filter(|_| !case.is_counted)
            && let Some(record) = self.records.record(uid)
            && let Some(limit) = record.terms().thresholds.effective(case.state)
        {
            case.is_counted = true;
            let work = if case.owner == 0 { uid.half() } else { case.owner };
            let came = Came { at: now, group, policy: limit.policy.clone(), created: record.created(), work };
            self.breaker.came(uid, came);
        }
        if self.breaker.holds(uid) {
            case.place = Place::Breaker;
        } else {
            case.place = Place::Line;
            self.turns.join(&case.namespace, case.deadline, uid);
        }
    }

    /// Moves what the breaker holds now out of the lines, and what it holds no longer into them.
    fn sort_by_breaker(&mut self) {
        for (uid, case) in &mut self.cases {
            match (case.place, self.breaker.holds(*uid)) {
                (Place::Line, true) => {
                    self.turns.leave(&case.namespace, case.deadline, *uid);
                    case.place = Place::Breaker;
                }
                (Place::Breaker, false) => {
                    self.turns.join(&case.namespace, case.deadline, *uid);
                    case.place = Place::Line;
                }
                _ => {}
            }
        }
    }

    /// Hands out those whose turn it is. Of one owner one is in hand at a time, and the others wait for it.
    fn hand_out(&mut self, now: Timestamp) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        while let Some(uid) = self.turns.next(now) {
            let Some(case) = self.cases.get_mut(&uid) else { continue };
            if self.hand.is_busy(uid, case.owner) {
                self.turns.give_back(&case.namespace);
                if case.owner == 0 || self.hand.holds(uid) {
                    case.place = Place::Later;
                    self.records.postpone(uid, now.checked_add(AFTER_LEADING).unwrap_or(now));
                } else {
                    case.place = Place::Parked;
                    self.hand.park(uid, case.owner);
                }
                continue;
            }
            if let Some(until) = self.acted.quiet_until(case.owner, now) {
                self.turns.give_back(&case.namespace);
                case.place = Place::Later;
                self.records.postpone(uid, until);
                continue;
            }
            let Some(attempt) = self.records.record(uid).and_then(|record| attempt(&self.records, uid, record)) else {
                self.turns.give_back(&case.namespace);
                continue;
            };
            case.place = Place::Hand;
            self.hand.take(uid, case.owner, case.namespace.clone());
            attempts.push(attempt);
        }
        attempts
    }

    /// A leader no longer: what is in hand comes up again.
    fn put_down(&mut self, now: Timestamp) {
        let again = now.checked_add(AFTER_LEADING).unwrap_or(now);
        for uid in self.hand.all() {
            // A call that is under way may be answered yet, and is then known.
            if self.hand.get_mut(uid).is_none_or(|held| held.call.is_some()) {
                continue;
            }
            self.let_go(uid);
            self.later(uid, again, None);
        }
    }

    /// A pod that was parked, or put down, goes back to the rails.
    pub(super) fn let_go(&mut self, uid: Uid) -> Option<super::hand::Held> {
        let (held, parked) = self.hand.let_go(uid)?;
        for uid in parked {
            if let Some(case) = self.cases.get_mut(&uid).filter(|case| case.place == Place::Parked) {
                case.place = Place::Line;
                self.turns.join(&case.namespace, case.deadline, uid);
            }
        }
        Some(held)
    }

    /// A pod comes up again then.
    pub(super) fn later(&mut self, uid: Uid, at: Timestamp, note: Option<&str>) {
        let Some(case) = self.cases.get_mut(&uid) else { return };
        if case.place == Place::Line {
            self.turns.leave(&case.namespace, case.deadline, uid);
        }
        case.place = Place::Later;
        if let Some(note) = note {
            case.note = Some(note.into());
        }
        self.records.postpone(uid, at);
    }

    /// A pod is due no longer, or is gone: whatever it is in forgets it. What is in hand stays so until it is answered.
    pub(super) fn close(&mut self, uid: Uid) {
        let Some(case) = self.cases.remove(&uid) else { return };
        if case.place == Place::Line {
            self.turns.leave(&case.namespace, case.deadline, uid);
        }
        self.breaker.left(uid);
    }

    /// The node of a due pod holds it now, or no longer.
    pub(super) fn node_holds(&mut self, uid: Uid, holds: bool, now: Timestamp) {
        let Some(case) = self.cases.get_mut(&uid) else { return };
        match case.place {
            Place::Line if holds => {
                self.turns.leave(&case.namespace, case.deadline, uid);
                case.place = Place::Node;
            }
            Place::Breaker | Place::Parked if holds => case.place = Place::Node,
            Place::Node if !holds => {
                case.place = Place::New;
                self.records.postpone(uid, now);
            }
            _ => {}
        }
    }
}

fn notice_before(record: &Record) -> Option<std::time::Duration> {
    record.terms().thresholds.effective(record.state())?.on_exceeded.notice_before
}

fn attempt(records: &Deadlines, uid: Uid, record: &Record) -> Option<Attempt> {
    let limit = record.terms().thresholds.effective(record.state())?;
    let deadline = record.deadline()?;
    let since = limit.threshold.length().and_then(|length| deadline.checked_sub(length).ok());
    Some(Attempt {
        uid: records.text(uid),
        namespace: records.namespace(record),
        name: record.name().to_owned(),
        state: record.state(),
        since,
        threshold: limit.threshold,
        word: limit.word,
        policy: limit.policy.clone(),
        action: limit.on_exceeded.actions.of(record.state()),
        grace_period_seconds: limit.on_exceeded.grace_period_seconds,
        deadline,
    })
}

/// The pods that are tracked, as the breaker asks for them.
struct Tracked<'a> {
    records: &'a Deadlines,
    terms: &'a TermsTable,
}

impl Population for Tracked<'_> {
    fn of(&self, group: Group, policy: Option<&str>) -> usize {
        let counts = |state: State, terms: &crate::reaper::terms::Terms| {
            terms.thresholds.effective(state).is_some_and(|limit| {
                limit.threshold != Threshold::Never && policy.is_none_or(|policy| *limit.policy == *policy)
            })
        };
        let in_group = |terms: &crate::reaper::terms::Terms| match group {
            Group::State(state) => counts(state, terms),
            Group::FoundOverdue => State::ALL.into_iter().any(|state| counts(state, terms)),
        };
        self.terms.in_use().filter(|(terms, _)| in_group(terms)).map(|(_, pods)| pods).sum()
    }

    fn has(&self, pod: Uid) -> bool {
        self.records.record(pod).is_some()
    }

    fn policies(&self, pod: Uid) -> Vec<Arc<str>> {
        self.records.record(pod).map(|record| record.terms().policies.to_vec()).unwrap_or_default()
    }
}

impl Watcher {
    /// Something is to be said before the deadline, where the policy has it announced.
    fn before_the_deadline(&mut self, uid: Uid, deadline: Timestamp) {
        if let Some(on) = self.pod_of(uid)
            && let Some(record) = self.records.record(uid).filter(|record| !record.is_announced())
            && notice_before(record).is_some()
        {
            let text = Reason::RemovalAnnounced.with(&[&record.state().name(), &deadline]);
            self.said.push(Said { on, reason: Reason::RemovalAnnounced, action: "Announce", text });
            self.records.mark_announced(uid);
        }
        self.records.postpone(uid, deadline);
    }

    /// Has a pod with a new deadline come up earlier, where the policy has it announced.
    pub(super) fn announce(&mut self, uid: Uid, now: Timestamp) {
        let at = self.records.record(uid).and_then(|record| {
            let deadline = record.deadline().filter(|deadline| now < *deadline)?;
            deadline.checked_sub(notice_before(record)?).ok()
        });
        if let Some(at) = at {
            self.records.postpone(uid, at);
        }
    }

    /// Announces what was found overdue, once for each pod and state.
    fn say_overdue(&mut self, now: Timestamp) {
        for uid in std::mem::take(&mut self.unsaid) {
            let Some((case, on)) = self.cases.get(&uid).zip(self.pod_of(uid)) else { continue };
            let Some(until) = case.notice.filter(|until| now < *until) else { continue };
            let text = Reason::FoundOverdue.with(&[&case.state.name(), &until]);
            self.said.push(Said { on, reason: Reason::FoundOverdue, action: "Announce", text });
        }
    }

    fn pod_of(&self, uid: Uid) -> Option<ObjectRef> {
        let record = self.records.record(uid)?;
        Some(ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: self.records.namespace(record).to_string(),
            name: record.name().to_owned(),
            uid: self.records.text(uid),
        })
    }
}
