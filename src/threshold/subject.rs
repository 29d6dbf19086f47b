//! What a decision reads of a pod besides its state: who owns it, what it asks for, what keeps it.

use std::sync::Arc;

use jiff::Timestamp;

use super::pod::{INDEX_FAILURES, OwnerReference, WatchedPod};
use super::{State, containers};
use crate::names::{MIRROR_ANNOTATION, SYSTEM_CRITICAL_PRIORITY};

/// A pod as far as a decision about it goes. Small: an offline judgement holds one for every pod of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovalSubject {
    /// The owner that would make the pod again.
    pub controller: Option<Arc<OwnerReference>>,
    /// Why the pod is never touched, where it is not.
    pub never_touched: Option<&'static str>,
    /// When the API server took it in.
    pub created: Option<Timestamp>,
    /// What holds it once it is deleted.
    pub finalizers: Box<[String]>,
    /// How often the index of an indexed Job has failed before.
    pub index_failures: Option<i64>,
    /// Whether the pod says that it is a Spark executor.
    pub is_spark_executor: bool,
    /// Whether a container that has run before cannot be made again, while another app container runs.
    pub beside_work: bool,
}

impl RemovalSubject {
    /// What a pod's object tells.
    pub fn of(pod: &WatchedPod) -> Self {
        let metadata = &pod.metadata;
        Self {
            controller: metadata.controller().cloned().map(Arc::new),
            never_touched: never_touched(pod),
            created: metadata.creation_timestamp,
            finalizers: metadata.finalizers.clone().into(),
            index_failures: metadata.annotations.get(INDEX_FAILURES).and_then(|count| count.parse().ok()),
            is_spark_executor: metadata.labels.get("spark-role").is_some_and(|role| role == "executor"),
            beside_work: beside_work(pod),
        }
    }
}

/// A log sidecar beside a training: the pod is broken in part, and works.
fn beside_work(pod: &WatchedPod) -> bool {
    let cannot_be_made = containers::all(pod)
        .any(|container| container.has_run() && (container.cannot_pull() || container.cannot_create(pod)));
    cannot_be_made && pod.status.container_statuses.iter().any(|container| container.state.running.is_some())
}

/// Why a pod is never touched, where it is not.
fn never_touched(pod: &WatchedPod) -> Option<&'static str> {
    let metadata = &pod.metadata;
    let owned_by = |group: &str, kind: &str| {
        let controller = metadata.controller();
        controller.is_some_and(|owner| owner.group() == group && owner.kind == kind)
    };
    let source = metadata.annotations.get("kubernetes.io/config.source");
    if metadata.annotations.contains_key(MIRROR_ANNOTATION) || owned_by("", "Node") {
        Some("a mirror pod: its node makes it")
    } else if source.is_some_and(|source| source != "api") {
        Some("a static pod: its node makes it")
    } else if owned_by("apps", "DaemonSet") {
        Some("a DaemonSet's pod: it belongs to its node")
    } else if metadata.namespace == "kube-system" {
        Some("kube-system is never touched")
    } else if i64::from(pod.spec.priority) >= SYSTEM_CRITICAL_PRIORITY
        || matches!(pod.spec.priority_class_name.as_str(), "system-node-critical" | "system-cluster-critical")
    {
        Some("it has system priority")
    } else {
        None
    }
}

/// What the other pods of an owner do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Siblings {
    /// Those in [`State::Running`].
    pub running: u32,
    /// Those that have done their work.
    pub succeeded: u32,
}

impl Siblings {
    /// Counts a pod in `state`.
    pub fn count(&mut self, state: State) {
        self.running += u32::from(state == State::Running);
        self.succeeded += u32::from(state == State::Succeeded);
    }

    /// Takes a pod in `state` out again.
    pub fn discount(&mut self, state: State) {
        self.running = self.running.saturating_sub(u32::from(state == State::Running));
        self.succeeded = self.succeeded.saturating_sub(u32::from(state == State::Succeeded));
    }

    /// The others, of which `state` is one more's.
    #[must_use]
    pub fn without(mut self, state: State) -> Self {
        self.discount(state);
        self
    }

    /// Whether any of them is running or has succeeded; failed ones do not count.
    pub fn are_at_work(&self) -> bool {
        self.running > 0 || self.succeeded > 0
    }
}
