//! Placement of every policy on the pod as all the rest has made it, and preemption last.

use crate::{
    inject::{
        Pass,
        draft::StepId,
        report::{Outcome, Refusal},
    },
    json::{Raw, Str},
    placement::{
        Placement, PlacementFacts, left_off,
        preemption::{self, Mode, Preemption},
    },
    policy::{Policy, spec::OnConflict},
    reason::Note,
};

/// The preemption that acts on a pod.
struct Preempting<'p> {
    preemption: &'p Preemption,
    mode: Mode,
    /// What is to be said of the mode, and what was taken back of the pod's own wishes.
    notes: Vec<Note>,
    taken: bool,
}

impl<'a, 'p: 'a> Pass<'a, 'p> {
    /// Placement, then preemption, on the pod as all the rest has made it.
    pub(super) fn placement(&mut self) -> Result<(), Refusal> {
        let places = |policy: &Policy| {
            !policy.node_selector.is_empty() || !policy.tolerations.is_empty() || policy.affinity.is_some()
        };
        if !self.policies.iter().any(|policy| places(policy) || policy.preemption.is_some()) {
            return Ok(());
        }
        let spec = self.draft.pod.spec.as_ref();
        let facts = PlacementFacts {
            is_daemon_set: self.place.daemon_set || self.draft.pod.is_of_daemon_set(),
            node_name: spec.and_then(|spec| spec.node_name.as_ref()).map(Str::as_str),
            priority: spec.and_then(|spec| spec.priority),
            priority_class_name: spec.and_then(|spec| spec.priority_class_name.as_ref()).map(Str::as_str),
        };
        let off = left_off(&facts);
        let raw = |field: fn(&crate::pod::Spec<'a>) -> Option<Raw<'a>>| spec.and_then(field);
        let before = Placement::read(raw(|s| s.node_selector), raw(|s| s.tolerations), raw(|s| s.affinity));
        let before = before.map_err(|error| Refusal { message: error.to_string() })?;
        let mut after = before.clone();
        let preempting = self.preempting(off.as_ref(), &mut after)?;
        let mut keys: Vec<(&'p str, StepId)> = Vec::new();
        for policy in self.policies.iter().copied().filter(|policy| places(policy)) {
            self.place(policy, off.as_ref(), &mut after, &mut keys)?;
        }
        self.preempt(off.as_ref(), preempting, &mut after)?;
        after.write(&before, &mut self.patch);
        Ok(())
    }

    fn place(
        &mut self,
        policy: &'p Policy,
        off: Option<&Note>,
        placement: &mut Placement<'a>,
        keys: &mut Vec<(&'p str, StepId)>,
    ) -> Result<(), Refusal> {
        if !policy.node_selector.is_empty() {
            let step = self.report.begin(policy, "nodeSelector");
            if !self.is_off(step, off) {
                self.node_selector(policy, placement, keys, step)?;
            }
        }
        if !policy.tolerations.is_empty() {
            let step = self.report.begin(policy, "tolerations");
            if !self.is_off(step, off) {
                let before = placement.tolerations();
                let notes = placement.merge_tolerations(&policy.tolerations);
                self.report.notes(step, notes);
                self.changed(step, placement.tolerations() != before);
            }
        }
        if let Some(affinity) = &policy.affinity {
            let step = self.report.begin(policy, "affinity");
            if !self.is_off(step, off) {
                let before = placement.clone();
                match placement.merge_affinity(affinity) {
                    Ok(notes) => {
                        self.report.notes(step, notes);
                        self.changed(step, *placement != before);
                    }
                    Err(error) => return Err(Refusal { message: format!("{}: {error}", self.report.name(step)) }),
                }
            }
        }
        Ok(())
    }

    fn node_selector(
        &mut self,
        policy: &'p Policy,
        placement: &mut Placement<'a>,
        keys: &mut Vec<(&'p str, StepId)>,
        step: StepId,
    ) -> Result<(), Refusal> {
        let merge = placement.merge_node_selector(&policy.node_selector);
        if !merge.added.is_empty() {
            self.report.came_of(step, Outcome::Applied);
        }
        for (key, value) in &policy.node_selector {
            let first = keys.iter().find(|(other, _)| other == key).map(|(_, first)| *first);
            if !merge.conflicts.iter().any(|conflict| conflict.key == *key) {
                self.report.came_of(step, Outcome::Present);
                if first.is_none() {
                    keys.push((key, step));
                }
                continue;
            }
            match (first, policy.on_conflict) {
                (Some(first), _) => {
                    let first = self.report.name(first);
                    self.report.warn(step, format!("{key} left alone: {first} sets it"));
                }
                (None, OnConflict::Keep) => {
                    self.report.warn(step, format!("{key} left alone: the pod asks for another value"));
                }
                (None, OnConflict::Reject) => {
                    return Err(self.rejection(step, &format!("the pod sets nodeSelector {key}")));
                }
                (None, OnConflict::Override) => {
                    placement.override_node_selector(key, value);
                    keys.push((key, step));
                    self.report.came_of(step, Outcome::Applied);
                }
            }
        }
        Ok(())
    }

    /// The first policy that has preemption; a ClusterInjectionPolicy that forbids overriding comes before all.
    fn preempting_policy(&self) -> Option<&'p Policy> {
        let with = || self.policies.iter().copied().filter(|policy| policy.preemption.is_some());
        let binds = |policy: &&Policy| {
            policy.is_cluster() && policy.preemption.as_ref().is_some_and(|preemption| !preemption.is_overridable())
        };
        with().find(binds).or_else(|| with().next())
    }

    /// The preemption that acts, after it has taken back what would be in the way of the policies' own placement.
    fn preempting(&self, off: Option<&Note>, placement: &mut Placement<'a>) -> Result<Option<Preempting<'p>>, Refusal> {
        let Some(policy) = self.preempting_policy().filter(|_| off.is_none()) else { return Ok(None) };
        let Some(preemption) = &policy.preemption else { return Ok(None) };
        let (mode, note) = preemption.resolve(self.controls.preemption_mode).map_err(|error| Refusal {
            message: format!("{}: {error} (policy {})", super::controls::PREEMPTION_MODE, policy.id),
        })?;
        let mut notes: Vec<Note> = note.into_iter().chain([Note::info(format!("mode {mode}"))]).collect();
        let taken = preemption::take_back(preemption, mode, placement);
        let has_taken = !taken.is_empty();
        notes.extend(taken);
        Ok(Some(Preempting { preemption, mode, notes, taken: has_taken }))
    }

    /// Preemption, last.
    fn preempt(
        &mut self,
        off: Option<&Note>,
        preempting: Option<Preempting<'p>>,
        placement: &mut Placement<'a>,
    ) -> Result<(), Refusal> {
        let Some(policy) = self.preempting_policy() else { return Ok(()) };
        let step = self.report.begin(policy, "preemption");
        for other in self.policies.iter().copied() {
            if other.preemption.is_some() && other.id != policy.id {
                let lost = self.report.begin(other, "preemption");
                self.report.warn(lost, format!("left out: policy {} has preemption", policy.id));
            }
        }
        self.is_off(step, off);
        let Some(Preempting { preemption, mode, notes, taken }) = preempting else { return Ok(()) };
        self.report.notes(step, notes);
        let before = placement.clone();
        match preemption::apply(preemption, mode, placement) {
            Ok(notes) => {
                self.report.notes(step, notes);
                self.changed(step, taken || *placement != before);
            }
            // Admitting the pod would break the mode's promise.
            Err(error) => return Err(Refusal { message: format!("{}: {error}", self.report.name(step)) }),
        }
        Ok(())
    }

    fn is_off(&mut self, step: StepId, off: Option<&Note>) -> bool {
        if let Some(note) = off {
            self.report.notes(step, vec![note.clone()]);
        }
        off.is_some()
    }
}
