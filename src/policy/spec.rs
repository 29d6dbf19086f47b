//! The wire form of a policy: what a person writes and the CRD schema describes.
//!
//! Nothing here is checked beyond its shape; [`compile`](super::compile) turns it into a form that cannot be wrong.
//! A field that the code does not act on is not here, so that it is refused instead of ignored. Field names and
//! defaults follow MLRun's modifiers (`mlrun.runtimes.mounts`), Polyaxon's chart values and `core/v1`.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, EnvFromSource, EnvVar, KeyToPath, LocalObjectReference, Toleration},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// One modifier: exactly one field is set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct ModifierSpec {
    /// V3IO_API, V3IO_USERNAME, V3IO_ACCESS_KEY and V3IO_FRAMESD of spec.v3io (MLRun's v3io_cred).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3io: Option<V3ioModifier>,
    /// A v3io/fuse volume and its mounts (MLRun's mount_v3io).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3io_fuse: Option<V3ioFuseModifier>,
    /// What Spark on Iguazio needs beside the credentials (MLRun's mount_v3iod).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3iod: Option<V3iodModifier>,
    /// A persistent volume claim (MLRun's mount_pvc).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PvcModifier>,
    /// Credentials and endpoint of an S3 store (MLRun's mount_s3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Modifier>,
    /// A service account key file for Google Cloud Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsModifier>,
    /// Credentials of an Azure storage account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureModifier>,
    /// A config map as files (MLRun's mount_configmap).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapModifier>,
    /// A secret as files (MLRun's mount_secret).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretModifier>,
    /// A path of the node (MLRun's mount_hostpath).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathModifier>,
    /// Any volume source of core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeModifier>,
    /// Plain variables (MLRun's set_env_variables).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvModifier>,
    /// Variables from a secret (MLRun's set_env_from_secret).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<SecretEnvModifier>,
}

/// The one modifier that a [`ModifierSpec`] is.
#[derive(Clone, Copy, Debug)]
pub enum ModifierChoice<'s> {
    /// `v3io`.
    V3io,
    /// `v3ioFuse`.
    V3ioFuse(&'s V3ioFuseModifier),
    /// `v3iod`.
    V3iod(&'s V3iodModifier),
    /// `pvc`.
    Pvc(&'s PvcModifier),
    /// `s3`.
    S3(&'s S3Modifier),
    /// `gcs`.
    Gcs(&'s GcsModifier),
    /// `azure`.
    Azure(&'s AzureModifier),
    /// `configMap`.
    ConfigMap(&'s ConfigMapModifier),
    /// `secret`.
    Secret(&'s SecretModifier),
    /// `hostPath`.
    HostPath(&'s HostPathModifier),
    /// `volume`.
    Volume(&'s VolumeModifier),
    /// `env`.
    Env(&'s EnvModifier),
    /// `secretEnv`.
    SecretEnv(&'s SecretEnvModifier),
}

/// A modifier of none or of several kinds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must have exactly one modifier; it has {0}")]
pub struct NotOneModifier(usize);

impl ModifierChoice<'_> {
    /// The field's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3io => "v3io",
            Self::V3ioFuse(_) => "v3ioFuse",
            Self::V3iod(_) => "v3iod",
            Self::Pvc(_) => "pvc",
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Azure(_) => "azure",
            Self::ConfigMap(_) => "configMap",
            Self::Secret(_) => "secret",
            Self::HostPath(_) => "hostPath",
            Self::Volume(_) => "volume",
            Self::Env(_) => "env",
            Self::SecretEnv(_) => "secretEnv",
        }
    }
}

impl<'s> TryFrom<&'s ModifierSpec> for ModifierChoice<'s> {
    type Error = NotOneModifier;

    fn try_from(spec: &'s ModifierSpec) -> Result<Self, NotOneModifier> {
        let given = [
            spec.v3io.as_ref().map(|_| Self::V3io),
            spec.v3io_fuse.as_ref().map(Self::V3ioFuse),
            spec.v3iod.as_ref().map(Self::V3iod),
            spec.pvc.as_ref().map(Self::Pvc),
            spec.s3.as_ref().map(Self::S3),
            spec.gcs.as_ref().map(Self::Gcs),
            spec.azure.as_ref().map(Self::Azure),
            spec.config_map.as_ref().map(Self::ConfigMap),
            spec.secret.as_ref().map(Self::Secret),
            spec.host_path.as_ref().map(Self::HostPath),
            spec.volume.as_ref().map(Self::Volume),
            spec.env.as_ref().map(Self::Env),
            spec.secret_env.as_ref().map(Self::SecretEnv),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.count()) {
            (Some(choice), 0) => Ok(choice),
            (first, more) => Err(NotOneModifier(usize::from(first.is_some()) + more)),
        }
    }
}

/// `v3io: {}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct V3ioModifier {}

/// A v3io/fuse volume. Credentials come by secretRef, never as text.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.remote) || self.remote == '' || has(self.mounts)",
    "message": "required with remote",
    "fieldPath": ".mounts"
}]))]
pub struct V3ioFuseModifier {
    /// Name of the volume.
    #[serde(default = "v3io_volume")]
    pub volume_name: String,
    /// Container and path that the volume shows, e.g. `~/`, `~/data`, `/bigdata/x`; needs mounts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remote: String,
    /// Where the volume is mounted. Absent: `/v3io`, and `/User` at `users/{username}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub mounts: Option<Vec<MountSpec>>,
}

/// One mount of a volume.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = super::schema::sub_path_rules()))]
pub struct MountSpec {
    /// Absolute path in the container.
    pub path: String,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub_path: String,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub_path_expr: String,
}

/// What Spark on Iguazio needs beside the credentials.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct V3iodModifier {
    /// Config map with the v3io configuration, mounted at /etc/config/v3io.
    #[serde(default = "v3io_config_map")]
    pub config_map_name: String,
    /// Namespace of the v3io daemon, the last part of its host paths. Absent: the pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A persistent volume claim.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = super::schema::sub_path_rules()))]
pub struct PvcModifier {
    /// Name of the claim. Placeholders resolve here.
    pub claim_name: String,
    /// Name of the volume. Placeholders resolve here.
    #[serde(default = "pvc_volume")]
    pub volume_name: String,
    /// Absolute path in the container.
    #[serde(default = "pvc_path")]
    pub mount_path: String,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Whether the mount is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// Credentials and endpoint of an S3 store.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Modifier {
    /// Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Placeholders resolve here.
    pub secret_name: String,
    /// AWS_ENDPOINT_URL_S3 and S3_ENDPOINT_URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// AWS_REGION.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Put before the name of every variable; the keys within the secret have no prefix.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// S3_NON_ANONYMOUS=true, for MLRun's data stores.
    #[serde(default)]
    pub non_anonymous: bool,
    /// The secret holds AWS_SESSION_TOKEN too.
    #[serde(default)]
    pub session_token: bool,
}

/// A service account key file for Google Cloud Storage.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GcsModifier {
    /// Secret with the key file. Placeholders resolve here.
    pub secret_name: String,
    /// Key within the secret.
    #[serde(default = "gcs_key")]
    pub key: String,
}

/// Credentials of an Azure storage account.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureModifier {
    /// Secret with any of AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY, AZURE_STORAGE_CONNECTION_STRING. Placeholders
    /// resolve here.
    pub secret_name: String,
}

/// A config map as files.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = super::schema::sub_path_rules()))]
pub struct ConfigMapModifier {
    /// Name of the config map.
    pub name: String,
    /// Absolute path in the container.
    pub mount_path: String,
    /// Name of the volume. Placeholders resolve here.
    #[serde(default = "config_map_volume")]
    pub volume_name: String,
    /// Which keys become which files; absent is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<KeyToPath>>,
    /// Permission bits of the files, 0 to 511 (0777).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 511))]
    pub default_mode: Option<i32>,
    /// Whether the pod may start without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Whether the mount is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// A secret as files.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = super::schema::sub_path_rules()))]
pub struct SecretModifier {
    /// Name of the secret. Placeholders resolve here.
    pub secret_name: String,
    /// Absolute path in the container.
    pub mount_path: String,
    /// Name of the volume. Placeholders resolve here.
    #[serde(default = "secret_volume")]
    pub volume_name: String,
    /// Which keys become which files; absent is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<KeyToPath>>,
    /// Permission bits of the files, 0 to 511 (0777).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 511))]
    pub default_mode: Option<i32>,
    /// Whether the pod may start without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Whether the mount is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// A path of the node.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = super::schema::sub_path_rules()))]
pub struct HostPathModifier {
    /// Absolute path on the node.
    pub path: String,
    /// Absolute path in the container.
    pub mount_path: String,
    /// `hostPath.type` of core/v1: what must be at the path before the volume is mounted.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [
        "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"
    ]))]
    pub kind: Option<String>,
    /// Name of the volume. Placeholders resolve here.
    #[serde(default = "host_path_volume")]
    pub volume_name: String,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Whether the mount is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// Any volume source of core/v1.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = super::schema::sub_path_rules()))]
pub struct VolumeModifier {
    /// Name of the volume. Placeholders resolve here.
    pub name: String,
    /// The volume of core/v1 without its name: exactly one source.
    #[schemars(schema_with = "super::schema::volume_source")]
    pub source: serde_json::Map<String, serde_json::Value>,
    /// Absolute path in the container.
    pub mount_path: String,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Whether the mount is read-only.
    #[serde(default)]
    pub read_only: bool,
    /// `mountPropagation` of core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_propagation: Option<MountPropagation>,
}

/// `mountPropagation` of `core/v1`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum MountPropagation {
    /// No propagation.
    None,
    /// Mounts of the host appear in the container.
    HostToContainer,
    /// Both ways; privileged containers only.
    Bidirectional,
}

/// Plain variables.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct EnvModifier {
    /// Name to value.
    pub variables: BTreeMap<String, String>,
}

/// Variables from a secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretEnvModifier {
    /// Name of the secret. Placeholders resolve here.
    pub secret_name: String,
    /// Keys that become a variable each; absent: the whole secret, as envFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
}

/// Polyaxon's `persistence` block.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistenceSpec {
    /// What runs read, by name.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 128))]
    pub data: BTreeMap<String, CatalogueEntry>,
    /// Where runs write, by name; a pod gets one.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 128))]
    pub outputs: BTreeMap<String, CatalogueEntry>,
    /// The outputs entry for pods that name none. Absent: the first by name, with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_outputs: Option<String>,
}

/// One entry of Polyaxon's catalogue: a claim, a host path, a cloud store, or (with none of them) an emptyDir.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [super::schema::one_sub_path(), super::schema::plain_sub_path(), {
    "rule": "[has(self.existingClaim) && self.existingClaim != '', has(self.hostPath) && self.hostPath != '', has(self.store)].filter(x, x).size() <= 1",
    "message": "only one of existingClaim, hostPath and store can be used"
}]))]
pub struct CatalogueEntry {
    /// Absolute path in the container; a store has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// Path on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Name of a persistent volume claim. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_claim: Option<String>,
    /// Whether it is read-only, on the claim and on the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Which cloud's store it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// URL of the bucket: `gs://…`, `s3://…`, `wasbs://container@account.blob.core.windows.net/…`. Placeholders resolve
    /// here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Secret with the store's credentials. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Key within the secret, and name of the variable that carries it. Absent: the secret holds the SDK's plain keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

/// A cloud's object store, in Polyaxon's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
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

fn v3io_volume() -> String {
    "v3io".into()
}

fn v3io_config_map() -> String {
    "spark-operator-v3io-config".into()
}

fn pvc_volume() -> String {
    "pipeline".into()
}

fn pvc_path() -> String {
    "/mnt/pipeline".into()
}

fn gcs_key() -> String {
    "key.json".into()
}

fn config_map_volume() -> String {
    "configmap".into()
}

fn secret_volume() -> String {
    "secret".into()
}

fn host_path_volume() -> String {
    "hostpath".into()
}
