//! Kinds of owners: what deleting one of them means for its pods, and what is read of a live one.

use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

use super::pod::{Metadata, OwnerReference, or_default};

/// Controllers whose deletion ends what the pod was made for, as (group, kind), with how their pods hang together.
const KNOWN: [(&str, &str, Kinship); 14] = [
    ("batch", "Job", Kinship::Independent),
    ("jobset.x-k8s.io", "JobSet", Kinship::Gang),
    ("kubeflow.org", "MPIJob", Kinship::Gang),
    ("kubeflow.org", "PyTorchJob", Kinship::GangUnlessElastic),
    ("kubeflow.org", "TFJob", Kinship::Gang),
    ("kubeflow.org", "XGBoostJob", Kinship::Gang),
    ("kubeflow.org", "PaddleJob", Kinship::Gang),
    ("trainer.kubeflow.org", "TrainJob", Kinship::Gang),
    ("sparkoperator.k8s.io", "SparkApplication", Kinship::Independent),
    ("ray.io", "RayCluster", Kinship::Independent),
    ("ray.io", "RayJob", Kinship::Gang),
    ("batch.volcano.sh", "Job", Kinship::Gang),
    ("core.polyaxon.com", "Operation", Kinship::Independent),
    ("", "Pod", Kinship::Independent),
];

/// The known kinds, as (group, kind). A Pod is one as the driver of Spark executors only.
pub fn known_kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    KNOWN.iter().map(|(group, kind, _)| (*group, *kind))
}

/// Kinds whose living pods are left alone whatever is configured: to replace them is what they are for.
const REPLACES: [(&str, &str); 3] = [("apps", "ReplicaSet"), ("apps", "StatefulSet"), ("", "ReplicationController")];

/// How the pods of one owner hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    /// Each does work of its own, and can be made again alone.
    Independent,
    /// None can work without the others.
    Gang,
    /// A gang, unless the live object says that it is elastic.
    GangUnlessElastic,
}

/// A kind of owner that may be deleted: `--owner group/kind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerKind {
    group: String,
    kind: String,
}

/// What is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerKindError {
    /// Not `group/Kind`.
    #[error("`{0}` is not an owner; write group/Kind, without a version, such as argoproj.io/Workflow")]
    Form(String),
    /// One that is left alone whatever is configured.
    #[error("{0} cannot be an owner to delete: replacing its pods is its purpose")]
    LeftAlone(String),
}

impl FromStr for OwnerKind {
    type Err = OwnerKindError;

    fn from_str(text: &str) -> Result<Self, OwnerKindError> {
        let (group, kind) = text
            .split_once('/')
            .filter(|(group, kind)| {
                group.contains(|c: char| c.is_ascii_lowercase())
                    && !kind.contains('/')
                    && kind.starts_with(|c: char| c.is_ascii_uppercase())
            })
            .ok_or_else(|| OwnerKindError::Form(text.to_owned()))?;
        let left_alone = REPLACES.contains(&(group, kind))
            || matches!((group, kind), ("apps", "DaemonSet" | "Deployment") | ("batch", "CronJob"));
        if left_alone {
            return Err(OwnerKindError::LeftAlone(kind.to_owned()));
        }
        Ok(Self { group: group.to_owned(), kind: kind.to_owned() })
    }
}

impl OwnerKind {
    /// The API group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

/// How the pods of that owner hang together; `None` for a kind that is neither known nor among `more`. A Pod is known as
/// the driver of Spark executors only, which is asked for elsewhere.
pub fn kinship(owner: &OwnerReference, more: &[OwnerKind]) -> Option<Kinship> {
    let (group, kind) = (owner.group(), owner.kind.as_str());
    let known = KNOWN.iter().find(|(known_group, known_kind, _)| (*known_group, *known_kind) == (group, kind));
    if let Some((_, _, kinship)) = known {
        return Some(*kinship);
    }
    more.iter().any(|owner| owner.group == group && owner.kind == kind).then_some(Kinship::Independent)
}

/// Whether the owner makes its pods anew whatever becomes of them.
pub fn replaces_its_pods(owner: &OwnerReference) -> bool {
    REPLACES.contains(&(owner.group(), owner.kind.as_str()))
}

/// Whether the owner is that kind.
pub fn is_kind(owner: &OwnerReference, group: &str, kind: &str) -> bool {
    owner.group() == group && owner.kind == kind
}

/// An owner, or an owner's owner, as it is read live or out of a dump.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerObject {
    /// `group/version`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// `metadata`.
    pub metadata: Metadata,
    /// What is read of `spec`.
    pub spec: OwnerSpec,
    /// What is read of `status`.
    pub status: OwnerStatus,
}

/// What is read of an owner's `spec`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerSpec {
    /// A Job's: how many failures it takes.
    pub backoff_limit: Option<i64>,
    /// An indexed Job's: how many each index takes.
    pub backoff_limit_per_index: Option<i64>,
    /// Whether a Job has rules of its own about failures.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "is_there")]
    pub pod_failure_policy: bool,
    /// Whether a PyTorchJob has one.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "is_there")]
    pub elastic_policy: bool,
    /// A Job's pod template.
    pub template: OwnerTemplate,
}

/// The pod template of an owner: whose labels a policy's selector may match.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct OwnerTemplate {
    /// Its `metadata`.
    pub metadata: Metadata,
}

/// What is read of an owner's `status`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct OwnerStatus {
    /// A Job's failed pods.
    pub failed: i64,
    /// A Job's pods that did their work.
    pub succeeded: i64,
}

/// What a Job does with one more failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobBudget {
    /// How many failures it takes; the API server fills in 6.
    pub backoff_limit: i64,
    /// How many it has had.
    pub failed: i64,
    /// How many each index takes, for a Job that counts by index.
    pub per_index: Option<i64>,
    /// Whether rules of its own judge failures.
    pub has_failure_policy: bool,
    /// Pods that did their work.
    pub succeeded: i64,
}

impl JobBudget {
    /// Why one more failure, of a pod whose index has failed `index_failures` times, may end the Job or the index; `None`
    /// where it does not.
    pub fn ends_with_one_more(&self, index_failures: Option<i64>) -> Option<String> {
        if self.has_failure_policy {
            return Some("its Job has a podFailurePolicy, which may end the whole of it".to_owned());
        }
        if let Some(per_index) = self.per_index {
            let failed = index_failures.unwrap_or(0);
            return (failed + 1 >= per_index).then(|| {
                format!("its Job counts a deleted pod as failed: {failed} of {per_index} failures of its index")
            });
        }
        let Self { backoff_limit, failed, .. } = *self;
        (failed + 1 >= backoff_limit).then(|| {
            format!("its Job counts a deleted pod as failed, and has had {failed} of {backoff_limit} failures")
        })
    }
}

impl OwnerObject {
    /// The owner as a reference.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.metadata.name.clone(),
            uid: self.metadata.uid.clone(),
            controller: true,
        }
    }

    /// What a Job does with one more failure; `None` for another kind.
    pub fn job_budget(&self) -> Option<JobBudget> {
        if !is_kind(&self.reference(), "batch", "Job") {
            return None;
        }
        let per_index = self.spec.backoff_limit_per_index;
        Some(JobBudget {
            backoff_limit: self.spec.backoff_limit.unwrap_or(6),
            failed: self.status.failed,
            per_index,
            has_failure_policy: self.spec.pod_failure_policy,
            succeeded: self.status.succeeded,
        })
    }

    /// Whether a PyTorchJob works with whatever number of pods it has.
    pub fn is_elastic(&self) -> bool {
        self.spec.elastic_policy
    }
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
}
