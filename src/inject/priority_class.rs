//! The priority class of the pod.

use std::borrow::Cow;

use crate::{
    defaults::priority_class::{ClassState, PodPriority},
    inject::{
        Injection,
        claims::{Asker, Carried, Existing, Subject, Thing},
        report::{Refusal, StepOutcome},
    },
    json::Str,
    policy::spec::OnConflict,
    reason::Reason,
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    pub(super) fn priority_class(&mut self) -> Result<(), Refusal> {
        let spec = self.draft.pod.spec.as_ref();
        let own = spec.and_then(|spec| spec.priority_class_name.as_ref()).map(Str::as_str);
        let pod = PodPriority {
            class_name: own,
            has_priority: spec.is_some_and(|spec| spec.priority.is_some()),
            has_preemption_policy: spec.is_some_and(|spec| spec.preemption_policy.is_some()),
        };
        for policy in self.policies {
            let Some(wanted) = policy.priority_class_name.as_deref() else { continue };
            let step = self.report.begin(policy, "priorityClassName");
            if own != Some(wanted) && self.classes.has_priority(wanted) == Some(false) {
                self.report.tell(step, Reason::ClassMissing, &[&format!("priority class {wanted}")]);
                continue;
            }
            let carried = match pod.compare(wanted, self.classes.global_default()) {
                ClassState::Equal => Carried::Same,
                ClassState::Unset => Carried::Nothing,
                ClassState::Other => Carried::Other,
            };
            let asker = Asker { policy, modifier: "priorityClassName" };
            let content = || Cow::Borrowed(own.unwrap_or_default());
            let (thing, subject) = (Thing::PriorityClass, Subject::PriorityClass);
            let existing = self.claims.standing(asker, &thing, subject, carried, content, |held| held == Some(wanted));
            match existing {
                Existing::Agreed | Existing::Same | Existing::SameOfOurs | Existing::SameOfAnother => {
                    self.report.came_of(step, StepOutcome::Present);
                }
                Existing::OfStep(first) => {
                    let first = self.report.name(first);
                    self.report.tell(step, Reason::PriorityClassOfPolicy, &[&first]);
                }
                Existing::OfThePod if policy.on_conflict == OnConflict::Reject => {
                    return Err(self.rejection(step, Reason::PriorityClassRejected, &[]));
                }
                Existing::OfThePod | Existing::OfOverride if policy.on_conflict != OnConflict::Override => {
                    self.report.tell(step, Reason::PriorityClassOfPod, &[]);
                    continue;
                }
                Existing::Nothing | Existing::OfEarlierPass | Existing::OfThePod | Existing::OfOverride => {
                    pod.set(wanted, &mut self.patch);
                    self.report.came_of(step, StepOutcome::Applied);
                }
            }
            self.claims.record(policy, subject, wanted, existing);
            self.claims.hold(thing, step, Some(wanted.into()));
        }
        Ok(())
    }
}
