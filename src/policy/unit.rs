//! What a modifier puts into a pod, ready to be merged: volumes with their mounts, and environment.
//!
//! Every modifier (explicit, autoMount, catalogue entry) compiles to a [`Unit`], so that one merge serves them all.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::template::{Facts, Template, Unresolved};

/// A modifier with its place in the policy.
#[derive(Clone, Debug)]
pub struct Modifier {
    /// Path within the spec, such as `storage[2].pvc`; how the marker, warnings and `explain` name it.
    pub path: String,
    /// What it puts into the pod.
    pub unit: Unit,
}

/// Volumes with their mounts, and environment.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// Volumes, each of which stands or falls with its mounts.
    pub volumes: Vec<VolumeUnit>,
    /// Variables, in order.
    pub env: Vec<EnvUnit>,
    /// Whole secrets and config maps as environment.
    pub env_from: Vec<Fragment>,
    /// The variables are worth nothing without the volumes (a key file and the variable that points at it), so a
    /// container gets both or neither.
    pub linked: bool,
}

/// One volume and where it is mounted.
#[derive(Clone, Debug)]
pub struct VolumeUnit {
    /// Name that the volume gets where it is free.
    pub name: Template,
    /// Field name of the source in `core/v1`: `persistentVolumeClaim`, `secret`, …
    pub kind: String,
    /// Content of the source.
    pub source: Fragment,
    /// Where it is mounted; never empty.
    pub mounts: Vec<MountUnit>,
}

/// One mount.
#[derive(Clone, Debug)]
pub struct MountUnit {
    /// Absolute path, cleaned.
    pub path: String,
    /// A last path element that depends on the pod.
    pub tail: Option<Template>,
    /// Path within the volume.
    pub sub_path: Option<Template>,
    /// `readOnly`.
    pub read_only: bool,
    /// `mountPropagation`, where it is not `None`.
    pub propagation: Option<&'static str>,
}

/// One environment variable.
#[derive(Clone, Debug)]
pub struct EnvUnit {
    /// Name of the variable.
    pub name: String,
    /// The whole entry: `name` with `value` or `valueFrom`.
    pub entry: Fragment,
    /// Variables of one number are credentials that belong together; `None` stands alone.
    pub group: Option<u8>,
    /// Variables that belong to the same credentials and that the unit does not set: one that the pod brings speaks of
    /// other credentials, and beside ours it would break them.
    pub companions: Vec<String>,
}

/// A piece of JSON with places that templates fill.
#[derive(Clone, Debug)]
pub struct Fragment {
    value: Value,
    holes: Vec<Hole>,
}

/// A string within a [`Fragment`].
#[derive(Clone, Debug)]
pub struct Hole {
    /// RFC 6901 pointer to the string.
    pub pointer: String,
    /// What stands before the resolved text.
    pub before: String,
    /// The text.
    pub template: Template,
    /// What stands after it.
    pub after: String,
}

impl Fragment {
    /// JSON without holes.
    #[must_use]
    pub const fn fixed(value: Value) -> Self {
        Self { value, holes: Vec::new() }
    }

    /// Puts a template at `pointer`, which must be there; at once where it has no placeholders.
    #[must_use]
    pub fn with(self, pointer: &str, template: Template) -> Self {
        self.with_hole(Hole { pointer: pointer.to_owned(), before: String::new(), template, after: String::new() })
    }

    /// Puts a hole into the fragment, and fills it at once where its template has no placeholders.
    #[must_use]
    pub fn with_hole(mut self, hole: Hole) -> Self {
        match (hole.template.fixed(), self.value.pointer_mut(&hole.pointer)) {
            (Some(text), Some(at)) => *at = Value::String(format!("{}{text}{}", hole.before, hole.after)),
            _ => self.holes.push(hole),
        }
        self
    }

    /// The JSON with every hole filled.
    ///
    /// # Errors
    ///
    /// Where a template does not resolve.
    pub fn resolve<'a>(&'a self, facts: &Facts<'a>) -> Result<Cow<'a, Value>, Unresolved> {
        if self.holes.is_empty() {
            return Ok(Cow::Borrowed(&self.value));
        }
        let mut value = self.value.clone();
        for hole in &self.holes {
            let text = hole.template.resolve(facts)?;
            if let Some(at) = value.pointer_mut(&hole.pointer) {
                *at = Value::String(format!("{}{text}{}", hole.before, hole.after));
            }
        }
        Ok(Cow::Owned(value))
    }
}

impl EnvUnit {
    /// `{name, value}`.
    #[must_use]
    pub fn literal(name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        Self {
            entry: Fragment::fixed(json!({"name": name, "value": value})),
            name,
            group: None,
            companions: Vec::new(),
        }
    }

    /// `{name, valueFrom: {secretKeyRef: {name: secret, key}}}`.
    #[must_use]
    pub fn from_secret(name: impl Into<String>, secret: Template, key: &str, optional: bool) -> Self {
        let name = name.into();
        let mut reference = json!({"name": "", "key": key});
        if let (true, Some(reference)) = (optional, reference.as_object_mut()) {
            reference.insert("optional".into(), Value::Bool(true));
        }
        let entry = Fragment::fixed(json!({"name": name, "valueFrom": {"secretKeyRef": reference}}))
            .with("/valueFrom/secretKeyRef/name", secret);
        Self { name, entry, group: None, companions: Vec::new() }
    }

    /// The same, as one of the credentials `group`.
    #[must_use]
    pub fn grouped(mut self, group: u8) -> Self {
        self.group = Some(group);
        self
    }
}

impl MountUnit {
    /// A plain read-write mount.
    #[must_use]
    pub fn at(path: &str) -> Self {
        Self {
            path: crate::pod::clean_path(path).into_owned(),
            tail: None,
            sub_path: None,
            read_only: false,
            propagation: None,
        }
    }
}
