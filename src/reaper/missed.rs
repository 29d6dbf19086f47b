//! Pods that were created while no replica of the webhook answered.
//!
//! Such a pod is inside the live registration's selectors, did not opt out, is matched by a policy, was created after that
//! generation came into force and after the registration was there, and has no marker. It is looked at once, when it is
//! first seen, since its labels may be others later. Since when a policy is in force is what this process has seen: what was
//! there at its start counts from its start.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::terms::PodLabels;
use crate::labels::Selector;
use crate::names::MIRROR_ANNOTATION;
use crate::policy::snapshot::Snapshot;
use crate::policy::{Policy, PolicyId};
use crate::threshold::WatchedPod;

/// What the webhook writes on every pod that a policy matched.
const MARKER: &str = "stowage.dev/injected";
/// `"false"` is no injection.
const INJECT: &str = "stowage.dev/inject";
/// How long a change may be on its way to the webhook's replicas.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(5);

/// What the live registration sends to the webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// `namespaceSelector` of the entry.
    pub namespaces: Selector,
    /// `objectSelector` of the entry.
    pub objects: Selector,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Missed {
    /// With the moment since when it is so.
    registration: Option<(Registration, Timestamp)>,
    in_force: HashMap<PolicyId, (Option<i64>, Timestamp)>,
    /// How many pods were found.
    pub count: u64,
}

impl Missed {
    /// Takes in the policies in force.
    pub fn policies(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let before = std::mem::take(&mut self.in_force);
        let policies = snapshot.policies.policies();
        let in_force = policies.into_iter().map(|policy| {
            let known = before.get(&policy.id).filter(|(generation, _)| *generation == policy.generation);
            (policy.id.clone(), (policy.generation, known.map_or(now, |(_, since)| *since)))
        });
        self.in_force = in_force.collect();
    }

    /// Takes in the live registration.
    pub fn registration(&mut self, registration: Option<Registration>, now: Timestamp) {
        self.registration = registration.map(|new| match self.registration.take() {
            Some((old, since)) if old == new => (old, since),
            // Another one than before, or one that came while we were watching: it may have been others' a moment ago.
            Some(_) => (new, now),
            None => {
                let since = new.created.unwrap_or(now);
                (new, since)
            }
        });
    }

    /// Looks at a pod that is seen for the first time: the policy that would have acted on it, where it was missed.
    pub fn look(
        &mut self,
        pod: &WatchedPod,
        matching: &[(&Arc<Policy>, Arc<str>)],
        snapshot: &Snapshot,
    ) -> Option<Arc<str>> {
        let (registration, since) = self.registration.as_ref()?;
        let metadata = &pod.metadata;
        let created = metadata.creation_timestamp?;
        let after = |since: Timestamp| created.duration_since(since) > UNDER_WAY;
        // A mirror pod is its node's, and no webhook's.
        let is_beyond =
            metadata.annotations.contains_key(MIRROR_ANNOTATION) || snapshot.untouched.contains(&metadata.namespace);
        if is_beyond || metadata.annotations.contains_key(MARKER) || metadata.word(INJECT) == Some("false") {
            return None;
        }
        let is_registered = after(*since)
            && registration.objects.matches(&PodLabels(pod))
            && registration.namespaces.matches(&snapshot.namespace(&metadata.namespace));
        if !is_registered || !snapshot.knows(&metadata.namespace) {
            return None;
        }
        let in_force = |policy: &Policy| {
            let known = self.in_force.get(&policy.id).filter(|(generation, _)| *generation == policy.generation);
            known.is_some_and(|(_, since)| after(*since))
        };
        let (_, name) = matching.iter().find(|(policy, _)| in_force(policy))?;
        self.count += 1;
        Some(name.clone())
    }
}
