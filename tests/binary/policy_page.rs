//! The page of the policy's fields, written from the schema.

use std::fmt::Write as _;

use serde_json::Value;
use stowage::policy::crd::{CLUSTER_KIND, Definitions};

/// Fields whose content is a type of Kubernetes, which its own reference describes. `[]` is any item, `*` any name.
const OF_KUBERNETES: [(&str, &str); 19] = [
    ("match.podSelector", "`meta/v1` LabelSelector"),
    ("match.namespaceSelector", "`meta/v1` LabelSelector"),
    ("env[]", "`core/v1` EnvVar"),
    ("envFrom[]", "`core/v1` EnvFromSource"),
    ("affinity", "`core/v1` Affinity"),
    ("tolerations[]", "`core/v1` Toleration"),
    ("preemption.tolerations[]", "`core/v1` Toleration"),
    ("imagePullSecrets[]", "`core/v1` LocalObjectReference"),
    ("storage[].configMap.items[]", "`core/v1` KeyToPath"),
    ("storage[].secret.items[]", "`core/v1` KeyToPath"),
    ("storage[].volume.source", "any volume source of `core/v1`"),
    ("defaults.resources", "`core/v1` ResourceRequirements"),
    ("defaults.imagePullSecrets[]", "`core/v1` LocalObjectReference"),
    ("defaults.securityContext", "`core/v1` PodSecurityContext"),
    ("defaults.affinity", "`core/v1` Affinity"),
    ("defaults.tolerations[]", "`core/v1` Toleration"),
    ("defaults.topologySpreadConstraints[]", "`core/v1` TopologySpreadConstraint"),
    ("defaults.nodeSelector", "map of strings"),
    ("storage[].env.variables", "map of strings"),
];

/// Longest string, where a field does not say otherwise.
const USUAL_LENGTH: u64 = 4096;

const HEAD: &str = "\
# The fields of a policy

Every field of a `ClusterInjectionPolicy` and an `InjectionPolicy` of `stowage.dev/v1alpha1`, written from the schema that \
the API server and `stowage check` hold a policy against. Both kinds have one spec; only a `ClusterInjectionPolicy` has \
`match.namespaceSelector`. A field that is not here is refused by `stowage check` and by `kubectl apply` with strict \
validation.

A field is optional unless its default says *required*. Lists and maps hold at most 64 entries and strings at most 4096 \
characters where the bound says nothing else. Placeholders, where a field says that they resolve, are `{namespace}`, \
`{serviceAccount}`, `{username}` and `{label:KEY}`.
";

/// The whole page.
pub(crate) fn page() -> String {
    let definitions = Definitions::generate();
    let mut page = HEAD.to_owned();
    section(&mut page, "", definitions.spec_schema(CLUSTER_KIND).unwrap());
    page
}

fn section(page: &mut String, path: &str, schema: &Value) {
    let title = if path.is_empty() { "spec".to_owned() } else { format!("spec.{path}") };
    write!(page, "\n## `{title}`\n\n{}\n", sentence(schema)).unwrap();
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    for rule in rules {
        let field = rule["fieldPath"].as_str().map(|field| format!("`{title}{field}`: ")).unwrap_or_default();
        write!(page, "\nRefused: {field}{}.\n", rule["message"].as_str().unwrap()).unwrap();
    }
    page.push_str("\n| field | type | default | bound | meaning |\n|---|---|---|---|---|\n");
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().unwrap();
    for (name, field) in properties {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = match &field["default"] {
            _ if required.contains(&name.as_str()) => "*required*".to_owned(),
            Value::Null => String::new(),
            default => format!("`{default}`"),
        };
        let (kind, bound) = (kind(&at, field), bound(field));
        writeln!(page, "| `{name}` | {kind} | {default} | {bound} | {} |", sentence(field)).unwrap();
    }
    for (name, field) in properties {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (at, inner) = content(at, field);
        if of_kubernetes(&at).is_none() && inner["properties"].as_object().is_some_and(|fields| !fields.is_empty()) {
            section(page, &at, inner);
        }
    }
}

/// What a list or map holds, with its path; the schema itself where it is neither.
fn content(at: String, schema: &Value) -> (String, &Value) {
    match (&schema["items"], &schema["additionalProperties"]) {
        (items @ Value::Object(_), _) => content(format!("{at}[]"), items),
        (_, values @ Value::Object(_)) => content(format!("{at}.*"), values),
        _ => (at, schema),
    }
}

fn of_kubernetes(at: &str) -> Option<&'static str> {
    OF_KUBERNETES.iter().find(|(path, _)| *path == at).map(|(_, name)| *name)
}

fn kind(at: &str, schema: &Value) -> String {
    if let Some(name) = of_kubernetes(at) {
        return name.to_owned();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "number or string".to_owned();
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true && schema["type"].is_null() {
        return "word, or object of words".to_owned();
    }
    if let Value::Array(words) = &schema["enum"] {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect();
        return words.join(" ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&format!("{at}[]"), &schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&format!("{at}.*"), &schema["additionalProperties"]))
        }
        Some("object") => format!("object, see `spec.{at}`"),
        Some("integer") => "whole number".to_owned(),
        Some(other) => other.to_owned(),
        None => panic!("spec.{at} has no type"),
    }
}

fn bound(schema: &Value) -> String {
    let number = |name: &str| schema[name].as_u64().or_else(|| schema[name].as_i64().map(i64::unsigned_abs));
    let mut bounds = Vec::new();
    for (least, most, what) in [("minimum", "maximum", ""), ("minItems", "maxItems", " entries")] {
        match (number(least), number(most)) {
            (Some(least), Some(most)) => bounds.push(format!("{least} to {most}{what}")),
            (Some(least), None) => bounds.push(format!("at least {least}{what}")),
            (None, Some(64)) | (None, None) => {}
            (None, Some(most)) => bounds.push(format!("at most {most}{what}")),
        }
    }
    if let Some(most) = number("maxProperties").filter(|most| *most != 64) {
        bounds.push(format!("at most {most} entries"));
    }
    if let Some(most) = number("maxLength").filter(|most| *most != USUAL_LENGTH) {
        bounds.push(format!("at most {most} characters"));
    }
    bounds.join(", ")
}

fn sentence(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.replace('\n', " ").replace('|', "\\|")
}
