//! The wire form of a policy: what a person writes and the CRD schema describes.
//!
//! Nothing here is checked beyond its shape; [`compile`](super::compile) turns it into a form that cannot be wrong.
//! A field that the code does not act on is not here, so that it is refused instead of ignored. Field names and
//! defaults follow MLRun's modifiers (`mlrun.runtimes.mounts`), Polyaxon's chart values and `core/v1`.

mod persistence;
mod storage;
mod variables;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, EnvFromSource, EnvVar, LocalObjectReference, Toleration},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    persistence::{CatalogueEntrySpec, PersistenceSpec, Store},
    storage::{ModifierChoice, ModifierSpec, NotOneModifier},
    variables::{AzureModifier, EnvModifier, GcsModifier, S3Modifier, SecretEnvModifier, V3ioModifier},
    volumes::{
        ConfigMapModifier, HostPathModifier, MountPropagation, MountSpec, PvcModifier, SecretModifier,
        V3ioFuseModifier, V3iodModifier, VolumeModifier,
    },
};

use crate::{
    defaults::DefaultsSpec,
    placement::preemption::PreemptionSpec,
    threshold::spec::{OnExceededSpec, StateThresholdsSpec},
};

/// What a policy puts into the pods it matches, and when the watcher calls them stuck.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[kube(
    group = "stowage.dev",
    version = "v1alpha1",
    kind = "ClusterInjectionPolicy",
    plural = "clusterinjectionpolicies",
    singular = "clusterinjectionpolicy",
    shortname = "cinjp",
    category = "stowage",
    status = "PolicyStatus",
    printcolumn = r#"{"name":"Priority","type":"integer","jsonPath":".spec.priority"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Accepted\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PolicySpec {
    /// Higher first; of equal priority the name decides. InjectionPolicies always come before ClusterInjectionPolicies.
    #[serde(default)]
    pub priority: i32,
    /// Which pods the policy is for.
    #[serde(rename = "match")]
    pub matches: MatchSpec,
    /// Which containers of a matched pod are touched. Absent: all app and init containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<ContainersSpec>,
    /// What happens where the pod itself brought a different value: Keep leaves it and warns, Override replaces it,
    /// Reject refuses the pod.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Facts of the Iguazio platform, used by the modifiers v3io, v3ioFuse and autoMount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3io: Option<V3ioSpec>,
    /// Labels that may choose a secret. Whoever sets such a label on a pod chooses the credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_labels: Vec<String>,
    /// MLRun's storage.auto_mount_type and storage.auto_mount_params.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_mount: Option<AutoMountSpec>,
    /// Modifiers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<ModifierSpec>,
    /// Polyaxon's catalogue: the persistence block of its chart, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<PersistenceSpec>,
    /// Environment variables for every matched container, merged by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Whole config maps and secrets as environment, merged by prefix, kind and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// Labels put on the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations put on the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether pods may, must or must not land on preemptible (spot) nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemption: Option<PreemptionSpec>,
    /// Node labels the pod asks for, merged by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pod tolerates; one that the pod already tolerates is not added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Affinity, merged into the pod's own: required terms are conjoined, the rest is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Priority class of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Image pull policy of every matched container, whatever onConflict says: the API server has filled one in before
    /// the webhook is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Pull secrets added beside those that the pod has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Values for what the pod does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<DefaultsSpec>,
    /// How long a pod may stay in a state before the watcher acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_thresholds: Option<StateThresholdsSpec>,
    /// What the watcher does with a pod that is past a threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exceeded: Option<OnExceededSpec>,
}

/// What the controller has to say of a policy.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// The generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted` is the one that decides whether the policy is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
}

/// Which pods a policy is for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchSpec {
    /// Labels of the pod as it arrives; `{}` is every pod.
    pub pod_selector: LabelSelector,
    /// Labels of the pod's namespace (ClusterInjectionPolicy only); absent is every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Only pods one of whose containers requests one of these resources, such as nvidia.com/gpu. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<String>,
}

/// Which containers of a matched pod are touched.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.include) && has(self.exclude))",
    "message": "include and exclude cannot both be given"
}]))]
pub struct ContainersSpec {
    /// Only the containers of these names; `*` is any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub include: Option<Vec<String>>,
    /// All containers but those of these names; `*` is any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// Whether init containers, native sidecars among them, are touched too.
    #[serde(default = "yes")]
    pub init_containers: bool,
}

/// What happens where the pod itself brought a different value.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnConflict {
    /// The pod's own value stays, with a warning.
    #[default]
    Keep,
    /// The policy's value replaces it.
    Override,
    /// The pod is refused.
    Reject,
}

/// `imagePullPolicy` of `core/v1`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ImagePullPolicy {
    /// The image is pulled at every start.
    Always,
    /// The image is pulled where the node does not have it.
    IfNotPresent,
    /// The image is never pulled.
    Never,
}

impl ImagePullPolicy {
    /// The word that `core/v1` uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Facts of the Iguazio platform.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct V3ioSpec {
    /// URL of the web API: V3IO_API.
    #[serde(default = "v3io_api")]
    pub api: String,
    /// URL of the frames service: V3IO_FRAMESD.
    #[serde(default = "v3io_framesd")]
    pub framesd: String,
    /// User of the platform: V3IO_USERNAME. Placeholders resolve here.
    pub username: String,
    /// Secret that holds the user's access key: V3IO_ACCESS_KEY by reference. Placeholders resolve in its name.
    pub access_key_secret: AccessKeySecret,
}

/// A secret of type `v3io/fuse` and the key that holds the access key.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct AccessKeySecret {
    /// Name of the secret in the pod's namespace.
    pub name: String,
    /// Key within the secret.
    #[serde(default = "access_key")]
    pub key: String,
}

/// MLRun's auto-mount.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct AutoMountSpec {
    /// MLRun's storage.auto_mount_type.
    #[serde(default, rename = "type")]
    pub kind: AutoMountType,
    /// MLRun's storage.auto_mount_params: `k=v,k=v`, or base64 of a JSON object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub params: String,
}

/// MLRun's `AutoMountType`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoMountType {
    /// Nothing.
    None,
    /// v3io credentials when the policy has a v3io block, else the claim when params name one, else nothing.
    #[default]
    Auto,
    /// `v3io_cred`.
    V3ioCredentials,
    /// `mount_v3io`.
    V3ioFuse,
    /// `mount_pvc`.
    Pvc,
    /// `mount_s3`.
    S3,
    /// `set_env_variables`.
    Env,
    /// `set_env_vars_from_secret`.
    SecretEnv,
}

const fn yes() -> bool {
    true
}

fn v3io_api() -> String {
    "http://v3io-webapi:8081".into()
}

fn v3io_framesd() -> String {
    "http://framesd:8080".into()
}

fn access_key() -> String {
    "accessKey".into()
}
