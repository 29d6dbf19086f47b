//! The modifiers of `storage`, each to an [`Injectable`].

use k8s_openapi::api::core::v1::{KeyToPath, Volume};
use serde_json::{Map, Value, json};

use crate::{
    field_error::{field, item},
    names,
    policy::{
        compile::{
            checker::Checker,
            projection,
            source::{HOST_PATH_TYPES, volume_source},
        },
        fragment::{Fragment, Hole},
        modifier::{Injectable, Modifier, MountUnit, VolumeUnit},
        spec::{
            ConfigMapModifier, HostPathModifier, ModifierChoice, ModifierSpec, MountPropagation, PvcModifier,
            SecretModifier, VolumeModifier,
        },
        template::{Kind, Template},
    },
    quantity::Quantity,
};

impl Checker<'_> {
    /// The modifiers found at `path`, in order.
    pub(super) fn storage(&mut self, modifiers: &[ModifierSpec]) -> Vec<Modifier> {
        let mut compiled = Vec::new();
        for (index, modifier) in modifiers.iter().enumerate() {
            let at = item("storage", index);
            if let Some((name, unit)) = self.modifier(modifier, &at) {
                compiled.push(Modifier { path: field(&at, name).into(), unit });
            }
        }
        compiled
    }

    fn modifier(&mut self, modifier: &ModifierSpec, at: &str) -> Option<(&'static str, Injectable)> {
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

    pub(super) fn pvc(&mut self, pvc: &PvcModifier, at: &str) -> Option<Injectable> {
        let claim = self.template(&pvc.claim_name, Kind::Claim, &field(at, "claimName"));
        let name = self.template(&pvc.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(pvc.into(), at);
        let source = Fragment::with_holes(&json!({"claimName": ""}), &[Hole::whole("/claimName", claim?)]);
        Some(one_volume(VolumeUnit {
            name: name?,
            kind: "persistentVolumeClaim".into(),
            source,
            mounts: [mount?].into(),
        }))
    }

    fn config_map(&mut self, map: &ConfigMapModifier, at: &str) -> Option<Injectable> {
        self.name(&map.name, names::config_map_name, &field(at, "name"));
        let name = self.template(&map.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(map.into(), at);
        let mut source = Map::new();
        source.insert("name".into(), json!(map.name));
        self.file_options(&mut source, map.items.as_deref(), map.default_mode, map.optional, at);
        let source = Fragment::fixed(&Value::Object(source));
        Some(one_volume(VolumeUnit { name: name?, kind: "configMap".into(), source, mounts: [mount?].into() }))
    }

    fn secret(&mut self, secret: &SecretModifier, at: &str) -> Option<Injectable> {
        let secret_name = self.template(&secret.secret_name, Kind::Secret, &field(at, "secretName"));
        let name = self.template(&secret.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(secret.into(), at);
        let mut source = Map::new();
        source.insert("secretName".into(), json!(""));
        self.file_options(&mut source, secret.items.as_deref(), secret.default_mode, secret.optional, at);
        let source = Fragment::with_holes(&Value::Object(source), &[Hole::whole("/secretName", secret_name?)]);
        Some(one_volume(VolumeUnit { name: name?, kind: "secret".into(), source, mounts: [mount?].into() }))
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
            let mut problems = Vec::new();
            projection::items(items, at, &mut problems);
            self.extend("", problems);
            source.insert("items".into(), json!(items));
        }
        if let Some(mode) = mode {
            source.insert("defaultMode".into(), json!(mode));
        }
        if let Some(optional) = optional {
            source.insert("optional".into(), json!(optional));
        }
    }

    fn host_path(&mut self, host: &HostPathModifier, at: &str) -> Option<Injectable> {
        self.name(&host.path, names::host_path, &field(at, "path"));
        let kind = host.kind.as_deref().unwrap_or_default();
        if !HOST_PATH_TYPES.contains(&kind) {
            let allowed = HOST_PATH_TYPES.get(1..).unwrap_or_default().join(", ");
            self.error(&field(at, "type"), format!("{kind:?} is not allowed; use one of {allowed}, or nothing"));
        }
        let name = self.template(&host.volume_name, Kind::Volume, &field(at, "volumeName"));
        let mount = self.mount(host.into(), at);
        let source = Fragment::fixed(&json!({"path": host.path, "type": kind}));
        Some(one_volume(VolumeUnit { name: name?, kind: "hostPath".into(), source, mounts: [mount?].into() }))
    }

    fn volume(&mut self, modifier: &VolumeModifier, at: &str) -> Option<Injectable> {
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
        let at_kind = field(&source_at, kind);
        match serde_json::from_value::<Volume>(Value::Object(whole)) {
            Ok(volume) => {
                let problems = volume_source(kind, content, &volume, &at_kind);
                self.extend("", problems);
            }
            Err(error) => {
                self.error(&source_at, error.to_string());
                return None;
            }
        }
        self.quantities(content, &at_kind);
        self.source_notes(kind, content, mount.as_ref(), &at_kind);
        let mut holes = Vec::new();
        for (kind, key) in [(Kind::Claim, "claimName"), (Kind::Secret, "secretName")] {
            if let Some(text) = content.get(key).and_then(Value::as_str) {
                let template =
                    self.template(text, kind, &field(&field(&source_at, modifier.source.keys().next()?), key))?;
                holes.push(Hole::whole(&format!("/{key}"), template));
            }
        }
        let source = Fragment::with_holes(content, &holes);
        Some(one_volume(VolumeUnit { name: name?, kind: kind.as_str().into(), source, mounts: [mount?].into() }))
    }

    /// What a person should know of a source that is right.
    fn source_notes(&mut self, kind: &str, content: &Value, mount: Option<&MountUnit>, at: &str) {
        let word = |name: &str| content.get(name).and_then(Value::as_str).unwrap_or_default();
        if word("medium").starts_with("HugePages") {
            self.note(at, "is mounted only in pods that request huge pages, of that size");
        }
        if kind == "gitRepo" {
            self.note(
                at,
                "kubelets have no such volume any more unless told to since Kubernetes 1.33: pods do not start",
            );
        }
        if kind == "image" {
            let why =
                "an API server older than Kubernetes 1.35 refuses the pod, unless its feature gate ImageVolume is on";
            self.note(at, why);
        }
        let is_read_only = kind == "image" || content.get("readOnly").and_then(Value::as_bool) == Some(true);
        if is_read_only && mount.is_some_and(|mount| mount.sub_path.is_some()) {
            let why =
                "is read-only as a whole, so no folder is made in it: containers start only where it has the subPath";
            self.note(at, why);
        }
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
}

pub(super) fn volume(name: &str, kind: &str, source: Fragment, mount: MountUnit) -> Option<VolumeUnit> {
    let name = Template::parse(name, Kind::Volume).ok()?;
    Some(VolumeUnit { name, kind: kind.into(), source, mounts: [mount].into() })
}

pub(super) fn one_volume(volume: VolumeUnit) -> Injectable {
    Injectable { volumes: [volume].into(), ..Injectable::default() }
}
