//! The modifiers of `storage`, each to a [`Unit`].

use k8s_openapi::api::core::v1::{KeyToPath, Volume};
use serde_json::{Map, Value, json};

use crate::{
    field_error::{field, item},
    names,
    policy::{
        compile::checker::Checker,
        fragment::{Fragment, Hole},
        modifier::{Credentials, EnvUnit, Modifier, MountUnit, Unit, VolumeUnit},
        spec::{
            AzureModifier, ConfigMapModifier, EnvModifier, GcsModifier, HostPathModifier, ModifierChoice, ModifierSpec,
            MountPropagation, PvcModifier, S3Modifier, SecretEnvModifier, SecretModifier, V3ioFuseModifier, V3ioSpec,
            V3iodModifier, VolumeModifier,
        },
        template::{Kind, Template},
    },
    quantity::Quantity,
};

/// Where the key file of a gcs secret is mounted, before the secret's name.
pub(super) const GCS_MOUNT: &str = "/var/run/secrets/stowage/gcs";

const HOST_PATH_TYPES: [&str; 8] =
    ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];

impl Checker<'_> {
    /// The modifiers found at `path`, in order.
    pub(super) fn storage(&mut self, modifiers: &[ModifierSpec]) -> Vec<Modifier> {
        let mut compiled = Vec::new();
        for (index, modifier) in modifiers.iter().enumerate() {
            let at = item("storage", index);
            if let Some((name, unit)) = self.modifier(modifier, &at) {
                compiled.push(Modifier { path: field(&at, name), unit });
            }
        }
        compiled
    }

    fn modifier(&mut self, modifier: &ModifierSpec, at: &str) -> Option<(&'static str, Unit)> {
        let choice = match ModifierChoice::try_from(modifier) {
            Ok(choice) => choice,
            Err(why) => {
                self.error(at, why.to_string());
                return None;
            }
        };
        let name = choice.name();
        let at = &field(at, name);
        let unit = match choice {
            ModifierChoice::V3io => self.v3io_block(at).and_then(|v3io| self.v3io_credentials(v3io)),
            ModifierChoice::V3ioFuse(fuse) => self.v3io_block(at).and_then(|v3io| self.v3io_fuse(fuse, v3io, at)),
            ModifierChoice::V3iod(modifier) => self.v3iod(modifier, at),
            ModifierChoice::Pvc(modifier) => self.pvc(modifier, at),
            ModifierChoice::S3(modifier) => self.s3(modifier, at),
            ModifierChoice::Gcs(modifier) => self.gcs(modifier, at),
            ModifierChoice::Azure(modifier) => self.azure(modifier, at),
            ModifierChoice::ConfigMap(modifier) => self.config_map(modifier, at),
            ModifierChoice::Secret(modifier) => self.secret(modifier, at),
            ModifierChoice::HostPath(modifier) => self.host_path(modifier, at),
            ModifierChoice::Volume(modifier) => self.volume(modifier, at),
            ModifierChoice::Env(modifier) => self.env_modifier(modifier, at),
            ModifierChoice::SecretEnv(modifier) => self.secret_env(modifier, at),
        };
        unit.map(|unit| (name, unit))
    }

    /// `v3io_cred`: the four variables in MLRun's order.
    pub(super) fn v3io_credentials(&mut self, v3io: &V3ioSpec) -> Option<Unit> {
        let username = self.template(&v3io.username, Kind::Username, "v3io.username")?;
        let secret = self.template(&v3io.access_key_secret.name, Kind::Secret, "v3io.accessKeySecret.name")?;
        Some(Unit {
            env: v3io_env(
                v3io,
                username,
                EnvUnit::from_secret("V3IO_ACCESS_KEY", secret, &v3io.access_key_secret.key, false),
            ),
            ..Unit::default()
        })
    }

    /// `mount_v3io`: the volume and its mounts, credentials by `secretRef` always.
    pub(super) fn v3io_fuse(&mut self, fuse: &V3ioFuseModifier, v3io: &V3ioSpec, at: &str) -> Option<Unit> {
        let user = self.template(&v3io.username, Kind::Username, "v3io.username")?;
        let secret = self.template(&v3io.access_key_secret.name, Kind::Secret, "v3io.accessKeySecret.name")?;
        let name = self.template(&fuse.volume_name, Kind::Volume, &field(at, "volumeName"))?;
        let mounts = match &fuse.mounts {
            Some(mounts) => self.fuse_mounts(mounts, &field(at, "mounts"))?,
            None if !fuse.remote.is_empty() => {
                self.error(&field(at, "mounts"), "required with remote");
                return None;
            }
            None => vec![
                MountUnit::at("/v3io"),
                MountUnit { sub_path: self.template("users/{username}", Kind::SubPath, at), ..MountUnit::at("/User") },
            ],
        };
        let source = json!({"driver": "v3io/fuse", "options": {"dirsToCreate": ""}, "secretRef": {"name": ""}});
        let source = remote_options(source, &fuse.remote);
        let dirs = ("[{\"name\": \"users//", "\", \"permissions\": 488}]");
        let mut holes = vec![
            Hole::whole("/secretRef/name", secret),
            Hole::between("/options/dirsToCreate", dirs.0, user.clone(), dirs.1),
        ];
        if let Some(home) = fuse.remote.strip_prefix("~/") {
            let home = home.trim_end_matches('/');
            let after = if home.is_empty() { String::new() } else { format!("/{home}") };
            holes.push(Hole::between("/options/subPath", "/", user, after));
        }
        let source = Fragment::with_holes(&source, &holes);
        Some(one_volume(VolumeUnit { name, kind: "flexVolume".into(), source, mounts }))
    }

    fn fuse_mounts(&mut self, mounts: &[crate::policy::spec::MountSpec], at: &str) -> Option<Vec<MountUnit>> {
        if mounts.is_empty() {
            self.error(at, "must not be empty");
            return None;
        }
        let mut units: Vec<MountUnit> = Vec::new();
        for (index, mount) in mounts.iter().enumerate() {
            let at = item(at, index);
            let unit = self.mount(mount.into(), &at)?;
            if units.iter().any(|other| other.path == unit.path) {
                self.error(&field(&at, "path"), format!("{:?} is mounted twice", mount.path));
            }
            units.push(unit);
        }
        Some(units)
    }

    fn v3iod(&mut self, modifier: &V3iodModifier, at: &str) -> Option<Unit> {
        self.name(&modifier.config_map_name, names::config_map_name, &field(at, "configMapName"));
        let namespace = match &modifier.namespace {
            Some(namespace) => {
                self.name(namespace, names::namespace, &field(at, "namespace"));
                namespace.as_str()
            }
            None => "{namespace}",
        };
        // MLRun's K1 `mount_v3iod`; the daemon's socket folders of Iguazio 3.2.3 and later.
        let host = |path: &str, mount: &str, name: &str| -> Option<VolumeUnit> {
            let hole = Hole::between("/path", path, Template::parse(namespace, Kind::Claim).ok()?, "");
            let source = Fragment::with_holes(&json!({"path": "", "type": ""}), &[hole]);
            volume(name, "hostPath", source, MountUnit::at(mount))
        };
        let config = json!({"name": modifier.config_map_name, "defaultMode": 420});
        let mut node_ip = EnvUnit::literal("CURRENT_NODE_IP", "");
        node_ip.entry = Fragment::fixed(
            &json!({"name": "CURRENT_NODE_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.hostIP"}}}),
        );
        Some(Unit {
            volumes: vec![
                host("/var/run/iguazio/dayman-shm/", "/dev/shm", "shm")?,
                host("/var/run/iguazio/dayman/", "/var/run/iguazio/dayman", "v3iod-comm")?,
                volume(
                    "daemon-health",
                    "emptyDir",
                    Fragment::fixed(&json!({})),
                    MountUnit::at("/var/run/iguazio/daemon_health"),
                )?,
                volume("v3io-config", "configMap", Fragment::fixed(&config), MountUnit::at("/etc/config/v3io"))?,
            ],
            env: vec![node_ip, EnvUnit::literal("IGZ_DATA_CONFIG_FILE", "/igz/java/conf/v3io.conf")],
            needs_volumes: true,
            ..Unit::default()
        })
    }

    pub(super) fn pvc(&mut self, pvc: &PvcModifier, at: &str) -> Option<Unit> {
        let claim = self.template(&pvc.claim_name, Kind::Claim, &field(at, "claimName"));
        let name = self.template(&pvc.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(pvc.into(), at);
        let source = Fragment::with_holes(&json!({"claimName": ""}), &[Hole::whole("/claimName", claim?)]);
        Some(one_volume(VolumeUnit { name: name?, kind: "persistentVolumeClaim".into(), source, mounts: vec![mount?] }))
    }

    fn s3(&mut self, s3: &S3Modifier, at: &str) -> Option<Unit> {
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

    fn gcs(&mut self, gcs: &GcsModifier, at: &str) -> Option<Unit> {
        let secret = self.template(&gcs.secret_name, Kind::Secret, &field(at, "secretName"))?;
        self.name(&gcs.key, names::data_key, &field(at, "key"));
        gcs_unit(&secret, &gcs.key)
    }

    fn azure(&mut self, azure: &AzureModifier, at: &str) -> Option<Unit> {
        let secret = self.template(&azure.secret_name, Kind::Secret, &field(at, "secretName"))?;
        Some(Unit { env: azure_env(&secret), ..Unit::default() })
    }

    fn config_map(&mut self, map: &ConfigMapModifier, at: &str) -> Option<Unit> {
        self.name(&map.name, names::config_map_name, &field(at, "name"));
        let name = self.template(&map.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(map.into(), at);
        let mut source = Map::new();
        source.insert("name".into(), json!(map.name));
        self.file_options(&mut source, map.items.as_deref(), map.default_mode, map.optional, at);
        let source = Fragment::fixed(&Value::Object(source));
        Some(one_volume(VolumeUnit { name: name?, kind: "configMap".into(), source, mounts: vec![mount?] }))
    }

    fn secret(&mut self, secret: &SecretModifier, at: &str) -> Option<Unit> {
        let secret_name = self.template(&secret.secret_name, Kind::Secret, &field(at, "secretName"));
        let name = self.template(&secret.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(secret.into(), at);
        let mut source = Map::new();
        source.insert("secretName".into(), json!(""));
        self.file_options(&mut source, secret.items.as_deref(), secret.default_mode, secret.optional, at);
        let source = Fragment::with_holes(&Value::Object(source), &[Hole::whole("/secretName", secret_name?)]);
        Some(one_volume(VolumeUnit { name: name?, kind: "secret".into(), source, mounts: vec![mount?] }))
    }

    fn file_options(
        &mut self,
        source: &mut Map<String, Value>,
        items: Option<&[KeyToPath]>,
        mode: Option<i32>,
        optional: Option<bool>,
        at: &str,
    ) {
        if let Some(items) = items {
            for (index, key) in items.iter().enumerate() {
                let at = item(&field(at, "items"), index);
                self.name(&key.key, names::data_key, &field(&at, "key"));
                self.name(&key.path, names::sub_path, &field(&at, "path"));
                if key.path.is_empty() {
                    self.error(&field(&at, "path"), "must not be empty");
                }
            }
            source.insert("items".into(), json!(items));
        }
        if let Some(mode) = mode {
            source.insert("defaultMode".into(), json!(mode));
        }
        if let Some(optional) = optional {
            source.insert("optional".into(), json!(optional));
        }
    }

    fn host_path(&mut self, host: &HostPathModifier, at: &str) -> Option<Unit> {
        self.name(&host.path, names::host_path, &field(at, "path"));
        let kind = host.kind.as_deref().unwrap_or_default();
        if !HOST_PATH_TYPES.contains(&kind) {
            let allowed = HOST_PATH_TYPES.get(1..).unwrap_or_default().join(", ");
            self.error(&field(at, "type"), format!("{kind:?} is not allowed; use one of {allowed}, or nothing"));
        }
        let name = self.template(&host.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(host.into(), at);
        let source = Fragment::fixed(&json!({"path": host.path, "type": kind}));
        Some(one_volume(VolumeUnit { name: name?, kind: "hostPath".into(), source, mounts: vec![mount?] }))
    }

    fn volume(&mut self, modifier: &VolumeModifier, at: &str) -> Option<Unit> {
        let name = self.template(&modifier.name, Kind::Volume, &field(at, "name"));
        let mut mount = self.mount(modifier.into(), at);
        if let Some(mount) = &mut mount {
            mount.propagation = match modifier.mount_propagation {
                Some(MountPropagation::HostToContainer) => Some("HostToContainer"),
                Some(MountPropagation::Bidirectional) => {
                    let why = "Bidirectional is for privileged containers only";
                    self.note(&field(at, "mountPropagation"), why);
                    Some("Bidirectional")
                }
                Some(MountPropagation::None) | None => None,
            };
        }
        let source_at = field(at, "source");
        let (kind, content) = modifier.source.iter().next()?;
        let mut whole = modifier.source.clone();
        whole.insert("name".into(), json!("v"));
        if let Err(error) = serde_json::from_value::<Volume>(Value::Object(whole)) {
            self.error(&source_at, error.to_string());
            return None;
        }
        self.quantities(content, &field(&source_at, kind));
        let mut holes = Vec::new();
        for (kind, key) in [(Kind::Claim, "claimName"), (Kind::Secret, "secretName")] {
            if let Some(text) = content.get(key).and_then(Value::as_str) {
                let template =
                    self.template(text, kind, &field(&field(&source_at, modifier.source.keys().next()?), key))?;
                holes.push(Hole::whole(&format!("/{key}"), template));
            }
        }
        let source = Fragment::with_holes(content, &holes);
        Some(one_volume(VolumeUnit { name: name?, kind: kind.clone(), source, mounts: vec![mount?] }))
    }

    /// Quantities of a volume source. The schema takes any text for one, and the API server refuses the pod.
    fn quantities(&mut self, content: &Value, at: &str) {
        let mut check = |value: &Value, at: String| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Err(error) = text.parse::<Quantity>() {
                self.error(&at, format!("{text:?} {error}"));
            }
        };
        if let Some(size) = content.get("sizeLimit") {
            check(size, field(at, "sizeLimit"));
        }
        for list in ["requests", "limits"] {
            let amounts = content.pointer(&format!("/volumeClaimTemplate/spec/resources/{list}"));
            for (name, amount) in amounts.and_then(Value::as_object).into_iter().flatten() {
                check(amount, field(&format!("{at}.volumeClaimTemplate.spec.resources.{list}"), name));
            }
        }
    }

    fn env_modifier(&mut self, modifier: &EnvModifier, at: &str) -> Option<Unit> {
        let at = field(at, "variables");
        for name in modifier.variables.keys() {
            self.name(name, names::env_var_name, &field(&at, name));
        }
        let env = modifier.variables.iter().map(|(name, value)| EnvUnit::literal(name, value)).collect();
        Some(Unit { env, ..Unit::default() })
    }

    fn secret_env(&mut self, modifier: &SecretEnvModifier, at: &str) -> Option<Unit> {
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
pub(super) fn s3_unit(prefix: &str, endpoint: Option<&str>, region: Option<&str>, signed: bool, keys: S3Keys) -> Unit {
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
        S3Keys::None => return Unit { env, ..Unit::default() },
    }
    let follow = |unit: EnvUnit| if unit.credentials.is_none() { unit.following(Credentials::S3) } else { unit };
    let mut env: Vec<EnvUnit> = env.into_iter().map(follow).collect();
    Credentials::S3.bind(&mut env, prefix);
    Unit { env, ..Unit::default() }
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
pub(super) fn gcs_unit(secret: &Template, key: &str) -> Option<Unit> {
    // The secret's name is part of the path, so that two keys can live side by side.
    let source = Fragment::with_holes(&json!({"secretName": ""}), &[Hole::whole("/secretName", secret.clone())]);
    let mount = MountUnit { read_only: true, tail: Some(secret.clone()), ..MountUnit::at(GCS_MOUNT) };
    let (before, after) = (format!("{GCS_MOUNT}/"), format!("/{key}"));
    let env = EnvUnit::templated("GOOGLE_APPLICATION_CREDENTIALS", &before, secret.clone(), &after);
    let name = Template::parse("gcs", Kind::Volume).ok()?;
    let volume = VolumeUnit { name, kind: "secret".into(), source, mounts: vec![mount] };
    Some(Unit { volumes: vec![volume], env: vec![env], env_from: Vec::new(), needs_volumes: true })
}

/// `set_env_vars_from_secret`: one variable a key, or the whole secret.
pub(super) fn secret_env_unit(secret: &Template, keys: &[String]) -> Unit {
    if keys.is_empty() {
        let hole = Hole::whole("/secretRef/name", secret.clone());
        let whole = Fragment::with_holes(&json!({"secretRef": {"name": ""}}), &[hole]);
        return Unit { env_from: vec![whole], ..Unit::default() };
    }
    let env = keys.iter().map(|key| EnvUnit::from_secret(key, secret.clone(), key, false)).collect();
    Unit { env, ..Unit::default() }
}

/// V3IO_API, V3IO_USERNAME, V3IO_ACCESS_KEY, V3IO_FRAMESD.
pub(super) fn v3io_env(v3io: &V3ioSpec, username: Template, access_key: EnvUnit) -> Vec<EnvUnit> {
    vec![
        EnvUnit::literal("V3IO_API", &v3io.api).following(Credentials::V3io),
        EnvUnit::templated("V3IO_USERNAME", "", username, "").part_of(Credentials::V3io),
        access_key.part_of(Credentials::V3io),
        EnvUnit::literal("V3IO_FRAMESD", &v3io.framesd).following(Credentials::V3io),
    ]
}

/// `container` and `subPath` of MLRun's `remote`; the subPath of a `~/` path is a hole for the user.
fn remote_options(mut source: Value, remote: &str) -> Value {
    let Some(options) = source.get_mut("options").and_then(Value::as_object_mut) else { return source };
    if remote.strip_prefix("~/").is_some() {
        options.insert("container".into(), json!("users"));
        options.insert("subPath".into(), json!(""));
    } else if !remote.is_empty() {
        let path = remote.strip_prefix('/').unwrap_or(remote);
        let (container, rest) = path.split_once('/').unwrap_or((path, ""));
        options.insert("container".into(), json!(container));
        let rest = if rest.is_empty() { String::new() } else { format!("/{rest}") };
        options.insert("subPath".into(), json!(rest));
    }
    source
}

fn volume(name: &str, kind: &str, source: Fragment, mount: MountUnit) -> Option<VolumeUnit> {
    let name = Template::parse(name, Kind::Volume).ok()?;
    Some(VolumeUnit { name, kind: kind.into(), source, mounts: vec![mount] })
}

pub(super) fn one_volume(volume: VolumeUnit) -> Unit {
    Unit { volumes: vec![volume], ..Unit::default() }
}
