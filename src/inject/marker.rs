//! The annotation `stowage.dev/injected`: a record of what was done, and no security boundary.
//!
//! What it says on input is believed only as far as the policies that match now confirm it. Confirmed, it keeps our own
//! labels out of selection and our own storage from looking like the user's at reinvocation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    inject::{
        claims::{EarlierPass, Subject},
        report::{StepOutcome, Steps},
    },
    labels::Labels,
    pod::PodView,
    policy::Policy,
};

/// Longest marker, in bytes.
const LONGEST: usize = 4096;

/// The record. Fields that this release does not know are ignored, so that two releases can run side by side.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// The policies that matched, in the order in which they acted.
    pub policies: Vec<PolicyRecord>,
    /// Labels that Stowage set where the pod had none; their value before, which is nothing. A value would not be believed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
    /// `default`, where Stowage set another service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Digests of what Stowage put, so that it knows its own again; absent where they do not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<String>,
}

/// What one policy did.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRecord {
    /// `name`, or `namespace/name` of an InjectionPolicy.
    pub name: String,
    /// `metadata.generation`; files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Modifiers that are in the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<String>,
    /// Modifiers that are not, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, String>,
    /// How many were skipped, where the reasons would not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_count: Option<usize>,
}

/// The pod's labels and service account as they were before Stowage.
#[derive(Debug)]
pub struct OriginalPod<'a> {
    pod: &'a PodView<'a>,
    /// Labels of ours, which count as absent.
    labels: BTreeSet<String>,
    has_our_account: bool,
}

impl Marker {
    /// The marker that the pod carries, where it can be read.
    ///
    /// A longer one than Stowage writes is none of ours.
    #[must_use]
    pub fn read(pod: &PodView<'_>) -> Option<Self> {
        let text = pod.annotation(super::controls::INJECTED)?;
        (text.len() <= LONGEST).then(|| serde_json::from_str(&text).ok()).flatten()
    }

    /// The record of a report.
    #[must_use]
    pub fn of(policies: &[&Policy], report: &Steps<'_>) -> Self {
        let records = policies.iter().map(|policy| PolicyRecord {
            name: policy.id.to_string(),
            generation: policy.generation,
            ..PolicyRecord::default()
        });
        let mut marker = Self { policies: records.collect(), ..Self::default() };
        for step in report.steps() {
            let index = policies.iter().position(|policy| policy.id == step.policy.id);
            let Some(record) = index.and_then(|index| marker.policies.get_mut(index)) else { continue };
            if step.outcome > StepOutcome::Skipped {
                record.applied.push(step.modifier.to_string());
            } else if let Some(why) = step.notes.first() {
                record.skipped.insert(step.modifier.to_string(), format!("{}: {}", why.reason, why.text));
            }
        }
        marker
    }

    /// Compact JSON of at most 4 KiB; reasons that do not fit are counted instead.
    ///
    /// Where not even the labels fit they are left out first and the rest is written as if there were none, so that a
    /// second pass, which then knows of no labels, writes the same.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = |marker: &Self| serde_json::to_string(marker).unwrap_or_default();
        let whole = text(self);
        if whole.len() <= LONGEST {
            return whole;
        }
        let bare = Self { policies: Vec::new(), put: None, ..self.clone() };
        if text(&bare).len() > LONGEST {
            return Self { labels: BTreeMap::new(), ..self.clone() }.to_text();
        }
        let mut short = self.clone();
        for record in &mut short.policies {
            let skipped = std::mem::take(&mut record.skipped);
            record.skipped_count = Some(skipped.len()).filter(|count| *count > 0);
        }
        let counted = text(&short);
        if counted.len() <= LONGEST {
            return counted;
        }
        short.put = None;
        let undigested = text(&short);
        if undigested.len() <= LONGEST {
            return undigested;
        }
        for record in &mut short.policies {
            record.applied.clear();
        }
        while text(&short).len() > LONGEST && short.policies.pop().is_some() {}
        text(&short)
    }

    /// Whether `earlier` says the same of what is in the pod. Reasons may differ: a later pass sees more.
    #[must_use]
    pub fn confirms(&self, earlier: &Self) -> bool {
        let shown: Option<Self> = serde_json::from_str(&self.to_text()).ok();
        let shown = shown.as_ref().unwrap_or(self);
        // What was recorded must be in the pod still. More may be found there now: a policy that lost to the pod finds
        // its own value once a later one has put it there.
        let holds = |(now, then): (&PolicyRecord, &PolicyRecord)| {
            (&now.name, now.generation) == (&then.name, then.generation)
                && then.applied.iter().all(|modifier| now.applied.contains(modifier))
        };
        shown.policies.len() == earlier.policies.len()
            && shown.policies.iter().zip(&earlier.policies).all(holds)
            && shown.labels == earlier.labels
            && shown.service_account.is_some() == earlier.service_account.is_some()
            && EarlierPass::of(earlier).has_all_of(&EarlierPass::of(shown))
    }
}

impl<'a> OriginalPod<'a> {
    /// The pod as it stands.
    #[must_use]
    pub const fn as_it_stands(pod: &'a PodView<'a>) -> Self {
        Self { pod, labels: BTreeSet::new(), has_our_account: false }
    }

    /// The pod without what its marker says Stowage set where there was nothing.
    #[must_use]
    pub fn without(pod: &'a PodView<'a>, marker: &Marker) -> Self {
        let absent = marker.labels.iter().filter(|(_, before)| before.is_none());
        let labels = absent.map(|(key, _)| key.clone()).collect();
        Self { pod, labels, has_our_account: marker.service_account.is_some() }
    }

    /// Takes back what `policies` do not confirm: a label or service account that none of them sets, now or in the earlier
    /// pass. Whether there was any.
    pub(super) fn distrust(&mut self, policies: &[&Policy], earlier: &EarlierPass) -> bool {
        let before = (self.labels.len(), self.has_our_account);
        let pod = self.pod;
        self.labels.retain(|key| {
            let Some(now) = pod.label(key) else { return false };
            policies.iter().any(|policy| {
                let sets = policy.labels.iter().find(|(name, _)| name == key);
                sets.is_some_and(|(_, value)| value == now || earlier.put_for(policy, Subject::Label(key), now))
            })
        });
        let account = pod.service_account();
        let gives = |policy: &&Policy| {
            let wanted = policy.defaults.as_ref().and_then(|defaults| defaults.service_account_name.as_deref());
            wanted.is_some_and(|name| name == account || earlier.put_for(policy, Subject::ServiceAccount, account))
        };
        self.has_our_account &= policies.iter().any(gives);
        (self.labels.len(), self.has_our_account) != before
    }

    /// The service account before Stowage; one of ours stands where the pod named none.
    #[must_use]
    pub fn service_account(&self) -> &str {
        if self.has_our_account { "default" } else { self.pod.service_account() }
    }

    /// Whether the service account is Stowage's.
    #[must_use]
    pub const fn has_our_account(&self) -> bool {
        self.has_our_account
    }

    /// The labels that Stowage set where the pod had none.
    #[must_use]
    pub const fn our_labels(&self) -> &BTreeSet<String> {
        &self.labels
    }
}

impl Labels for OriginalPod<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.pod.label(key).filter(|_| !self.labels.contains(key))
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        for (key, value) in self.pod.labels().filter(|(key, _)| !self.labels.contains(*key)) {
            visit(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_four_kibibytes_and_then_counts_reasons() {
        let mut marker = Marker::default();
        for number in 0..30 {
            let skipped = (0..10).map(|n| (format!("storage[{n}].pvc"), "the pod mounts something else".repeat(3)));
            marker.policies.push(PolicyRecord {
                name: format!("policy-{number}"),
                applied: vec!["storage[0].v3io".into()],
                skipped: skipped.collect(),
                ..PolicyRecord::default()
            });
        }
        let text = marker.to_text();
        assert!(text.len() <= LONGEST, "{}", text.len());
        let read: Marker = serde_json::from_str(&text).unwrap();
        assert_eq!(read.policies[0].skipped_count, Some(10));
        assert!(marker.confirms(&read));
    }
}
