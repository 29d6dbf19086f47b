//! The modifiers of the Iguazio platform: v3io, v3ioFuse and v3iod, with MLRun's defaults.

use serde_json::{Value, json};

use crate::{
    field_error::{field, item},
    names,
    policy::{
        compile::{
            checker::Checker,
            storage::{one_volume, volume},
        },
        fragment::{Fragment, Hole},
        modifier::{Credentials, EnvUnit, Injectable, MountUnit, VolumeUnit},
        spec::{MountSpec, V3ioFuseModifier, V3ioSpec, V3iodModifier},
        template::{Kind, Template},
    },
};

impl Checker<'_> {
    /// `v3io_cred`: the four variables in MLRun's order.
    pub(super) fn v3io_credentials(&mut self, v3io: &V3ioSpec) -> Option<Injectable> {
        let username = self.template(&v3io.username, Kind::Username, "v3io.username")?;
        let secret = self.template(&v3io.access_key_secret.name, Kind::Secret, "v3io.accessKeySecret.name")?;
        Some(Injectable {
            env: v3io_env(
                v3io,
                username,
                EnvUnit::from_secret("V3IO_ACCESS_KEY", secret, &v3io.access_key_secret.key, false),
            )
            .into(),
            ..Injectable::default()
        })
    }

    /// `mount_v3io`: the volume and its mounts, credentials by `secretRef` always.
    pub(super) fn v3io_fuse(&mut self, fuse: &V3ioFuseModifier, v3io: &V3ioSpec, at: &str) -> Option<Injectable> {
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
        Some(one_volume(VolumeUnit { name, kind: "flexVolume".into(), source, mounts: mounts.into() }))
    }

    fn fuse_mounts(&mut self, mounts: &[MountSpec], at: &str) -> Option<Vec<MountUnit>> {
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

    pub(super) fn v3iod(&mut self, modifier: &V3iodModifier, at: &str) -> Option<Injectable> {
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
        Some(Injectable {
            volumes: [
                host("/var/run/iguazio/dayman-shm/", "/dev/shm", "shm")?,
                host("/var/run/iguazio/dayman/", "/var/run/iguazio/dayman", "v3iod-comm")?,
                volume(
                    "daemon-health",
                    "emptyDir",
                    Fragment::fixed(&json!({})),
                    MountUnit::at("/var/run/iguazio/daemon_health"),
                )?,
                volume("v3io-config", "configMap", Fragment::fixed(&config), MountUnit::at("/etc/config/v3io"))?,
            ]
            .into(),
            env: [node_ip, EnvUnit::literal("IGZ_DATA_CONFIG_FILE", "/igz/java/conf/v3io.conf")].into(),
            needs_volumes: true,
            ..Injectable::default()
        })
    }
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
