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

/// A policy that does not match, with the first requirement that fails.
#[derive(Clone, Debug)]
pub struct NearMiss<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// Where the requirement stands.
    pub selector: FailedSelector,
    /// The requirement.
    pub requirement: &'p Requirement,
    /// The value that was found for its key.
    pub found: Option<String>,
    /// How many requirements fail in all.
    pub failed: usize,
}

/// The policies that would match if fewest of their requirements were otherwise, in the order in which they would act.
///
/// An InjectionPolicy of another namespace can never match, so it is not among them.
#[must_use]
pub fn near_misses<'p>(
    policies: impl IntoIterator<Item = &'p Policy>,
    namespace: &str,
    namespace_labels: &dyn Labels,
    pod: &dyn Labels,
) -> Vec<NearMiss<'p>> {
    let here = |policy: &&Policy| match &policy.id.scope {
        Scope::Cluster => true,
        Scope::Namespace(own) => own == namespace,
    };
    let mut misses: Vec<NearMiss<'p>> =
        policies.into_iter().filter(here).filter_map(|policy| miss(policy, namespace_labels, pod)).collect();
    let fewest = misses.iter().map(|miss| miss.failed).min();
    misses.retain(|miss| Some(miss.failed) == fewest);
    misses
}

fn miss<'p>(policy: &'p Policy, namespace_labels: &dyn Labels, pod: &dyn Labels) -> Option<NearMiss<'p>> {
    let of_namespace = policy.namespaces.iter().flat_map(|selector| failing(selector, namespace_labels));
    let of_pod = failing(&policy.pods, pod);
    let mut failing = of_namespace
        .map(|requirement| (FailedSelector::Namespace, requirement))
        .chain(of_pod.map(|requirement| (FailedSelector::Pod, requirement)));
    let (selector, requirement) = failing.next()?;
    let labels = match selector {
        FailedSelector::Pod => pod,
        FailedSelector::Namespace => namespace_labels,
    };
    let found = labels.label(&requirement.key).map(str::to_owned);
    Some(NearMiss { policy, selector, requirement, found, failed: 1 + failing.count() })
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
        let whose = match self.selector {
            FailedSelector::Pod => "pod",
            FailedSelector::Namespace => "namespace",
        };
        let Self { policy, selector, requirement, failed, .. } = self;
        write!(f, "policy {} does not match: {selector} asks for {requirement}, and the {whose} has ", policy.id)?;
        match &self.found {
            Some(value) => write!(f, "{value:?}")?,
            None => f.write_str("no such label")?,
        }
        if *failed > 1 { write!(f, " (and {} more)", failed - 1) } else { Ok(()) }
    }
}
