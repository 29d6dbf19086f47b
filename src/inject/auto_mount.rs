//! MLRun's auto-mount: one storage for pods that carry none.

use serde_json::Value;

use crate::{
    inject::{
        Pass,
        controls::AUTO_MOUNT,
        equal::{same_env, same_source},
        report::{Outcome, Refusal},
    },
    policy::{AutoMount, Policy, compile::auto_mount::word, modifier::EnvUnit, spec::AutoMountType, template::Facts},
};

/// Variables that MLRun's manual modifiers set, and whose presence says that storage was configured by hand.
const BY_HAND: [&str; 6] = [
    "V3IO_API",
    "V3IO_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "S3_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
];

/// Name of the step, as the marker records it.
const AUTO_MOUNT_STEP: &str = "autoMount";

/// What policies put into a pod that would otherwise look like storage by hand.
#[derive(Default)]
struct Ours<'o> {
    sources: Vec<(&'o str, Value)>,
    variables: Vec<(&'o str, Value)>,
}

impl<'o> Ours<'o> {
    fn add_variables(&mut self, units: &'o [EnvUnit], facts: &Facts<'o>) {
        let units = units.iter().filter(|unit| BY_HAND.contains(&unit.name.as_str()));
        self.variables
            .extend(units.filter_map(|unit| Some((unit.name.as_str(), unit.entry.resolve(facts).ok()?.value()))));
    }
}

fn is_storage(kind: &str) -> bool {
    matches!(kind, "persistentVolumeClaim" | "flexVolume")
}

impl<'a, 'p: 'a> Pass<'a, 'p> {
    /// Applies the policy's auto-mount, unless an earlier policy's was the one.
    pub(super) fn auto_mount(
        &mut self,
        policy: &'p Policy,
        auto_mount: &'p AutoMount,
        mounted: &mut bool,
    ) -> Result<(), Refusal> {
        let step = self.report.begin(policy, AUTO_MOUNT_STEP);
        if std::mem::replace(mounted, true) {
            self.report.warn(step, "left out: an earlier policy has an autoMount");
            return Ok(());
        }
        let asked = match self.controls.auto_mount {
            Some(AutoMountType::Auto) => auto_mount.auto,
            Some(asked) => asked,
            None => auto_mount.effective,
        };
        if asked == AutoMountType::None {
            let why = match (self.controls.auto_mount, auto_mount.own) {
                (Some(_), _) => "the pod asks for none",
                (None, AutoMountType::None) => "the policy's type is none",
                (None, _) => "type auto finds neither a v3io block nor a claim",
            };
            self.report.say(step, why);
            return Ok(());
        }
        let Some((_, unit)) = auto_mount.variants.iter().find(|(kind, _)| *kind == asked) else {
            let offers = auto_mount.variants.iter().map(|(kind, _)| word(*kind)).collect::<Vec<_>>().join(", ");
            let message = format!(
                "{AUTO_MOUNT}: {:?} is not on offer: the params of policy {} serve none, {offers}",
                word(asked),
                policy.id
            );
            return Err(Refusal { message });
        };
        if let Some(what) = self.by_hand(policy) {
            self.report.say(step, format!("the pod carries {what}, as after a manual modifier"));
            return Ok(());
        }
        self.report.say(step, format!("type {}", word(asked)));
        if unit.env.is_empty() && unit.volumes.is_empty() && unit.env_from.is_empty() {
            return Ok(());
        }
        self.merge(policy, unit, step)?;
        Ok(())
    }

    /// The storage that the pod was given by hand, as seen from the pod.
    ///
    /// What an earlier pass put there is not by hand. The pod's marker says that there was one and that it applied this
    /// autoMount, or the pod carried storage by hand already then, if only in the policy's own words. What the policies
    /// that match now would put there themselves says what the earlier pass put there.
    fn by_hand(&self, policy: &Policy) -> Option<String> {
        let ours = if self.applied_before(policy) { self.ours() } else { Ours::default() };
        for volume in self.draft.own_volumes() {
            let Some((kind, source)) = &volume.source else { continue };
            let storage = match kind.as_str() {
                "persistentVolumeClaim" => "a claim",
                "flexVolume" if source.get().contains("v3io/fuse") => "a v3io/fuse volume",
                _ => continue,
            };
            let mut same = ours.sources.iter().filter(|(ours, _)| *ours == kind.as_str());
            if !same.any(|(kind, ours)| same_source(kind, *source, ours)) {
                return Some(storage.to_owned());
            }
        }
        for container in &self.draft.containers {
            for env in container.view.env.iter().flatten() {
                let Some(name) = env.name.as_ref().filter(|name| BY_HAND.contains(&name.as_str())) else { continue };
                let mut same = ours.variables.iter().filter(|(ours, _)| *ours == name.as_str());
                if !same.any(|(_, ours)| same_env(env, ours)) {
                    return Some(format!("the variable {}", name.as_str()));
                }
            }
        }
        None
    }

    /// Whether an earlier pass recorded that it applied the autoMount of `policy`.
    fn applied_before(&self, policy: &Policy) -> bool {
        let Some(earlier) = self.earlier else { return false };
        let name = policy.id.to_string();
        let records = earlier.policies.iter().filter(|record| record.name == name);
        records.flat_map(|record| &record.applied).any(|modifier| modifier == AUTO_MOUNT_STEP)
    }

    /// What the policies that match would put into the pod themselves, of the kinds that count as storage by hand.
    fn ours(&self) -> Ours<'_> {
        let mut ours = Ours::default();
        for policy in self.policies {
            let facts = self.facts(policy);
            let explicit = policy.storage.iter().map(|modifier| &modifier.unit);
            let auto = policy.auto_mount.iter().flat_map(|block| &block.variants).map(|(_, unit)| unit);
            let entries = policy.persistence.iter().flat_map(|block| block.data.iter().chain(&block.outputs));
            let stores = entries.flat_map(|entry| entry.store.iter().map(|store| &store.sdk).chain([&entry.unit]));
            for unit in explicit.chain(auto).chain(stores) {
                let volumes = unit.volumes.iter().filter(|volume| is_storage(&volume.kind));
                let sources = volumes
                    .filter_map(|volume| Some((volume.kind.as_str(), volume.source.resolve(&facts).ok()?.value())));
                ours.sources.extend(sources);
                ours.add_variables(&unit.env, &facts);
            }
            ours.add_variables(&policy.env, &facts);
        }
        ours
    }

    /// Whether the step put something into the pod, now or before.
    pub(super) fn is_in(&self, step: usize) -> bool {
        self.report.steps().get(step).is_some_and(|step| step.outcome > Outcome::Skipped)
    }
}
