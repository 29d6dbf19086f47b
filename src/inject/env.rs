//! Variables merged into containers: plain ones, and credentials that belong together.

use std::borrow::Cow;

use crate::{
    inject::{
        Injection,
        claims::{Asker, Carried, Existing, Subject, Thing},
        draft::List,
        equal::{canonical_variable, env_from_key, own_variable_text, same_env, same_variables},
        report::{Refusal, StepId, StepOutcome},
    },
    json::Json,
    policy::{
        Policy,
        modifier::{Credentials, EnvUnit},
        spec::OnConflict,
        template::{PlaceholderValues, Unresolved},
    },
    reason::Reason,
};

/// Variables of a modifier, resolved.
pub(super) type Vars<'a> = Vec<(&'a EnvUnit, Json<'a>)>;

/// What becomes of a variable, or of credentials, in one container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EnvAction {
    /// It is put, also in place of what is there.
    Put,
    /// It is there.
    Present,
    /// It is left alone.
    Leave,
}

/// A variable of a container as a step finds it.
#[derive(Debug)]
struct Member<'a> {
    name: &'a str,
    existing: Existing,
    /// Index of the pod's own.
    index: Option<usize>,
}

/// A variable with those that belong to it, in one container.
#[derive(Debug)]
struct Plan<'a> {
    action: EnvAction,
    /// The variables that are put.
    members: Vec<Member<'a>>,
    /// Variables that speak of other credentials.
    rivals: Vec<Member<'a>>,
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// `env` and `envFrom` of a policy.
    pub(super) fn env(&mut self, policy: &'p Policy) -> Result<(), Refusal> {
        if policy.env.is_empty() && policy.env_from.is_empty() {
            return Ok(());
        }
        let facts = self.facts(policy);
        let targets = self.targets(policy);
        if !policy.env.is_empty() {
            let step = self.report.begin(policy, "env");
            self.say_no_container(&targets, step);
            for unit in &policy.env {
                match unit.entry.resolve(&facts) {
                    Ok(value) => {
                        if let Some(why) = self.container_against(&value) {
                            self.report.notes(step, [why]);
                            continue;
                        }
                        for container in &targets {
                            self.merge_env(policy, &[(unit, value.clone())], *container, step)?;
                        }
                    }
                    Err(why) => self.say_unresolved(step, &unit.name, &why),
                }
                self.bounded()?;
            }
        }
        if !policy.env_from.is_empty() {
            let step = self.report.begin(policy, "envFrom");
            self.say_no_container(&targets, step);
            for fragment in &policy.env_from {
                self.merge_env_from(policy, fragment, &facts, &targets, step);
                self.bounded()?;
            }
        }
        Ok(())
    }

    /// Merges variables into one container.
    pub(super) fn merge_env(
        &mut self,
        policy: &'p Policy,
        vars: &[(&'a EnvUnit, Json<'a>)],
        container: usize,
        step: StepId,
    ) -> Result<(), Refusal> {
        let mut decided: Vec<(Credentials, EnvAction)> = Vec::new();
        // Decided when the first of a unit is met, and put where its first credential stands, so that the order is the
        // policy's.
        let mut pending: Vec<(Credentials, Plan<'a>)> = Vec::new();
        for (unit, value) in vars {
            let Some(credentials) = unit.credentials else {
                self.merge_single(policy, (unit, value.clone()), container, step)?;
                continue;
            };
            let action = match decided.iter().find(|(other, _)| *other == credentials) {
                Some((_, action)) => *action,
                None => {
                    let plan = self.plan(policy, &members(vars, credentials), vars, container, step)?;
                    let action = plan.action;
                    decided.push((credentials, action));
                    pending.push((credentials, plan));
                    action
                }
            };
            if !unit.follows || action == EnvAction::Leave {
                for (credentials, plan) in pending.extract_if(.., |(other, _)| *other == credentials) {
                    self.carry_out(policy, plan, &members(vars, credentials), container, step);
                }
            } else {
                // An endpoint without the keys for it would have the pod's own keys sent there.
                self.merge_single(policy, (unit, value.clone()), container, step)?;
            }
        }
        Ok(())
    }

    /// Merges a variable that stands for itself.
    fn merge_single(
        &mut self,
        policy: &'p Policy,
        variable: (&'a EnvUnit, Json<'a>),
        container: usize,
        step: StepId,
    ) -> Result<(), Refusal> {
        let single = [variable];
        let plan = self.plan(policy, &single, &single, container, step)?;
        self.carry_out(policy, plan, &single, container, step);
        Ok(())
    }

    /// The containers in which nothing stands in the way of the variables.
    pub(super) fn free_for(
        &mut self,
        policy: &'p Policy,
        vars: &[(&'a EnvUnit, Json<'a>)],
        targets: Vec<usize>,
        step: StepId,
    ) -> Result<Vec<usize>, Refusal> {
        let mut free = Vec::new();
        for container in targets {
            let mut is_free = true;
            for (unit, value) in vars {
                let members = match unit.credentials {
                    Some(credentials) => members(vars, credentials),
                    None => vec![(*unit, value.clone())],
                };
                is_free &= self.plan(policy, &members, vars, container, step)?.action != EnvAction::Leave;
            }
            if is_free {
                free.push(container);
            }
        }
        Ok(free)
    }

    /// Whether the variable is in the container as the policy wants it.
    pub(super) fn has_variable(
        &self,
        policy: &Policy,
        unit: &'a EnvUnit,
        value: &Json<'a>,
        container: usize,
        step: StepId,
    ) -> bool {
        self.variable(policy, &unit.name, Some(value), container, step).existing.is_same()
    }

    /// Whether nobody else has a variable of that name.
    pub(super) fn is_free_for(
        &self,
        policy: &Policy,
        unit: &'a EnvUnit,
        value: &Json<'a>,
        container: usize,
        step: StepId,
    ) -> bool {
        let existing = self.variable(policy, &unit.name, Some(value), container, step).existing;
        existing == Existing::Nothing || existing.is_same()
    }

    /// What stands under a variable's name; without a wish of ours an empty one is as good as none.
    fn variable(
        &self,
        policy: &Policy,
        name: &'a str,
        wanted: Option<&Json<'a>>,
        container: usize,
        step: StepId,
    ) -> Member<'a> {
        let own = self.draft.containers.get(container).and_then(|draft| draft.own_variable(name));
        let carried = match own {
            None => Carried::Nothing,
            Some((_, env)) if same_env(env, wanted) => Carried::Same,
            Some(_) => Carried::Other,
        };
        let existing = self.claims.standing(
            Asker { policy, modifier: self.report.modifier(step) },
            &Thing::Variable(container, name),
            Subject::Variable(self.container_name(container), name),
            carried,
            || own.map_or_else(Cow::default, |(_, env)| own_variable_text(env).into()),
            |held| match (held, wanted) {
                (Some(held), Some(wanted)) => same_variables(held, wanted.as_str()),
                (held, wanted) => held.is_none() && wanted.is_none(),
            },
        );
        Member { name, existing, index: own.map(|(index, _)| index) }
    }

    /// What becomes of `members`, which stand or fall together. `all` is what the modifier sets, for what is said of it.
    fn plan(
        &mut self,
        policy: &'p Policy,
        members: &[(&'a EnvUnit, Json<'a>)],
        all: &[(&'a EnvUnit, Json<'a>)],
        container: usize,
        step: StepId,
    ) -> Result<Plan<'a>, Refusal> {
        let found: Vec<Member<'a>> = members
            .iter()
            .map(|(unit, value)| self.variable(policy, &unit.name, Some(value), container, step))
            .collect();
        let rivals: Vec<Member<'a>> = members
            .iter()
            .flat_map(|(unit, _)| unit.replaces.iter())
            .map(|name| self.variable(policy, name, None, container, step))
            .filter(|rival| !matches!(rival.existing, Existing::Agreed))
            .collect();
        let action = self.choose(policy, &found, &rivals, all, container, step)?;
        Ok(Plan { action, members: found, rivals })
    }

    fn choose(
        &mut self,
        policy: &Policy,
        members: &[Member<'a>],
        rivals: &[Member<'a>],
        all: &[(&'a EnvUnit, Json<'a>)],
        container: usize,
        step: StepId,
    ) -> Result<EnvAction, Refusal> {
        let name = self.container_name(container);
        let both = || members.iter().chain(rivals);
        let of_step = both().find_map(|member| match member.existing {
            Existing::OfStep(first) => Some((member.name, first)),
            _ => None,
        });
        if let Some((variable, first)) = of_step {
            let first = self.report.name(first);
            self.report.tell(step, Reason::VariableOfPolicy, &[&listed(members, all), &name, &first, &variable]);
            return Ok(EnvAction::Leave);
        }
        let is_of_pod = |existing| matches!(existing, Existing::OfThePod | Existing::OfOverride);
        let has_rival = rivals.iter().any(|rival| is_of_pod(rival.existing));
        if members.iter().all(|member| member.existing.is_same()) && !has_rival {
            return Ok(EnvAction::Present);
        }
        // Of credentials half present that half is the pod's, also where it is equal.
        let of_pod = |member: &&Member<'_>| is_of_pod(member.existing) || member.existing == Existing::Same;
        let brought: Vec<&Member<'_>> =
            members.iter().filter(of_pod).chain(rivals.iter().filter(|rival| is_of_pod(rival.existing))).collect();
        if brought.is_empty() || policy.on_conflict == OnConflict::Override {
            return Ok(EnvAction::Put);
        }
        let names = brought.iter().map(|member| member.name).collect::<Vec<_>>().join(", ");
        let is_own = brought.iter().any(|member| member.existing != Existing::OfOverride);
        if policy.on_conflict == OnConflict::Reject && is_own {
            return Err(self.rejection(step, Reason::VariableRejected, &[&names, &name]));
        }
        self.report.tell(step, Reason::VariableOfPod, &[&listed(members, all), &name, &names]);
        Ok(EnvAction::Leave)
    }

    /// Does what was planned.
    fn carry_out(
        &mut self,
        policy: &Policy,
        plan: Plan<'a>,
        members: &[(&'a EnvUnit, Json<'a>)],
        container: usize,
        step: StepId,
    ) {
        if plan.action == EnvAction::Leave {
            return;
        }
        let container_name = self.container_name(container);
        let Some(draft) = self.draft.containers.get_mut(container) else { return };
        let overrides = policy.on_conflict == OnConflict::Override;
        let mut changed = false;
        for (member, (unit, value)) in plan.members.iter().zip(members) {
            if !member.existing.is_same() {
                self.draft.weight += value.as_str().len() + draft.least_around(List::Env);
                draft.put_variable(&unit.name, value.clone(), member.index);
                changed = true;
                let text = canonical_variable(value.as_str());
                let subject = Subject::Variable(container_name, &unit.name);
                self.claims.record(policy, subject, &text, member.existing);
            }
            self.claims.hold(Thing::Variable(container, &unit.name), step, Some(value.clone().into_text()));
        }
        for rival in &plan.rivals {
            let is_taken_out = match rival.existing {
                Existing::OfEarlierPass => true,
                Existing::OfThePod
                | Existing::OfOverride
                | Existing::Same
                | Existing::SameOfOurs
                | Existing::SameOfAnother => overrides,
                Existing::Nothing | Existing::Agreed | Existing::OfStep(_) => false,
            };
            if is_taken_out && draft.remove_variable(rival.name) {
                changed = true;
                if matches!(rival.existing, Existing::OfThePod | Existing::OfOverride | Existing::Same) {
                    self.claims.record_removal(policy, Subject::Variable(container_name, rival.name));
                }
            }
            self.claims.hold(Thing::Variable(container, rival.name), step, None);
        }
        self.report.came_of(step, if changed { StepOutcome::Applied } else { StepOutcome::Present });
        if changed {
            self.warn_of_sources(&plan, container, step);
        }
    }

    /// A variable wins over every source of the pod's, and nobody can know here what those hold.
    fn warn_of_sources(&mut self, plan: &Plan<'a>, container: usize, step: StepId) {
        let Some(draft) = self.draft.containers.get(container) else { return };
        let own = draft.view.env_from.as_deref().unwrap_or_default();
        let Some(first) = own.first() else { return };
        let entry = serde_json::from_str(first.get()).unwrap_or_default();
        let source = match own.len() {
            1 => source_name(&env_from_key(&entry)),
            more => format!("{} and {} more", source_name(&env_from_key(&entry)), more - 1),
        };
        let put = plan.members.iter().filter(|member| matches!(member.existing, Existing::Nothing));
        let names = put.map(|member| member.name).collect::<Vec<_>>().join(", ");
        let name = draft.name;
        if !names.is_empty() {
            self.report.tell(step, Reason::MayHideSource, &[&names, &source, &name]);
        }
    }

    pub(super) fn container_name(&self, container: usize) -> &'a str {
        self.draft.containers.get(container).map_or("", |draft| draft.name)
    }
}

/// Resolves the variables of a unit; all or none, since half a unit is of no use.
pub(super) fn resolve_vars<'a>(units: &'a [EnvUnit], facts: &PlaceholderValues<'a>) -> Result<Vars<'a>, Unresolved> {
    units.iter().map(|unit| Ok((unit, unit.entry.resolve(facts)?))).collect()
}

/// The variables that make up the credentials.
fn members<'a>(vars: &[(&'a EnvUnit, Json<'a>)], credentials: Credentials) -> Vars<'a> {
    let are_of = |unit: &EnvUnit| unit.credentials == Some(credentials) && !unit.follows;
    vars.iter().filter(|(unit, _)| are_of(unit)).cloned().collect()
}

/// The names of a unit with those that are put with it or not at all.
fn listed(members: &[Member<'_>], all: &[(&EnvUnit, Json<'_>)]) -> String {
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    let credentials = all.iter().find(|(unit, _)| is_member(&unit.name)).and_then(|(unit, _)| unit.credentials);
    let follows = |unit: &EnvUnit| unit.follows && credentials.is_some() && unit.credentials == credentials;
    let followers = all.iter().filter(|(unit, _)| follows(unit) && !is_member(&unit.name));
    let names = members.iter().map(|member| member.name).chain(followers.map(|(unit, _)| &*unit.name));
    names.collect::<Vec<_>>().join(", ")
}

/// `secretRef team-secrets` out of the key of a source.
fn source_name(key: &str) -> String {
    let mut parts = key.split('\0').skip(1);
    format!("{} {}", parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
