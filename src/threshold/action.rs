//! What is to be done about a due pod, as far as the pod itself tells.
//!
//! A decision to delete an owner is made of the pod's ownerReferences, which whoever may create pods can forge: it is
//! carried out only after the owner has been read live and confirms it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use crate::threshold::pod::{OwnerReference, WatchedPod};
use crate::threshold::resolve::Limit;
use crate::threshold::spec::ActionSpec;
use crate::threshold::{State, Verdict, deadline};

/// The age from which a pod's owner may be deleted: a Job controller has let go of a forged reference long before.
pub const OWNER_AGE: SignedDuration = SignedDuration::from_secs(30);

/// The lowest priority of the system classes (`SystemCriticalPriority`); users' classes end at half of it.
const SYSTEM_PRIORITY: i32 = 2_000_000_000;

/// Controllers whose deletion ends what the pod was made for, as (group, kind).
const KNOWN_OWNERS: [(&str, &str); 11] = [
    ("batch", "Job"),
    ("jobset.x-k8s.io", "JobSet"),
    ("kubeflow.org", "MPIJob"),
    ("kubeflow.org", "PyTorchJob"),
    ("kubeflow.org", "TFJob"),
    ("kubeflow.org", "XGBoostJob"),
    ("trainer.kubeflow.org", "TrainJob"),
    ("sparkoperator.k8s.io", "SparkApplication"),
    ("ray.io", "RayCluster"),
    ("ray.io", "RayJob"),
    ("batch.volcano.sh", "Job"),
];

/// Kinds that are left alone whatever is configured: to replace their pods is what they are for.
const LEFT_ALONE: [(&str, &str); 4] =
    [("apps", "ReplicaSet"), ("apps", "StatefulSet"), ("", "ReplicationController"), ("batch", "CronJob")];

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The pod is deleted.
    Delete,
    /// The pod is evicted.
    Evict,
    /// The controller is deleted, with the pod and its siblings.
    DeleteOwner,
    /// An Event, and nothing else.
    Report,
    /// Nothing at all.
    None,
}

/// An action and why it is that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be done now.
    pub action: Action,
    /// Why, for people.
    pub reason: Cow<'static, str>,
    /// The owner that the action is about, or that keeps the pod from being touched.
    pub owner: Option<OwnerReference>,
    /// When a due pod is to be judged once more because time alone changes the decision.
    pub again: Option<Timestamp>,
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

/// What decides besides the pod and its thresholds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActionRules {
    /// Owner kinds besides the known ones.
    pub owners: Vec<OwnerKind>,
    /// The namespace that Stowage runs in, which it never touches; empty offline.
    pub own_namespace: String,
}

impl Action {
    /// As printed: `delete`, `delete-owner`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Evict => "evict",
            Self::DeleteOwner => "delete-owner",
            Self::Report => "report",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
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
        if LEFT_ALONE.contains(&(group, kind)) || (group, kind) == ("apps", "DaemonSet") {
            return Err(OwnerKindError::LeftAlone(kind.to_owned()));
        }
        Ok(Self { group: group.to_owned(), kind: kind.to_owned() })
    }
}

impl ActionRules {
    /// Whether an owner of that group and kind may be deleted for its pod.
    pub fn knows_owner(&self, group: &str, kind: &str) -> bool {
        KNOWN_OWNERS.contains(&(group, kind)) || self.owners.iter().any(|o| o.group == group && o.kind == kind)
    }
}

impl Decision {
    fn new(action: Action, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { action, reason: reason.into(), owner: None, again: None }
    }
}

/// Decides about a pod. A pod that is not due has [`Action::None`], and the reason says what will be done and when.
pub fn decide(
    pod: &WatchedPod,
    verdict: &Verdict,
    limit: Option<&Limit>,
    rules: &ActionRules,
    now: Timestamp,
) -> Decision {
    if let Some(why) = never_touched(pod, rules) {
        return Decision::new(Action::None, why);
    }
    let Some(limit) = limit else {
        return Decision::new(Action::None, format!("no threshold is set for {}", verdict.state.name()));
    };
    let Some(due_at) = verdict.deadline else {
        let why = match verdict.since {
            Some(_) => "the threshold is never",
            None => "the pod has no creationTimestamp: nothing tells since when",
        };
        return Decision::new(Action::None, why);
    };
    if verdict.due {
        return for_due(pod, verdict, limit, rules, now);
    }
    let then = for_due(pod, verdict, limit, rules, due_at);
    Decision::new(Action::None, format!("then {}: {}", then.action, then.reason))
}

fn for_due(pod: &WatchedPod, verdict: &Verdict, limit: &Limit, rules: &ActionRules, now: Timestamp) -> Decision {
    let controller = pod.metadata.controller();
    if let Some(owner) = controller
        && LEFT_ALONE.contains(&(owner.group(), owner.kind.as_str()))
    {
        let why = format!("{}/{} replaces its pods itself", owner.kind, owner.name);
        return Decision::new(Action::Report, why).about(owner);
    }
    let action = limit.on_exceeded.action;
    match (action, verdict.state) {
        (ActionSpec::Report, _) => {
            return Decision::new(Action::Report, "the policy only reports");
        }
        (ActionSpec::Delete, _) => return Decision::new(Action::Delete, "the policy deletes pods"),
        (ActionSpec::Auto | ActionSpec::Evict, State::Terminating) => {
            // A second DELETE changes nothing but with a shorter grace period, which can leave a container running.
            let why = "it is being deleted already; only `action: Delete` with a gracePeriodSeconds presses on";
            return Decision::new(Action::Report, why);
        }
        (ActionSpec::Evict, _) => return Decision::new(Action::Evict, "the policy evicts pods"),
        (ActionSpec::Auto | ActionSpec::Owner, _) => {}
    }
    match controller {
        None if action == ActionSpec::Auto => Decision::new(Action::Delete, "it has no controller"),
        None => Decision::new(Action::Report, "the policy deletes owners, and the pod has no controller"),
        Some(owner) if action == ActionSpec::Auto && verdict.state.is_finished() => finished(owner, rules).about(owner),
        Some(owner) => for_owner(pod, owner, verdict, limit, rules, now).about(owner),
    }
}

/// A pod that has ended is not made again by its Job, and its siblings may still be at work: it goes alone. Other
/// controllers do make a missing pod again, whatever its end was.
fn finished(owner: &OwnerReference, rules: &ActionRules) -> Decision {
    if (owner.group(), owner.kind.as_str()) == ("batch", "Job") {
        return Decision::new(Action::Delete, "it has ended, and its Job has counted it");
    }
    if !rules.knows_owner(owner.group(), &owner.kind) {
        return unknown_owner(owner);
    }
    let why =
        format!("it has ended, but {}/{} may have others at work; `action: Owner` deletes it", owner.kind, owner.name);
    Decision::new(Action::Report, why)
}

fn for_owner(
    pod: &WatchedPod,
    owner: &OwnerReference,
    verdict: &Verdict,
    limit: &Limit,
    rules: &ActionRules,
    now: Timestamp,
) -> Decision {
    let through_driver = is_spark_executor(pod) && owner.kind == "Pod" && owner.group().is_empty();
    if !through_driver && !rules.knows_owner(owner.group(), &owner.kind) {
        return unknown_owner(owner);
    }
    if limit.is_shortened() {
        // The policy's own threshold still reaches the owner in its time, or a pod could shield it by a short one.
        let from = deadline(verdict.since, limit.policy_threshold);
        if from.is_none_or(|from| now < from) {
            let why = format!(
                "the pod made its threshold shorter than the policy's, which does not reach {}/{}",
                owner.kind, owner.name
            );
            return Decision { again: from, ..Decision::new(Action::Report, why) };
        }
    }
    let old_enough = pod.metadata.creation_timestamp.map(|created| {
        let at = created.checked_add(OWNER_AGE);
        at.unwrap_or(Timestamp::MAX)
    });
    if let Some(from) = old_enough.filter(|from| now < *from) {
        return Decision {
            again: Some(from),
            ..Decision::new(Action::None, "an owner is not deleted before its pod is 30s old")
        };
    }
    let why = if through_driver {
        format!("a Spark executor: through its driver {}, if that is one", owner.name)
    } else {
        format!("{}/{} would only make it again", owner.kind, owner.name)
    };
    Decision::new(Action::DeleteOwner, why)
}

impl Decision {
    fn about(self, owner: &OwnerReference) -> Self {
        Self { owner: Some(owner.clone()), ..self }
    }
}

fn unknown_owner(owner: &OwnerReference) -> Decision {
    let group = owner.group();
    let why = if group.is_empty() {
        format!("{}/{} is not an owner to delete", owner.kind, owner.name)
    } else {
        format!("{}/{} is of no known kind; `--owner {group}/{}` makes it one", owner.kind, owner.name, owner.kind)
    };
    Decision::new(Action::Report, why)
}

/// Why a pod is never touched, where it is not.
fn never_touched(pod: &WatchedPod, rules: &ActionRules) -> Option<&'static str> {
    let metadata = &pod.metadata;
    let owned_by = |group: &str, kind: &str| {
        let controller = metadata.controller();
        controller.is_some_and(|owner| owner.group() == group && owner.kind == kind)
    };
    let source = metadata.annotations.get("kubernetes.io/config.source");
    if metadata.annotations.contains_key("kubernetes.io/config.mirror") || owned_by("", "Node") {
        Some("a mirror pod: its node makes it")
    } else if source.is_some_and(|source| source != "api") {
        Some("a static pod: its node makes it")
    } else if owned_by("apps", "DaemonSet") {
        Some("a DaemonSet's pod: it belongs to its node")
    } else if metadata.namespace == "kube-system" {
        Some("kube-system is never touched")
    } else if !metadata.namespace.is_empty() && metadata.namespace == rules.own_namespace {
        Some("Stowage's own namespace is never touched")
    } else if pod.spec.priority >= SYSTEM_PRIORITY
        || matches!(pod.spec.priority_class_name.as_str(), "system-node-critical" | "system-cluster-critical")
    {
        Some("it has system priority")
    } else {
        None
    }
}

fn is_spark_executor(pod: &WatchedPod) -> bool {
    let role = pod.metadata.labels.get("spark-role");
    role.is_some_and(|role| role == "executor")
}
