//! Whole secrets and config maps as environment.

use std::borrow::Cow;

use crate::{
    inject::{
        Injection,
        claims::Thing,
        draft::List,
        equal::env_from_key,
        report::{StepId, StepOutcome},
    },
    policy::{Policy, fragment::Fragment, spec::OnConflict, template::PlaceholderValues},
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Adds a whole secret or config map as environment.
    pub(super) fn merge_env_from(
        &mut self,
        policy: &'p Policy,
        fragment: &'p Fragment,
        facts: &PlaceholderValues<'a>,
        targets: &[usize],
        step: StepId,
    ) {
        let entry = match fragment.resolve(facts) {
            Ok(entry) => entry,
            Err(why) => return self.say_unresolved(step, "the source", &why),
        };
        let key = env_from_key(&entry.value());
        let overrides = policy.on_conflict == OnConflict::Override;
        for index in targets {
            let thing = Thing::VariableSource(*index, Cow::Owned(key.clone()));
            let is_held = self.claims.take(thing, step).is_err();
            let Some(draft) = self.draft.containers.get_mut(*index) else { continue };
            let own = draft.own_source(&key);
            if let (false, Some(own)) = (is_held, own) {
                draft.hold_source(own, step);
            }
            let put = !is_held && own.is_none();
            if put {
                self.draft.weight += entry.as_str().len() + draft.least_around(List::EnvFrom);
                draft.put_source(entry.clone(), step, overrides);
            }
            self.report.came_of(step, if put { StepOutcome::Applied } else { StepOutcome::Present });
        }
    }
}
