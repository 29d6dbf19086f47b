//! The slim view of a pod that the watcher judges by: metadata and status, and of the spec only placement.
//!
//! No container's env, image or command is ever decoded. Go writes `null` for empty lists and maps, so `null` is read as
//! absent everywhere.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A pod as far as a judgement reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PodView {
    /// `Pod`, or empty inside a PodList, where the API server leaves it out.
    #[serde(default, deserialize_with = "or_default")]
    pub kind: String,
    /// `metadata`.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// `spec`.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: Spec,
    /// `status`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: Status,
}

/// `metadata` of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The pod's name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The pod's namespace.
    #[serde(default, deserialize_with = "or_default")]
    pub namespace: String,
    /// The identity that a delete is bound to.
    #[serde(default, deserialize_with = "or_default")]
    pub uid: String,
    /// The version that a delete is bound to.
    #[serde(default, deserialize_with = "or_default")]
    pub resource_version: String,
    /// All labels: policies select by them.
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// The annotations that a judgement reads: `stowage.dev/…` and `kubernetes.io/config.…`, no others.
    #[serde(default, deserialize_with = "known_annotations")]
    pub annotations: BTreeMap<String, String>,
    /// When the API server took the pod in.
    #[serde(default, deserialize_with = "creation_timestamp")]
    pub creation_timestamp: Option<Timestamp>,
    /// When the pod's grace period ends: the API server has added the grace already.
    #[serde(default, deserialize_with = "deletion_timestamp")]
    pub deletion_timestamp: Option<Timestamp>,
    /// The pod's owners.
    #[serde(default, deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// One entry of `metadata.ownerReferences`. Whoever may create pods can write any: believed only when read back live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// `group/version`, or `v1`.
    #[serde(default, deserialize_with = "or_default")]
    pub api_version: String,
    /// The owner's kind.
    #[serde(default, deserialize_with = "or_default")]
    pub kind: String,
    /// The owner's name, in the pod's namespace.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The owner's uid.
    #[serde(default, deserialize_with = "or_default")]
    pub uid: String,
    /// Whether this owner is the one that would make the pod again.
    #[serde(default, deserialize_with = "or_default")]
    pub controller: bool,
}

/// `spec` of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The node; empty while unscheduled.
    #[serde(default, deserialize_with = "or_default")]
    pub node_name: String,
    /// What keeps the scheduler from looking at the pod.
    #[serde(default, deserialize_with = "or_default")]
    pub scheduling_gates: Vec<SchedulingGate>,
    /// Init containers in the order in which they run, native sidecars among them.
    #[serde(default, deserialize_with = "or_default")]
    pub init_containers: Vec<InitContainer>,
    /// The resolved priority.
    #[serde(default, deserialize_with = "or_default")]
    pub priority: i32,
    /// The priority class by name.
    #[serde(default, deserialize_with = "or_default")]
    pub priority_class_name: String,
}

/// One entry of `spec.schedulingGates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SchedulingGate {
    /// The gate's name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
}

/// What is read of an init container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitContainer {
    /// The container's name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// `Always` makes it a native sidecar.
    #[serde(default, deserialize_with = "or_default")]
    pub restart_policy: String,
}

/// `status` of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The phase.
    #[serde(default, deserialize_with = "or_default")]
    pub phase: Phase,
    /// When the kubelet took the pod in.
    #[serde(default, deserialize_with = "start_time")]
    pub start_time: Option<Timestamp>,
    /// The conditions.
    #[serde(default, deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    /// Init containers and native sidecars.
    #[serde(default, deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// App containers.
    #[serde(default, deserialize_with = "or_default")]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The condition's type.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// When the status last changed; null on some pods (kubernetes#122164).
    #[serde(default, deserialize_with = "last_transition_time")]
    pub last_transition_time: Option<Timestamp>,
}

/// One entry of `status.containerStatuses` or `status.initContainerStatuses`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// The container's name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// How many runs there were before the newest.
    #[serde(default, deserialize_with = "or_default")]
    pub restart_count: u32,
    /// What the container does now.
    #[serde(default, deserialize_with = "or_default")]
    pub state: ContainerState,
    /// How its run before ended.
    #[serde(default, deserialize_with = "or_default")]
    pub last_state: ContainerState,
}

/// A container's state: at most one is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ContainerState {
    /// Waits, for a reason. The API keeps no time for it.
    #[serde(default)]
    pub waiting: Option<Waiting>,
    /// Runs.
    #[serde(default)]
    pub running: Option<Running>,
    /// Has ended.
    #[serde(default)]
    pub terminated: Option<Terminated>,
}

/// `state.waiting`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Waiting {
    /// The kubelet's word for it.
    #[serde(default, deserialize_with = "or_default")]
    pub reason: String,
}

/// `state.running`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// When this run began.
    #[serde(default, deserialize_with = "started_at")]
    pub started_at: Option<Timestamp>,
}

/// `state.terminated`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// When this run began.
    #[serde(default, deserialize_with = "started_at")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, deserialize_with = "finished_at")]
    pub finished_at: Option<Timestamp>,
    /// Zero is success.
    #[serde(default, deserialize_with = "or_default")]
    pub exit_code: i32,
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
}

impl Status {
    /// When a condition last came to that status; `None` when it is not there, has another status, or has no time.
    pub fn since(&self, kind: &str, status: &str) -> Option<Timestamp> {
        let condition = self.conditions.iter().find(|c| c.kind == kind)?;
        let there = condition.status == status;
        condition.last_transition_time.filter(|_| there)
    }

    /// Whether a condition is `True`.
    pub fn is_true(&self, kind: &str) -> bool {
        self.conditions.iter().any(|c| c.kind == kind && c.status == "True")
    }
}

impl ContainerStatus {
    /// The reason why the container waits; empty when it does not, or says none.
    pub fn waiting_reason(&self) -> &str {
        self.state.waiting.as_ref().map_or("", |w| &w.reason)
    }

    /// When the run before ended.
    pub fn last_finished(&self) -> Option<Timestamp> {
        self.last_state.terminated.as_ref()?.finished_at
    }

    /// When the newest run ended.
    pub fn finished(&self) -> Option<Timestamp> {
        self.state.terminated.as_ref()?.finished_at
    }

    /// When the container was first started, as far as the object still knows.
    ///
    /// The kubelet keeps two runs. Beside a run in `state`, `lastState` is the run before, so one restart is exact. A
    /// container that waits has its newest run in `lastState`: after a restart the first is lost.
    pub fn first_started(&self) -> Option<Timestamp> {
        let last = self.last_state.terminated.as_ref();
        match (self.state.waiting.is_some(), self.restart_count) {
            (true, 0) | (false, 1) => last?.started_at,
            (false, 0) => match (&self.state.running, &self.state.terminated) {
                (Some(running), _) => running.started_at,
                (None, ended) => ended.as_ref()?.started_at,
            },
            _ => None,
        }
    }

    /// Whether any run of the container has begun.
    pub fn has_started(&self) -> bool {
        self.state.running.is_some()
            || self.state.terminated.is_some()
            || self.last_state.terminated.is_some()
            || self.restart_count > 0
    }
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Leaves out what no judgement reads: `last-applied-configuration` alone can be as large as the pod.
fn known_annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Known;
    impl<'de> Visitor<'de> for Known {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut known = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                if key.starts_with("stowage.dev/") || key.starts_with("kubernetes.io/config.") {
                    known.insert(key, map.next_value::<Option<String>>()?.unwrap_or_default());
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(known)
        }
    }
    deserializer.deserialize_any(Known)
}

fn creation_timestamp<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    timestamp(d, "metadata.creationTimestamp")
}

fn deletion_timestamp<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    timestamp(d, "metadata.deletionTimestamp")
}

fn start_time<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    timestamp(d, "status.startTime")
}

fn last_transition_time<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    timestamp(d, "status.conditions[].lastTransitionTime")
}

fn started_at<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    timestamp(d, "startedAt of a container status")
}

fn finished_at<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    timestamp(d, "finishedAt of a container status")
}

/// An RFC 3339 time, or nothing. serde knows no field names, hence one function for each.
fn timestamp<'de, D: Deserializer<'de>>(deserializer: D, field: &'static str) -> Result<Option<Timestamp>, D::Error> {
    struct Text(&'static str);
    impl<'de> Visitor<'de> for Text {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an RFC 3339 time in {}", self.0)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let time = text.parse();
            time.map(Some).map_err(|_| E::custom(format_args!("{} is not an RFC 3339 time", self.0)))
        }
    }
    deserializer.deserialize_any(Text(field))
}

#[cfg(test)]
mod tests;
