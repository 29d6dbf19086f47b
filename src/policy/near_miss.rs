//! Policies that nearly match a pod, and the requirement that keeps each from it.
//!
//! Nothing injected is mostly one missing label: of the pod, or of its namespace. A decision does not need this; whoever
//! asks why nothing came of it does.

use std::fmt;

use crate::{
    labels::{Labels, Requirement, Selector},
    policy::{Policy, Scope},
};

/// A selector of a policy that a pod does not satisfy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailedSelector {
    /// `match.podSelector`.
    Pod,
    /// `match.namespaceSelector`.
    Namespace,
}

/// What keeps a policy from a pod.
#[derive(Clone, Debug)]
pub enum Failed<'p> {
    /// A requirement of a selector.
    Requirement {
        /// Where it stands.
        selector: FailedSelector,
        /// The requirement.
        requirement: &'p Requirement,
        /// The value that was found for its key.
        found: Option<String>,
    },
    /// `match.requests`: no container requests one of these resources.
    Requests(&'p [String]),
}

/// A policy that does not match, with the first thing that keeps it from the pod.
#[derive(Clone, Debug)]
pub struct NearMiss<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// What keeps it from the pod.
    pub first: Failed<'p>,
    /// How many such things there are in all.
    pub failed: usize,
}

/// What the match of a policy reads of a pod.
#[derive(Clone, Copy)]
pub struct MatchInput<'c> {
    /// Its namespace.
    pub namespace: &'c str,
    /// The labels of its namespace.
    pub namespace_labels: &'c dyn Labels,
    /// Its labels.
    pub labels: &'c dyn Labels,
    /// Whether one of its containers requests one of these resources.
    pub requests_any: &'c dyn Fn(&[String]) -> bool,
}

/// The policies that would match if fewest of their requirements were otherwise, in the order in which they would act.
///
/// An InjectionPolicy of another namespace can never match, so it is not among them.
#[must_use]
pub fn near_misses<'p>(
    policies: impl IntoIterator<Item = &'p Policy>,
    candidate: &MatchInput<'_>,
) -> Vec<NearMiss<'p>> {
    let here = |policy: &&Policy| match &policy.id.scope {
        Scope::Cluster => true,
        Scope::Namespace(own) => **own == *candidate.namespace,
    };
    let mut misses: Vec<NearMiss<'p>> =
        policies.into_iter().filter(here).filter_map(|policy| miss(policy, candidate)).collect();
    let fewest = misses.iter().map(|miss| miss.failed).min();
    misses.retain(|miss| Some(miss.failed) == fewest);
    misses
}

fn miss<'p>(policy: &'p Policy, candidate: &MatchInput<'_>) -> Option<NearMiss<'p>> {
    let of = |selector, requirement: &'p Requirement, labels: &dyn Labels| {
        let found = labels.label(&requirement.key).map(str::to_owned);
        Failed::Requirement { selector, requirement, found }
    };
    let (of_namespace, of_pod) = (candidate.namespace_labels, candidate.labels);
    let namespaces = policy.namespaces.iter().flat_map(|selector| failing(selector, of_namespace));
    let namespaces = namespaces.map(|one| of(FailedSelector::Namespace, one, of_namespace));
    let pods = failing(&policy.pods, of_pod).map(|one| of(FailedSelector::Pod, one, of_pod));
    let asks = !policy.requests.is_empty() && !(candidate.requests_any)(&policy.requests);
    let requests = asks.then_some(Failed::Requests(&policy.requests));
    let mut failing = namespaces.chain(pods).chain(requests);
    let first = failing.next()?;
    Some(NearMiss { policy, first, failed: 1 + failing.count() })
}

fn failing<'p>(selector: &'p Selector, labels: &dyn Labels) -> impl Iterator<Item = &'p Requirement> {
    selector.requirements().iter().filter(|requirement| !requirement.matches(labels.label(&requirement.key)))
}

impl fmt::Display for FailedSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "match.podSelector",
            Self::Namespace => "match.namespaceSelector",
        })
    }
}

impl fmt::Display for NearMiss<'_> {
    /// `policy mlrun does not match: match.podSelector asks for mlrun/class In [job], and the pod has no such label`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, first, failed } = self;
        write!(f, "policy {} does not match: {first}", policy.id)?;
        if *failed > 1 { write!(f, " (and {} more)", failed - 1) } else { Ok(()) }
    }
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requirement { selector, requirement, found } => {
                let whose = match selector {
                    FailedSelector::Pod => "pod",
                    FailedSelector::Namespace => "namespace",
                };
                write!(f, "{selector} asks for {requirement}, and the {whose} has ")?;
                match found {
                    Some(value) => write!(f, "{value:?}"),
                    None => f.write_str("no such label"),
                }
            }
            Self::Requests(resources) => {
                let resources = resources.join(" or ");
                write!(f, "match.requests asks for {resources}, and no container requests it")
            }
        }
    }
}
