//! The modifiers that set variables: credentials of stores, plain variables, and those of a secret.

use serde_json::json;

use crate::{
    field_error::{field, item},
    names,
    policy::{
        compile::checker::Checker,
        fragment::{Fragment, Hole},
        modifier::{Credentials, EnvUnit, Injectable, MountUnit, VolumeUnit},
        spec::{AzureModifier, EnvModifier, GcsModifier, S3Modifier, SecretEnvModifier},
        template::{Kind, Template},
    },
};

/// Where the key file of a gcs secret is mounted, before the secret's name.
pub(super) const GCS_MOUNT: &str = "/var/run/secrets/stowage/gcs";

impl Checker<'_> {
    pub(super) fn s3(&mut self, s3: &S3Modifier, at: &str) -> Option<Injectable> {
        let secret = self.template(&s3.secret_name, Kind::Secret, &field(at, "secretName"))?;
        self.prefix(&s3.prefix, &field(at, "prefix"));
        let keys = S3Keys::Secret { name: secret, token: s3.session_token };
        Some(s3_unit(&s3.prefix, s3.endpoint_url.as_deref(), s3.region.as_deref(), s3.non_anonymous, keys))
    }

    pub(super) fn prefix(&mut self, prefix: &str, at: &str) {
        if !prefix.is_empty() {
            self.name(prefix, names::env_var_name, at);
        }
    }

    pub(super) fn gcs(&mut self, gcs: &GcsModifier, at: &str) -> Option<Injectable> {
        let secret = self.template(&gcs.secret_name, Kind::Secret, &field(at, "secretName"))?;
        self.name(&gcs.key, names::data_key, &field(at, "key"));
        gcs_unit(&secret, &gcs.key)
    }

    pub(super) fn azure(&mut self, azure: &AzureModifier, at: &str) -> Option<Injectable> {
        let secret = self.template(&azure.secret_name, Kind::Secret, &field(at, "secretName"))?;
        Some(Injectable { env: azure_env(&secret).into(), ..Injectable::default() })
    }

    pub(super) fn env_modifier(&mut self, modifier: &EnvModifier, at: &str) -> Option<Injectable> {
        let at = field(at, "variables");
        for (name, value) in &modifier.variables {
            self.name(name, names::env_var_name, &field(&at, name));
            self.variable_value(value, &field(&at, name));
        }
        let env = modifier.variables.iter().map(|(name, value)| EnvUnit::literal(name, value)).collect();
        Some(Injectable { env, ..Injectable::default() })
    }

    pub(super) fn secret_env(&mut self, modifier: &SecretEnvModifier, at: &str) -> Option<Injectable> {
        let secret = self.template(&modifier.secret_name, Kind::Secret, &field(at, "secretName"))?;
        let keys = modifier.keys.as_deref().unwrap_or_default();
        for (index, key) in keys.iter().enumerate() {
            self.name(key, names::data_key, &item(&field(at, "keys"), index));
        }
        Some(secret_env_unit(&secret, keys))
    }
}

/// Where the keys of an S3 store come from.
pub(super) enum S3Keys {
    /// A secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    Secret {
        /// Its name.
        name: Template,
        /// It holds AWS_SESSION_TOKEN too.
        token: bool,
    },
    /// MLRun's literal `aws_access_key` and `aws_secret_key`.
    Literal(String, String),
    /// The pod's own identity (IAM roles).
    None,
}

/// `mount_s3`: variables in MLRun's order, with the endpoint's newer name beside the older one.
pub(super) fn s3_unit(
    prefix: &str,
    endpoint: Option<&str>,
    region: Option<&str>,
    signed: bool,
    keys: S3Keys,
) -> Injectable {
    let mut env = Vec::new();
    let mut plain = |name: &str, value: &str| env.push(EnvUnit::literal(format!("{prefix}{name}"), value));
    if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) {
        plain("S3_ENDPOINT_URL", endpoint);
        plain("AWS_ENDPOINT_URL_S3", endpoint);
    }
    if let Some(region) = region.filter(|region| !region.is_empty()) {
        plain("AWS_REGION", region);
    }
    if signed {
        plain("S3_NON_ANONYMOUS", "true");
    }
    match keys {
        S3Keys::Secret { name, token } => {
            let last = if token { Some("AWS_SESSION_TOKEN") } else { None };
            for key in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].into_iter().chain(last) {
                env.push(
                    EnvUnit::from_secret(format!("{prefix}{key}"), name.clone(), key, false).part_of(Credentials::S3),
                );
            }
        }
        S3Keys::Literal(id, secret) => {
            env.push(EnvUnit::literal(format!("{prefix}AWS_ACCESS_KEY_ID"), id).part_of(Credentials::S3));
            env.push(EnvUnit::literal(format!("{prefix}AWS_SECRET_ACCESS_KEY"), secret).part_of(Credentials::S3));
        }
        S3Keys::None => return Injectable { env: env.into(), ..Injectable::default() },
    }
    let follow = |unit: EnvUnit| if unit.credentials.is_none() { unit.following(Credentials::S3) } else { unit };
    let mut env: Vec<EnvUnit> = env.into_iter().map(follow).collect();
    Credentials::S3.bind(&mut env, prefix);
    Injectable { env: env.into(), ..Injectable::default() }
}

/// The plain keys that an S3 SDK reads, out of a secret that holds them; token, region and endpoint may be absent.
pub(super) fn s3_plain_keys(secret: &Template) -> Vec<EnvUnit> {
    let mut env: Vec<EnvUnit> = [
        ("AWS_ACCESS_KEY_ID", false, true),
        ("AWS_SECRET_ACCESS_KEY", false, true),
        ("AWS_SESSION_TOKEN", true, true),
        ("AWS_REGION", true, false),
        ("AWS_ENDPOINT_URL_S3", true, false),
        ("S3_ENDPOINT_URL", true, false),
    ]
    .into_iter()
    .map(|(key, optional, credential)| {
        let unit = EnvUnit::from_secret(key, secret.clone(), key, optional);
        if credential { unit.part_of(Credentials::S3) } else { unit.following(Credentials::S3) }
    })
    .collect();
    Credentials::S3.bind(&mut env, "");
    env
}

/// The three variables that an Azure SDK reads, each of which the secret may lack.
pub(super) fn azure_env(secret: &Template) -> Vec<EnvUnit> {
    let mut env: Vec<EnvUnit> = ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING"]
        .into_iter()
        .map(|key| EnvUnit::from_secret(key, secret.clone(), key, true).part_of(Credentials::Azure))
        .collect();
    Credentials::Azure.bind(&mut env, "");
    env
}

/// The key file, mounted, and the variable that Google's SDKs look for.
pub(super) fn gcs_unit(secret: &Template, key: &str) -> Option<Injectable> {
    // The secret's name is part of the path, so that two keys can live side by side.
    let source = Fragment::with_holes(&json!({"secretName": ""}), &[Hole::whole("/secretName", secret.clone())]);
    let mount = MountUnit { read_only: true, tail: Some(secret.clone()), ..MountUnit::at(GCS_MOUNT) };
    let (before, after) = (format!("{GCS_MOUNT}/"), format!("/{key}"));
    let env = EnvUnit::templated("GOOGLE_APPLICATION_CREDENTIALS", &before, secret.clone(), &after);
    let name = Template::parse("gcs", Kind::Volume).ok()?;
    let volume = VolumeUnit { name, kind: "secret".into(), source, mounts: [mount].into() };
    Some(Injectable { volumes: [volume].into(), env: [env].into(), env_from: Box::default(), needs_volumes: true })
}

/// `set_env_vars_from_secret`: one variable a key, or the whole secret.
pub(super) fn secret_env_unit(secret: &Template, keys: &[String]) -> Injectable {
    if keys.is_empty() {
        let hole = Hole::whole("/secretRef/name", secret.clone());
        let whole = Fragment::with_holes(&json!({"secretRef": {"name": ""}}), &[hole]);
        return Injectable { env_from: [whole].into(), ..Injectable::default() };
    }
    let env = keys.iter().map(|key| EnvUnit::from_secret(key, secret.clone(), key, false)).collect();
    Injectable { env, ..Injectable::default() }
}
