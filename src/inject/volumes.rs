//! Modifiers merged into the pod: volumes with their mounts, then what they put into the environment.

use std::{borrow::Cow, rc::Rc};

use crate::{
    inject::{
        Injection,
        claims::{Asker, Carried, Existing, Subject, Thing},
        draft::{ContainerDraft, List},
        env::resolve_vars,
        mount_draft::{NewMount, mount_content},
        pod_security::refuses_volume,
        report::{Refusal, StepId, StepOutcome},
        volume_draft::{Slot, SlotState},
    },
    json::Json,
    policy::{
        ContainerNames, Policy,
        modifier::{Injectable, VolumeUnit},
        spec::OnConflict,
        template::{PlaceholderValues, Unresolved},
    },
    reason::{Note, Reason},
};

/// A volume of a modifier with its mounts, resolved.
#[derive(Debug)]
struct PlannedVolume<'a> {
    kind: &'a str,
    source: Json<'a>,
    slot: Slot<'a>,
    mounts: Vec<Rc<NewMount<'a>>>,
    /// What is to be mounted in which container.
    puts: Vec<Put<'a>>,
    /// What is mounted so already.
    there: Vec<(usize, Cow<'a, str>)>,
    /// What another policy has mounted so since this one had its first turn: it counts where this one is free to put it.
    by_another: Vec<(usize, Cow<'a, str>)>,
}

/// A mount for a container.
#[derive(Debug)]
struct Put<'a> {
    container: usize,
    mount: Rc<NewMount<'a>>,
    existing: Existing,
    /// Index of the pod's mount that it replaces.
    replaces: Option<usize>,
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Merges a modifier into the containers that `policy` touches. Whether anything of it is in the pod now.
    ///
    /// # Errors
    ///
    /// Where the policy says `onConflict: Reject` and the pod brought something else.
    pub(super) fn merge(&mut self, policy: &'p Policy, unit: &'p Injectable, step: StepId) -> Result<bool, Refusal> {
        let facts = self.facts(policy);
        let vars = match resolve_vars(&unit.env, &facts) {
            Ok(vars) => vars,
            Err(why) => {
                self.say_unresolved(step, "the modifier", &why);
                return Ok(false);
            }
        };
        let mut targets = self.targets(policy);
        if self.say_no_container(&targets, step) {
            return Ok(false);
        }
        targets = self.with_variables(unit, &facts, targets, step);
        if unit.needs_volumes {
            targets = self.free_for(policy, &vars, targets, step)?;
        }
        // What a container cannot mount it is not told of either.
        let targets = self.merge_volumes(policy, &unit.volumes, &facts, &targets, step)?;
        for container in &targets {
            self.merge_env(policy, &vars, *container, step)?;
        }
        for fragment in &unit.env_from {
            self.merge_env_from(policy, fragment, &facts, &targets, step);
        }
        self.bounded()?;
        Ok(self.is_in(step))
    }

    /// Indices of the containers that `policy` touches and the pod does not exclude.
    pub(super) fn targets(&self, policy: &Policy) -> Vec<usize> {
        let touched = |container: &ContainerDraft<'_>| {
            policy.containers.take(container.list, container.name) && !self.controls.excludes(container.name)
        };
        let containers = self.draft.containers.iter().enumerate();
        containers.filter(|(_, container)| touched(container)).map(|(index, _)| index).collect()
    }

    /// Whether there is no container to touch; the step says so then.
    pub(super) fn say_no_container(&mut self, targets: &[usize], step: StepId) -> bool {
        if targets.is_empty() {
            match self.missed_include(step) {
                Some(names) => self.report.tell(step, Reason::NoContainerIncluded, &[&names]),
                None => self.report.tell(step, Reason::NoContainer, &[]),
            }
        }
        targets.is_empty()
    }

    /// What the `containers.include` of the step's policy names, where the pod has nothing of it and nobody said so yet.
    fn missed_include(&self, step: StepId) -> Option<String> {
        let policy = self.report.policy(step)?;
        let ContainerNames::Include(names) = &policy.containers.names else { return None };
        let takes = |container: &ContainerDraft<'_>| policy.containers.take(container.list, container.name);
        let was_told = self.report.has_told(policy, Reason::NoContainerIncluded);
        let is_missed = !was_told && !self.draft.containers.iter().any(takes);
        is_missed.then(|| names.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(", "))
    }

    /// The step says that its placeholders do not resolve.
    pub(super) fn say_unresolved(&mut self, step: StepId, what: &str, why: &Unresolved) {
        match why {
            Unresolved::Absent(word) => self.report.tell(step, Reason::PlaceholderAbsent, &[&what, &word]),
            Unresolved::NotAccepted(word) => self.report.tell(step, Reason::PlaceholderNotAccepted, &[&what, &word]),
            Unresolved::Invalid(allowed) => self.report.tell(step, Reason::PlaceholderInvalid, &[&what, &allowed]),
        }
    }

    /// Volumes and mounts of a modifier, which stand or fall together. The containers that have all of them.
    fn merge_volumes(
        &mut self,
        policy: &'p Policy,
        volumes: &'p [VolumeUnit],
        facts: &PlaceholderValues<'a>,
        targets: &[usize],
        step: StepId,
    ) -> Result<Vec<usize>, Refusal> {
        if volumes.is_empty() || targets.is_empty() {
            return Ok(targets.to_vec());
        }
        let mut planned = Vec::new();
        for volume in volumes {
            match self.plan_volume(policy, volume, facts, step) {
                Some(volume) => planned.push(volume),
                None => return Ok(Vec::new()),
            }
        }
        let mut is_free = true;
        for volume in &mut planned {
            is_free &= self.plan_mounts(policy, volume, targets, step)?;
        }
        for volume in &mut planned {
            if is_free {
                volume.there.append(&mut volume.by_another);
            }
            self.hold_mounted(volume, step);
        }
        let mut mounted = vec![0; self.draft.containers.len()];
        for volume in &planned {
            let there = volume.there.iter().map(|(container, _)| *container);
            let put = volume.puts.iter().map(|put| put.container).filter(|_| is_free);
            for container in there.chain(put) {
                if let Some(mounted) = mounted.get_mut(container) {
                    *mounted += 1;
                }
            }
        }
        let all: usize = planned.iter().map(|volume| volume.mounts.len()).sum();
        let has_all = |container: &usize| mounted.get(*container) == Some(&all);
        let containers: Vec<usize> = targets.iter().copied().filter(has_all).collect();
        if is_free {
            for volume in planned {
                self.put_volume(policy, volume, step);
            }
        }
        Ok(containers)
    }

    fn plan_volume(
        &mut self,
        policy: &'p Policy,
        volume: &'p VolumeUnit,
        facts: &PlaceholderValues<'a>,
        step: StepId,
    ) -> Option<PlannedVolume<'a>> {
        if let Some((level, kind)) = refuses_volume(self.security.level, &volume.kind) {
            self.report.tell(step, Reason::VolumeAgainstPodSecurity, &[&level, &kind]);
            return None;
        }
        let resolved = volume.name.resolve(facts).and_then(|name| Ok((name, volume.source.resolve(facts)?)));
        let resolved = resolved.and_then(|(wanted, source)| {
            let is_ours = |name: &str| self.claims.was_put_for(policy, Subject::Volume(name), "");
            let slot = self.draft.volumes.slot(&wanted, &volume.kind, &source, is_ours);
            let mounts: Result<_, Unresolved> =
                volume.mounts.iter().map(|unit| NewMount::new(unit, slot.name.clone(), facts).map(Rc::new)).collect();
            Ok((source, slot, mounts?))
        });
        match resolved {
            Ok((source, slot, mounts)) => {
                if let Some(why) = self.volume_against(&volume.kind, &source, &slot) {
                    self.report.notes(step, [why]);
                    return None;
                }
                let (puts, there, by_another) = (Vec::new(), Vec::new(), Vec::new());
                Some(PlannedVolume { kind: &volume.kind, source, slot, mounts, puts, there, by_another })
            }
            Err(why) => {
                self.say_unresolved(step, "the modifier", &why);
                None
            }
        }
    }

    /// Why the pod would be lost to the volume in this slot.
    fn volume_against(&self, kind: &str, source: &Json<'_>, slot: &Slot<'_>) -> Option<Note> {
        if self.draft.containers.iter().any(|container| container.has_device(&slot.name)) {
            return Some(Reason::BlockDevice.note(&[&slot.name]));
        }
        self.claim_against(kind, source, slot).or_else(|| self.container_against(source))
    }

    /// Finds where the mounts go; false where one path is taken.
    fn plan_mounts(
        &mut self,
        policy: &'p Policy,
        volume: &mut PlannedVolume<'a>,
        targets: &[usize],
        step: StepId,
    ) -> Result<bool, Refusal> {
        let mut is_free = true;
        for index in targets {
            for mount in &volume.mounts {
                let Some(container) = self.draft.containers.get(*index) else { continue };
                let own = container.own_mount(&mount.path);
                let name = container.name;
                if container.has_device_at(&mount.path) {
                    self.report.tell(step, Reason::PathOfDevice, &[&mount.path, &name]);
                    is_free = false;
                    continue;
                }
                if mount.propagation == Some("Bidirectional") && !container.is_privileged() {
                    self.report.tell(step, Reason::NotPrivileged, &[&mount.path, &name]);
                    continue;
                }
                let existing = self.mount(policy, mount, *index, step);
                let is_replaced = match existing {
                    Existing::SameOfAnother => {
                        volume.by_another.push((*index, mount.path.clone()));
                        continue;
                    }
                    Existing::Same | Existing::SameOfOurs | Existing::Agreed => {
                        volume.there.push((*index, mount.path.clone()));
                        continue;
                    }
                    Existing::Nothing | Existing::OfEarlierPass => true,
                    Existing::OfStep(first) => {
                        let first = self.report.name(first);
                        self.report.tell(step, Reason::PathOfPolicy, &[&mount.path, &name, &first]);
                        false
                    }
                    Existing::OfThePod if policy.on_conflict == OnConflict::Reject => {
                        return Err(self.rejection(step, Reason::PathRejected, &[&mount.path, &name]));
                    }
                    Existing::OfThePod | Existing::OfOverride => {
                        let overrides = policy.on_conflict == OnConflict::Override;
                        if !overrides {
                            self.report.tell(step, Reason::PathOfPod, &[&mount.path, &name]);
                        }
                        overrides
                    }
                };
                if is_replaced {
                    let replaces = own.map(|(own, _)| own);
                    volume.puts.push(Put { container: *index, mount: Rc::clone(mount), existing, replaces });
                }
                is_free &= is_replaced;
            }
        }
        Ok(is_free)
    }

    /// What stands at the path of a mount.
    fn mount(&self, policy: &Policy, mount: &NewMount<'a>, container: usize, step: StepId) -> Existing {
        let own = self.draft.containers.get(container).and_then(|draft| draft.own_mount(&mount.path));
        let carried = match own {
            None => Carried::Nothing,
            Some((_, own)) if mount.is(own) => Carried::Same,
            Some(_) => Carried::Other,
        };
        self.claims.standing(
            Asker { policy, modifier: self.report.modifier(step) },
            &Thing::MountPath(container, mount.path.clone()),
            Subject::MountPath(self.container_name(container), &mount.path),
            carried,
            || own.map_or_else(Cow::default, |(_, own)| mount_content(own).into()),
            |held| held == Some(mount.content().as_str()),
        )
    }

    /// What is mounted already stays, and is this step's, whatever becomes of the rest.
    fn hold_mounted(&mut self, volume: &PlannedVolume<'a>, step: StepId) {
        for (container, path) in &volume.there {
            let Some(mount) = volume.mounts.iter().find(|mount| mount.path == *path) else { continue };
            let content = mount.content().clone();
            self.claims.hold(Thing::MountPath(*container, path.clone()), step, Some(content));
        }
        if !volume.there.is_empty() {
            self.draft.volumes.count_on(&volume.slot);
            self.report.came_of(step, StepOutcome::Present);
        }
    }

    fn put_volume(&mut self, policy: &Policy, volume: PlannedVolume<'a>, step: StepId) {
        // A pod may bring the mount and not the volume, counting on us for it.
        let has_volume = matches!(volume.slot.state, SlotState::Own(_) | SlotState::New);
        if volume.puts.is_empty() && (has_volume || volume.there.is_empty()) {
            return;
        }
        self.draft.volumes.count_on(&volume.slot);
        if !has_volume {
            self.claims.record(policy, Subject::Volume(&volume.slot.name), "", Existing::Nothing);
        }
        self.draft.weight += volume.source.as_str().len();
        self.draft.volumes.put(volume.slot, volume.kind, volume.source);
        let puts = volume.puts.iter();
        let places: Vec<(usize, Cow<'a, str>)> = puts.map(|put| (put.container, put.mount.path.clone())).collect();
        for Put { container: index, mount, existing, replaces } in volume.puts {
            let Some(container) = self.draft.containers.get_mut(index) else { continue };
            let content = mount.content();
            self.claims.record(policy, Subject::MountPath(container.name, &mount.path), content.as_str(), existing);
            self.claims.hold(Thing::MountPath(index, mount.path.clone()), step, Some(content.clone()));
            self.draft.weight += mount.json().as_str().len() + container.least_around(List::VolumeMounts);
            if let Some(path) = mount.sub_path.as_ref().filter(|_| mount.expands) {
                self.expanded.push((index, path.clone()));
            }
            container.put_mount(mount, replaces);
        }
        for (index, path) in places {
            self.warn_of_nested(index, &path, step);
        }
        self.report.came_of(step, StepOutcome::Applied);
    }
}
