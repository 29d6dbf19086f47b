//! The way from a pod up to the topmost owner, by what was read live.
//!
//! Whoever may create pods can write any owner reference, so nothing of one is believed before the object itself confirms
//! it: uid, kind and group, and the pod's own namespace. And who owns a thing must be meant by the policy: its selector
//! matches the owner's labels, or a Job's pod template's.

use std::collections::BTreeMap;

use super::step::Read;
use crate::labels::Labels;
use crate::policy::Policy;
use crate::threshold::action::named;
use crate::threshold::owner::{JobBudget, OwnerKind, OwnerObject, is_kind, kinship};
use crate::threshold::pod::{OwnerReference, WatchedPod};

/// How far up owners are climbed; a circle of references ends here.
const HIGHEST: usize = 8;

/// Where the climb stands.
#[derive(Debug)]
pub enum Climb<'f> {
    /// This is to be read next.
    Read(OwnerReference),
    /// It could not be read now.
    Failed,
    /// One of them is being deleted already.
    Going,
    /// There is none of that name and uid: either it was deleted a moment ago, and the garbage collector is on its way to
    /// the pod, or it never was there.
    Absent(String),
    /// The reference is not confirmed, or may not be read: nothing is removed.
    Unconfirmed(String),
    /// All that can be known.
    Chain(Chain<'f>),
}

/// The owners that were read, from the pod's own upwards, each named by the one before.
#[derive(Debug, Default)]
pub struct Chain<'f> {
    objects: Vec<&'f OwnerObject>,
    /// The references above the pod's own owner; the last may be one that was not read, since nothing is known of it.
    pub above: Vec<OwnerReference>,
}

impl<'f> Chain<'f> {
    /// The object of that uid.
    #[must_use]
    pub fn object(&self, uid: &str) -> Option<&'f OwnerObject> {
        self.objects.iter().find(|object| object.metadata.uid == uid).copied()
    }

    /// What the pod's own owner, a Job, does with one more failure.
    #[must_use]
    pub fn job(&self) -> Option<JobBudget> {
        self.objects.first().and_then(|object| object.job_budget())
    }

    /// Whether one of them works with whatever number of pods it has.
    #[must_use]
    pub fn is_elastic(&self) -> bool {
        self.objects.iter().any(|object| object.is_elastic())
    }

    /// Whether the pod's own owner is a Spark driver; `None` where it is no Pod.
    #[must_use]
    pub fn is_driver(&self) -> Option<bool> {
        let owner = self.objects.first().filter(|object| object.kind == "Pod")?;
        Some(owner.metadata.labels.get("spark-role").is_some_and(|role| role == "driver"))
    }
}

/// Climbs from the pod, by the owners that were read in the order in which they were asked for.
#[must_use]
pub fn climb<'f>(pod: &WatchedPod, owners: &'f [Read<OwnerObject>], more: &[OwnerKind]) -> Climb<'f> {
    let mut chain = Chain::default();
    let mut next = pod.metadata.controller();
    let mut read = owners.iter();
    while let Some(reference) = next {
        if !chain.objects.is_empty() {
            chain.above.push(reference.clone());
            // Of the others the name is enough: nothing is removed through them.
            if kinship(reference, more).is_none() || is_kind(reference, "", "Pod") {
                break;
            }
        }
        let is_circle = chain.object(&reference.uid).is_some();
        if is_circle || chain.objects.len() >= HIGHEST {
            return Climb::Unconfirmed(format!("the owners above {} have no end", named(reference)));
        }
        let object = match read.next() {
            None => return Climb::Read(reference.clone()),
            Some(Read::Failed) => return Climb::Failed,
            Some(Read::Forbidden) => {
                return Climb::Unconfirmed(format!("the watcher may not read {}", named(reference)));
            }
            Some(Read::Absent) => return Climb::Absent(format!("there is no {}", named(reference))),
            Some(Read::There(object)) => &**object,
        };
        if object.metadata.uid != reference.uid || reference.uid.is_empty() {
            return Climb::Absent(format!("{} has another uid than the reference to it says", named(reference)));
        }
        if let Err(why) = confirm(pod, reference, object) {
            return Climb::Unconfirmed(why);
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Climb::Going;
        }
        chain.objects.push(object);
        next = object.metadata.controller();
    }
    Climb::Chain(chain)
}

/// Whether the object is what the reference says.
fn confirm(pod: &WatchedPod, reference: &OwnerReference, object: &OwnerObject) -> Result<(), String> {
    let (claimed, named) = (object.reference(), named(reference));
    if claimed.kind != reference.kind || claimed.group() != reference.group() || claimed.name != reference.name {
        return Err(format!("{named} is of another kind or name than the reference to it says"));
    }
    if object.metadata.namespace != pod.metadata.namespace {
        return Err(format!("{named} is not in the pod's namespace"));
    }
    Ok(())
}

/// Whether the policy means the owner too.
#[must_use]
pub fn is_meant(policy: &Policy, owner: &OwnerObject) -> bool {
    let is_job = is_kind(&owner.reference(), "batch", "Job");
    policy.pods.matches(&MapLabels(&owner.metadata.labels))
        || is_job && policy.pods.matches(&MapLabels(&owner.spec.template.metadata.labels))
}

#[derive(Debug)]
struct MapLabels<'m>(&'m BTreeMap<String, String>);

impl Labels for MapLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        self.0.iter().for_each(|(key, value)| visit(key, value));
    }
}
