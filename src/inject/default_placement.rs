//! Defaults of `nodeSelector`, `tolerations` and `affinity`: each as a whole, where neither the pod nor a policy's own
//! block says anything.
//!
//! What is left when preemption has taken back the pod's wish for preemptible nodes is what counts, so that a second pass,
//! which no longer finds the wish, decides alike. Preemption works on what a default has put there, so a later pass knows
//! by the marker that it was put, and puts it again as it would a policy's own block.

use crate::{
    defaults::Defaults,
    inject::{
        Injection,
        claims::{Asker, Existing, Subject, Thing},
        defaults::defaults,
        report::{Refusal, StepId, StepOutcome},
    },
    placement::{Affinity, Placement, PlacementField, TooManyTerms},
    policy::Policy,
    reason::{Note, Reason},
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Puts every default that acts into `placement`; `off` says why placement is not for this pod.
    pub(super) fn default_placement(
        &mut self,
        off: Option<&Note>,
        placement: &mut Placement<'a>,
    ) -> Result<(), Refusal> {
        for field in PlacementField::ALL {
            for policy in self.policies.iter().copied() {
                let Some(defaults) = defaults(policy).filter(|defaults| has(defaults, field)) else { continue };
                let step = self.report.begin(policy, path(field));
                if !self.is_off(step, off) {
                    self.default_placement_field((policy, defaults), field, placement, step)?;
                }
            }
        }
        Ok(())
    }

    fn default_placement_field(
        &mut self,
        (policy, defaults): (&'p Policy, &'p Defaults),
        field: PlacementField,
        placement: &mut Placement<'a>,
        step: StepId,
    ) -> Result<(), Refusal> {
        let thing = Thing::PlacementDefault(field);
        if let Some(first) = self.claims.holder(&thing) {
            let first = self.report.name(first);
            self.report.tell(step, Reason::DefaultOfPolicy, &[&field.name(), &first]);
            return Ok(());
        }
        if let Some(first) = self.says(field) {
            self.report.tell(step, Reason::SaidByPolicy, &[&field.name(), &first]);
            return Ok(());
        }
        let again = self.was_defaulted(field);
        let mut wanted = placement.clone();
        let notes = self
            .put_default(defaults, field, again, &mut wanted)
            .map_err(|error| self.rejection(step, Reason::TooManyTerms, &[&error]))?;
        if wanted == *placement {
            self.report.came_of(step, StepOutcome::Present);
        } else if placement.says_nothing(field) || again {
            self.record_default((policy, defaults), field);
            *placement = wanted;
            self.report.notes(step, notes);
            self.report.came_of(step, StepOutcome::Applied);
        } else {
            self.report.tell(step, Reason::SaidByPod, &[&field.name()]);
            return Ok(());
        }
        self.claims.hold(thing, step, None);
        Ok(())
    }

    /// Puts a default into `placement`. Where an earlier pass has put one a pair of another value stays, unless it is that
    /// pass' own.
    fn put_default(
        &self,
        defaults: &'p Defaults,
        field: PlacementField,
        again: bool,
        placement: &mut Placement<'a>,
    ) -> Result<Vec<Note>, TooManyTerms> {
        match field {
            PlacementField::NodeSelector => {
                for (key, value) in &defaults.node_selector {
                    let is_ours = |own: &str| self.claims.is_of_earlier_pass(Subject::NodeSelector(key), own);
                    if !again || placement.node_selector(key).is_none_or(is_ours) {
                        placement.set_node_selector(key, value);
                    }
                }
                Ok(Vec::new())
            }
            PlacementField::Tolerations => Ok(placement.merge_tolerations(&defaults.tolerations)),
            PlacementField::Affinity => match &defaults.affinity {
                Some(affinity) => placement.merge_affinity(affinity),
                None => Ok(Vec::new()),
            },
        }
    }

    /// Notes for the marker that a default was put: as such, and pair by pair for policies that set the same keys outright.
    fn record_default(&mut self, (policy, defaults): (&Policy, &Defaults), field: PlacementField) {
        self.claims.record(policy, Subject::PlacementDefault(field), "", Existing::Nothing);
        if field == PlacementField::NodeSelector {
            for (key, value) in &defaults.node_selector {
                self.claims.record(policy, Subject::NodeSelector(key), value, Existing::Nothing);
            }
        }
    }

    /// Whether an earlier pass put a default there, for whichever of the policies: it is ours, and the first of them
    /// decides again.
    fn was_defaulted(&self, field: PlacementField) -> bool {
        let mut askers = self.policies.iter().map(|policy| Asker { policy, modifier: path(field) });
        askers.any(|asker| self.claims.has_put(asker, Subject::PlacementDefault(field)))
    }

    /// The first policy that has a block of its own for the field.
    fn says(&self, field: PlacementField) -> Option<String> {
        let mut policies = self.policies.iter();
        let first = policies.find(|policy| match field {
            PlacementField::NodeSelector => !policy.node_selector.is_empty(),
            PlacementField::Tolerations => !policy.tolerations.is_empty(),
            PlacementField::Affinity => policy.affinity.is_some(),
        })?;
        Some(format!("policy {} {}", first.id, field.name()))
    }

    /// The default affinity that is in the pod, or is to be.
    pub(super) fn default_affinity(&self, placement: &Placement<'_>) -> Option<&'p Affinity> {
        const FIELD: PlacementField = PlacementField::Affinity;
        let mut with = self.policies.iter().copied().filter_map(|policy| Some((policy, defaults(policy)?)));
        let (_, defaults) = with.find(|(_, defaults)| has(defaults, FIELD))?;
        let acts = placement.says_nothing(FIELD) || self.was_defaulted(FIELD);
        defaults.affinity.as_ref().filter(|_| acts && !self.opts_out && self.says(FIELD).is_none())
    }
}

/// Whether the policy has a default for a field of placement.
pub(super) fn has_any(policy: &Policy) -> bool {
    defaults(policy).is_some_and(|defaults| PlacementField::ALL.into_iter().any(|field| has(defaults, field)))
}

fn has(defaults: &Defaults, field: PlacementField) -> bool {
    match field {
        PlacementField::NodeSelector => !defaults.node_selector.is_empty(),
        PlacementField::Tolerations => !defaults.tolerations.is_empty(),
        PlacementField::Affinity => defaults.affinity.is_some(),
    }
}

const fn path(field: PlacementField) -> &'static str {
    match field {
        PlacementField::NodeSelector => "defaults.nodeSelector",
        PlacementField::Tolerations => "defaults.tolerations",
        PlacementField::Affinity => "defaults.affinity",
    }
}
