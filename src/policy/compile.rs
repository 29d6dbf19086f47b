//! The wire form of a policy to its compiled form: all that is wrong at once, each with its field path.

mod annotations;
pub mod auto_mount;
mod blocks;
pub mod catalogue;
mod checker;
mod environment;
mod identity;
mod mount;
mod projection;
mod reference;
mod source;
mod storage;
mod v3io;
mod variables;

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    field_error::{FieldError, field, item},
    policy::{
        Policy,
        compile::checker::Checker,
        crd::{BESIDE_BLOCKS, CLUSTER_KIND, Definitions, NAMESPACED_KIND},
        schema,
        spec::PolicySpec,
        template::looks_like_placeholder,
    },
};

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
    let (id, generation) = identity::read(document, kind, &mut errors);
    let Some(spec) = document.get("spec") else {
        errors.push(FieldError::new("spec", "required"));
        return Err(errors);
    };
    schema::check(spec, schema, "spec", &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let typed = PolicySpec::deserialize(spec).map_err(|error| vec![FieldError::new("spec", error.to_string())])?;
    let mut checker = Checker::new(&typed);
    let policy = checker.policy(id, generation);
    let Checker { mut errors, notes, templated, placeholder_labels, .. } = checker;
    let blocks = spec.as_object().into_iter().flatten().filter(|(name, _)| !BESIDE_BLOCKS.contains(&name.as_str()));
    if !blocks.into_iter().any(|(name, value)| says_something(name, value)) {
        let why = "the policy changes nothing: it has no block besides match, such as storage, env or preemption";
        errors.push(FieldError::new("spec", why));
    }
    let mut misplaced = Vec::new();
    misplaced_placeholders(spec, "", &templated, &mut misplaced);
    if errors.is_empty() {
        errors = misplaced;
    } else {
        // Only where all fields were read is it known which of them take placeholders; of a field that is wrong
        // otherwise too, this is the better reason.
        for error in misplaced {
            errors.iter_mut().filter(|other| other.path == error.path).for_each(|other| other.clone_from(&error));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let notes = notes.into_iter().map(|note| note.below("spec")).collect();
    let placeholder_labels = placeholder_labels.into_iter().map(String::into_boxed_str).collect();
    Ok(Policy { notes, placeholder_labels, ..policy })
}

/// Placeholders in a field that takes none would reach the pod as text. `templated` holds the fields that take them.
fn misplaced_placeholders(value: &Value, path: &str, templated: &BTreeSet<String>, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) if looks_like_placeholder(text) && !templated.contains(path) => {
            let why = "placeholders resolve only in usernames, secret, claim and volume names, subPath, subPathExpr and bucket";
            errors.push(FieldError::new(path, why).below("spec"));
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                misplaced_placeholders(value, &item(path, index), templated, errors);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                misplaced_placeholders(value, &field(path, name), templated, errors);
            }
        }
        _ => {}
    }
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
