//! Who comes next: token buckets over all and for each namespace, the oldest first, the namespaces in turn.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::deadlines::Uid;
use super::options::Rate;

/// A token bucket, as the moment at which it is full again, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: i64,
    interval: i64,
    burst: i64,
}

impl Bucket {
    /// A full one. At once it gives what one second allows, and at least one.
    fn new(rate: Rate) -> Self {
        let per = i64::try_from(rate.per.as_micros()).unwrap_or(i64::MAX);
        let interval = (per / i64::from(rate.count)).max(1);
        Self { full_at: i64::MIN, interval, burst: (1_000_000 / interval).max(1) }
    }

    /// A clock that jumped back does not make the bucket emptier than empty.
    fn look_at(&mut self, now: i64) {
        self.full_at = self.full_at.min(now.saturating_add(self.interval.saturating_mul(self.burst)));
    }

    /// When the next token is there.
    fn free_at(&self, now: i64) -> i64 {
        self.full_at.max(now).saturating_sub(self.interval.saturating_mul(self.burst - 1))
    }

    fn take(&mut self, now: i64) {
        self.full_at = self.full_at.max(now).saturating_add(self.interval);
    }

    const fn give_back(&mut self) {
        self.full_at = self.full_at.saturating_sub(self.interval);
    }
}

/// Due pods that wait for their turn.
#[derive(Debug)]
pub struct Turns {
    overall: Option<Bucket>,
    each: Option<Rate>,
    lines: HashMap<Arc<str>, Line>,
    turn: u64,
    len: usize,
}

/// The pods of one namespace, the oldest deadline first.
#[derive(Debug)]
struct Line {
    bucket: Option<Bucket>,
    /// The turn in which it was served last.
    served: u64,
    pods: BTreeSet<(Timestamp, Uid)>,
}

/// Lines that are kept though nobody stands in them.
const SLACK: usize = 64;

impl Turns {
    /// Nobody waits, and all buckets are full.
    #[must_use]
    pub fn new(overall: Option<Rate>, each: Option<Rate>) -> Self {
        Self { overall: overall.map(Bucket::new), each, lines: HashMap::new(), turn: 0, len: 0 }
    }

    /// A pod joins the line of its namespace.
    pub fn join(&mut self, namespace: &Arc<str>, deadline: Timestamp, uid: Uid) {
        if self.lines.len() > SLACK && !self.lines.contains_key(namespace) {
            let most = self.len + SLACK;
            // An empty line is kept for its bucket, which a second fills; there is no hurry to forget it.
            if self.lines.len() > most {
                self.lines.retain(|_, line| !line.pods.is_empty());
            }
        }
        let each = self.each;
        let line = self.lines.entry(namespace.clone()).or_insert_with(|| Line {
            bucket: each.map(Bucket::new),
            served: 0,
            pods: BTreeSet::new(),
        });
        self.len += usize::from(line.pods.insert((deadline, uid)));
    }

    /// A pod leaves the line.
    pub fn leave(&mut self, namespace: &str, deadline: Timestamp, uid: Uid) {
        if let Some(line) = self.lines.get_mut(namespace) {
            self.len -= usize::from(line.pods.remove(&(deadline, uid)));
        }
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next one whose turn it is: of the namespaces that have a token the one that was served longest ago, in it the
    /// oldest. It takes a token of both buckets.
    pub fn next(&mut self, now: Timestamp) -> Option<Uid> {
        let now = now.as_microsecond();
        self.look_at(now);
        if self.len == 0 || self.overall.is_some_and(|bucket| bucket.free_at(now) > now) {
            return None;
        }
        let lines = self.lines.values_mut().filter(|line| !line.pods.is_empty());
        let free = lines.filter(|line| line.bucket.is_none_or(|bucket| bucket.free_at(now) <= now));
        let line = free.min_by_key(|line| (line.served, line.pods.first().copied()))?;
        let (_, uid) = line.pods.pop_first()?;
        self.len -= 1;
        self.turn += 1;
        line.served = self.turn;
        if let Some(bucket) = &mut line.bucket {
            bucket.take(now);
        }
        if let Some(bucket) = &mut self.overall {
            bucket.take(now);
        }
        Some(uid)
    }

    fn look_at(&mut self, now: i64) {
        let lines = self.lines.values_mut().filter_map(|line| line.bucket.as_mut());
        lines.chain(&mut self.overall).for_each(|bucket| bucket.look_at(now));
    }

    /// The token was for nothing: nothing is removed.
    pub fn give_back(&mut self, namespace: &str) {
        if let Some(bucket) = self.lines.get_mut(namespace).and_then(|line| line.bucket.as_mut()) {
            bucket.give_back();
        }
        if let Some(bucket) = &mut self.overall {
            bucket.give_back();
        }
    }

    /// When somebody's turn comes; `None` where nobody waits.
    #[must_use]
    pub fn next_at(&mut self, now: Timestamp) -> Option<Timestamp> {
        let now = now.as_microsecond();
        self.look_at(now);
        let lines = self.lines.values().filter(|line| !line.pods.is_empty());
        let first = lines.map(|line| line.bucket.map_or(now, |bucket| bucket.free_at(now))).min()?;
        let overall = self.overall.map_or(now, |bucket| bucket.free_at(now));
        Timestamp::from_microsecond(first.max(overall)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn turns(overall: Option<Rate>, each: Option<Rate>, pods: &[(&str, i64)]) -> Turns {
        let mut turns = Turns::new(overall, each);
        for (index, (namespace, deadline)) in pods.iter().enumerate() {
            turns.join(&(*namespace).into(), at(*deadline), Uid::of(&index.to_string()));
        }
        turns
    }

    #[test]
    fn a_second_gives_what_it_allows_and_a_slow_rate_one_at_a_time() {
        let pods = [("a", 0); 20];
        let mut fast = turns(Some(Rate::per_second(5)), None, &pods);
        assert_eq!(std::iter::from_fn(|| fast.next(at(100))).count(), 5);
        assert_eq!(std::iter::from_fn(|| fast.next(at(101))).count(), 5);
        let mut slow = turns(Some("30/m".parse().unwrap()), None, &pods);
        assert_eq!(std::iter::from_fn(|| slow.next(at(100))).count(), 1);
        assert_eq!(slow.next_at(at(100)), Some(at(102)));
        assert!(slow.next(at(101)).is_none() && slow.next(at(102)).is_some());
    }

    #[test]
    fn a_token_for_nothing_comes_back() {
        let mut turns = turns(Some(Rate::per_second(1)), Some(Rate::per_second(1)), &[("a", 0), ("a", 1)]);
        assert!(turns.next(at(100)).is_some() && turns.next(at(100)).is_none());
        turns.give_back("a");
        assert!(turns.next(at(100)).is_some());
        assert_eq!((turns.len(), turns.next_at(at(100))), (0, None));
    }

    #[test]
    fn a_clock_that_jumps_back_stops_nobody_for_longer_than_an_empty_bucket() {
        let mut turns = turns(Some(Rate::per_second(2)), None, &[("a", 0); 9]);
        assert_eq!(std::iter::from_fn(|| turns.next(at(1_000_000))).count(), 2);
        assert!(turns.next_at(at(0)).unwrap() <= at(1));
        assert!(turns.next(at(2)).is_some());
    }

    #[test]
    fn who_leaves_the_line_is_not_called() {
        let mut turns = turns(None, None, &[("a", 5), ("a", 3), ("b", 9)]);
        turns.leave("a", at(3), Uid::of("1"));
        turns.leave("b", at(1), Uid::of("2"));
        assert_eq!(turns.len(), 2);
        assert_eq!([turns.next(at(10)), turns.next(at(10))], [Some(Uid::of("0")), Some(Uid::of("2"))]);
        assert!(turns.next(at(10)).is_none() && turns.is_empty());
    }
}
