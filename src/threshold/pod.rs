//! The slim view of a pod that the watcher judges by: metadata and status, and of the spec only placement.
//!
//! No container's env, image or command is ever decoded. Go writes `null` for empty lists and maps, so `null` is read as
//! absent everywhere. So is a time at or before the epoch: a runtime writes 1970 for a container that never started.

mod read;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(super) use self::read::or_default;
use self::read::{known_annotations, labels, last_status_write, requested, time};
use super::words::{PodWords, STATE_THRESHOLDS};

/// How often the index of an indexed Job has failed before this pod; the Job controller writes it.
pub const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// A pod as far as a judgement reads it.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct WatchedPod {
    /// `Pod`, or empty inside a PodList, where the API server leaves it out.
    pub kind: String,
    /// `metadata`.
    pub metadata: Metadata,
    /// `spec`.
    pub spec: Spec,
    /// `status`.
    pub status: Status,
}

/// `metadata` of a pod.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The identity that a delete is bound to.
    pub uid: String,
    /// The version that a delete is bound to.
    pub resource_version: String,
    /// All labels: policies select by them.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// The annotations that a judgement reads: `stowage.dev/…`, `kubernetes.io/config.…` and a Job's count of failures,
    /// no others.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "known_annotations")]
    pub annotations: BTreeMap<String, String>,
    /// When the API server took the pod in.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "time")]
    pub creation_timestamp: Option<Timestamp>,
    /// When the pod's grace period ends: the API server has added the grace already.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "time")]
    pub deletion_timestamp: Option<Timestamp>,
    /// The pod's owners.
    pub owner_references: Vec<OwnerReference>,
    /// What keeps the pod once it is deleted.
    pub finalizers: Vec<String>,
    /// When the status was last written, by `managedFields`. Dumps mostly come without.
    #[serde_with(skip_apply)]
    #[serde(rename = "managedFields", default, deserialize_with = "last_status_write")]
    pub status_written: Option<Timestamp>,
}

/// One entry of `metadata.ownerReferences`. Whoever may create pods can write any: believed only when read back live.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// `group/version`, or `v1`.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name, in the pod's namespace.
    pub name: String,
    /// The owner's uid.
    pub uid: String,
    /// Whether this owner is the one that would make the pod again.
    pub controller: bool,
}

/// `spec` of a pod.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The node; empty while unscheduled.
    pub node_name: String,
    /// What keeps the scheduler from looking at the pod.
    pub scheduling_gates: Vec<SchedulingGate>,
    /// Init containers in the order in which they run, native sidecars among them.
    pub init_containers: Vec<InitContainer>,
    /// App containers in the order in which the kubelet starts them.
    pub containers: Vec<AppContainer>,
    /// `Never` makes the end of a container final that has no policy of its own; empty is `Always`.
    pub restart_policy: String,
    /// The resolved priority.
    pub priority: i32,
    /// The priority class by name.
    pub priority_class_name: String,
}

/// One entry of `spec.schedulingGates`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SchedulingGate {
    /// The gate's name.
    pub name: String,
}

/// What is read of an init container.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitContainer {
    /// The container's name.
    pub name: String,
    /// `Always` makes it a native sidecar.
    pub restart_policy: String,
    /// The resources that it asks for, by name.
    #[serde_with(skip_apply)]
    #[serde(rename = "resources", default, deserialize_with = "requested")]
    pub requested: Vec<String>,
}

/// What is read of an app container.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppContainer {
    /// The container's name.
    pub name: String,
    /// Its own, in place of the pod's; since Kubernetes 1.34.
    pub restart_policy: String,
    /// The resources that it asks for, by name.
    #[serde_with(skip_apply)]
    #[serde(rename = "resources", default, deserialize_with = "requested")]
    pub requested: Vec<String>,
}

/// `status` of a pod.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The phase.
    pub phase: Phase,
    /// When the kubelet took the pod in.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "time")]
    pub start_time: Option<Timestamp>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// Init containers and native sidecars.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// App containers.
    pub container_statuses: Vec<ContainerStatus>,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Phase {
    /// Not started, and the phase of a pod that has none yet.
    #[default]
    #[serde(alias = "")]
    Pending,
    /// At least one container runs or restarts, and all have been started.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one of them badly; or the pod was evicted.
    Failed,
    /// The node was lost; also what a phase of a later Kubernetes is read as, since nothing is known of it.
    #[serde(other)]
    Unknown,
}

/// One entry of `status.conditions`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The condition's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status last changed; null on some pods (kubernetes#122164).
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "time")]
    pub last_transition_time: Option<Timestamp>,
}

/// One entry of `status.containerStatuses` or `status.initContainerStatuses`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// How many runs there were before the newest. Never negative on an API server.
    pub restart_count: i32,
    /// Whether the container's startup probe has passed, or there is none and it runs; absent from dumps made by hand.
    pub started: Option<bool>,
    /// What the container does now.
    pub state: ContainerState,
    /// How its run before ended.
    pub last_state: ContainerState,
}

/// A container's state: at most one is set.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ContainerState {
    /// Waits, for a reason. The API keeps no time for it.
    pub waiting: Option<Waiting>,
    /// Runs.
    pub running: Option<Running>,
    /// Has ended.
    pub terminated: Option<Terminated>,
}

/// `state.waiting`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Waiting {
    /// The kubelet's word for it.
    pub reason: String,
}

/// `state.running`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// When this run began.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "time")]
    pub started_at: Option<Timestamp>,
}

/// `state.terminated`.
#[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// When this run began.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "time")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde_with(skip_apply)]
    #[serde(default, deserialize_with = "time")]
    pub finished_at: Option<Timestamp>,
    /// Zero is success.
    pub exit_code: i32,
    /// The runtime's or the kubelet's word for it.
    pub reason: String,
}

impl WatchedPod {
    /// The resources that its containers ask for, by name, some of them more than once.
    pub fn requested(&self) -> impl Iterator<Item = &str> {
        let init = self.spec.init_containers.iter().flat_map(|container| &container.requested);
        init.chain(self.spec.containers.iter().flat_map(|container| &container.requested)).map(String::as_str)
    }

    /// What the pod itself says to the watcher.
    pub fn words(&self) -> PodWords {
        let metadata = &self.metadata;
        let json = metadata.annotations.get(STATE_THRESHOLDS).map(String::as_str);
        PodWords::read(|key| metadata.word(key).map(Cow::Borrowed), json)
    }
}

impl Metadata {
    /// A value of the pod's own word: the annotation, else the label.
    pub fn word(&self, key: &str) -> Option<&str> {
        let said = self.annotations.get(key).or_else(|| self.labels.get(key));
        said.map(String::as_str)
    }

    /// The owner that would make the pod again.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

impl OwnerReference {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

impl Spec {
    /// Whether an init container of that name is a native sidecar.
    pub fn is_sidecar(&self, name: &str) -> bool {
        self.init_containers.iter().any(|c| c.name == name && c.restart_policy == "Always")
    }

    /// What becomes of a container of that name once it has ended: its own policy, else the pod's.
    pub fn restart_policy_of(&self, name: &str) -> &str {
        let init = self.init_containers.iter().map(|c| (&c.name, &c.restart_policy));
        let app = self.containers.iter().map(|c| (&c.name, &c.restart_policy));
        let own = init.chain(app).find(|(own, _)| *own == name).map(|(_, policy)| policy);
        own.filter(|policy| !policy.is_empty()).unwrap_or(&self.restart_policy)
    }
}

impl Status {
    /// When a condition last came to that status; `None` when it is not there, has another status, or has no time.
    pub fn since(&self, kind: &str, status: &str) -> Option<Timestamp> {
        let condition = self.condition(kind)?;
        let there = condition.status == status;
        condition.last_transition_time.filter(|_| there)
    }

    /// Whether a condition is `True`.
    pub fn is_true(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }

    /// When a condition last changed, whichever way.
    pub fn changed(&self, kind: &str) -> Option<Timestamp> {
        self.condition(kind)?.last_transition_time
    }

    /// The condition of that type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}
