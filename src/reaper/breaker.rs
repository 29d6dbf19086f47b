//! The circuit breaker: a registry, a CSI driver or a wrong policy is not a thousand stuck jobs.
//!
//! Pods that come due together in one waiting state, over all or under one policy, are held: more than the rule's share of
//! those that have a threshold for the state, within the rule's window. Pods that were found overdue count together, in
//! whatever state. What is held stays so while that many are due, or until somebody releases it.
//!
//! A share of all pods does not see a policy that breaks every new pod of many that have long been running. So a state is
//! also held under a policy where [`NEWCOMERS`] works (owners, or bare pods) that were made after the last pod which got
//! to run came due in it: since then none got through.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::deadlines::Uid;
use super::options::BreakerRule;
use super::said::{BreakerTurn, Group};
use crate::reason::Reason;

/// How many works that came due since the last pod of their policy got to run are an outage.
pub const NEWCOMERS: usize = 2 * BreakerRule::AT_LEAST;

/// How often what is held is counted anew without news.
const RECOUNT: SignedDuration = SignedDuration::from_secs(5);

/// What is counted together: a group over all, or under one policy.
type Key = (Group, Option<Arc<str>>);

/// See the module.
#[derive(Debug)]
pub struct Breaker {
    rule: Option<BreakerRule>,
    /// Pods that came due, the earliest first, as far back as the window.
    came: VecDeque<(Uid, Came)>,
    /// Those that are due still.
    due: HashMap<Uid, Came>,
    open: BTreeMap<Key, Timestamp>,
    /// By policy, when the newest pod was made that got to run.
    lived: HashMap<Arc<str>, u32>,
    counted_at: Option<Timestamp>,
    last_release: String,
}

/// A pod that came due.
#[derive(Debug, Clone)]
pub struct Came {
    /// When.
    pub at: Timestamp,
    /// In what.
    pub group: Group,
    /// Under which policy.
    pub policy: Arc<str>,
    /// When it was made, in seconds since the epoch.
    pub created: u32,
    /// Its owner, or itself.
    pub work: u64,
}

#[derive(Debug, Default)]
struct Count {
    pods: usize,
    /// Those of them that are there no longer.
    gone: usize,
    newcomers: HashSet<u64>,
}

/// What the breaker asks about pods.
pub trait Population {
    /// How many pods have a threshold for the group, over all or by one policy.
    fn of(&self, group: Group, policy: Option<&str>) -> usize;
    /// Whether the pod is there still.
    fn has(&self, pod: Uid) -> bool;
    /// The policies that match a pod.
    fn policies(&self, pod: Uid) -> Vec<Arc<str>>;
}

impl Breaker {
    /// Holds nothing; without a rule it never does.
    #[must_use]
    pub fn new(rule: Option<BreakerRule>) -> Self {
        Self {
            rule,
            came: VecDeque::new(),
            due: HashMap::new(),
            open: BTreeMap::new(),
            lived: HashMap::new(),
            counted_at: None,
            last_release: String::new(),
        }
    }

    /// A pod came due.
    pub fn came(&mut self, uid: Uid, came: Came) {
        if self.rule.is_some() {
            self.came.push_back((uid, came.clone()));
            self.due.insert(uid, came);
            self.counted_at = None;
        }
    }

    /// A pod is due no longer.
    pub fn left(&mut self, uid: Uid) {
        if self.due.remove(&uid).is_some() {
            self.counted_at = None;
        }
    }

    /// A pod under the policy, made at that second, got to run.
    pub fn lived(&mut self, policy: &Arc<str>, created: u32) {
        if self.rule.is_none() {
            return;
        }
        match self.lived.get_mut(policy) {
            Some(newest) if *newest >= created => {}
            Some(newest) => {
                *newest = created;
                self.counted_at = self.counted_at.filter(|_| self.open.is_empty());
            }
            None => {
                self.lived.insert(policy.clone(), created);
            }
        }
    }

    /// Whether the pod is held.
    #[must_use]
    pub fn holds(&self, uid: Uid) -> bool {
        let Some(came) = self.due.get(&uid).filter(|_| !self.open.is_empty()) else { return false };
        self.open.contains_key(&(came.group, None)) || self.open.contains_key(&(came.group, Some(came.policy.clone())))
    }

    /// What is held, each group once.
    #[must_use]
    pub fn open(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.open.keys().map(|(group, _)| *group).collect();
        groups.dedup();
        groups
    }

    /// Lets go what came due until then in those groups, or in all. The same value again does nothing. Says whether it
    /// let anything go.
    pub fn release(&mut self, value: &str, until: Timestamp, groups: &[Group]) -> bool {
        if self.last_release == value {
            return false;
        }
        value.clone_into(&mut self.last_release);
        let stays = |came: &Came| came.at > until || !groups.is_empty() && !groups.contains(&came.group);
        self.came.retain(|(_, came)| stays(came));
        let before = self.due.len();
        self.due.retain(|_, came| stays(came));
        self.counted_at = None;
        self.due.len() < before
    }

    /// When counting anew may change something without news.
    #[must_use]
    pub fn next_at(&self) -> Option<Timestamp> {
        let counted = self.counted_at.filter(|_| !self.open.is_empty())?;
        counted.checked_add(RECOUNT).ok()
    }

    /// Counts, where something is new. Says what opened and what closed.
    pub fn settle(&mut self, now: Timestamp, population: &dyn Population) -> Vec<BreakerTurn> {
        let Some(rule) = self.rule else { return Vec::new() };
        let is_fresh = |at: Timestamp| at <= now && now.duration_since(at) < RECOUNT;
        if self.counted_at.is_some_and(is_fresh) {
            return Vec::new();
        }
        self.counted_at = Some(now);
        // A clock that jumped back does not keep the window open.
        self.came.iter_mut().for_each(|(_, came)| came.at = came.at.min(now));
        let begin = now.checked_sub(rule.window).unwrap_or(Timestamp::MIN);
        while self.came.front().is_some_and(|(_, came)| came.at <= begin) {
            self.came.pop_front();
        }
        let in_window = self.count(self.came.iter().map(|(uid, came)| (*uid, came)), population);
        let due = self.count(self.due.iter().map(|(uid, came)| (*uid, came)), population);
        let none = Count::default();
        let keys: HashSet<Key> = in_window.keys().chain(self.open.keys()).cloned().collect();
        let mut turns = Vec::new();
        let mut keys: Vec<Key> = keys.into_iter().collect();
        keys.sort();
        for key in keys {
            let (in_window, due) = (in_window.get(&key).unwrap_or(&none), due.get(&key).unwrap_or(&none));
            let was_open = self.open.contains_key(&key);
            // What was removed within the window was one of them.
            let of = population.of(key.0, key.1.as_deref()) + in_window.gone;
            let is_broken = |count: &Count, many| key.1.is_some() && count.newcomers.len() >= many;
            let opens = rule.is_exceeded(in_window.pods, of) || is_broken(in_window, NEWCOMERS);
            let stays = rule.is_exceeded(due.pods, of) || is_broken(due, BreakerRule::AT_LEAST);
            let is_open = opens || was_open && stays;
            if is_open == was_open {
                continue;
            }
            if is_open {
                self.open.insert(key.clone(), now);
            } else {
                self.open.remove(&key);
            }
            let pods = if is_open { in_window.pods } else { due.pods };
            turns.push(self.turn(&key, is_open, pods, of, population));
        }
        turns
    }

    fn count<'c>(
        &'c self,
        came: impl Iterator<Item = (Uid, &'c Came)>,
        population: &dyn Population,
    ) -> HashMap<Key, Count> {
        let mut counts: HashMap<Key, Count> = HashMap::new();
        for (uid, came) in came {
            let gone = usize::from(!population.has(uid));
            let over_all = counts.entry((came.group, None)).or_default();
            over_all.pods += 1;
            over_all.gone += gone;
            let count = counts.entry((came.group, Some(came.policy.clone()))).or_default();
            count.pods += 1;
            count.gone += gone;
            let is_new = self.lived.get(&came.policy).is_none_or(|newest| came.created > *newest);
            // Who found them overdue has not seen them wait.
            if is_new && matches!(came.group, Group::State(_)) {
                count.newcomers.insert(came.work);
            }
        }
        counts
    }

    fn turn(&self, key: &Key, open: bool, due: usize, of: usize, population: &dyn Population) -> BreakerTurn {
        let (group, policy) = key;
        let of_key = |came: &Came| came.group == *group && policy.as_ref().is_none_or(|policy| came.policy == *policy);
        let mut common: Option<Vec<Arc<str>>> = None;
        for (uid, _) in self.due.iter().filter(|(_, came)| of_key(came)) {
            let policies = population.policies(*uid);
            match &mut common {
                None => common = Some(policies),
                Some(common) => common.retain(|policy| policies.contains(policy)),
            }
        }
        let common = common.unwrap_or_default();
        let under = policy.as_ref().map_or_else(String::new, |policy| format!(" under policy {policy}"));
        let (reason, text) = if open {
            let shared = if common.is_empty() {
                "they have no policy in common".to_owned()
            } else {
                format!("policies that they have in common: {}", common.join(", "))
            };
            (Reason::BreakerOpened, Reason::BreakerOpened.with(&[&due, &of, &under, &group.name(), &shared]))
        } else {
            (Reason::BreakerClosed, Reason::BreakerClosed.with(&[&group.name(), &under, &due, &of]))
        };
        BreakerTurn { group: *group, policy: policy.clone(), open, due, of, common_policies: common, reason, text }
    }
}
