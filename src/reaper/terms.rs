//! What holds for a pod by the policies that match it: its thresholds, and who says so.
//!
//! Most pods of a cluster have the same, so it is kept once. What is kept of a pod holds a reference to it, and is judged
//! again by it when its node changes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::labels::Labels;
use crate::policy::snapshot::Snapshot;
use crate::policy::{Policy, Scope};
use crate::threshold::resolve::{PolicyThresholds, Resolved, resolve};
use crate::threshold::words::PodWords;
use crate::threshold::{State, Thresholds, WatchedPod};

/// What holds for a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Its thresholds.
    pub thresholds: Thresholds,
    /// Every policy that matches it, whether it speaks to the watcher or not, as policies are called in verdicts.
    pub policies: Box<[Arc<str>]>,
    /// Whether it asks to be reported only, and may.
    pub is_spared: bool,
}

impl Terms {
    /// The policies that set a threshold for a waiting state of the pod, each once.
    pub fn setters(&self) -> impl Iterator<Item = &Arc<str>> {
        let of = |state: State| self.thresholds.effective(state).filter(|_| state.waits()).map(|limit| &limit.policy);
        State::ALL.into_iter().enumerate().filter_map(move |(at, state)| {
            let earlier = State::ALL.into_iter().take(at).any(|earlier| of(earlier) == of(state));
            of(state).filter(|_| !earlier)
        })
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.policies, self.is_spared).hash(&mut hasher);
        for (state, limit) in self.thresholds.iter() {
            (state, limit.threshold, &limit.policy).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The terms that are in use, each once.
#[derive(Debug, Default)]
pub struct TermsTable {
    by_hash: HashMap<u64, Vec<Arc<Terms>>>,
    kept: usize,
    /// From how many on those that nobody uses are looked for.
    limit: usize,
}

/// How many may be kept before those that nobody uses are looked for.
const SLACK: usize = 64;

impl TermsTable {
    /// The one of that content.
    pub fn share(&mut self, terms: Terms) -> Arc<Terms> {
        let hash = terms.hash();
        let alike = self.by_hash.entry(hash).or_default();
        if let Some(known) = alike.iter().find(|known| ***known == terms) {
            return known.clone();
        }
        let new = Arc::new(terms);
        alike.push(new.clone());
        self.kept += 1;
        if self.kept > self.limit.max(SLACK) {
            self.forget_unused();
        }
        new
    }

    /// Each, with the number of pods for which it holds.
    pub fn in_use(&self) -> impl Iterator<Item = (&Arc<Terms>, usize)> {
        self.by_hash.values().flatten().map(|terms| (terms, Arc::strong_count(terms) - 1))
    }

    fn forget_unused(&mut self) {
        self.by_hash.retain(|_, alike| {
            alike.retain(|terms| Arc::strong_count(terms) > 1);
            !alike.is_empty()
        });
        self.kept = self.by_hash.values().map(Vec::len).sum();
        self.limit = self.kept * 2;
    }
}

/// What the policies of a snapshot say of a pod.
#[derive(Debug)]
pub struct Judgement<'s> {
    /// Its thresholds, and what is to be warned of.
    pub resolved: Resolved,
    /// The policies that match it, with their names, in the order in which they act.
    pub matching: Vec<(&'s Arc<Policy>, Arc<str>)>,
}

/// Reads what the policies of the snapshot say of a pod.
#[must_use]
pub fn judge<'s>(snapshot: &'s Snapshot, pod: &WatchedPod) -> Judgement<'s> {
    let namespace = snapshot.namespace(&pod.metadata.namespace);
    let found = snapshot.policies.matching(&pod.metadata.namespace, &namespace, &PodLabels(pod));
    let is_asked = |policy: &Policy| {
        policy.requests.is_empty() || pod.requested().any(|name| policy.requests.iter().any(|asked| asked == name))
    };
    let matching: Vec<(&Arc<Policy>, Arc<str>)> =
        found.into_iter().filter(|policy| is_asked(policy)).map(|policy| (policy, policy_name(policy))).collect();
    let speaking: Vec<PolicyThresholds<'_>> = matching
        .iter()
        .filter(|(policy, _)| speaks_to_the_watcher(policy))
        .map(|(policy, name)| watched(policy, name))
        .collect();
    let words = if speaking.is_empty() { PodWords::default() } else { pod.words() };
    Judgement { resolved: resolve(&words, &speaking), matching }
}

impl Judgement<'_> {
    /// What of it is kept.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms {
            thresholds: self.resolved.thresholds.clone(),
            policies: self.matching.iter().map(|(_, name)| name.clone()).collect(),
            is_spared: self.resolved.is_spared,
        }
    }

    /// The policy that is called so.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.matching.iter().find(|(_, known)| **known == *name).map(|(policy, _)| *policy)
    }
}

/// The labels of a pod.
#[derive(Debug)]
pub struct PodLabels<'p>(pub &'p WatchedPod);

impl Labels for PodLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.metadata.labels.get(key).map(String::as_str)
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        self.0.metadata.labels.iter().for_each(|(key, value)| visit(key, value));
    }
}

/// How a policy speaks to the watcher.
pub fn watched<'p>(policy: &'p Policy, name: &'p Arc<str>) -> PolicyThresholds<'p> {
    PolicyThresholds {
        name,
        cluster: policy.is_cluster(),
        thresholds: policy.thresholds.as_deref(),
        on_exceeded: policy.on_exceeded.unwrap_or_default(),
    }
}

/// Whether a policy says anything to the watcher.
pub fn speaks_to_the_watcher(policy: &Policy) -> bool {
    policy.thresholds.is_some() || policy.on_exceeded.is_some()
}

/// How a policy is called: `name`, or `namespace/name`.
pub fn policy_name(policy: &Policy) -> Arc<str> {
    match &policy.id.scope {
        Scope::Cluster => policy.id.name.clone(),
        Scope::Namespace(_) => policy.id.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::resolve::{Limit, Word};
    use crate::threshold::spec::OnExceeded;

    fn terms(policy: &str, threshold: &str, states: &[State]) -> Terms {
        let threshold = threshold.parse().unwrap();
        let limit = Limit {
            threshold,
            word: Word::Policy,
            policy: policy.into(),
            on_exceeded: OnExceeded::default(),
            policy_threshold: Some(threshold),
        };
        let thresholds = states.iter().map(|state| (*state, limit.clone())).collect();
        Terms { thresholds, policies: [policy.into()].into(), is_spared: false }
    }

    #[test]
    fn the_same_is_kept_once_and_counted_by_who_has_it() {
        let mut table = TermsTable::default();
        let one = table.share(terms("a", "1h", &[State::Running]));
        let same = table.share(terms("a", "1h", &[State::Running]));
        let other = table.share(terms("a", "2h", &[State::Running]));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        let mut counts: Vec<usize> = table.in_use().map(|(_, count)| count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
    }

    #[test]
    fn what_nobody_has_is_forgotten_in_time() {
        let mut table = TermsTable::default();
        let kept = table.share(terms("kept", "1h", &[State::Running]));
        for hours in 1..10_000 {
            table.share(terms("p", &format!("{hours}h"), &[State::Running]));
        }
        assert!(table.kept <= 2 * SLACK, "{}", table.kept);
        assert!(Arc::ptr_eq(&kept, &table.share(terms("kept", "1h", &[State::Running]))));
    }

    #[test]
    fn who_set_a_threshold_for_a_waiting_state_is_named_once() {
        let set = |states: &[State]| terms("a", "1h", states).setters().cloned().collect::<Vec<_>>();
        assert_eq!(set(&[State::Running, State::Failed]), Vec::<Arc<str>>::new());
        assert_eq!(set(&[State::PendingScheduled, State::ImagePullBackoff, State::Running]), ["a".into()]);
    }
}
