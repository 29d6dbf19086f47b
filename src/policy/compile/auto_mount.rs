//! MLRun's `storage.auto_mount_type` and `storage.auto_mount_params`.
//!
//! Every type that the params can serve is compiled, since a pod may ask for another one
//! (`stowage.dev/auto-mount`); the policy's own type must be among them.

mod params;

use serde_json::Value;

use self::params::{Params, parse, plain, secret_looking, split, truthy, volume_mounts};
use crate::{
    names,
    policy::{
        AutoMount,
        compile::{
            checker::Checker,
            v3io::v3io_env,
            variables::{S3Keys, s3_unit, secret_env_unit},
        },
        modifier::{EnvUnit, Injectable},
        spec::{AutoMountSpec, AutoMountType, PvcModifier, V3ioFuseModifier, V3ioSpec},
        template::{Kind, Template},
    },
};

const AT: &str = "autoMount";
const PARAMS: &str = "autoMount.params";

/// Parameters that each of MLRun's modifiers takes.
const V3IO_CREDENTIALS: [&str; 3] = ["api", "user", "access_key"];
const V3IO_FUSE: [&str; 6] = ["name", "remote", "access_key", "user", "secret", "volume_mounts"];
const PVC: [&str; 3] = ["pvc_name", "volume_name", "volume_mount_path"];
const S3: [&str; 7] =
    ["secret_name", "aws_access_key", "aws_secret_key", "endpoint_url", "prefix", "aws_region", "non_anonymous"];
const SECRET_ENV: [&str; 3] = ["secret_name", "keys", "cleartext_env"];

impl Checker<'_> {
    pub(super) fn auto_mount(&mut self, spec: &AutoMountSpec) -> Option<AutoMount> {
        let params = match parse(&spec.params) {
            Ok((params, ignored)) => {
                for part in ignored {
                    self.note(PARAMS, format!("item {part} has no '=' and is ignored"));
                }
                params
            }
            Err(why) => {
                self.error(PARAMS, why);
                return None;
            }
        };
        let own = effective(spec.kind, self.v3io.is_some(), params.contains_key("pvc_name"));
        self.unknown_params(own, &params);
        let mut variants = Vec::new();
        for kind in [
            AutoMountType::V3ioCredentials,
            AutoMountType::V3ioFuse,
            AutoMountType::Pvc,
            AutoMountType::S3,
            AutoMountType::Env,
            AutoMountType::SecretEnv,
        ] {
            if kind == own {
                let unit = self.variant(kind, &params)?;
                variants.push((kind, unit));
            } else if kind != AutoMountType::Env {
                // What the params cannot serve is simply not on offer to pods; only the policy's own type must be right.
                let (errors, notes) = (self.errors.len(), self.notes.len());
                let unit = self.variant(kind, &params);
                let failed = self.errors.len() > errors;
                self.errors.truncate(errors);
                self.notes.truncate(notes);
                variants.extend(unit.filter(|_| !failed).map(|unit| (kind, unit)));
            }
        }
        Some(AutoMount { own: spec.kind, effective: own, auto: self.auto_choice(&params), variants })
    }

    fn auto_choice(&self, params: &Params) -> AutoMountType {
        effective(AutoMountType::Auto, self.v3io.is_some(), params.contains_key("pvc_name"))
    }

    fn unknown_params(&mut self, kind: AutoMountType, params: &Params) {
        let known: &[&str] = match kind {
            AutoMountType::V3ioCredentials => &V3IO_CREDENTIALS,
            AutoMountType::V3ioFuse => &V3IO_FUSE,
            AutoMountType::Pvc => &PVC,
            AutoMountType::S3 => &S3,
            AutoMountType::SecretEnv => &SECRET_ENV,
            AutoMountType::Env | AutoMountType::None | AutoMountType::Auto => return,
        };
        for name in params.keys().filter(|name| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            self.note(PARAMS, format!("parameter {name:?} is not one of {} ({known}) and is ignored", word(kind)));
        }
    }

    fn variant(&mut self, kind: AutoMountType, params: &Params) -> Option<Injectable> {
        match kind {
            AutoMountType::V3ioCredentials => self.auto_v3io(params, false),
            AutoMountType::V3ioFuse => self.auto_v3io(params, true),
            AutoMountType::Pvc => self.auto_pvc(params),
            AutoMountType::S3 => self.auto_s3(params),
            AutoMountType::Env => self.auto_env(params),
            AutoMountType::SecretEnv => self.auto_secret_env(params),
            AutoMountType::None | AutoMountType::Auto => None,
        }
    }

    fn auto_v3io(&mut self, params: &Params, fuse: bool) -> Option<Injectable> {
        let Some(base) = self.v3io else {
            self.error(AT, format!("type {} needs spec.v3io", if fuse { "v3io_fuse" } else { "v3io_credentials" }));
            return None;
        };
        let mut v3io: V3ioSpec = base.clone();
        if let Some(api) = self.param(params, "api") {
            v3io.api = api;
        }
        if let Some(user) = self.param(params, "user") {
            v3io.username = user;
        }
        if let Some(secret) = self.param(params, "secret").filter(|_| fuse) {
            v3io.access_key_secret.name = secret;
        }
        let username = self.template(&v3io.username, Kind::Username, PARAMS)?;
        // From here on {username} is the user of the params: key, folder and name are one user's.
        let own = self.user.replace(username.clone());
        let unit = self.auto_v3io_of(params, &v3io, username, fuse);
        self.user = own;
        unit
    }

    fn auto_v3io_of(&mut self, params: &Params, v3io: &V3ioSpec, username: Template, fuse: bool) -> Option<Injectable> {
        let access_key = match self.param(params, "access_key") {
            Some(literal) => {
                self.literal("access_key");
                EnvUnit::literal("V3IO_ACCESS_KEY", literal)
            }
            None => {
                let secret = self.template(&v3io.access_key_secret.name, Kind::Secret, PARAMS)?;
                EnvUnit::from_secret("V3IO_ACCESS_KEY", secret, &v3io.access_key_secret.key, false)
            }
        };
        let mut unit = if fuse { self.auto_fuse(params, v3io)? } else { Injectable::default() };
        unit.env = v3io_env(v3io, username, access_key).into();
        Some(unit)
    }

    fn auto_fuse(&mut self, params: &Params, v3io: &V3ioSpec) -> Option<Injectable> {
        let mounts = match params.get("volume_mounts") {
            None => None,
            Some(value) => {
                let mounts = volume_mounts(value);
                if mounts.is_none() {
                    let wanted = "must be a list of {path, sub_path} or [path, sub_path], as base64 JSON";
                    self.error(PARAMS, format!("volume_mounts {wanted}"));
                }
                Some(mounts?)
            }
        };
        let fuse = V3ioFuseModifier {
            volume_name: self.param(params, "name").unwrap_or_else(|| "v3io".into()),
            remote: self.param(params, "remote").unwrap_or_default(),
            mounts,
        };
        self.v3io_fuse(&fuse, v3io, PARAMS)
    }

    fn auto_pvc(&mut self, params: &Params) -> Option<Injectable> {
        let Some(claim_name) = self.param(params, "pvc_name") else {
            self.error(PARAMS, "type pvc needs the parameter pvc_name");
            return None;
        };
        let pvc = PvcModifier {
            claim_name,
            volume_name: self.param(params, "volume_name").unwrap_or_else(|| "pipeline".into()),
            mount_path: self.param(params, "volume_mount_path").unwrap_or_else(|| "/mnt/pipeline".into()),
            sub_path: None,
            sub_path_expr: None,
            read_only: false,
        };
        self.pvc(&pvc, PARAMS)
    }

    fn auto_s3(&mut self, params: &Params) -> Option<Injectable> {
        let secret = self.param(params, "secret_name");
        let id = self.param(params, "aws_access_key");
        let key = self.param(params, "aws_secret_key");
        let keys = match (secret, id, key) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                self.error(PARAMS, "secret_name and aws_access_key or aws_secret_key cannot both be given");
                return None;
            }
            (Some(name), None, None) => {
                S3Keys::Secret { name: self.template(&name, Kind::Secret, PARAMS)?, token: false }
            }
            (None, Some(id), Some(key)) => {
                self.literal("aws_secret_key");
                S3Keys::Literal(id, key)
            }
            (None, None, None) => S3Keys::None,
            (None, ..) => {
                self.error(PARAMS, "aws_access_key and aws_secret_key must be given together");
                return None;
            }
        };
        let prefix = self.param(params, "prefix").unwrap_or_default();
        self.prefix(&prefix, PARAMS);
        let endpoint = self.param(params, "endpoint_url");
        let region = self.param(params, "aws_region");
        let signed = params.get("non_anonymous").is_some_and(truthy);
        let unit = s3_unit(&prefix, endpoint.as_deref(), region.as_deref(), signed, keys);
        if unit.env.is_empty() {
            self.error(PARAMS, "type s3 needs secret_name, or aws_access_key and aws_secret_key, or endpoint_url");
            return None;
        }
        Some(unit)
    }

    fn auto_env(&mut self, params: &Params) -> Option<Injectable> {
        let mut env = Vec::new();
        for (name, value) in params {
            self.name(name, names::env_var_name, PARAMS);
            if secret_looking(name) {
                self.literal(name);
            }
            self.variable_value(&plain(value), PARAMS);
            let template = self.text_template(&plain(value), PARAMS);
            env.push(match template {
                Some(template) => EnvUnit::templated(name, "", template, ""),
                None => EnvUnit::literal(name, plain(value)),
            });
        }
        Some(Injectable { env: env.into(), ..Injectable::default() })
    }

    fn auto_secret_env(&mut self, params: &Params) -> Option<Injectable> {
        let Some(secret) = self.param(params, "secret_name") else {
            self.error(PARAMS, "type secret_env needs the parameter secret_name");
            return None;
        };
        let secret = self.template(&secret, Kind::Secret, PARAMS)?;
        let keys: Vec<String> = match params.get("keys") {
            Some(Value::Array(keys)) => keys.iter().map(plain).collect(),
            Some(value) => split(&plain(value)).map(str::to_owned).collect(),
            None => Vec::new(),
        };
        for key in &keys {
            self.name(key, names::data_key, PARAMS);
        }
        let unit = secret_env_unit(&secret, &keys);
        let clear: Vec<(String, String)> = match params.get("cleartext_env") {
            Some(Value::Object(map)) => map.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
            Some(value) => {
                let text = plain(value);
                let pairs = split(&text).filter_map(|pair| pair.split_once(':'));
                pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
            }
            None => Vec::new(),
        };
        let mut env = unit.env.into_vec();
        for (name, value) in clear {
            self.name(&name, names::env_var_name, PARAMS);
            if env.iter().any(|other| *other.name == *name) {
                self.error(PARAMS, format!("{name:?} is in both keys and cleartext_env"));
            }
            env.push(EnvUnit::literal(name, value));
        }
        Some(Injectable { env: env.into(), ..unit })
    }

    fn param(&mut self, params: &Params, name: &str) -> Option<String> {
        params.get(name).filter(|value| !value.is_null()).map(plain).filter(|text| !text.is_empty())
    }

    fn literal(&mut self, name: &str) {
        let advice = "everybody who may read pods or policies can read it; use a secret";
        self.note(PARAMS, format!("parameter {name} is a literal credential: {advice}"));
    }
}

/// What `kind` comes to for a policy with or without a v3io block and a claim (MLRun's `AutoMountType._get_auto_modifier`).
const fn effective(kind: AutoMountType, v3io: bool, claim: bool) -> AutoMountType {
    match kind {
        AutoMountType::Auto if v3io => AutoMountType::V3ioCredentials,
        AutoMountType::Auto if claim => AutoMountType::Pvc,
        AutoMountType::Auto => AutoMountType::None,
        other => other,
    }
}

/// MLRun's word for an auto-mount type.
pub const fn word(kind: AutoMountType) -> &'static str {
    match kind {
        AutoMountType::None => "none",
        AutoMountType::Auto => "auto",
        AutoMountType::V3ioCredentials => "v3io_credentials",
        AutoMountType::V3ioFuse => "v3io_fuse",
        AutoMountType::Pvc => "pvc",
        AutoMountType::S3 => "s3",
        AutoMountType::Env => "env",
        AutoMountType::SecretEnv => "secret_env",
    }
}
