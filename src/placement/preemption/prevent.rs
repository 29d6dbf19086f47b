//! The mode `prevent`: the pod's own wish for preemptible nodes is taken back, and every required term excludes them.

use std::collections::HashSet;

use super::{Mode, Preemption, distinct, in_mode, listed};
use crate::{
    placement::{
        Affinity, Placement, Toleration,
        affinity::{NodeRequirement, TermRequirement, TooManyTerms, WantedRequirement},
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

pub(super) fn prevent<'a>(
    preemption: &'a Preemption,
    placement: &mut Placement<'a>,
) -> Result<Vec<Note>, TooManyTerms> {
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
fn exclude<'a>(preemption: &'a Preemption, placement: &mut Placement<'a>) -> Result<Vec<Note>, TooManyTerms> {
    let not_in: Vec<WantedRequirement<'a>> = preemption.labels("NotIn").collect();
    let mut notes = Vec::new();
    let affinity = placement.affinity_mut();
    if !affinity.drop_terms(|asked| asks_for(preemption, asked)) {
        notes = strip_affinity(preemption, placement, |_| false);
    }
    let changed = placement.affinity_mut().exclude(&not_in)?;
    if changed > 0 {
        let requirement = listed(not_in.iter().map(WantedRequirement::to_string));
        notes.push(Reason::NodeAffinityRequired.note(&[&changed, &requirement, &in_mode(Mode::Prevent)]));
    }
    Ok(notes)
}

/// Removes from every required term what asks for preemptible nodes, and that a preemptible label be there where
/// `strips_presence` of its key.
fn strip_affinity(
    preemption: &Preemption,
    placement: &mut Placement<'_>,
    strips_presence: impl Fn(&str) -> bool,
) -> Vec<Note> {
    if preemption.node_selector.is_empty() {
        return Vec::new();
    }
    let is_presence = |asked: TermRequirement<'_, '_>| {
        preemption.has_key(asked.key()) && strips_presence(asked.key()) && asked.requirement().operator == "Exists"
    };
    let is_wish = |asked: TermRequirement<'_, '_>| asks_for(preemption, asked) || is_presence(asked);
    let stripped = placement.affinity_mut().strip(is_wish).into_iter();
    let mode = in_mode(Mode::Prevent);
    stripped.map(|wish| Reason::NodeAffinityRemoved.note(&[&wish, &mode])).collect()
}

/// Whether an expression lets no node match but preemptible ones.
fn asks_for(preemption: &Preemption, asked: TermRequirement<'_, '_>) -> bool {
    if !preemption.has_key(asked.key()) {
        return false;
    }
    let NodeRequirement { key, operator, values, .. } = asked.requirement();
    operator == "In" && !values.is_empty() && values.iter().all(|value| preemption.has_pair(key, value))
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
