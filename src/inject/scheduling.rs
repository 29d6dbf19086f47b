//! Placement of every policy on the pod as all the rest has made it, and preemption last.

use crate::{
    inject::{
        Injection,
        claims::{Asker, Carried, Existing, Subject, Thing},
        controls::PREEMPTION_MODE,
        default_placement,
        report::{Refusal, StepId, StepOutcome},
    },
    json::{Raw, Str},
    placement::{
        Placement, PlacementFacts, left_off, picks_its_node,
        preemption::{self, Mode, Preemption},
    },
    policy::{Policy, spec::OnConflict},
    reason::{Note, Reason},
};

/// The preemption that acts on a pod.
struct Preempting<'p> {
    preemption: &'p Preemption,
    mode: Mode,
    /// What is to be said of the mode, and what was taken back of the pod's own wishes.
    notes: Vec<Note>,
    taken: bool,
}

/// The first policy that has preemption; a ClusterInjectionPolicy that forbids overriding comes before all.
fn preempting_policy<'p>(policies: &[&'p Policy]) -> Option<&'p Policy> {
    let with = || policies.iter().copied().filter(|policy| policy.preemption.is_some());
    with().find(|policy| policy.is_cluster() && forbids_overriding(policy)).or_else(|| with().next())
}

fn forbids_overriding(policy: &Policy) -> bool {
    policy.preemption.as_ref().is_some_and(|preemption| !preemption.is_overridable())
}

/// The policy whose preemption binds the pod whatever it says itself.
pub(super) fn binding_policy<'p>(policies: &[&'p Policy]) -> Option<&'p Policy> {
    preempting_policy(policies).filter(|policy| forbids_overriding(policy))
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Placement, then preemption, on the pod as all the rest has made it.
    pub(super) fn apply_placement(&mut self) -> Result<(), Refusal> {
        let opts_out = self.opts_out;
        let places = |policy: &Policy| {
            !opts_out
                && (!policy.node_selector.is_empty()
                    || !policy.tolerations.is_empty()
                    || policy.affinity.is_some()
                    || default_placement::has_any(policy))
        };
        if !self.policies.iter().any(|policy| places(policy) || policy.preemption.is_some()) {
            return Ok(());
        }
        let spec = self.draft.pod.spec.as_ref();
        let facts = self.placement_facts();
        self.refuse_node_name(&facts)?;
        let off = left_off(&facts);
        let raw = |field: fn(&crate::pod::SpecView<'a>) -> Option<Raw<'a>>| spec.and_then(field);
        let own = Placement::read(raw(|s| s.node_selector), raw(|s| s.tolerations), raw(|s| s.affinity));
        let mut placement = own.map_err(|error| {
            let field = format!("spec.{}", error.field());
            Refusal::of_pod(&field, Reason::Malformed, &error)
        })?;
        let preempting = self.preempting(off.as_ref(), &mut placement)?;
        for policy in self.policies.iter().copied().filter(|policy| places(policy)) {
            self.place(policy, off.as_ref(), &mut placement)?;
        }
        if !opts_out {
            self.default_placement(off.as_ref(), &mut placement)?;
        }
        self.preempt(off.as_ref(), preempting, &mut placement)?;
        placement.settle();
        placement.write(&mut self.patch);
        Ok(())
    }

    /// What of the pod decides whether placement is for it.
    pub(super) fn placement_facts(&self) -> PlacementFacts<'a> {
        let spec = self.draft.pod.spec.as_ref();
        PlacementFacts {
            is_daemon_set: self.context.daemon_set || self.draft.pod.is_of_daemon_set(),
            node_name: spec.and_then(|spec| spec.node_name.as_ref()).map(Str::as_str),
            priority: spec.and_then(|spec| spec.priority),
            priority_class_name: spec.and_then(|spec| spec.priority_class_name.as_ref()).map(Str::as_str),
        }
    }

    /// Refuses a pod that brings a node name past a preemption that binds it. Placed all the same, the kubelet of a node
    /// that the mode keeps it off would reject one such pod after the other.
    fn refuse_node_name(&self, facts: &PlacementFacts<'_>) -> Result<(), Refusal> {
        let Some(policy) = binding_policy(self.policies) else { return Ok(()) };
        let keeps_off = |preemption: &Preemption| {
            matches!(preemption.mode(), Mode::Constrain | Mode::Prevent) && !preemption.is_empty()
        };
        if picks_its_node(facts) && policy.preemption.as_deref().is_some_and(keeps_off) {
            let reason = Reason::NodeNameWhereBound;
            return Err(Refusal::of_control(Some(policy), "spec.nodeName", reason, &[&policy.id]));
        }
        Ok(())
    }

    fn place(&mut self, policy: &'p Policy, off: Option<&Note>, placement: &mut Placement<'a>) -> Result<(), Refusal> {
        if !policy.node_selector.is_empty() {
            let step = self.report.begin(policy, "nodeSelector");
            if !self.is_off(step, off) {
                self.node_selector(policy, placement, step)?;
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
                    Err(error) => return Err(self.rejection(step, Reason::TooManyTerms, &[&error])),
                }
            }
        }
        Ok(())
    }

    fn node_selector(
        &mut self,
        policy: &'p Policy,
        placement: &mut Placement<'a>,
        step: StepId,
    ) -> Result<(), Refusal> {
        const KIND: &str = "nodeSelector";
        for (key, value) in &policy.node_selector {
            if let Some(class) = self.class_against(key, value) {
                let why = format!("{class} asks for another value of {key}");
                self.report.tell(step, Reason::RuntimeClassContradicted, &[&why]);
                continue;
            }
            let own = placement.node_selector(key);
            let carried = match own {
                None => Carried::Nothing,
                Some(own) if own == value => Carried::Same,
                Some(_) => Carried::Other,
            };
            let (thing, subject) = (Thing::NodeSelector(key), Subject::NodeSelector(key));
            let asker = Asker { policy, modifier: KIND };
            let content = || own.unwrap_or_default().into();
            let existing = self.claims.standing(asker, &thing, subject, carried, content, |held| held == Some(value));
            match existing {
                Existing::Agreed | Existing::Same | Existing::SameOfOurs | Existing::SameOfAnother => {
                    self.report.came_of(step, StepOutcome::Present);
                }
                Existing::OfStep(first) => {
                    let first = self.report.name(first);
                    self.report.tell(step, Reason::KeyOfPolicy, &[&KIND, key, &first]);
                }
                Existing::OfThePod if policy.on_conflict == OnConflict::Reject => {
                    return Err(self.rejection(step, Reason::KeyRejected, &[&KIND, key]));
                }
                Existing::OfThePod | Existing::OfOverride if policy.on_conflict != OnConflict::Override => {
                    self.report.tell(step, Reason::KeyOfPod, &[&KIND, key]);
                    continue;
                }
                Existing::Nothing | Existing::OfEarlierPass | Existing::OfThePod | Existing::OfOverride => {
                    placement.set_node_selector(key, value);
                    self.report.came_of(step, StepOutcome::Applied);
                }
            }
            self.claims.record(policy, subject, value, existing);
            self.claims.hold(thing, step, Some(value.as_str().into()));
        }
        Ok(())
    }

    /// The preemption that acts, after it has taken back what would be in the way of the policies' own placement.
    fn preempting(&self, off: Option<&Note>, placement: &mut Placement<'a>) -> Result<Option<Preempting<'p>>, Refusal> {
        let Some(policy) = preempting_policy(self.policies).filter(|_| off.is_none()) else { return Ok(None) };
        let Some(preemption) = &policy.preemption else { return Ok(None) };
        let (mode, note) = preemption.resolve(self.controls.preemption_mode).map_err(|error| {
            let words: [&dyn std::fmt::Display; 3] = [&PREEMPTION_MODE, &error, &policy.id];
            Refusal::of_control(Some(policy), PREEMPTION_MODE, Reason::PreemptionModeNotOffered, &words)
        })?;
        let mut notes: Vec<Note> = note.into_iter().chain([Reason::PreemptionMode.note(&[&mode])]).collect();
        let affinities = self.policies.iter().filter_map(|policy| policy.affinity.as_deref());
        let affinities: Vec<_> = affinities.chain(self.default_affinity(placement)).collect();
        let taken = preemption::take_back(preemption, mode, placement, &affinities);
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
        let Some(policy) = preempting_policy(self.policies) else { return Ok(()) };
        let step = self.report.begin(policy, "preemption");
        for other in self.policies.iter().copied() {
            if other.preemption.is_some() && other.id != policy.id {
                let lost = self.report.begin(other, "preemption");
                self.report.tell(lost, Reason::AnotherPreemption, &[&policy.id]);
            }
        }
        self.is_off(step, off);
        let Some(Preempting { preemption, mode, notes, taken }) = preempting else { return Ok(()) };
        self.report.notes(step, notes);
        let before = placement.clone();
        match preemption::finish(preemption, mode, placement) {
            Ok(notes) => {
                self.report.notes(step, notes);
                self.changed(step, taken || *placement != before);
            }
            // Admitting the pod would break the mode's promise.
            Err(error) => return Err(self.rejection(step, Reason::TooManyTerms, &[&error])),
        }
        Ok(())
    }

    fn changed(&mut self, step: StepId, changed: bool) {
        self.report.came_of(step, if changed { StepOutcome::Applied } else { StepOutcome::Present });
    }

    pub(super) fn is_off(&mut self, step: StepId, off: Option<&Note>) -> bool {
        if let Some(note) = off {
            self.report.notes(step, [note.clone()]);
        }
        off.is_some()
    }
}
