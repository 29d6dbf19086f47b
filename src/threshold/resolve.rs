//! Which thresholds a pod has: its own word, else the first policy that says one, state by state.
//!
//! Without a policy there is no threshold. A ClusterInjectionPolicy's `overrides` bind the pod and every InjectionPolicy,
//! an InjectionPolicy's bind the pod. They bind every state, also those that the policy does not name itself, or
//! `initializing: forever` would be a way around a bound `pendingScheduled`. `allow: false` of any of them is final. A
//! value outside `min` and `max` is moved to the bound, not dropped; where the bounds of two policies contradict, those of
//! a ClusterInjectionPolicy win, and among them the first's.

use std::sync::Arc;

use crate::duration::Threshold;
use crate::threshold::spec::{OnExceeded, Overrides, StateThresholds};
use crate::threshold::words::{PodWords, REAP};
use crate::threshold::{PerState, State};

/// The thresholds of one pod.
pub type Thresholds = PerState<Limit>;

/// A policy that matches the pod and has `stateThresholds`, `onExceeded` or both.
#[derive(Debug, Clone, Copy)]
pub struct PolicyThresholds<'a> {
    /// How the policy is called in verdicts.
    pub name: &'a Arc<str>,
    /// Whether it is a ClusterInjectionPolicy.
    pub cluster: bool,
    /// Its `stateThresholds`; `None` for one that only says what happens to pods whose threshold is their own.
    pub thresholds: Option<&'a StateThresholds>,
    /// Its `onExceeded`.
    pub on_exceeded: OnExceeded,
}

/// Who set a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The pod itself, or its MLRun run.
    Pod,
    /// A policy.
    Policy,
}

/// The threshold of one state, and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// How long the pod may stay.
    pub threshold: Threshold,
    /// Who says so.
    pub word: Word,
    /// The policy that set the threshold; for the pod's own word the first that matches.
    pub policy: Arc<str>,
    /// What that policy does about a due pod.
    pub on_exceeded: OnExceeded,
    /// What the policies alone say. Differs from `threshold` only under the pod's own word.
    pub policy_threshold: Option<Threshold>,
}

/// What [`resolve`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The pod's thresholds.
    pub thresholds: Thresholds,
    /// Whether the pod asks to be reported only, and no policy forbids it.
    pub is_spared: bool,
    /// What was left out or moved, and why. Names keys and time strings only.
    pub warnings: Vec<String>,
}

impl Limit {
    /// Whether the pod made the threshold shorter than the policies did, never included.
    pub fn is_shortened(&self) -> bool {
        self.word == Word::Pod && self.threshold < self.policy_threshold.unwrap_or(Threshold::Never)
    }
}

/// Resolves a pod's thresholds.
///
/// `policies` are those that match and have `stateThresholds` or `onExceeded`, in their order: InjectionPolicies, then
/// ClusterInjectionPolicies, each by priority, then name.
pub fn resolve(words: &PodWords, policies: &[PolicyThresholds<'_>]) -> Resolved {
    let mut warnings = words.warnings.clone();
    let mut thresholds = of_policies(policies, &mut warnings);
    let Some(first) = policies.first() else {
        if words.thresholds().next().is_some() {
            warnings.push("the pod says a state threshold, but no policy that matches has stateThresholds".to_owned());
        }
        return Resolved { thresholds, is_spared: words.asks_to_be_spared, warnings };
    };
    let bounds: Vec<Bound<'_>> = Bound::strongest_first(policies, |_| true);
    let of_policies = thresholds.clone();
    for (state, threshold) in words.thresholds() {
        let Some(threshold) = bound("the pod", state, threshold, &bounds, &mut warnings) else {
            continue;
        };
        let limit = Limit {
            threshold,
            word: Word::Pod,
            policy: first.name.clone(),
            on_exceeded: first.on_exceeded,
            policy_threshold: of_policies.effective(state).map(|limit| limit.threshold),
        };
        thresholds.set(state, limit);
    }
    let mut is_spared = words.asks_to_be_spared;
    if is_spared && let Some(bound) = bounds.iter().find(|bound| !bound.overrides.allow) {
        warnings.push(format!("{REAP}: policy {} allows no overrides; it is left out", bound.policy));
        is_spared = false;
    }
    Resolved { thresholds, is_spared, warnings }
}

fn of_policies(policies: &[PolicyThresholds<'_>], warnings: &mut Vec<String>) -> Thresholds {
    let bounds = Bound::strongest_first(policies, |policy| policy.cluster);
    let mut thresholds = Thresholds::default();
    for policy in policies {
        for (state, threshold) in policy.thresholds.iter().flat_map(|thresholds| thresholds.thresholds.iter()) {
            if thresholds.own(state).is_some() {
                continue;
            }
            let bounds: &[Bound<'_>] = if policy.cluster { &[] } else { &bounds };
            let Some(threshold) = bound(policy.name, state, *threshold, bounds, warnings) else {
                continue;
            };
            let limit = Limit {
                threshold,
                word: Word::Policy,
                policy: policy.name.clone(),
                on_exceeded: policy.on_exceeded,
                policy_threshold: Some(threshold),
            };
            thresholds.set(state, limit);
        }
    }
    thresholds
}

struct Bound<'a> {
    policy: &'a str,
    overrides: Overrides,
}

impl<'a> Bound<'a> {
    fn strongest_first(policies: &[PolicyThresholds<'a>], binds: impl Fn(&PolicyThresholds<'a>) -> bool) -> Vec<Self> {
        let (cluster, namespaced): (Vec<&PolicyThresholds<'a>>, Vec<_>) =
            policies.iter().filter(|policy| binds(policy)).partition(|policy| policy.cluster);
        let strongest = cluster.into_iter().chain(namespaced);
        strongest
            .filter_map(|policy| Some(Self { policy: policy.name.as_ref(), overrides: policy.thresholds?.overrides }))
            .collect()
    }
}

/// The threshold as far as the bounds let it; `None` where they let none.
fn bound(
    whose: &str,
    state: State,
    said: Threshold,
    strongest_first: &[Bound<'_>],
    warnings: &mut Vec<String>,
) -> Option<Threshold> {
    let name = state.name();
    if let Some(bound) = strongest_first.iter().find(|b| !b.overrides.allow) {
        warnings
            .push(format!("{name}: {whose} says {said}, but policy {} allows no overrides; left out", bound.policy));
        return None;
    }
    let mut threshold = said;
    let mut moved_by = None;
    for bound in strongest_first.iter().rev() {
        let moved = bound.overrides.clamp(threshold);
        if moved != threshold {
            moved_by = Some(bound.policy);
            threshold = moved;
        }
    }
    if let Some(policy) = moved_by {
        warnings.push(format!("{name}: {whose} says {said}, which policy {policy} bounds to {threshold}"));
    }
    Some(threshold)
}

impl Overrides {
    fn clamp(&self, threshold: Threshold) -> Threshold {
        let raised = self.min.map_or(threshold, |min| threshold.max(min));
        self.max.map_or(raised, |max| raised.min(max))
    }
}
