//! Merging affinity: a pod keeps what it asks for, and a policy's wishes come on top.
//!
//! Required node terms are OR-ed and the requirements in a term AND-ed, so "the pod's AND the
//! policy's" is the product of both lists. A term that already says one of the policy's
//! alternatives stays as it is, which makes every merge a fixed point. A term without requirements
//! matches no node and is left alone: adding to it would make it match some.
//!
//! A pod may bring a megabyte of it. What it brought (`own`) is text, of which a requirement's key alone is kept; `draft`
//! says what becomes of it, and only what a patch has to carry is ever written (`write`).

mod draft;
mod own;
mod same;
mod term;
mod write;

use k8s_openapi::api::core::v1 as core;

pub(crate) use self::{
    draft::AffinityDraft,
    term::{EXPRESSIONS, NodeRequirement, TermRequirement, WantedRequirement},
};

/// How many required node terms a merge may make. Terms multiply, and the pod's come from whoever
/// may create pods, so there has to be an end.
pub const MAX_TERMS: usize = 1_024;
/// How many requirements may be added, in new terms or in the pod's. A patch takes up to two hundred bytes for each.
pub const MAX_REQUIREMENTS: usize = 24_000;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const TERMS: &str = "nodeSelectorTerms";

/// The kinds of affinity, in the order in which the API server writes them.
const KINDS: [&str; 3] = [NODE, POD, ANTI_POD];
const NODE: &str = "nodeAffinity";
const POD: &str = "podAffinity";
const ANTI_POD: &str = "podAntiAffinity";

/// An affinity of a policy, checked by [`crate::placement::rules::affinity`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affinity {
    required_terms: Box<[core::NodeSelectorTerm]>,
    appended: Box<[Appended]>,
}

/// An element of one of the lists that are only ever appended to.
#[derive(Clone, Debug, PartialEq)]
struct Appended {
    kind: &'static str,
    list: &'static str,
    /// In the [form](same::canonical) in which elements are compared.
    json: Box<str>,
}

/// The pod's required node terms times the policy's are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "merging required node affinity would make {terms} node selector terms, and add {requirements} requirements; at most {MAX_TERMS} terms and {MAX_REQUIREMENTS} requirements are allowed"
)]
pub struct TooManyTerms {
    /// The terms that there would be.
    pub terms: usize,
    /// The requirements that would be added, those of new terms among them.
    pub requirements: usize,
}

impl From<&core::Affinity> for Affinity {
    fn from(wire: &core::Affinity) -> Self {
        let mut appended = Vec::new();
        let mut required_terms = Vec::new();
        if let Some(node) = &wire.node_affinity {
            let required = node.required_during_scheduling_ignored_during_execution.iter();
            required_terms.extend(required.flat_map(|required| required.node_selector_terms.iter().cloned()));
            let preferred = &node.preferred_during_scheduling_ignored_during_execution;
            append(&mut appended, NODE, PREFERRED, preferred.as_deref());
        }
        if let Some(pod) = &wire.pod_affinity {
            let required = &pod.required_during_scheduling_ignored_during_execution;
            let preferred = &pod.preferred_during_scheduling_ignored_during_execution;
            append(&mut appended, POD, REQUIRED, required.as_deref());
            append(&mut appended, POD, PREFERRED, preferred.as_deref());
        }
        if let Some(pod) = &wire.pod_anti_affinity {
            let required = &pod.required_during_scheduling_ignored_during_execution;
            let preferred = &pod.preferred_during_scheduling_ignored_during_execution;
            append(&mut appended, ANTI_POD, REQUIRED, required.as_deref());
            append(&mut appended, ANTI_POD, PREFERRED, preferred.as_deref());
        }
        Self { required_terms: required_terms.into(), appended: appended.into() }
    }
}

impl Affinity {
    /// Whether a required term asks that the label be there, whatever its value.
    #[must_use]
    pub fn asks_for_presence(&self, key: &str) -> bool {
        let mut all = self.required_terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
        all.any(|own| own.key == key && own.operator == "Exists")
    }
}

fn append<T: serde::Serialize>(
    appended: &mut Vec<Appended>,
    kind: &'static str,
    list: &'static str,
    elements: Option<&[T]>,
) {
    let elements = elements.unwrap_or_default().iter();
    appended.extend(elements.map(|element| Appended { kind, list, json: same::of_wire(element).into() }));
}
