//! The modifiers that mount a volume. Their defaults are those of `mlrun.runtimes.mounts`.

use k8s_openapi::api::core::v1::KeyToPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
#[schemars(extend("x-kubernetes-validations" = crate::policy::schema::sub_path_rules()))]
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
#[schemars(extend("x-kubernetes-validations" = crate::policy::schema::sub_path_rules()))]
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

/// A config map as files.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = crate::policy::schema::sub_path_rules()))]
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
#[schemars(extend("x-kubernetes-validations" = crate::policy::schema::sub_path_rules()))]
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
#[schemars(extend("x-kubernetes-validations" = crate::policy::schema::sub_path_rules()))]
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
#[schemars(extend("x-kubernetes-validations" = crate::policy::schema::sub_path_rules()))]
pub struct VolumeModifier {
    /// Name of the volume. Placeholders resolve here.
    pub name: String,
    /// The volume of core/v1 without its name: exactly one source.
    #[schemars(schema_with = "crate::policy::schema::volume_source")]
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

fn config_map_volume() -> String {
    "configmap".into()
}

fn secret_volume() -> String {
    "secret".into()
}

fn host_path_volume() -> String {
    "hostpath".into()
}
