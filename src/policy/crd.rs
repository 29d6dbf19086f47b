//! The CustomResourceDefinitions, generated from the Rust types.

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::spec::ClusterInjectionPolicy;

/// API group of both kinds.
pub const GROUP: &str = "stowage.dev";
/// `apiVersion` of both kinds.
pub const API_VERSION: &str = "stowage.dev/v1alpha1";
/// The cluster-scoped kind, written by the platform team.
pub const CLUSTER_KIND: &str = "ClusterInjectionPolicy";
/// The namespaced kind, which acts in its own namespace only.
pub const NAMESPACED_KIND: &str = "InjectionPolicy";

/// Fields of a spec that do nothing by themselves: a policy needs another one beside them.
pub const BESIDE_BLOCKS: [&str; 6] = ["match", "priority", "containers", "onConflict", "v3io", "trustedLabels"];

/// Entries of a list or map where the type does not say otherwise. CEL rules below unbounded lists are refused by the
/// API server for their cost.
const MOST: u64 = 64;
/// Longest string that a CEL rule may read.
const LONGEST: u64 = 4096;

/// Both CustomResourceDefinitions; together they are a megabyte.
#[derive(Clone, Debug)]
pub struct Definitions {
    /// Of the cluster kind.
    pub cluster: Value,
    /// Of the namespaced kind.
    pub namespaced: Value,
}

impl Definitions {
    /// Makes both from the Rust types.
    #[must_use]
    pub fn generate() -> Self {
        let mut cluster = json!(ClusterInjectionPolicy::crd());
        if let Some(schema) = cluster.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
            tighten(schema);
            spec_rules(schema);
        }
        let namespaced = namespaced(&cluster);
        Self { cluster, namespaced }
    }

    /// The structural schema of `kind`'s `spec`; `None` for a kind that is not ours.
    #[must_use]
    pub fn spec_schema(&self, kind: &str) -> Option<&Value> {
        let definition = match kind {
            CLUSTER_KIND => &self.cluster,
            NAMESPACED_KIND => &self.namespaced,
            _ => return None,
        };
        definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
    }
}

fn namespaced(cluster: &Value) -> Value {
    let mut definition = cluster.clone();
    let names = json!({
        "kind": NAMESPACED_KIND, "plural": "injectionpolicies", "singular": "injectionpolicy",
        "shortNames": ["injp"], "categories": ["stowage"]
    });
    set(&mut definition, "/metadata/name", json!(format!("injectionpolicies.{GROUP}")));
    set(&mut definition, "/spec/names", names);
    set(&mut definition, "/spec/scope", json!("Namespaced"));
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    set(&mut definition, &format!("{schema}/title"), json!(NAMESPACED_KIND));
    if let Some(Value::Object(properties)) =
        definition.pointer_mut(&format!("{schema}/properties/spec/properties/match/properties"))
    {
        // A namespaced policy acts in its own namespace only.
        properties.shift_remove("namespaceSelector");
    }
    definition
}

fn set(value: &mut Value, pointer: &str, new: Value) {
    if let Some(at) = value.pointer_mut(pointer) {
        *at = new;
    }
}

/// Bounds every list, map and string, and shortens the descriptions of embedded Kubernetes types to a sentence.
fn tighten(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    // `kubectl explain` shows them; all of core/v1's prose would make the CRD ten times as large.
    if let Some(Value::String(text)) = object.get_mut("description")
        && let Some(end) = text.find(". ").or_else(|| text.find(".\n"))
        && text.len() > 300
    {
        text.truncate(end + 1);
    }
    object.remove("nullable");
    // The API server knows no unsigned formats and warns of them; it keeps bounds.
    if object.get("format").and_then(Value::as_str) == Some("uint32") {
        object.remove("format");
        object.entry("maximum").or_insert(u32::MAX.into());
    }
    match object.get("type").and_then(Value::as_str) {
        Some("array") => {
            object.entry("maxItems").or_insert(MOST.into());
        }
        Some("string") if !object.contains_key("enum") => {
            object.entry("maxLength").or_insert(LONGEST.into());
        }
        Some("object") if object.contains_key("additionalProperties") => {
            object.entry("maxProperties").or_insert(MOST.into());
        }
        _ => {}
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(name) {
            tighten(inner);
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(tighten);
    }
}

/// Rules over the whole spec, so that the API server refuses at `kubectl apply` what a schema cannot say.
fn spec_rules(schema: &mut Value) {
    let Some(Value::Object(spec)) = schema.pointer_mut("/properties/spec") else { return };
    let blocks = spec.get("properties").and_then(Value::as_object).map(blocks).unwrap_or_default();
    let names: Vec<&str> = blocks.iter().map(|(name, _)| name.as_str()).collect();
    let rules: Vec<&str> = blocks.iter().map(|(_, rule)| rule.as_str()).collect();
    let changes_something = json!({
        "rule": rules.join(" || "),
        "message": format!("the policy changes nothing: add at least one of {}", names.join(", "))
    });
    spec.insert(
        "x-kubernetes-validations".into(),
        json!([
            changes_something,
            {
                "rule": "!has(self.storage) || self.storage.all(m, !(has(m.v3io) || has(m.v3ioFuse))) || has(self.v3io)",
                "message": "v3io and v3ioFuse need spec.v3io",
                "fieldPath": ".storage"
            },
            {
                "rule": "!has(self.autoMount) || !(self.autoMount.type in ['v3io_credentials', 'v3io_fuse']) || has(self.v3io)",
                "message": "v3io_credentials and v3io_fuse need spec.v3io",
                "fieldPath": ".autoMount.type"
            },
            {
                "rule": "!has(self.autoMount) || !(self.autoMount.type in ['pvc', 's3', 'secret_env']) || (has(self.autoMount.params) && self.autoMount.params != '')",
                "message": "autoMount.type pvc, s3 and secret_env need params",
                "fieldPath": ".autoMount.params"
            },
            {
                "rule": "!has(self.preemption) || !has(self.preemption.mode) || self.preemption.mode != 'constrain' || !has(self.preemption.tolerations) || size(self.preemption.tolerations) == 0 || (has(self.preemption.nodeSelector) && size(self.preemption.nodeSelector) > 0)",
                "message": "mode constrain with tolerations needs the labels of preemptible nodes",
                "fieldPath": ".preemption.nodeSelector"
            },
            {
                "rule": "!has(self.persistence) || !has(self.persistence.defaultOutputs) || self.persistence.defaultOutputs in self.persistence.outputs",
                "message": "must be a name of persistence.outputs",
                "fieldPath": ".persistence.defaultOutputs"
            }
        ]),
    );
}

/// The fields of a spec that do something by themselves, each with the rule that it is there and says something.
fn blocks(properties: &Map<String, Value>) -> Vec<(String, String)> {
    let blocks = properties.iter().filter(|(name, _)| !BESIDE_BLOCKS.contains(&name.as_str()));
    let rule = |(name, schema): (&String, &Value)| {
        let says_something = match schema.get("type").and_then(Value::as_str) {
            Some("array") => format!(" && size(self.{name}) > 0"),
            Some("object") if schema.get("additionalProperties").is_some() => format!(" && size(self.{name}) > 0"),
            Some("string") => format!(" && self.{name} != ''"),
            _ => String::new(),
        };
        (name.clone(), format!("(has(self.{name}){says_something})"))
    };
    blocks.map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cluster_kind_selects_namespaces() {
        let pointer = "/properties/match/properties/namespaceSelector";
        let definitions = Definitions::generate();
        assert!(definitions.spec_schema(CLUSTER_KIND).unwrap().pointer(pointer).is_some());
        assert!(definitions.spec_schema(NAMESPACED_KIND).unwrap().pointer(pointer).is_none());
        assert!(definitions.spec_schema("Pod").is_none());
    }

    #[test]
    fn every_list_map_and_string_is_bounded() {
        fn walk(schema: &Value, path: &str) {
            let bounded = match schema.get("type").and_then(Value::as_str) {
                Some("array") => schema.get("maxItems").is_some(),
                Some("object") if schema.get("additionalProperties").is_some() => schema.get("maxProperties").is_some(),
                Some("string") => schema.get("maxLength").is_some() || schema.get("enum").is_some(),
                _ => true,
            };
            assert!(bounded, "{path}");
            for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                walk(inner, &format!("{path}.{name}"));
            }
            for name in ["items", "additionalProperties"] {
                if let Some(inner) = schema.get(name) {
                    walk(inner, &format!("{path}.{name}"));
                }
            }
        }
        walk(Definitions::generate().spec_schema(CLUSTER_KIND).unwrap(), "spec");
    }
}
