//! What a modifier puts into a pod, ready to be merged: volumes with their mounts, and environment.
//!
//! Every modifier (explicit, autoMount, catalogue entry) compiles to an [`Injectable`], so that one merge serves them all.

use serde_json::{Value, json};

use crate::policy::{
    fragment::{Fragment, Hole},
    template::Template,
};

/// A modifier with its place in the policy.
#[derive(Clone, Debug)]
pub struct Modifier {
    /// Path within the spec, such as `storage[2].pvc`; how the marker, warnings and `explain` name it.
    pub path: Box<str>,
    /// What it puts into the pod.
    pub unit: Injectable,
}

/// Volumes with their mounts, and environment.
#[derive(Clone, Debug, Default)]
pub struct Injectable {
    /// Volumes, each of which stands or falls with its mounts.
    pub volumes: Box<[VolumeUnit]>,
    /// Variables, in order.
    pub env: Box<[EnvUnit]>,
    /// Whole secrets and config maps as environment.
    pub env_from: Box<[Fragment]>,
    /// The variables are worth nothing without the volumes (a key file and the variable that points at it), so a
    /// container gets both or neither.
    pub needs_volumes: bool,
}

/// One volume and where it is mounted.
#[derive(Clone, Debug)]
pub struct VolumeUnit {
    /// Name that the volume gets where it is free.
    pub name: Template,
    /// Field name of the source in `core/v1`: `persistentVolumeClaim`, `secret`, …
    pub kind: Box<str>,
    /// Content of the source.
    pub source: Fragment,
    /// Where it is mounted; never empty.
    pub mounts: Box<[MountUnit]>,
}

/// One mount.
#[derive(Clone, Debug)]
pub struct MountUnit {
    /// Absolute path, cleaned.
    pub path: Box<str>,
    /// A last path element that depends on the pod.
    pub tail: Option<Template>,
    /// Path within the volume.
    pub sub_path: Option<Template>,
    /// The path is a `subPathExpr`: Kubernetes expands `$(NAME)` in it from the container's variables.
    pub expands: bool,
    /// `readOnly`.
    pub read_only: bool,
    /// `mountPropagation`, where it is not `None`.
    pub propagation: Option<&'static str>,
}

/// One environment variable.
#[derive(Clone, Debug)]
pub struct EnvUnit {
    /// Name of the variable.
    pub name: Box<str>,
    /// The whole entry: `name` with `value` or `valueFrom`.
    pub entry: Fragment,
    /// The credentials that it is a part of, which stand or fall together; `None` stands alone.
    pub credentials: Option<Credentials>,
    /// It says where the credentials are used, an endpoint say, and comes with them or not at all.
    pub follows: bool,
    /// Variables that belong to the same credentials and that the unit does not set: one that the pod brings speaks of
    /// other credentials, and beside ours it would break them.
    pub replaces: Rivals,
}

/// Names of variables that stand for other credentials. Hundreds of policies have the same, without a copy of their own.
#[derive(Clone, Debug)]
pub enum Rivals {
    /// What [`Credentials::rivals`] says, all of it.
    Known(&'static [&'static str]),
    /// A part of that, or under a prefix.
    Named(Box<[String]>),
}

/// Credentials that are made up of several variables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credentials {
    /// Username and access key of the v3io platform.
    V3io,
    /// Key id, secret key and token of an S3 store.
    S3,
    /// Account, key and connection string of Azure storage.
    Azure,
}

/// Whether the kubelet makes folders for mounts in volumes of this kind, which it writes itself, read-only or not.
#[must_use]
pub fn makes_folders(kind: &str) -> bool {
    matches!(kind, "secret" | "configMap" | "downwardAPI" | "projected")
}

impl Credentials {
    /// Variables by which an SDK may decide for other credentials than these: a role, a profile, a shared file, an identity
    /// of the platform's. One that the pod brings stands for credentials of its own, as its keys do.
    #[must_use]
    pub const fn rivals(self) -> &'static [&'static str] {
        match self {
            Self::V3io => &[],
            Self::S3 => &[
                "AWS_SESSION_TOKEN",
                "AWS_SECURITY_TOKEN",
                "AWS_ROLE_ARN",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_PROFILE",
                "AWS_DEFAULT_PROFILE",
                "AWS_SHARED_CREDENTIALS_FILE",
                "AWS_CONFIG_FILE",
            ],
            Self::Azure => {
                &["AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_SAS_TOKEN"]
            }
        }
    }

    /// Makes the variables of these credentials in `env` one unit with what decides against them, under `prefix`.
    pub fn bind(self, env: &mut [EnvUnit], prefix: &str) {
        let all = self.rivals().iter().map(|name| format!("{prefix}{name}"));
        let rivals: Box<[String]> = all.filter(|name| env.iter().all(|unit| *unit.name != **name)).collect();
        let is_known = prefix.is_empty() && rivals.len() == self.rivals().len();
        let rivals = if is_known { Rivals::Known(self.rivals()) } else { Rivals::Named(rivals) };
        if let Some(first) = env.iter_mut().find(|unit| unit.credentials == Some(self) && !unit.follows) {
            first.replaces = rivals;
        }
    }
}

impl Default for Rivals {
    fn default() -> Self {
        Self::Known(&[])
    }
}

impl Rivals {
    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (known, named) = match self {
            Self::Known(names) => (*names, <&[String]>::default()),
            Self::Named(names) => (<&[&str]>::default(), &**names),
        };
        known.iter().copied().chain(named.iter().map(String::as_str))
    }
}

impl EnvUnit {
    /// `{name, value}`.
    #[must_use]
    pub fn literal(name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let entry = Fragment::fixed(&json!({"name": name.as_ref(), "value": value.as_ref()}));
        Self::of(name, entry)
    }

    /// `{name, valueFrom: {secretKeyRef: {name: secret, key}}}`.
    #[must_use]
    pub fn from_secret(name: impl AsRef<str>, secret: Template, key: &str, optional: bool) -> Self {
        let mut reference = json!({"key": key, "name": ""});
        if let (true, Some(reference)) = (optional, reference.as_object_mut()) {
            reference.insert("optional".into(), Value::Bool(true));
        }
        let entry = json!({"name": name.as_ref(), "valueFrom": {"secretKeyRef": reference}});
        let entry = Fragment::with_holes(&entry, &[Hole::whole("/valueFrom/secretKeyRef/name", secret)]);
        Self::of(name, entry)
    }

    /// `{name, value}`, where the value is a hole's.
    #[must_use]
    pub fn templated(name: impl AsRef<str>, before: &str, value: Template, after: &str) -> Self {
        let hole = Hole::between("/value", before, value, after);
        let entry = Fragment::with_holes(&json!({"name": name.as_ref(), "value": ""}), &[hole]);
        Self::of(name, entry)
    }

    /// A variable that stands alone.
    #[must_use]
    pub fn of(name: impl AsRef<str>, entry: Fragment) -> Self {
        Self { name: name.as_ref().into(), entry, credentials: None, follows: false, replaces: Rivals::default() }
    }

    /// The same, as what comes with `credentials` or not at all.
    #[must_use]
    pub const fn following(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self.follows = true;
        self
    }

    /// The same, as a part of `credentials`.
    #[must_use]
    pub fn part_of(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }
}

impl MountUnit {
    /// A plain read-write mount.
    #[must_use]
    pub fn at(path: &str) -> Self {
        Self {
            path: crate::names::clean_path(path).into(),
            tail: None,
            sub_path: None,
            expands: false,
            read_only: false,
            propagation: None,
        }
    }
}
