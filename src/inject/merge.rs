//! Units merged into the draft: volumes with their mounts, credentials that belong together, plain variables.

use std::borrow::Cow;

use crate::{
    inject::{
        Pass,
        draft::{NewMount, StepId, There},
        pod_security::refuses_volume,
        report::{Outcome, Refusal},
    },
    json::Json,
    policy::{
        Policy,
        fragment::Fragment,
        modifier::{EnvUnit, MountUnit, Unit, VolumeUnit},
        spec::OnConflict,
        template::{Facts, Unresolved},
    },
};

/// Variables of a unit, resolved.
type Vars<'a> = Vec<(&'a EnvUnit, Json<'a>)>;

/// What becomes of a group of variables in one container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// All are put, also in place of the pod's.
    Put,
    /// All are there.
    Present,
    /// They are left alone.
    Leave,
}

impl<'a, 'p: 'a> Pass<'a, 'p> {
    /// Merges a unit into the containers that `policy` touches. Whether anything of it is in the pod now.
    ///
    /// # Errors
    ///
    /// Where the policy says `onConflict: Reject` and the pod brought something else.
    pub(super) fn merge(&mut self, policy: &'p Policy, unit: &'p Unit, step: StepId) -> Result<bool, Refusal> {
        let facts = self.facts(policy);
        let vars = match resolve_vars(&unit.env, &facts) {
            Ok(vars) => vars,
            Err(why) => {
                self.report.warn(step, format!("left out: {why}"));
                return Ok(false);
            }
        };
        let mut targets = self.targets(policy);
        if self.say_untouched(&targets, step) {
            return Ok(false);
        }
        if unit.linked {
            targets = self.free_for(policy, &vars, targets, step)?;
        }
        let mut volumes_in = true;
        for volume in &unit.volumes {
            volumes_in &= self.merge_volume(policy, volume, &facts, &targets, step)?;
        }
        if volumes_in || !unit.linked {
            for container in &targets {
                self.merge_env(policy, &vars, *container, step)?;
            }
        }
        for fragment in &unit.env_from {
            self.merge_env_from(fragment, &facts, &targets, step);
        }
        Ok(self.report.steps().get(step).is_some_and(|step| step.outcome > Outcome::Skipped))
    }

    /// Indices of the containers that `policy` touches and the pod does not exclude.
    pub(super) fn targets(&self, policy: &Policy) -> Vec<usize> {
        let touched = |container: &super::draft::ContainerDraft<'_>| {
            policy.containers.take(container.list, container.name) && !self.controls.excludes(container.name)
        };
        let containers = self.draft.containers.iter().enumerate();
        containers.filter(|(_, container)| touched(container)).map(|(index, _)| index).collect()
    }

    /// Whether there is no container to touch; the step says so then.
    pub(super) fn say_untouched(&mut self, targets: &[usize], step: StepId) -> bool {
        if targets.is_empty() {
            self.report.say(step, "no container is touched");
        }
        targets.is_empty()
    }

    /// Of a unit whose variables are worth nothing without its volume: the containers that can have both.
    fn free_for(
        &mut self,
        policy: &Policy,
        vars: &[(&'a EnvUnit, Json<'a>)],
        targets: Vec<usize>,
        step: StepId,
    ) -> Result<Vec<usize>, Refusal> {
        let mut free = Vec::new();
        for container in targets {
            let mut fates = Vec::new();
            for (unit, _) in vars {
                fates.push(self.fate(policy, vars, unit, container, step)?);
            }
            if !fates.contains(&Fate::Leave) {
                free.push(container);
            }
        }
        Ok(free)
    }

    fn merge_volume(
        &mut self,
        policy: &'p Policy,
        volume: &'p VolumeUnit,
        facts: &Facts<'a>,
        targets: &[usize],
        step: StepId,
    ) -> Result<bool, Refusal> {
        if targets.is_empty() {
            return Ok(false);
        }
        let resolved = volume.name.resolve(facts).and_then(|name| Ok((name, volume.source.resolve(facts)?)));
        let (wanted, source) = match resolved {
            Ok(resolved) => resolved,
            Err(why) => {
                self.report.warn(step, format!("left out: {why}"));
                return Ok(false);
            }
        };
        if let Some(why) = refuses_volume(self.security, &volume.kind) {
            self.report.warn(step, format!("left out: {why}"));
            return Ok(false);
        }
        let slot = self.draft.slot(&wanted, &volume.kind, &source);
        let mut mounts = Vec::new();
        for unit in &volume.mounts {
            match new_mount(unit, slot.name.clone(), facts, step) {
                Ok(mount) => mounts.push(mount),
                Err(why) => {
                    self.report.warn(step, format!("left out: {why}"));
                    return Ok(false);
                }
            }
        }
        let Some((puts, present)) = self.place_mounts(policy, &mounts, targets, step)? else {
            return Ok(self.report.steps().get(step).is_some_and(|step| step.outcome > Outcome::Skipped));
        };
        // A pod may bring the mount and not the volume, counting on us for it.
        let dangling = present && !slot.there;
        if puts.is_empty() && !dangling {
            self.report.came_of(step, if present { Outcome::Present } else { Outcome::Skipped });
            return Ok(present);
        }
        if !slot.there {
            self.draft.add_volume(slot.name, &volume.kind, source);
        }
        for (container, mount) in puts {
            if let Some(container) = self.draft.containers.get_mut(container) {
                container.put_mount(mount);
            }
        }
        self.report.came_of(step, Outcome::Applied);
        Ok(true)
    }

    /// Where the mounts go, and whether some are there already; `None` where one path is taken, since a volume stands or
    /// falls with all its mounts.
    #[expect(clippy::type_complexity, reason = "the pair is taken apart by its one caller")]
    fn place_mounts(
        &mut self,
        policy: &Policy,
        mounts: &[NewMount<'a>],
        targets: &[usize],
        step: StepId,
    ) -> Result<Option<(Vec<(usize, NewMount<'a>)>, bool)>, Refusal> {
        let (mut puts, mut same, mut present, mut taken) = (Vec::new(), Vec::new(), false, false);
        for index in targets {
            let Some(container) = self.draft.containers.get(*index) else { continue };
            for mount in mounts {
                let replaces = match container.mount_there(mount) {
                    There::Same => {
                        present = true;
                        same.push((*index, mount.path.clone()));
                        continue;
                    }
                    There::Nothing => None,
                    There::OfStep(other) => {
                        let first = self.report.name(other);
                        self.report.warn(step, format!("left out: {} is mounted by {first}", mount.path));
                        taken = true;
                        continue;
                    }
                    There::OfThePod(place) => match policy.on_conflict {
                        OnConflict::Override => Some(place),
                        OnConflict::Keep => {
                            let name = container.name;
                            let why = format!("left out: the pod mounts something else at {} in {name}", mount.path);
                            self.report.warn(step, why);
                            taken = true;
                            continue;
                        }
                        OnConflict::Reject => {
                            let what = format!("the pod mounts something else at {} in {}", mount.path, container.name);
                            return Err(self.rejection(step, &what));
                        }
                    },
                };
                puts.push((*index, NewMount { replaces, ..mount.clone() }));
            }
        }
        for (container, path) in same {
            if let Some(container) = self.draft.containers.get_mut(container) {
                container.hold_mount(path, step);
            }
        }
        if taken {
            if present {
                self.report.came_of(step, Outcome::Present);
            }
            return Ok(None);
        }
        Ok(Some((puts, present)))
    }

    /// Merges variables into one container.
    pub(super) fn merge_env(
        &mut self,
        policy: &Policy,
        vars: &[(&'a EnvUnit, Json<'a>)],
        container: usize,
        step: StepId,
    ) -> Result<(), Refusal> {
        let mut groups: Vec<(u8, Fate)> = Vec::new();
        for (unit, value) in vars {
            let known = unit.group.and_then(|group| groups.iter().find(|(known, _)| *known == group));
            let fate = match known {
                Some((_, fate)) => *fate,
                None => {
                    let fate = self.fate(policy, vars, unit, container, step)?;
                    groups.extend(unit.group.map(|group| (group, fate)));
                    fate
                }
            };
            let Some(draft) = self.draft.containers.get_mut(container) else { continue };
            if fate == Fate::Leave {
                continue;
            }
            let mut changed = false;
            if policy.on_conflict == OnConflict::Override {
                for companion in &unit.companions {
                    changed |= draft.remove_env(companion, step);
                }
            }
            match draft.env_there(&unit.name, Some(value)) {
                There::Same => draft.hold_env(&unit.name, step),
                There::OfThePod(place) => draft.put_env(&unit.name, value.clone(), Some(place), step),
                There::Nothing | There::OfStep(_) => draft.put_env(&unit.name, value.clone(), None, step),
            }
            changed |= fate == Fate::Put;
            self.report.came_of(step, if changed { Outcome::Applied } else { Outcome::Present });
        }
        Ok(())
    }

    /// What becomes of a variable and those that belong to it.
    fn fate(
        &mut self,
        policy: &Policy,
        vars: &[(&'a EnvUnit, Json<'a>)],
        unit: &EnvUnit,
        container: usize,
        step: StepId,
    ) -> Result<Fate, Refusal> {
        let Some(draft) = self.draft.containers.get(container) else { return Ok(Fate::Leave) };
        let belongs = |other: &EnvUnit| match unit.group {
            Some(group) => other.group == Some(group),
            None => other.name == unit.name,
        };
        let own = || vars.iter().filter(|(other, _)| belongs(other));
        let members: Vec<(&str, There)> =
            own().map(|(other, value)| (other.name.as_str(), draft.env_there(&other.name, Some(value)))).collect();
        // An empty one is as good as none.
        let companions: Vec<(&str, There)> = own()
            .flat_map(|(other, _)| &other.companions)
            .map(|name| (name.as_str(), draft.env_there(name, None)))
            .filter(|(_, there)| matches!(there, There::OfThePod(_)))
            .collect();
        let by_step = members.iter().find_map(|(name, there)| match there {
            There::OfStep(other) => Some((*name, *other)),
            _ => None,
        });
        if let Some((name, other)) = by_step {
            let first = self.report.name(other);
            self.report
                .warn(step, format!("{} left alone in {}: {name} is set by {first}", listed(&members), draft.name));
            return Ok(Fate::Leave);
        }
        if companions.is_empty() && members.iter().all(|(_, there)| *there == There::Same) {
            return Ok(Fate::Present);
        }
        if companions.is_empty() && members.iter().all(|(_, there)| *there == There::Nothing) {
            return Ok(Fate::Put);
        }
        // A unit half present is the pod's, also where that half is equal.
        let brought = members.iter().chain(&companions).filter(|(_, there)| *there != There::Nothing);
        let brought: Vec<&str> = brought.map(|(name, _)| *name).collect();
        match policy.on_conflict {
            OnConflict::Override => Ok(Fate::Put),
            OnConflict::Keep => {
                let text =
                    format!("{} left alone in {}: the pod sets {}", listed(&members), draft.name, brought.join(", "));
                self.report.warn(step, text);
                Ok(Fate::Leave)
            }
            OnConflict::Reject => {
                let what = format!("the pod sets {} in {}", brought.join(", "), draft.name);
                Err(self.rejection(step, &what))
            }
        }
    }

    /// Adds a whole secret or config map as environment.
    pub(super) fn merge_env_from(
        &mut self,
        fragment: &'p Fragment,
        facts: &Facts<'a>,
        targets: &[usize],
        step: StepId,
    ) {
        let entry = match fragment.resolve(facts) {
            Ok(entry) => entry,
            Err(why) => return self.report.warn(step, format!("left out: {why}")),
        };
        for index in targets {
            let Some(container) = self.draft.containers.get_mut(*index) else { continue };
            let put = container.put_env_from(entry.clone());
            self.report.came_of(step, if put { Outcome::Applied } else { Outcome::Present });
        }
    }

    /// The refusal of a policy that says `onConflict: Reject`.
    pub(super) fn rejection(&self, step: StepId, what: &str) -> Refusal {
        Refusal { message: format!("{}: {what}, and the policy says onConflict: Reject", self.report.name(step)) }
    }
}

/// Resolves the variables of a unit; all or none, since half a unit is of no use.
pub(super) fn resolve_vars<'a>(units: &'a [EnvUnit], facts: &Facts<'a>) -> Result<Vars<'a>, Unresolved> {
    units.iter().map(|unit| Ok((unit, unit.entry.resolve(facts)?))).collect()
}

fn new_mount<'a>(
    unit: &'a MountUnit,
    volume: Cow<'a, str>,
    facts: &Facts<'a>,
    by: StepId,
) -> Result<NewMount<'a>, Unresolved> {
    let path = match &unit.tail {
        None => Cow::Borrowed(unit.path.as_str()),
        Some(tail) => Cow::Owned(format!("{}/{}", unit.path, tail.resolve(facts)?)),
    };
    let sub_path = unit.sub_path.as_ref().map(|template| template.resolve(facts)).transpose()?;
    let sub_path = sub_path.filter(|path| !path.is_empty());
    let (read_only, propagation) = (unit.read_only, unit.propagation);
    Ok(NewMount { volume, path, sub_path, read_only, propagation, replaces: None, by })
}

fn listed(members: &[(&str, There)]) -> String {
    members.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
