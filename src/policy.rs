//! Policies: what people write, checked once, and kept in a form that cannot be wrong.
//!
//! One way leads in for files, the cluster and `check`: text to [`document`], held against the [`schema`], decoded to
//! [`spec`], turned into a [`Policy`] by [`compile`], found by [`index`].

pub mod compile;
pub mod crd;
pub mod document;
pub mod fragment;
pub mod index;
pub mod loaded;
pub mod modifier;
pub mod near_miss;
mod replaced;
pub mod roster;
pub mod schema;
pub mod snapshot;
pub mod spec;
pub mod status;
pub mod template;
pub mod world;

use std::{cmp::Ordering, fmt, sync::Arc};

use crate::{
    defaults::Defaults,
    field_error::FieldError,
    labels::Selector,
    placement::{Affinity, Toleration, preemption::Preemption},
    policy::{
        fragment::Fragment,
        modifier::{EnvUnit, Injectable, Modifier},
        spec::{AutoMountType, ImagePullPolicy, OnConflict, Store},
        template::Template,
    },
    threshold::spec::{OnExceeded, StateThresholds},
};

/// A policy in its compiled form.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Kind and name.
    pub id: PolicyId,
    /// `metadata.generation`; files have none.
    pub generation: Option<i64>,
    /// Higher first.
    pub priority: i32,
    /// Labels of the pods it is for.
    pub pods: Selector,
    /// Labels of the namespaces it is for; `None` is every namespace, or the policy's own.
    pub namespaces: Option<Selector>,
    /// Only pods one of whose containers requests one of these; empty is all.
    pub requests: Box<[String]>,
    /// Which containers it touches.
    pub containers: Containers,
    /// What happens where the pod brought a different value.
    pub on_conflict: OnConflict,
    /// User of the v3io block.
    pub username: Option<Template>,
    /// Explicit modifiers.
    pub storage: Box<[Modifier]>,
    /// MLRun's auto-mount.
    pub auto_mount: Option<Box<AutoMount>>,
    /// Polyaxon's catalogue.
    pub persistence: Option<Box<Catalogue>>,
    /// Variables, in order.
    pub env: Box<[EnvUnit]>,
    /// Whole secrets and config maps as environment, in order.
    pub env_from: Box<[Fragment]>,
    /// Labels put on the pod.
    pub labels: Box<[(String, String)]>,
    /// Annotations put on the pod.
    pub annotations: Box<[(String, String)]>,
    /// Image pull policy of the matched containers.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Pull secrets beside the pod's.
    pub image_pull_secrets: Box<[String]>,
    /// Preemption.
    pub preemption: Option<Box<Preemption>>,
    /// Node labels the pod asks for.
    pub node_selector: Box<[(String, String)]>,
    /// Taints the pod tolerates.
    pub tolerations: Box<[Toleration]>,
    /// Affinity merged into the pod's own.
    pub affinity: Option<Box<Affinity>>,
    /// Priority class of the pod.
    pub priority_class_name: Option<String>,
    /// Values for what the pod does not say.
    pub defaults: Option<Box<Defaults>>,
    /// When the watcher calls a pod stuck.
    pub thresholds: Option<Box<StateThresholds>>,
    /// What the watcher does then.
    pub on_exceeded: Option<OnExceeded>,
    /// Labels of pods that placeholders read.
    pub placeholder_labels: Box<[Box<str>]>,
    /// What a person should know of the policy, though it is accepted.
    pub notes: Box<[FieldError]>,
}

/// A policy's kind and name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PolicyId {
    /// Where it acts.
    pub scope: Scope,
    /// `metadata.name`.
    pub name: Arc<str>,
}

/// Where a policy acts. InjectionPolicies come before ClusterInjectionPolicies.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// An InjectionPolicy of this namespace.
    Namespace(Arc<str>),
    /// A ClusterInjectionPolicy.
    Cluster,
}

/// Which containers a policy touches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Containers {
    /// Which names.
    pub names: ContainerNames,
    /// Whether init containers, native sidecars among them, are touched too.
    pub init: bool,
}

/// Which container names a policy touches; `*` in one stands for any text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ContainerNames {
    /// These only.
    Include(Vec<String>),
    /// All but these.
    Exclude(Vec<String>),
}

/// MLRun's auto-mount, with every type that its params can serve.
#[derive(Clone, Debug)]
pub struct AutoMount {
    /// The policy's own type, as written.
    pub own: AutoMountType,
    /// What that comes to.
    pub effective: AutoMountType,
    /// What `auto` comes to.
    pub auto: AutoMountType,
    /// What each type puts into the pod.
    pub variants: Vec<(AutoMountType, Injectable)>,
}

/// Polyaxon's catalogue.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// What runs read, by name.
    pub data: Vec<CatalogueEntry>,
    /// Where runs write, by name.
    pub outputs: Vec<CatalogueEntry>,
    /// The outputs entry for pods that name none.
    pub default_outputs: Option<String>,
}

/// One entry of the catalogue.
#[derive(Clone, Debug)]
pub struct CatalogueEntry {
    /// Its name in the catalogue.
    pub name: String,
    /// Path within the spec, such as `persistence.data.data1`.
    pub path: String,
    /// The volume, or the variable that carries a store's secret, and behind it the same under a name for shells where
    /// its own is none.
    pub unit: Injectable,
    /// Mount path or bucket, a JSON string: what POLYAXON_RUN_DATA_PATHS and POLYAXON_RUN_OUTPUTS_PATH say.
    pub location: Fragment,
    /// What a cloud store adds.
    pub store: Option<StoreEntry>,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// What an entry that is a cloud store adds.
#[derive(Clone, Debug)]
pub struct StoreEntry {
    /// Which cloud's.
    pub store: Store,
    /// Secret with the credentials.
    pub secret: Option<Template>,
    /// Key within the secret, and name of the variable that carries it.
    pub key: Option<String>,
    /// What plain SDKs of that cloud read; one entry of each cloud gets it.
    pub sdk: Injectable,
}

impl Policy {
    /// The order in which policies act: InjectionPolicies first, then by priority, then by name.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let rank = |policy: &Self| matches!(policy.id.scope, Scope::Cluster);
        rank(self)
            .cmp(&rank(other))
            .then(other.priority.cmp(&self.priority))
            .then_with(|| self.id.name.cmp(&other.id.name))
            .then_with(|| self.id.scope.cmp(&other.id.scope))
    }

    /// Whether a placeholder of it reads the label `key` of pods.
    #[must_use]
    pub fn reads_by_placeholder(&self, key: &str) -> bool {
        self.placeholder_labels.iter().any(|label| **label == *key)
    }

    /// Whether it is a ClusterInjectionPolicy.
    #[must_use]
    pub const fn is_cluster(&self) -> bool {
        matches!(self.id.scope, Scope::Cluster)
    }
}

impl fmt::Display for PolicyId {
    /// `name` for the cluster kind, `namespace/name` for the namespaced one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Cluster => f.write_str(&self.name),
            Scope::Namespace(namespace) => write!(f, "{namespace}/{}", self.name),
        }
    }
}

impl Containers {
    /// Whether the container `name` of the list `list` (`containers` or `initContainers`) is touched.
    #[must_use]
    pub fn take(&self, list: &str, name: &str) -> bool {
        (self.init || list != "initContainers")
            && match &self.names {
                ContainerNames::Include(patterns) => patterns.iter().any(|pattern| names_match(pattern, name)),
                ContainerNames::Exclude(patterns) => !patterns.iter().any(|pattern| names_match(pattern, name)),
            }
    }
}

/// Whether `name` is what `pattern` says, in which every `*` stands for any text, also none.
fn names_match(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves the most for what follows.
        let Some(at) = name.find(part) else { return false };
        name = name.get(at + part.len()..).unwrap_or_default();
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, matches) in [
            ("base", "base", true),
            ("base", "base-2", false),
            ("*", "anything", true),
            ("c-*", "c-1", true),
            ("c-*", "c-", true),
            ("c-*", "ac-1", false),
            ("*-proxy", "istio-proxy", true),
            ("*-proxy", "proxy", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*a*", "bab", true),
            ("**", "x", true),
        ] {
            assert_eq!(names_match(pattern, name), matches, "{pattern} {name}");
        }
    }
}
