//! One entry of `storage`: which modifier it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::spec::{
    AzureModifier, ConfigMapModifier, EnvModifier, GcsModifier, HostPathModifier, PvcModifier, S3Modifier,
    SecretEnvModifier, SecretModifier, V3ioFuseModifier, V3ioModifier, V3iodModifier, VolumeModifier,
};

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
