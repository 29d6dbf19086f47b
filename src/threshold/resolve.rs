//! Which thresholds a pod has: its own word, else the first policy that says one, state by state.
//!
//! Without a policy there is no threshold. A ClusterInjectionPolicy's `overrides` bind the pod and every InjectionPolicy,
//! an InjectionPolicy's bind the pod. They bind every state, also those that the policy does not name itself, or
//! `initializing: forever` would be a way around a bound `pendingScheduled`. `allow: false` of any of them is final. A
//! value outside `min` and `max` is moved to the bound, not dropped; where the bounds of two policies contradict, those of
//! a ClusterInjectionPolicy win, and among them the first's.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::duration::{self, Threshold};
use crate::threshold::pod::WatchedPod;
use crate::threshold::spec::{OnExceededSpec, Overrides, StateThresholds};
use crate::threshold::{PerState, State};

/// The annotation that holds thresholds in MLRun's words, as JSON.
pub const STATE_THRESHOLDS: &str = "stowage.dev/state-thresholds";

/// MLRun's name of the running state has a key too.
pub const EXECUTING_KEY: &str = "stowage.dev/executing-threshold";

/// The thresholds of one pod.
pub type Thresholds = PerState<Limit>;

/// A policy that matches the pod and has `stateThresholds`.
#[derive(Debug, Clone, Copy)]
pub struct PolicyThresholds<'a> {
    /// How the policy is called in verdicts.
    pub name: &'a Arc<str>,
    /// Whether it is a ClusterInjectionPolicy.
    pub cluster: bool,
    /// Its `stateThresholds`.
    pub thresholds: &'a StateThresholds,
    /// Its `onExceeded`.
    pub on_exceeded: OnExceededSpec,
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
    pub on_exceeded: OnExceededSpec,
    /// What the policies alone say. Differs from `threshold` only under the pod's own word.
    pub policy_threshold: Option<Threshold>,
}

/// What [`resolve`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The pod's thresholds.
    pub thresholds: Thresholds,
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
/// `policies` are those that match and have `stateThresholds`, in their order: InjectionPolicies, then
/// ClusterInjectionPolicies, each by priority, then name.
pub fn resolve(pod: &WatchedPod, policies: &[PolicyThresholds<'_>]) -> Resolved {
    let mut warnings = Vec::new();
    let mut thresholds = of_policies(policies, &mut warnings);
    let words = pod_words(pod, &mut warnings);
    let Some(first) = policies.first() else {
        if !words.is_empty() {
            warnings.push("the pod says a state threshold, but no policy that matches has stateThresholds".to_owned());
        }
        return Resolved { thresholds, warnings };
    };
    let bounds: Vec<Bound<'_>> = Bound::strongest_first(policies, |_| true);
    let of_policies = thresholds.clone();
    for (state, threshold) in words.iter() {
        let Some(threshold) = bound("the pod", state, *threshold, &bounds, &mut warnings) else {
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
    Resolved { thresholds, warnings }
}

fn of_policies(policies: &[PolicyThresholds<'_>], warnings: &mut Vec<String>) -> Thresholds {
    let bounds = Bound::strongest_first(policies, |policy| policy.cluster);
    let mut thresholds = Thresholds::default();
    for policy in policies {
        for (state, threshold) in policy.thresholds.thresholds.iter() {
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
        strongest.map(|policy| Self { policy: policy.name.as_ref(), overrides: policy.thresholds.overrides }).collect()
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

/// The pod's own words: a key of the state, else the JSON annotation. A wrong one counts as said, so that neither the
/// JSON nor anything but the policy decides in its place.
fn pod_words(pod: &WatchedPod, warnings: &mut Vec<String>) -> PerState<Threshold> {
    let mut said: PerState<Option<Threshold>> = json_words(pod, warnings);
    let keys = State::ALL.into_iter().map(|state| (state, state.pod_key()));
    // Before the canonical names: of two keys of one state `running-threshold` wins.
    for (state, key) in std::iter::once((State::Running, EXECUTING_KEY)).chain(keys) {
        let Some(text) = pod.metadata.word(key) else {
            continue;
        };
        let threshold = duration::parse(text);
        if let Err(error) = &threshold {
            warnings.push(format!("{key}: {error}; the policy's threshold stands"));
        }
        said.set(state, threshold.ok());
    }
    said.iter().filter_map(|(state, threshold)| Some((state, (*threshold)?))).collect()
}

fn json_words(pod: &WatchedPod, warnings: &mut Vec<String>) -> PerState<Option<Threshold>> {
    let mut said = PerState::default();
    let Some(json) = pod.metadata.annotations.get(STATE_THRESHOLDS) else {
        return said;
    };
    let Ok(words) = serde_json::from_str::<BTreeMap<String, Value>>(json) else {
        warnings.push(format!(
            "{STATE_THRESHOLDS}: not a JSON object such as {{\"running\": \"90m\"}}; the policy's thresholds stand"
        ));
        return said;
    };
    for (key, value) in &words {
        let Some(state) = State::from_name(key) else {
            let names: Vec<&str> = State::ALL.into_iter().map(State::name).collect();
            let key: String = key.chars().take(40).collect();
            warnings.push(format!("{STATE_THRESHOLDS}: `{key}` is not a state; the states are {}", names.join(", ")));
            continue;
        };
        let threshold = json_threshold(value);
        let refused = match &threshold {
            Ok(_) if said.own(state).is_some_and(|before| *before != threshold.as_ref().ok().copied()) => {
                Some("`running` and `executing` are two names of one state and differ".to_owned())
            }
            Ok(_) => None,
            Err(error) => Some(error.clone()),
        };
        if let Some(error) = &refused {
            warnings.push(format!("{STATE_THRESHOLDS}: {}: {error}; the policy's threshold stands", state.name()));
        }
        said.set(state, threshold.ok().filter(|_| refused.is_none()));
    }
    said
}

fn json_threshold(value: &Value) -> Result<Threshold, String> {
    match value {
        Value::String(text) => duration::parse(text).map_err(|error| error.to_string()),
        Value::Number(number) if number.as_i64() == Some(-1) => Ok(Threshold::Never),
        _ => Err("neither a time string such as `90m` nor -1".to_owned()),
    }
}
