//! MLRun's auto-mount: one storage for pods that carry none.

use super::{Pass, report::Refusal};
use crate::{
    inject::{
        controls::AUTO_MOUNT,
        equal::{same_env, same_source},
        report::Outcome,
    },
    policy::{AutoMount, Policy, compile::auto_mount::word, spec::AutoMountType, unit::Unit},
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

impl<'a, 'p: 'a> Pass<'a, 'p> {
    /// Applies the policy's auto-mount, unless an earlier policy's was the one.
    pub(super) fn auto_mount(
        &mut self,
        policy: &'p Policy,
        auto_mount: &'p AutoMount,
        mounted: &mut bool,
    ) -> Result<(), Refusal> {
        let step = self.report.begin(policy, "autoMount");
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
        if let Some(what) = self.by_hand() {
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
    /// What an earlier pass put there is not by hand. The pod's marker says that there was one, and what the policies that
    /// match now would put there themselves says what it was.
    fn by_hand(&self) -> Option<String> {
        for volume in self.draft.own_volumes() {
            let Some((kind, source)) = &volume.source else { continue };
            let storage = match kind.as_str() {
                "persistentVolumeClaim" => "a claim",
                "flexVolume" if source.get().contains("v3io/fuse") => "a v3io/fuse volume",
                _ => continue,
            };
            let same = |unit: &Unit, policy: &Policy| {
                let facts = self.facts(policy);
                let mut ours = unit.volumes.iter().filter(|ours| ours.kind == kind.as_str());
                ours.any(|ours| ours.source.resolve(&facts).is_ok_and(|ours| same_source(kind.as_str(), source, &ours)))
            };
            if !(self.reinvoked && self.any_unit(same)) {
                return Some(storage.to_owned());
            }
        }
        for container in &self.draft.containers {
            for env in container.view.env.iter().flatten() {
                let Some(name) = env.name.as_ref().filter(|name| BY_HAND.contains(&name.as_str())) else { continue };
                let same = |unit: &Unit, policy: &Policy| {
                    let facts = self.facts(policy);
                    let mut ours = unit.env.iter().filter(|ours| ours.name == name.as_str());
                    ours.any(|ours| ours.entry.resolve(&facts).is_ok_and(|ours| same_env(env, &ours)))
                };
                if !(self.reinvoked && self.any_unit(same)) {
                    return Some(format!("the variable {}", name.as_str()));
                }
            }
        }
        None
    }

    /// Whether `is_ours` holds for any unit of the policies that match.
    fn any_unit(&self, is_ours: impl Fn(&Unit, &Policy) -> bool) -> bool {
        self.policies.iter().any(|policy| {
            let explicit = policy.storage.iter().map(|modifier| &modifier.unit);
            let auto = policy.auto_mount.iter().flat_map(|block| &block.variants).map(|(_, unit)| unit);
            let entries = policy.persistence.iter().flat_map(|block| block.data.iter().chain(&block.outputs));
            let stores = entries.flat_map(|entry| entry.store.iter().map(|store| &store.sdk).chain([&entry.unit]));
            let plain = Unit { env: policy.env.clone(), ..Unit::default() };
            explicit.chain(auto).chain(stores).any(|unit| is_ours(unit, policy)) || is_ours(&plain, policy)
        })
    }

    /// Whether the step put something into the pod, now or before.
    pub(super) fn is_in(&self, step: usize) -> bool {
        self.report.steps().get(step).is_some_and(|step| step.outcome > Outcome::Skipped)
    }
}
