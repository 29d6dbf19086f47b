//! The wire form of a policy to its compiled form: all that is wrong at once, each with its field path.

pub mod auto_mount;
pub mod catalogue;
mod storage;

use serde_json::{Value, json};

use crate::{
    defaults::Defaults,
    field_error::{FieldError, below, field, item},
    labels::Selector,
    names,
    placement::{Affinity, Toleration, preemption::Preemption, rules},
    policy::{
        ContainerNames, Containers, Policy, PolicyId, Scope,
        crd::{API_VERSION, CLUSTER_KIND, Definitions, NAMESPACED_KIND},
        modifier::{EnvUnit, Fragment},
        schema::{self},
        spec::{ContainersSpec, PolicySpec, V3ioSpec},
        template::{Kind, Template, looks_like_placeholder},
    },
};

/// Blocks without which a policy does nothing.
const BLOCKS: [&str; 16] = [
    "storage",
    "autoMount",
    "persistence",
    "env",
    "envFrom",
    "labels",
    "annotations",
    "preemption",
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClassName",
    "imagePullPolicy",
    "defaults",
    "stateThresholds",
    "onExceeded",
];

/// Turns documents into policies. It owns the schemas that they are held against, a few hundred kilobytes: whoever
/// compiles often keeps it, everybody else drops it.
#[derive(Debug)]
pub struct Compiler {
    cluster: Value,
    namespaced: Value,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Compiler {
    /// A compiler with the schemas of both kinds, generated from the Rust types.
    #[must_use]
    pub fn new() -> Self {
        let definitions = Definitions::generate();
        let schema = |kind| {
            let mut schema = definitions.spec_schema(kind).cloned().unwrap_or_default();
            strip_descriptions(&mut schema);
            schema
        };
        Self { cluster: schema(CLUSTER_KIND), namespaced: schema(NAMESPACED_KIND) }
    }

    /// A policy out of a decoded document.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn compile(&self, document: &Value) -> Result<Policy, Vec<FieldError>> {
        let schema = match document.get("kind").and_then(Value::as_str).unwrap_or_default() {
            CLUSTER_KIND => Some(&self.cluster),
            NAMESPACED_KIND => Some(&self.namespaced),
            _ => None,
        };
        compile(document, schema)
    }
}

/// Documentation takes two thirds of a schema's room, and nothing here reads it.
fn strip_descriptions(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    object.remove("description");
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(name) {
            strip_descriptions(inner);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(strip_descriptions);
    }
}

fn compile(document: &Value, schema: Option<&Value>) -> Result<Policy, Vec<FieldError>> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(schema) = schema else {
        let allowed = format!("{kind:?} is not a policy; use {CLUSTER_KIND} or {NAMESPACED_KIND}");
        return Err(vec![FieldError::new("kind", allowed)]);
    };
    let mut errors = Vec::new();
    if document.get("apiVersion").and_then(Value::as_str) != Some(API_VERSION) {
        errors.push(FieldError::new("apiVersion", format!("must be {API_VERSION}")));
    }
    for name in document.as_object().into_iter().flat_map(|map| map.keys()) {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec" | "status") {
            let known = ["apiVersion", "kind", "metadata", "spec", "status"];
            let hint = schema::nearest(name, known).map(|known| format!("; did you mean {known}?"));
            errors.push(FieldError::new(field("", name), format!("unknown field{}", hint.unwrap_or_default())));
        }
    }
    let id = identity(document, kind, &mut errors);
    let Some(spec) = document.get("spec") else {
        errors.push(FieldError::new("spec", "required"));
        return Err(errors);
    };
    schema::check(spec, schema, "spec", &mut errors);
    misplaced_placeholders(spec, "spec", &mut Vec::new(), &mut errors);
    let typed = match serde_json::from_value::<PolicySpec>(spec.clone()) {
        Ok(typed) if errors.is_empty() => typed,
        // The schema has named the field already.
        _ if !errors.is_empty() => return Err(errors),
        Ok(_) => return Err(errors),
        Err(error) => return Err(vec![FieldError::new("spec", error.to_string())]),
    };
    if !BLOCKS.iter().any(|block| spec.get(block).is_some_and(|value| says_something(block, value))) {
        let why = "does nothing: it has no block besides match";
        errors.push(FieldError::new("spec", why));
    }
    let mut checker = Checker { spec: &typed, v3io: typed.v3io.as_ref(), errors, notes: Vec::new() };
    let generation = document.pointer("/metadata/generation").and_then(Value::as_i64);
    let policy = checker.policy(id, generation);
    if checker.errors.is_empty() {
        return Ok(Policy { notes: below_spec(checker.notes), ..policy });
    }
    Err(checker.errors)
}

/// Gathers what is wrong while a spec is compiled. Paths are relative to the spec until they are reported.
struct Checker<'s> {
    spec: &'s PolicySpec,
    v3io: Option<&'s V3ioSpec>,
    errors: Vec<FieldError>,
    notes: Vec<FieldError>,
}

impl Checker<'_> {
    fn policy(&mut self, id: PolicyId, generation: Option<i64>) -> Policy {
        let spec = self.spec;
        let mut errors = Vec::new();
        let pods = Selector::parse(&spec.matches.pod_selector, "match.podSelector", &mut errors);
        let namespaces = spec.matches.namespace_selector.as_ref();
        let namespaces = namespaces.map(|s| Selector::parse(s, "match.namespaceSelector", &mut errors));
        self.extend("", errors.into_iter().map(|error| (error.path, error.message)));
        self.trusted_labels();
        let compiled = Policy {
            id,
            generation,
            priority: spec.priority,
            pods,
            namespaces,
            containers: self.containers(),
            on_conflict: spec.on_conflict,
            username: self.username(),
            storage: self.storage(&spec.storage),
            auto_mount: spec.auto_mount.as_ref().and_then(|block| self.auto_mount(block)),
            persistence: spec.persistence.as_ref().map(|block| self.catalogue(block)),
            env: self.env(),
            env_from: self.env_from(),
            labels: self.labels(),
            annotations: self.annotations(),
            image_pull_policy: spec.image_pull_policy,
            preemption: self.preemption(),
            node_selector: spec.node_selector.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            tolerations: spec.tolerations.iter().map(Toleration::from).collect(),
            affinity: spec.affinity.as_ref().map(Affinity::from),
            priority_class_name: spec.priority_class_name.clone().filter(|name| !name.is_empty()),
            defaults: self.defaults(),
            thresholds: self.thresholds(),
            on_exceeded: spec.on_exceeded.unwrap_or_default(),
            notes: Vec::new(),
        };
        self.extend("", rules::node_selector("nodeSelector", &spec.node_selector));
        self.extend("", rules::tolerations("tolerations", &spec.tolerations));
        if let Some(affinity) = &spec.affinity {
            self.extend("", rules::affinity("affinity", affinity));
        }
        if let Some(name) = compiled.priority_class_name.as_deref() {
            self.extend("", rules::priority_class_name("priorityClassName", name));
        }
        compiled
    }

    /// An error at `path` below the spec.
    fn error(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(below("spec", path), message));
    }

    /// Something a person should know, though the policy is accepted.
    fn note(&mut self, path: &str, message: impl Into<String>) {
        let note = FieldError::new(path, message);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn extend(&mut self, parent: &str, problems: impl IntoIterator<Item = (String, String)>) {
        for (path, message) in problems {
            self.error(&below(parent, &path), message);
        }
    }

    /// Checks a name that takes no placeholders.
    fn name(&mut self, value: &str, check: fn(&str) -> names::Check, path: &str) {
        if let Err(allowed) = check(value) {
            self.error(path, format!("{value:?} {allowed}"));
        }
    }

    /// Parses a text that takes placeholders.
    fn template(&mut self, text: &str, kind: Kind, path: &str) -> Option<Template> {
        let template = match Template::parse(text, kind) {
            Ok(template) => template,
            Err(why) => {
                self.error(path, why);
                return None;
            }
        };
        if template.has_username() && self.v3io.is_none() {
            self.error(path, "{username} needs spec.v3io");
        }
        if kind == Kind::Secret {
            self.secret_name(&template, path);
        }
        Some(template)
    }

    /// A label is the word of whoever made the pod. It may choose a credential only where the policy says so.
    fn secret_name(&mut self, template: &Template, path: &str) {
        let mut keys: Vec<String> = template.labels().map(str::to_owned).collect();
        if template.has_username()
            && let Some(Ok(username)) = self.v3io.map(|v3io| Template::parse(&v3io.username, Kind::Username))
        {
            keys.extend(username.labels().map(str::to_owned));
        }
        for key in keys {
            if self.spec.trusted_labels.contains(&key) {
                self.note(
                    "trustedLabels",
                    format!("whoever sets the label {key} on a pod chooses the credential ({path})"),
                );
            } else {
                let why = "a pod's label is its maker's word, and chooses the credential here";
                self.error(path, format!("the label {key} is not in trustedLabels: {why}"));
            }
        }
    }

    /// A template of a text that has placeholders; `None` where it has none.
    fn text_template(&mut self, text: &str) -> Option<Template> {
        looks_like_placeholder(text).then(|| Template::parse(text, Kind::Bucket).ok()).flatten()
    }

    fn trusted_labels(&mut self) {
        for (index, key) in self.spec.trusted_labels.iter().enumerate() {
            self.name(key, names::label_key, &item("trustedLabels", index));
        }
    }

    fn username(&mut self) -> Option<Template> {
        let v3io = self.v3io?;
        self.name(&v3io.access_key_secret.key, names::data_key, "v3io.accessKeySecret.key");
        let username = self.template(&v3io.username, Kind::Username, "v3io.username");
        if username.as_ref().is_some_and(Template::has_username) {
            self.error("v3io.username", "{username} cannot stand for itself");
        }
        self.template(&v3io.access_key_secret.name, Kind::Secret, "v3io.accessKeySecret.name");
        username
    }

    fn containers(&mut self) -> Containers {
        let Some(ContainersSpec { include, exclude, init_containers }) = &self.spec.containers else {
            return Containers { names: ContainerNames::Exclude(Vec::new()), init: true };
        };
        if include.is_some() && exclude.is_some() {
            self.error("containers", "include and exclude cannot both be given");
        }
        if include.as_ref().is_some_and(Vec::is_empty) {
            self.error("containers.include", "must not be empty");
        }
        for (name, list) in [("containers.include", include), ("containers.exclude", exclude)] {
            for (index, container) in list.iter().flatten().enumerate() {
                self.name(container, names::container_name, &item(name, index));
            }
        }
        let names = match (include, exclude) {
            (Some(include), _) => ContainerNames::Include(include.clone()),
            (None, exclude) => ContainerNames::Exclude(exclude.clone().unwrap_or_default()),
        };
        Containers { names, init: *init_containers }
    }

    fn env(&mut self) -> Vec<EnvUnit> {
        let mut units: Vec<EnvUnit> = Vec::new();
        for (index, var) in self.spec.env.iter().enumerate() {
            let at = item("env", index);
            self.name(&var.name, names::env_var_name, &field(&at, "name"));
            if units.iter().any(|unit| unit.name == var.name) {
                self.error(&field(&at, "name"), format!("{:?} is given twice", var.name));
            }
            let mut entry = Fragment::fixed(json!(var));
            if let Some(from) = &var.value_from {
                let at = field(&at, "valueFrom");
                let sources = json!(from).as_object().map_or(0, serde_json::Map::len);
                if sources != 1 {
                    self.error(&at, format!("must have exactly one source; it has {sources}"));
                }
                if var.value.as_deref().is_some_and(|value| !value.is_empty()) {
                    self.error(&at, "value and valueFrom cannot both be given");
                }
                if let Some(reference) = &from.secret_key_ref {
                    let at = field(&field(&at, "secretKeyRef"), "name");
                    if let Some(name) = self.template(&reference.name, Kind::Secret, &at) {
                        entry = entry.with("/valueFrom/secretKeyRef/name", name);
                    }
                }
            }
            units.push(EnvUnit { name: var.name.clone(), entry, group: None, companions: Vec::new() });
        }
        units
    }

    fn env_from(&mut self) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        for (index, source) in self.spec.env_from.iter().enumerate() {
            let at = item("envFrom", index);
            if let Some(prefix) = source.prefix.as_deref() {
                self.prefix(prefix, &field(&at, "prefix"));
            }
            let mut entry = Fragment::fixed(json!(source));
            match (&source.secret_ref, &source.config_map_ref) {
                (Some(secret), None) => {
                    let at = field(&field(&at, "secretRef"), "name");
                    if let Some(name) = self.template(&secret.name, Kind::Secret, &at) {
                        entry = entry.with("/secretRef/name", name);
                    }
                }
                (None, Some(map)) => {
                    self.name(&map.name, names::config_map_name, &field(&field(&at, "configMapRef"), "name"));
                }
                _ => self.error(&at, "must have exactly one of secretRef and configMapRef"),
            }
            fragments.push(entry);
        }
        fragments
    }

    fn labels(&mut self) -> Vec<(String, String)> {
        for (key, value) in &self.spec.labels {
            let at = field("labels", key);
            self.metadata_key(key, names::label_key, &at);
            self.name(value, names::label_value, &at);
        }
        self.spec.labels.clone().into_iter().collect()
    }

    fn annotations(&mut self) -> Vec<(String, String)> {
        for key in self.spec.annotations.keys() {
            self.metadata_key(key, names::annotation_key, &field("annotations", key));
        }
        self.spec.annotations.clone().into_iter().collect()
    }

    fn metadata_key(&mut self, key: &str, check: fn(&str) -> names::Check, at: &str) {
        self.name(key, check, at);
        if key.starts_with("stowage.dev/") {
            // At reinvocation such a key would read as the pod's own wish.
            self.error(at, "stowage.dev/ keys are the pod's own word; use the policy's block instead");
        }
    }

    fn preemption(&mut self) -> Option<Preemption> {
        match Preemption::compile(self.spec.preemption.as_ref()?) {
            Ok(preemption) => Some(preemption),
            Err(problems) => {
                self.extend("preemption", problems);
                None
            }
        }
    }

    fn defaults(&mut self) -> Option<Defaults> {
        match Defaults::compile(self.spec.defaults.as_ref()?) {
            Ok(defaults) => Some(defaults),
            Err(problems) => {
                self.extend("defaults", problems);
                None
            }
        }
    }

    fn thresholds(&mut self) -> Option<crate::threshold::spec::StateThresholds> {
        match self.spec.state_thresholds.as_ref()?.compile() {
            Ok(thresholds) => Some(thresholds),
            Err(problems) => {
                self.extend("stateThresholds", problems.into_iter().map(|problem| (problem.path, problem.message)));
                None
            }
        }
    }
}

fn identity(document: &Value, kind: &str, errors: &mut Vec<FieldError>) -> PolicyId {
    let text = |pointer| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("/metadata/name");
    if let Err(allowed) = names::policy_name(&name) {
        errors.push(FieldError::new("metadata.name", format!("{name:?} {allowed}")));
    }
    let namespace = text("/metadata/namespace");
    let scope = match kind {
        CLUSTER_KIND => {
            if !namespace.is_empty() {
                errors.push(FieldError::new("metadata.namespace", format!("a {CLUSTER_KIND} has no namespace")));
            }
            Scope::Cluster
        }
        _ => {
            if let Err(allowed) = names::namespace(&namespace) {
                let why = format!("{namespace:?} {allowed}: an {NAMESPACED_KIND} acts in its own namespace only");
                errors.push(FieldError::new("metadata.namespace", why));
            }
            Scope::Namespace(namespace)
        }
    };
    PolicyId { scope, name: name.into() }
}

/// Placeholders in fields that do not take them would reach the pod as text. `trail` is the names on the way, without
/// indices.
fn misplaced_placeholders<'v>(value: &'v Value, path: &str, trail: &mut Vec<&'v str>, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) if looks_like_placeholder(text) && !takes_placeholders(trail) => {
            let why = "placeholders resolve only in usernames, secret, claim and volume names, subPath and bucket";
            errors.push(FieldError::new(path, why));
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                misplaced_placeholders(value, &item(path, index), trail, errors);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                trail.push(name);
                misplaced_placeholders(value, &field(path, name), trail, errors);
                trail.pop();
            }
        }
        _ => {}
    }
}

fn takes_placeholders(trail: &[&str]) -> bool {
    matches!(
        trail,
        ["v3io", "username"]
            | ["v3io", "accessKeySecret", "name"]
            | ["autoMount", "params"]
            | ["env", "valueFrom", "secretKeyRef", "name"]
            | ["envFrom", "secretRef", "name"]
            | ["storage", "v3ioFuse", "mounts", "subPath"]
            | ["storage", "volume", "name"]
            | ["storage", "volume", "source", _, "claimName" | "secretName"]
            | ["storage", _, "claimName" | "secretName" | "volumeName" | "subPath"]
            | ["persistence", "data" | "outputs", _, "existingClaim" | "secret" | "bucket" | "subPath"]
    )
}

/// Whether a block does anything. `autoMount: {}` says type auto, `preemption: {}` mode prevent.
fn says_something(block: &str, value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Null => false,
        Value::Object(map) => !map.is_empty() || matches!(block, "autoMount" | "preemption"),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn below_spec(notes: Vec<FieldError>) -> Vec<FieldError> {
    notes.into_iter().map(|note| FieldError { path: below("spec", &note.path), ..note }).collect()
}
