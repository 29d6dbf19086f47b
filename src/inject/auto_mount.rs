//! MLRun's auto-mount: one storage for pods that carry none.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::{
    inject::{
        Injection,
        claims::{Asker, Subject, Thing},
        controls::AUTO_MOUNT,
        equal::{own_variable_text, same_env, same_source_values},
        report::Refusal,
        volume_draft::object,
    },
    json::Json,
    policy::{
        AutoMount, Policy,
        compile::auto_mount::word,
        modifier::{Credentials, EnvUnit},
        spec::AutoMountType,
        template::PlaceholderValues,
    },
    reason::Reason,
};

/// Variables that MLRun's manual modifiers set, and whose presence says that storage was configured by hand.
const BY_HAND: [&str; 7] = [
    "V3IO_API",
    "V3IO_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "S3_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Whether the variable says that the pod brings storage or credentials of its own.
fn is_by_hand(name: &str) -> bool {
    BY_HAND.contains(&name) || name.starts_with('A') && rivals().any(|rival| rival == name)
}

/// Variables that speak of credentials of the pod's own.
fn rivals() -> impl Iterator<Item = &'static str> {
    [Credentials::S3, Credentials::Azure].into_iter().flat_map(Credentials::rivals).copied()
}

/// Name of the step, as the marker records it.
const AUTO_MOUNT_STEP: &str = "autoMount";

/// What policies put into a pod that would otherwise look like storage by hand.
#[derive(Default)]
struct Ours<'o> {
    /// By kind, and by the object that they refer to where they are of a kind that is reused.
    sources: HashMap<(&'o str, Option<String>), Vec<Value>>,
    variables: HashMap<&'o str, HashSet<Json<'o>>>,
}

impl<'o> Ours<'o> {
    fn add_variables(&mut self, units: &'o [EnvUnit], facts: &PlaceholderValues<'o>) {
        let units = units.iter().filter(|unit| is_by_hand(&unit.name));
        for unit in units {
            if let Ok(value) = unit.entry.resolve(facts) {
                self.variables.entry(&unit.name).or_default().insert(value);
            }
        }
    }
}

fn is_storage(kind: &str) -> bool {
    matches!(kind, "persistentVolumeClaim" | "flexVolume")
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Applies the policy's auto-mount, unless an earlier policy's was the one.
    pub(super) fn auto_mount(&mut self, policy: &'p Policy, auto_mount: &'p AutoMount) -> Result<(), Refusal> {
        let step = self.report.begin(policy, AUTO_MOUNT_STEP);
        if let Err(first) = self.claims.take(Thing::AutoMount, step) {
            let first = self.report.name(first);
            self.report.tell(step, Reason::AnotherAutoMount, &[&first]);
            return Ok(());
        }
        let asked = match self.controls.auto_mount {
            Some(AutoMountType::Auto) => auto_mount.auto,
            Some(asked) => asked,
            None => auto_mount.effective,
        };
        if asked == AutoMountType::None {
            let why = match (self.controls.auto_mount, auto_mount.own) {
                (Some(_), _) => Reason::AutoMountDeclined,
                (None, AutoMountType::None) => Reason::AutoMountIsNone,
                (None, _) => Reason::AutoMountFindsNothing,
            };
            self.report.tell(step, why, &[]);
            return Ok(());
        }
        let Some((_, unit)) = auto_mount.variants.iter().find(|(kind, _)| *kind == asked) else {
            let offers = auto_mount.variants.iter().map(|(kind, _)| word(*kind)).collect::<Vec<_>>().join(", ");
            let asked = format!("{:?}", word(asked));
            let words: [&dyn std::fmt::Display; 4] = [&AUTO_MOUNT, &asked, &policy.id, &offers];
            return Err(Refusal::of_control(Some(policy), AUTO_MOUNT, Reason::AutoMountNotOffered, &words));
        };
        if let Some(what) = self.by_hand(policy) {
            self.report.tell(step, Reason::StorageByHand, &[&what]);
            return Ok(());
        }
        self.report.tell(step, Reason::AutoMountType, &[&word(asked)]);
        if unit.env.is_empty() && unit.volumes.is_empty() && unit.env_from.is_empty() {
            return Ok(());
        }
        self.merge(policy, unit, step)?;
        Ok(())
    }

    /// The storage that the pod was given by hand, as seen from the pod.
    ///
    /// What an earlier pass put there is not by hand; the marker's digests say what that is. A marker without them says at
    /// least whether the autoMount was applied: then the pod carried nothing by hand, and what the policies that match now
    /// would put there themselves is what the earlier pass put there.
    fn by_hand(&self, policy: &Policy) -> Option<String> {
        let was_applied = self.earlier.has_applied(Asker { policy, modifier: AUTO_MOUNT_STEP });
        let ours = if was_applied { self.ours() } else { Ours::default() };
        for volume in self.draft.volumes.own() {
            let Some((kind, source)) = &volume.source else { continue };
            let storage = match kind.as_str() {
                "persistentVolumeClaim" => "a claim",
                "flexVolume" if source.get().contains("v3io/fuse") => "a v3io/fuse volume",
                _ => continue,
            };
            let object = object(kind.as_str(), source.get()).map(|(_, name)| name);
            let source: Value = serde_json::from_str(source.get()).unwrap_or_default();
            let mut same = ours.sources.get(&(kind.as_str(), object)).into_iter().flatten();
            let is_ours = self.claims.is_of_earlier_pass(Subject::Volume(volume.name.as_str()), "")
                || same.any(|ours| same_source_values(kind.as_str(), &source, ours));
            if !is_ours {
                return Some(storage.to_owned());
            }
        }
        for container in &self.draft.containers {
            // An earlier pass took it out for a policy that overrides; it was there by hand no less.
            let was_removed = |name: &&str| self.claims.was_removed(Subject::Variable(container.name, name), None);
            if let Some(name) = BY_HAND.into_iter().chain(rivals()).find(was_removed) {
                return Some(format!("the variable {name}"));
            }
            for env in container.view.env.iter().flatten() {
                let Some(name) = env.name.as_ref().filter(|name| is_by_hand(name.as_str())) else { continue };
                let mut same = ours.variables.get(name.as_str()).into_iter().flatten();
                let is_ours = same.any(|ours| same_env(env, Some(ours)))
                    || self
                        .claims
                        .is_of_earlier_pass(Subject::Variable(container.name, name.as_str()), &own_variable_text(env));
                if !is_ours {
                    return Some(format!("the variable {}", name.as_str()));
                }
            }
        }
        None
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
                for volume in unit.volumes.iter().filter(|volume| is_storage(&volume.kind)) {
                    let Ok(source) = volume.source.resolve(&facts) else { continue };
                    let object = object(&volume.kind, source.as_str()).map(|(_, name)| name);
                    let source = source.value();
                    let sources = ours.sources.entry((&volume.kind, object)).or_default();
                    if !sources.contains(&source) {
                        sources.push(source);
                    }
                }
                ours.add_variables(&unit.env, &facts);
            }
            ours.add_variables(&policy.env, &facts);
        }
        ours
    }
}
