//! What a modifier puts into a pod, ready to be merged: volumes with their mounts, and environment.
//!
//! Every modifier (explicit, autoMount, catalogue entry) compiles to a [`Unit`], so that one merge serves them all.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::{
    json::{Json, push_escaped},
    policy::template::{Facts, Template, Unresolved},
};

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

/// A piece of JSON with places that templates fill, kept as text: most pods take it as it is.
#[derive(Clone, Debug)]
pub struct Fragment {
    value: Value,
    holes: Vec<Hole>,
    segments: Vec<Segment>,
}

/// A stretch of a fragment's text.
#[derive(Clone, Debug)]
enum Segment {
    Text(String),
    /// A string that the template gives, between texts that are JSON already.
    Hole {
        before: String,
        template: Template,
        after: String,
    },
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
    pub fn fixed(value: Value) -> Self {
        let segments = vec![Segment::Text(value.to_string())];
        Self { value, holes: Vec::new(), segments }
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
        self.segments = segments(&self.value, &self.holes);
        self
    }

    /// The JSON with every hole filled.
    ///
    /// # Errors
    ///
    /// Where a template does not resolve.
    pub fn resolve<'a>(&'a self, facts: &Facts<'a>) -> Result<Json<'a>, Unresolved> {
        if let [Segment::Text(text)] = self.segments.as_slice() {
            return Ok(Json::text(Cow::Borrowed(text)));
        }
        let mut json = String::with_capacity(256);
        for segment in &self.segments {
            match segment {
                Segment::Text(text) => json.push_str(text),
                Segment::Hole { before, template, after } => {
                    json.push_str(before);
                    push_escaped(&mut json, &template.resolve(facts)?);
                    json.push_str(after);
                }
            }
        }
        Ok(Json::text(Cow::Owned(json)))
    }
}

/// The text of `value` cut at its holes: every hole is written as a string that nothing else can be, and found again.
fn segments(value: &Value, holes: &[Hole]) -> Vec<Segment> {
    let mut marked = value.clone();
    let mark = |number: usize| format!("\u{1}{number}\u{1}");
    for (number, hole) in holes.iter().enumerate() {
        if let Some(at) = marked.pointer_mut(&hole.pointer) {
            *at = Value::String(mark(number));
        }
    }
    let mut segments = Vec::new();
    let text = marked.to_string();
    let mut rest = text.as_str();
    while let Some((number, at, found)) = holes
        .iter()
        .enumerate()
        .filter_map(|(number, _)| {
            let found = Value::String(mark(number)).to_string();
            rest.find(&found).map(|at| (number, at, found.len()))
        })
        .min_by_key(|(_, at, _)| *at)
    {
        segments.push(Segment::Text(rest.get(..at).unwrap_or_default().to_owned()));
        segments.extend(holes.get(number).map(Hole::segment));
        rest = rest.get(at + found..).unwrap_or_default();
    }
    segments.push(Segment::Text(rest.to_owned()));
    segments
}

impl Hole {
    fn segment(&self) -> Segment {
        let (mut before, mut after) = (String::from("\""), String::new());
        push_escaped(&mut before, &self.before);
        push_escaped(&mut after, &self.after);
        after.push('"');
        Segment::Hole { before, template: self.template.clone(), after }
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
            path: crate::names::clean_path(path).into_owned(),
            tail: None,
            sub_path: None,
            read_only: false,
            propagation: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{labels::Labels, policy::template::Kind};

    #[derive(Debug)]
    struct None;

    impl Labels for None {
        fn label(&self, _: &str) -> Option<&str> {
            Option::None
        }

        fn each<'s>(&'s self, _: &mut dyn FnMut(&'s str, &'s str)) {}
    }

    #[test]
    fn fills_holes_and_escapes_what_stands_around_them() {
        let labels = None;
        let facts = Facts { namespace: "ns", service_account: "sa", username: Some("u"), labels: &labels };
        let template = |text| Template::parse(text, Kind::Secret).unwrap();
        let fragment = Fragment::fixed(json!({"a": "", "b": {"c": ""}, "d": "say \"x\"", "e": ""}))
            .with("/a", template("x-{username}"))
            .with("/e", template("fixed"))
            .with_hole(Hole {
                pointer: "/b/c".into(),
                before: "[{\"name\": \"".into(),
                template: template("{namespace}"),
                after: "\"}]\n".into(),
            });
        let json = fragment.resolve(&facts).unwrap();
        let wanted = json!({"a": "x-u", "b": {"c": "[{\"name\": \"ns\"}]\n"}, "d": "say \"x\"", "e": "fixed"});
        assert_eq!(json.value(), wanted);
        assert_eq!(json.as_str(), wanted.to_string());
    }
}
