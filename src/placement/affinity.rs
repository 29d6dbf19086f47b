//! Merging affinity: a pod keeps what it asks for, and a policy's wishes come on top.
//!
//! Required node terms are OR-ed and the requirements in a term AND-ed, so "the pod's AND the
//! policy's" is the product of both lists. A term that already says one of the policy's
//! alternatives stays as it is, which makes every merge a fixed point. A term without requirements
//! matches no node and is left alone: adding to it would make it match some.

mod same;
mod term;

use std::collections::{HashMap, HashSet, hash_map::RandomState};

use k8s_openapi::api::core::v1 as core;
use serde_json::{Map, Value};

pub(super) use self::term::fields;
pub(crate) use self::term::{
    all_of, expressions, expressions_mut, is_blank, label_requirement, label_term, push_expression, requirement_parts,
    show_requirement,
};
use self::{
    same::{is_same, same_hash, to_json},
    term::{Requirements, TermPlaces, add_requirements, append_new, count, one_of},
};
use crate::reason::{Note, Reason};

/// How many required node terms a merge may make. Terms multiply, and the pod's come from whoever
/// may create pods, so there has to be an end.
pub const MAX_TERMS: usize = 1_024;
/// How many requirements may be added, in new terms or in the pod's. A patch takes up to two hundred bytes for each.
pub const MAX_REQUIREMENTS: usize = 24_000;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const TERMS: &str = "nodeSelectorTerms";

/// An affinity of a policy, checked by [`crate::placement::rules::affinity`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affinity {
    required_terms: Vec<Value>,
    appended: Vec<Appended>,
}

/// An element of one of the lists that are only ever appended to.
#[derive(Clone, Debug, PartialEq)]
struct Appended {
    kind: &'static str,
    list: &'static str,
    element: Value,
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
        let mut affinity = Self::default();
        if let Some(node) = &wire.node_affinity {
            let required = node.required_during_scheduling_ignored_during_execution.iter();
            affinity.required_terms =
                required.flat_map(|required| &required.node_selector_terms).map(to_json).collect();
            let preferred = &node.preferred_during_scheduling_ignored_during_execution;
            affinity.append("nodeAffinity", PREFERRED, preferred.as_deref());
        }
        if let Some(pod) = &wire.pod_affinity {
            let required = &pod.required_during_scheduling_ignored_during_execution;
            let preferred = &pod.preferred_during_scheduling_ignored_during_execution;
            affinity.append("podAffinity", REQUIRED, required.as_deref());
            affinity.append("podAffinity", PREFERRED, preferred.as_deref());
        }
        if let Some(pod) = &wire.pod_anti_affinity {
            let required = &pod.required_during_scheduling_ignored_during_execution;
            let preferred = &pod.preferred_during_scheduling_ignored_during_execution;
            affinity.append("podAntiAffinity", REQUIRED, required.as_deref());
            affinity.append("podAntiAffinity", PREFERRED, preferred.as_deref());
        }
        affinity
    }
}

impl Affinity {
    /// Whether a required term asks that the label be there, whatever its value.
    #[must_use]
    pub fn asks_for_presence(&self, key: &str) -> bool {
        let mut all = self.required_terms.iter().flat_map(expressions).map(requirement_parts);
        all.any(|(own, operator, _)| own == key && operator == "Exists")
    }

    fn append<T: serde::Serialize>(&mut self, kind: &'static str, list: &'static str, elements: Option<&[T]>) {
        let elements = elements.unwrap_or_default().iter();
        self.appended.extend(elements.map(|element| Appended { kind, list, element: to_json(element) }));
    }
}

/// Merges `wanted` into a pod's affinity. On an error nothing was changed.
pub(super) fn merge(affinity: &mut Option<Map<String, Value>>, wanted: &Affinity) -> Result<Vec<Note>, TooManyTerms> {
    let mut notes = Vec::new();
    let conjoined = conjoin(affinity, &wanted.required_terms)?;
    if conjoined > 0 {
        let requirement = one_of(&wanted.required_terms);
        notes.push(Reason::NodeAffinityRequired.note(&[&conjoined, &requirement, &""]));
    }
    let hasher = RandomState::new();
    let mut known: HashMap<(&str, &str), HashMap<u64, Vec<usize>>> = HashMap::new();
    for appended in &wanted.appended {
        let Some(list) = list_mut(affinity, &[appended.kind, appended.list]) else {
            continue;
        };
        let known = known.entry((appended.kind, appended.list)).or_insert_with(|| {
            let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
            for (place, own) in list.iter().enumerate() {
                known.entry(same_hash(&hasher, own)).or_default().push(place);
            }
            known
        });
        let places = known.entry(same_hash(&hasher, &appended.element)).or_default();
        if !places.iter().any(|place| list.get(*place).is_some_and(|own| is_same(own, &appended.element))) {
            places.push(list.len());
            list.push(appended.element.clone());
            let list = format!("{}.{}", appended.kind, appended.list);
            notes.push(Reason::AffinityAppended.note(&[&list]));
        }
    }
    Ok(notes)
}

/// The required node terms: `None` where nothing is required, so that every node matches.
pub(super) fn required(affinity: &Option<Map<String, Value>>) -> Option<&[Value]> {
    let required = affinity.as_ref()?.get("nodeAffinity")?.get(REQUIRED)?;
    if required.is_null() {
        return None;
    }
    let terms = required.get(TERMS).and_then(Value::as_array);
    Some(terms.map(Vec::as_slice).unwrap_or_default())
}

/// The required node terms, to edit in place; the caller never leaves the list empty.
pub(crate) fn required_mut(affinity: &mut Option<Map<String, Value>>) -> Option<&mut Vec<Value>> {
    let node = affinity.as_mut()?.get_mut("nodeAffinity")?;
    node.get_mut(REQUIRED)?.get_mut(TERMS)?.as_array_mut()
}

/// Takes the requirement out as a whole, so that every node matches.
pub(crate) fn drop_required(affinity: &mut Option<Map<String, Value>>) {
    let node = affinity.as_mut().and_then(|affinity| affinity.get_mut("nodeAffinity"));
    if let Some(node) = node.and_then(Value::as_object_mut) {
        node.shift_remove(REQUIRED);
    }
}

/// Writes the required terms as they stood in `before` wherever they say the same: requirements are a set, and so are
/// terms.
pub(super) fn settle(affinity: &mut Option<Map<String, Value>>, before: &Option<Map<String, Value>>) {
    let (Some(old), Some(terms)) = (required(before), required_mut(affinity)) else { return };
    if terms == old {
        return;
    }
    let mut places = TermPlaces::of(old);
    let mut found = 0;
    for term in terms.iter_mut() {
        if let Some(same) = places.take(old, term) {
            found += 1;
            if let Some(same) = old.get(same) {
                *term = same.clone();
            }
        }
    }
    if found == old.len() && terms.len() == old.len() {
        *terms = old.to_vec();
    }
}

/// Whether nothing is required, which matches every node; an empty list of terms matches none.
pub(crate) fn is_unconstrained(affinity: &Option<Map<String, Value>>) -> bool {
    required(affinity).is_none()
}

/// Requires one of `alternatives` on top of what is required; the number of terms that were made or
/// changed. On an error nothing was changed.
pub(crate) fn conjoin(
    affinity: &mut Option<Map<String, Value>>,
    alternatives: &[Value],
) -> Result<usize, TooManyTerms> {
    let Some((first, others)) = alternatives.split_first() else {
        return Ok(0);
    };
    if is_unconstrained(affinity) {
        let Some(terms) = list_mut(affinity, &["nodeAffinity", REQUIRED, TERMS]) else {
            return Ok(0);
        };
        terms.extend_from_slice(alternatives);
        return Ok(alternatives.len());
    }
    let Some(terms) = required_mut(affinity) else {
        return Ok(0);
    };
    let wanted: Vec<Requirements<'_>> = alternatives.iter().map(Requirements::of).collect();
    let keys: HashSet<&str> = wanted.iter().flat_map(Requirements::keys).collect();
    let is_pending = |term: &Value| {
        let own = Requirements::on(&keys, term);
        !is_blank(term) && !wanted.iter().any(|one| own.has_all_of(one))
    };
    let pending: Vec<usize> =
        terms.iter().enumerate().filter(|(_, term)| is_pending(term)).map(|(place, _)| place).collect();
    let total = terms.len() + pending.len() * others.len();
    let requirements: usize = pending.iter().filter_map(|place| terms.get(*place)).map(count).sum();
    let requirements = requirements * others.len();
    if (total > MAX_TERMS || requirements > MAX_REQUIREMENTS) && !others.is_empty() && !pending.is_empty() {
        return Err(TooManyTerms { terms: total, requirements });
    }
    let mut products = Vec::new();
    for alternative in others {
        for term in pending.iter().filter_map(|place| terms.get(*place)) {
            let mut product = term.clone();
            add_requirements(&mut product, alternative);
            products.push(product);
        }
    }
    // The first alternative edits the pod's terms in their places and the others are appended, so
    // that the patch inserts nothing in the middle of the list.
    for place in &pending {
        if let Some(term) = terms.get_mut(*place) {
            add_requirements(term, first);
        }
    }
    Ok(pending.len() + append_new(terms, products))
}

/// The list at the end of `path`, with what is absent or null on the way made; `None` where
/// something of another type is in the way.
fn list_mut<'a>(affinity: &'a mut Option<Map<String, Value>>, path: &[&str]) -> Option<&'a mut Vec<Value>> {
    let (last, parents) = path.split_last()?;
    let mut object = affinity.get_or_insert_default();
    for name in parents {
        let next = object.entry(*name).or_insert(Value::Null);
        if next.is_null() {
            *next = Value::Object(Map::new());
        }
        object = next.as_object_mut()?;
    }
    let list = object.entry(*last).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut()
}
