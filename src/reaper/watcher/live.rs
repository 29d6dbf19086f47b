//! A due pod as it was read live, and the words for it.

use std::sync::Arc;

use jiff::Timestamp;

use super::feed::pod_ref;
use crate::duration::{rough, words};
use crate::policy::Policy;
use crate::reaper::deadlines::Uid;
use crate::reaper::said::{ObjectRef, RemovalLog, Said};
use crate::reason::Reason;
use crate::threshold::action::named;
use crate::threshold::pod::OwnerReference;
use crate::threshold::resolve::{Limit, Word};
use crate::threshold::{Circumstances, RemovalSubject, Verdict, WatchedPod};

/// A due pod as it was read live, with all that was made of it.
pub(super) struct Live<'a> {
    pub(super) uid: Uid,
    pub(super) pod: &'a WatchedPod,
    pub(super) subject: RemovalSubject,
    pub(super) verdict: Verdict,
    pub(super) limit: &'a Limit,
    pub(super) around: Circumstances,
    /// The policy that set the threshold.
    pub(super) policy: Option<&'a Arc<Policy>>,
    pub(super) now: Timestamp,
}

impl Live<'_> {
    /// How long it is in the state, how long it may be, and who says so.
    pub(super) fn words(&self) -> [String; 3] {
        let threshold = self.limit.threshold.length().map_or_else(|| "for ever".to_owned(), words);
        let whose = match self.limit.word {
            Word::Pod => "the pod itself".to_owned(),
            Word::Policy => format!("policy {}", self.limit.policy),
        };
        [rough(self.age()), threshold, whose]
    }

    fn age(&self) -> std::time::Duration {
        let age = self.verdict.since.map(|since| self.now.duration_since(since));
        age.and_then(|age| age.try_into().ok()).unwrap_or_default()
    }

    /// On the pod, and on its owner.
    pub(super) fn events(
        &self,
        owner: Option<&OwnerReference>,
        reason: Reason,
        action: &'static str,
        text: &str,
    ) -> Vec<Said> {
        let pod = pod_ref(self.pod);
        let on_owner = owner.map(|owner| {
            let on = ObjectRef {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                namespace: pod.namespace.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            };
            Said { on, reason, action, text: format!("{text} (pod {})", pod.name) }
        });
        std::iter::once(Said { on: pod, reason, action, text: text.to_owned() }).chain(on_owner).collect()
    }

    pub(super) fn log(
        &self,
        action: &'static str,
        owner: Option<&OwnerReference>,
        why: &str,
        dry_run: bool,
    ) -> RemovalLog {
        RemovalLog {
            namespace: self.pod.metadata.namespace.as_str().into(),
            pod: self.pod.metadata.name.clone(),
            uid: self.pod.metadata.uid.clone(),
            state: self.verdict.state,
            since: self.verdict.since,
            threshold: self.limit.threshold,
            word: self.limit.word,
            policy: self.limit.policy.clone(),
            age: self.age(),
            action,
            owner: owner.map(named),
            why: why.to_owned(),
            dry_run,
        }
    }
}
