//! Which policy a document is: what stands outside its spec.

use serde_json::Value;

use crate::{
    field_error::{FieldError, field},
    names,
    policy::{
        PolicyId, Scope,
        crd::{API_VERSION, CLUSTER_KIND, NAMESPACED_KIND},
        schema,
    },
};

/// Fields at the top of a policy.
const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The identity of a policy of this kind, and its generation; what is wrong outside its spec is added to `errors`.
pub(super) fn read(document: &Value, kind: &str, errors: &mut Vec<FieldError>) -> (PolicyId, Option<i64>) {
    if document.get("apiVersion").and_then(Value::as_str) != Some(API_VERSION) {
        errors.push(FieldError::new("apiVersion", format!("must be {API_VERSION}")));
    }
    for name in document.as_object().into_iter().flat_map(|map| map.keys()) {
        if !KNOWN.contains(&name.as_str()) {
            let hint = schema::nearest(name, KNOWN).map(|known| format!("; did you mean {known}?"));
            errors.push(FieldError::new(field("", name), format!("unknown field{}", hint.unwrap_or_default())));
        }
    }
    let none = Value::Null;
    let metadata = document.get("metadata").unwrap_or(&none);
    if !metadata.is_object() && !metadata.is_null() {
        errors.push(schema::wrong_type("metadata", "an object", metadata));
    }
    let name = text(metadata, "name", errors);
    if let Some(name) = name
        && let Err(allowed) = names::policy_name(name)
    {
        errors.push(FieldError::new("metadata.name", format!("{name:?} {allowed}")));
    }
    let namespace = text(metadata, "namespace", errors);
    let scope = if kind == CLUSTER_KIND {
        if namespace.is_some_and(|namespace| !namespace.is_empty()) {
            errors.push(FieldError::new("metadata.namespace", format!("a {CLUSTER_KIND} has no namespace")));
        }
        Scope::Cluster
    } else {
        if let Some(namespace) = namespace
            && let Err(allowed) = names::namespace(namespace)
        {
            let why = format!("{namespace:?} {allowed}: an {NAMESPACED_KIND} acts in its own namespace only");
            errors.push(FieldError::new("metadata.namespace", why));
        }
        Scope::Namespace(namespace.unwrap_or_default().into())
    };
    let generation = metadata.get("generation").and_then(Value::as_i64);
    (PolicyId { scope, name: name.unwrap_or_default().into() }, generation)
}

/// The text of a field of `metadata`, empty where it is absent; `None` where it is no text, such as `name: y`, which is a
/// boolean.
fn text<'d>(metadata: &'d Value, name: &str, errors: &mut Vec<FieldError>) -> Option<&'d str> {
    match metadata.get(name) {
        None | Some(Value::Null) => Some(""),
        Some(Value::String(text)) => Some(text),
        Some(other) => {
            errors.push(schema::wrong_type(&field("metadata", name), "a string", other));
            None
        }
    }
}
