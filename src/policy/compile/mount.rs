//! Where a volume is mounted, and which folder of it.

use crate::{
    field_error::field,
    names::{self, variable_references},
    policy::{
        Policy,
        compile::checker::Checker,
        modifier::{MountUnit, VolumeUnit, makes_folders},
        spec::{
            ConfigMapModifier, HostPathModifier, ModifierSpec, MountSpec, OnConflict, PvcModifier, SecretModifier,
            VolumeModifier,
        },
        template::{Kind, Template},
    },
};

/// A mount as a policy writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrittenMount<'s> {
    /// Absolute path in the container.
    pub path: &'s str,
    /// The field that holds the path.
    pub path_field: &'s str,
    /// `subPath`, which may be empty.
    pub sub_path: Option<&'s str>,
    /// `subPathExpr`, which may be empty.
    pub sub_path_expr: Option<&'s str>,
    /// `readOnly`.
    pub read_only: bool,
}

/// The mount of a modifier, whose path is its `mountPath`.
macro_rules! written_mounts {
    ($($modifier:ident),+) => {$(
        impl<'s> From<&'s $modifier> for WrittenMount<'s> {
            fn from(modifier: &'s $modifier) -> Self {
                Self {
                    path: &modifier.mount_path,
                    path_field: "mountPath",
                    sub_path: modifier.sub_path.as_deref(),
                    sub_path_expr: modifier.sub_path_expr.as_deref(),
                    read_only: modifier.read_only,
                }
            }
        }
    )+};
}

written_mounts!(PvcModifier, ConfigMapModifier, SecretModifier, HostPathModifier, VolumeModifier);

impl<'s> From<&'s MountSpec> for WrittenMount<'s> {
    fn from(mount: &'s MountSpec) -> Self {
        Self {
            path: &mount.path,
            path_field: "path",
            sub_path: Some(&mount.sub_path),
            sub_path_expr: Some(&mount.sub_path_expr),
            read_only: false,
        }
    }
}

impl Checker<'_> {
    /// A mount that stands in the object at `at`.
    pub(super) fn mount(&mut self, mount: WrittenMount<'_>, at: &str) -> Option<MountUnit> {
        let WrittenMount { path, path_field, sub_path, sub_path_expr, read_only } = mount;
        self.name(path, names::mount_path, &field(at, path_field));
        let clean = names::clean_path(path);
        if matches!(&*clean, "/" | "/proc") || clean.starts_with("/proc/") {
            let why = "no container starts with a mount at / or in /proc";
            self.error(&field(at, path_field), format!("{path:?}: {why}"));
        }
        if clean == "/dev/termination-log" {
            let why = "the kubelet mounts a file there, and no container starts with a folder in its place";
            self.error(&field(at, path_field), format!("{path:?}: {why}"));
        }
        let given = |text: Option<&'_ str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (sub_path, expands) = match (given(sub_path), given(sub_path_expr)) {
            (Some(_), Some(_)) => {
                self.error(&field(at, "subPathExpr"), "subPath and subPathExpr cannot both be given");
                return None;
            }
            (Some(text), None) => (Some(self.sub_path(&text, &field(at, "subPath"))?), false),
            (None, Some(text)) => (Some(self.sub_path_expr(&text, &field(at, "subPathExpr"))?), true),
            (None, None) => (None, false),
        };
        Some(MountUnit { sub_path, expands, read_only, ..MountUnit::at(path) })
    }

    /// Notes the mounts of one policy that lie in a read-only one.
    pub(super) fn nested_mounts(&mut self, policy: &Policy) {
        let explicit = policy.storage.iter().map(|modifier| (&*modifier.path, &modifier.unit));
        let entries = policy.persistence.iter().flat_map(|catalogue| catalogue.data.iter().chain(&catalogue.outputs));
        let units = explicit.chain(entries.map(|entry| (entry.path.as_str(), &entry.unit)));
        let volumes = units.flat_map(|(at, unit)| unit.volumes.iter().map(move |volume| (at, volume)));
        let mounts: Vec<_> =
            volumes.flat_map(|(at, volume)| volume.mounts.iter().map(move |mount| (at, volume, mount))).collect();
        for (at, volume, mount) in &mounts {
            let files = match &*mount.path {
                "/etc" if mount.tail.is_none() => "hosts, hostname and resolv.conf",
                "/dev" if mount.tail.is_none() => "termination-log and folders of its own",
                _ => continue,
            };
            if mount.read_only || &*volume.kind == "image" || makes_folders(&volume.kind) {
                let path = &mount.path;
                let why = format!(
                    "the node puts {files} into {path}: read-only, containers start only where the volume has them"
                );
                self.note(at, why);
            }
        }
        for (at, _, inner) in &mounts {
            let lies_in = |outer: &MountUnit| {
                let rest = inner.path.strip_prefix(&*outer.path);
                rest.is_some_and(|rest| rest.starts_with('/')) && outer.tail.is_none()
            };
            let around =
                mounts.iter().filter(|(_, _, outer)| lies_in(outer)).max_by_key(|(_, _, outer)| outer.path.len());
            let cannot_hold = |volume: &VolumeUnit, outer: &MountUnit| {
                (outer.read_only || &*volume.kind == "image") && !makes_folders(&volume.kind)
            };
            if let Some((of, _, outer)) = around.filter(|(_, volume, outer)| cannot_hold(volume, outer)) {
                let (inner, outer) = (&inner.path, &outer.path);
                let why = format!(
                    "{inner} lies in the read-only mount {outer} of {of}: containers start only where that volume has the folder"
                );
                self.note(at, why);
            }
        }
    }

    fn sub_path(&mut self, text: &str, at: &str) -> Option<Template> {
        if text.contains("$(") {
            self.error(at, "a subPath is not expanded, and $( would be the name of a folder; use subPathExpr");
            return None;
        }
        self.template(text, Kind::SubPath, at)
    }

    /// The kubelet expands it from the container's variables, so whoever sets those chooses the folder.
    fn sub_path_expr(&mut self, text: &str, at: &str) -> Option<Template> {
        let open = text.rsplit_once("$(").filter(|(_, after)| !after.contains(')'));
        if open.is_some_and(|(before, _)| before.bytes().rev().take_while(|byte| *byte == b'$').count() % 2 == 0) {
            self.error(at, "has a $( without its )");
        }
        let mut names: Vec<&str> = variable_references(text).collect();
        names.dedup();
        for name in names {
            if names::env_var_name(name).is_err() {
                self.error(at, format!("$({name}) names no variable"));
            } else if !self.sets_variable(name) {
                let why = "and a container without a value of its own does not get the mount";
                self.note(at, format!("the policy does not set {name}: the pod chooses the folder by it, {why}"));
            } else if self.spec.on_conflict == OnConflict::Keep {
                self.note(at, format!("under onConflict: Keep a pod that sets {name} itself chooses the folder"));
            }
        }
        self.template(text, Kind::SubPathExpr, at)
    }

    /// Whether the policy's own blocks of variables set `name`.
    fn sets_variable(&self, name: &str) -> bool {
        let sets = |modifier: &ModifierSpec| {
            let plain = modifier.env.as_ref().is_some_and(|env| env.variables.contains_key(name));
            let keys = modifier.secret_env.as_ref().and_then(|secret| secret.keys.as_ref());
            plain || keys.is_some_and(|keys| keys.iter().any(|key| key == name))
        };
        self.spec.env.iter().any(|variable| variable.name == name) || self.spec.storage.iter().any(sets)
    }
}
