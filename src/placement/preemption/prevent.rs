//! The mode `prevent`: the pod's own wish for preemptible nodes is taken back, and every required term excludes them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Mode, Preemption, distinct, in_mode, listed};
use crate::{
    placement::{
        Affinity, Placement, Toleration,
        affinity::{self, TooManyTerms},
        toleration,
    },
    reason::{Note, Reason},
};

/// Takes back what the pod itself says for preemptible nodes, where `mode` does: its tolerations of their taints, its
/// `nodeSelector` pairs of their labels, and what its required node affinity asks of those. Says what was taken.
///
/// This comes before anything is merged, to make room: a policy's pair under the same key, or a toleration that the pod's
/// covers, would be left out now and added by the next pass, which no longer finds the pod's; and a policy's own affinity
/// is no wish of the pod's. What `policies` ask of a label's being there stays: it cannot be told who put it there.
pub fn take_back(
    preemption: &Preemption,
    mode: Mode,
    placement: &mut Placement<'_>,
    policies: &[&Affinity],
) -> Vec<Note> {
    if mode != Mode::Prevent {
        return Vec::new();
    }
    let mut notes = strip(preemption, placement);
    let is_asked = |key: &str| policies.iter().any(|affinity| affinity.asks_for_presence(key));
    notes.extend(strip_affinity(preemption, placement, |key| !is_asked(key)));
    notes
}

fn strip(preemption: &Preemption, placement: &mut Placement<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let configured: HashSet<toleration::TolerationView<'_>> =
        preemption.tolerations.iter().map(Toleration::view).collect();
    let stripped = placement.remove_tolerations(|own| configured.contains(own));
    let stripped = stripped.iter().filter_map(toleration::OwnToleration::view);
    for toleration in distinct(stripped.map(|own| own.to_string())) {
        notes.push(Reason::TolerationRemoved.note(&[&toleration, &in_mode(Mode::Prevent)]));
    }
    for (key, value) in &preemption.node_selector {
        if placement.remove_node_selector(key, value) {
            notes.push(Reason::NodeSelectorRemoved.note(&[key, value, &in_mode(Mode::Prevent)]));
        }
    }
    notes
}

pub(super) fn prevent(preemption: &Preemption, placement: &mut Placement<'_>) -> Result<Vec<Note>, TooManyTerms> {
    let mut notes = strip(preemption, placement);
    if preemption.node_selector.is_empty() {
        notes.extend(warn_of_remaining(preemption, placement));
    } else {
        notes.extend(exclude(preemption, placement)?);
    }
    Ok(notes)
}

/// Makes every required term exclude preemptible nodes. A term that asks for them, which a policy has merged in, is
/// dropped where another remains, and loses its wish where none does.
fn exclude(preemption: &Preemption, placement: &mut Placement<'_>) -> Result<Vec<Note>, TooManyTerms> {
    let pairs = preemption.node_selector.iter();
    let not_in: Vec<Value> = pairs.map(|(key, value)| affinity::label_requirement(key, "NotIn", value)).collect();
    let mut notes = Vec::new();
    if let Some(terms) = affinity::required_mut(placement.affinity_mut()) {
        let contradicts = |term: &Value| affinity::expressions(term).iter().any(|one| asks_for(preemption, one));
        if terms.iter().any(|term| !affinity::is_blank(term) && !contradicts(term)) {
            terms.retain(|term| !contradicts(term));
        } else {
            notes = strip_affinity(preemption, placement, |_| false);
        }
    }
    let mut changed = 0;
    if affinity::is_unconstrained(placement.affinity_mut()) {
        // One alternative multiplies nothing, and only a product can be too large.
        let excluding = affinity::all_of(&not_in);
        changed = affinity::conjoin(placement.affinity_mut(), &[excluding]).unwrap_or_default();
    } else if let Some(terms) = affinity::required_mut(placement.affinity_mut()) {
        let most = terms.len() * not_in.len();
        if most > affinity::MAX_REQUIREMENTS {
            let requirements = terms.iter().map(|term| missing(term, &not_in).len()).sum();
            if requirements > affinity::MAX_REQUIREMENTS {
                return Err(TooManyTerms { terms: terms.len(), requirements });
            }
        }
        for term in terms.iter_mut() {
            changed += usize::from(exclude_from(term, &not_in));
        }
    }
    if changed > 0 {
        let requirement = listed(not_in.iter().map(affinity::show_requirement));
        notes.push(Reason::NodeAffinityRequired.note(&[&changed, &requirement, &in_mode(Mode::Prevent)]));
    }
    Ok(notes)
}

/// Removes from every required term what asks for preemptible nodes, and that a preemptible label be there where
/// `strips_presence` of its key. A term that this empties goes, and with the last one the whole requirement.
fn strip_affinity(
    preemption: &Preemption,
    placement: &mut Placement<'_>,
    strips_presence: impl Fn(&str) -> bool,
) -> Vec<Note> {
    if preemption.node_selector.is_empty() {
        return Vec::new();
    }
    let Some(terms) = affinity::required_mut(placement.affinity_mut()).filter(|terms| !terms.is_empty()) else {
        return Vec::new();
    };
    let is_wish = |expression: &Value| {
        let (key, operator, _) = affinity::requirement_parts(expression);
        asks_for(preemption, expression) || operator == "Exists" && preemption.has_key(key) && strips_presence(key)
    };
    let mut stripped = Vec::new();
    terms.retain_mut(|term| {
        let Some(expressions) = affinity::expressions_mut(term) else { return true };
        let wishes: Vec<Value> = expressions.extract_if(.., |expression| is_wish(expression)).collect();
        stripped.extend(wishes.iter().map(affinity::show_requirement));
        wishes.is_empty() || !affinity::is_blank(term)
    });
    if terms.is_empty() {
        affinity::drop_required(placement.affinity_mut());
    }
    let mode = in_mode(Mode::Prevent);
    let stripped = distinct(stripped.into_iter()).into_iter();
    stripped.map(|wish| Reason::NodeAffinityRemoved.note(&[&wish, &mode])).collect()
}

/// Whether an expression lets no node match but preemptible ones.
fn asks_for(preemption: &Preemption, expression: &Value) -> bool {
    let (key, operator, values) = affinity::requirement_parts(expression);
    let is_preemptible = |value: &Value| value.as_str().is_some_and(|value| preemption.has_pair(key, value));
    operator == "In" && !values.is_empty() && values.iter().all(is_preemptible)
}

/// Adds what is missing of `not_in`; whether anything was, where the term matches a node at all.
fn exclude_from(term: &mut Value, not_in: &[Value]) -> bool {
    let missing: Vec<Value> = missing(term, not_in).into_iter().cloned().collect();
    let is_changed = !missing.is_empty();
    for wanted in missing {
        affinity::push_expression(term, wanted);
    }
    is_changed
}

/// What a term that matches a node at all does not exclude yet of `not_in`.
fn missing<'n>(term: &Value, not_in: &'n [Value]) -> Vec<&'n Value> {
    if affinity::is_blank(term) {
        return Vec::new();
    }
    let mut excluded: HashMap<&str, Vec<&[Value]>> = HashMap::new();
    for (key, operator, values) in affinity::expressions(term).iter().map(affinity::requirement_parts) {
        if operator == "NotIn" {
            excluded.entry(key).or_default().push(values);
        }
    }
    let is_missing = |wanted: &&Value| {
        let (key, _, values) = affinity::requirement_parts(wanted);
        let own = excluded.get(key).map(Vec::as_slice).unwrap_or_default();
        !own.iter().any(|own| values.iter().all(|value| own.contains(value)))
    };
    not_in.iter().filter(is_missing).collect()
}

/// With tolerations and no labels `prevent` can only strip, so a toleration that still lets the pod
/// onto a preemptible node is told.
fn warn_of_remaining(preemption: &Preemption, placement: &Placement<'_>) -> Option<Note> {
    let remaining = placement.toleration_views().filter(|own| {
        let mut wanted = preemption.tolerations.iter();
        wanted.any(|wanted| own.overlaps(&wanted.view()))
    });
    let remaining = distinct(remaining.map(|own| own.to_string()));
    let is_none = remaining.is_empty();
    let remaining = listed(remaining.into_iter());
    (!is_none).then(|| Reason::StillTolerates.note(&[&remaining, &in_mode(Mode::Prevent)]))
}
