//! When two pieces of a pod say the same.
//!
//! At reinvocation the API server has filled defaults into what an earlier pass added, and has written quantities in
//! their canonical form (`pkg/apis/core/v1/defaults.go`). Both sides are brought to one form before they are compared.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::{
    json::{Json, Raw, Str},
    pod::EnvView,
    quantity::Quantity,
};

/// Whether two sources of a volume of `kind` say the same.
#[must_use]
pub fn same_source_values(kind: &str, theirs: &Value, ours: &Value) -> bool {
    // A pod may bring thousands of volumes, nearly all of which refer to something else.
    let name = match kind {
        "persistentVolumeClaim" => "claimName",
        "secret" => "secretName",
        "configMap" => "name",
        _ => "",
    };
    if theirs.get(name) != ours.get(name) {
        return false;
    }
    theirs == ours || normal_source(kind, theirs) == normal_source(kind, ours)
}

/// Whether a pod's variable is what `ours` says; without a wish of ours an empty one is as good as none.
#[must_use]
pub fn same_env(theirs: &EnvView<'_>, ours: Option<&Json<'_>>) -> bool {
    let Some(ours) = ours else { return theirs.value_from.is_none() && is_empty(theirs.value) };
    own_variable_text(theirs) == canonical_variable(ours.as_str())
}

/// Whether two variables, written as policies write them, say the same.
#[must_use]
pub fn same_variables(one: &str, other: &str) -> bool {
    one == other || canonical_variable(one) == canonical_variable(other)
}

/// A variable as policies write it, in the one form that everything that says the same comes to.
#[must_use]
pub fn canonical_variable(text: &str) -> Cow<'_, str> {
    // Policies are compiled to that form but for what the API server fills in or leaves out.
    let is_plain = !["ieldRef\"", ":false", ":\"\"", "null"].iter().any(|odd| text.contains(odd));
    if is_plain {
        return text.into();
    }
    serde_json::from_str(text).map_or(Cow::Borrowed(text), |variable| canonical(variable).into())
}

/// The same of a pod's variable.
#[must_use]
pub fn own_variable_text(variable: &EnvView<'_>) -> String {
    let name = variable.name.as_ref().map_or("", Str::as_str);
    let parsed = |raw: Raw<'_>| serde_json::from_str(raw.get()).unwrap_or(Value::Null);
    canonical(json!({
        "name": name,
        "value": variable.value.map(parsed),
        "valueFrom": variable.value_from.map(parsed),
    }))
}

fn is_empty(value: Option<Raw<'_>>) -> bool {
    value.is_none_or(|raw| raw.text().is_some_and(|text| text.is_empty()))
}

fn canonical(mut variable: Value) -> String {
    if let Some(from) = variable.get_mut("valueFrom") {
        // What the API server fills in.
        if let Some(reference) = from.get_mut("fieldRef").and_then(Value::as_object_mut)
            && reference.get("apiVersion").is_some_and(|version| version == "v1")
        {
            reference.remove("apiVersion");
        }
        if let Some(reference) = from.get_mut("resourceFieldRef") {
            if reference.get("divisor").is_some_and(|divisor| *divisor == "0" || *divisor == 0)
                && let Some(reference) = reference.as_object_mut()
            {
                reference.remove("divisor");
            }
            quantity(reference.get_mut("divisor"));
        }
    }
    drop_zeros(&mut variable);
    variable.sort_all_objects();
    variable.to_string()
}

/// What makes an `envFrom` entry one with another: prefix, kind and name.
#[must_use]
pub fn env_from_key(entry: &Value) -> String {
    let prefix = entry.get("prefix").and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = ["secretRef", "configMapRef"]
        .into_iter()
        .find_map(|kind| Some((kind, entry.get(kind)?.get("name").and_then(Value::as_str).unwrap_or_default())))
        .unwrap_or_default();
    [prefix, kind, name].join("\0")
}

fn normal_source(kind: &str, source: &Value) -> Value {
    let mut source = source.clone();
    drop_zeros(&mut source);
    let Value::Object(map) = &mut source else { return source };
    let default = |map: &mut Map<String, Value>, name: &str, value: Value| {
        map.entry(name).or_insert(value);
    };
    match kind {
        "secret" | "configMap" => default(map, "defaultMode", json!(420)),
        "downwardAPI" => {
            default(map, "defaultMode", json!(420));
            items(map);
        }
        "projected" => {
            default(map, "defaultMode", json!(420));
            for source in map.get_mut("sources").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
                    default(token, "expirationSeconds", json!(3600));
                }
                if let Some(fields) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                    items(fields);
                }
            }
        }
        "emptyDir" => quantity(map.get_mut("sizeLimit")),
        "ephemeral" => claim_template(map.get_mut("volumeClaimTemplate")),
        // It says when the image is fetched and not what is in it, and the admission plugin AlwaysPullImages, which sets it
        // whatever we write, refuses a pod where it was set back.
        "image" => {
            map.remove("pullPolicy");
        }
        "gcePersistentDisk" | "awsElasticBlockStore"
            // `omitempty`: 0 is the whole disk, as nothing is.
            if map.get("partition").is_some_and(|partition| *partition == 0) => {
                map.remove("partition");
            }
        "iscsi" => default(map, "iscsiInterface", json!("default")),
        "rbd" => {
            default(map, "pool", json!("rbd"));
            default(map, "user", json!("admin"));
            default(map, "keyring", json!("/etc/ceph/keyring"));
        }
        "azureDisk" => {
            default(map, "cachingMode", json!("ReadWrite"));
            default(map, "kind", json!("Shared"));
            default(map, "fsType", json!("ext4"));
        }
        "scaleIO" => {
            default(map, "storageMode", json!("ThinProvisioned"));
            default(map, "fsType", json!("xfs"));
        }
        _ => {}
    }
    source
}

fn claim_template(template: Option<&mut Value>) {
    let Some(template) = template.and_then(Value::as_object_mut) else { return };
    // Go writes the metadata also where it is empty.
    if template.get("metadata").and_then(Value::as_object).is_some_and(Map::is_empty) {
        template.remove("metadata");
    }
    let Some(Value::Object(spec)) = template.get_mut("spec") else { return };
    spec.entry("volumeMode").or_insert_with(|| json!("Filesystem"));
    for list in ["requests", "limits"] {
        let amounts = spec.get_mut("resources").and_then(|resources| resources.get_mut(list));
        let amounts = amounts.and_then(Value::as_object_mut);
        amounts.into_iter().flat_map(Map::values_mut).for_each(|amount| quantity(Some(amount)));
    }
}

/// Whether the API server's default pull policy for an image is `Always` (`parsers.ParseImageName`: no tag, or `latest`).
#[must_use]
pub fn pulls_always(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

fn items(map: &mut Map<String, Value>) {
    for item in map.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        field_ref(item);
    }
}

fn field_ref(value: &mut Value) {
    if let Some(reference) = value.get_mut("fieldRef").and_then(Value::as_object_mut) {
        reference.entry("apiVersion").or_insert_with(|| json!("v1"));
    }
    if let Some(reference) = value.get_mut("resourceFieldRef").and_then(Value::as_object_mut) {
        reference.entry("divisor").or_insert_with(|| json!("0"));
        quantity(reference.get_mut("divisor"));
    }
}

fn quantity(amount: Option<&mut Value>) {
    let Some(amount) = amount else { return };
    let text = match amount {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if let Ok(parsed) = text.parse::<Quantity>() {
        *amount = json!(format!("{parsed:?}"));
    }
}

/// Absent, null, false and empty say the same in volume sources and references. Numbers do not: a mode of 0 is a mode.
fn drop_zeros(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(drop_zeros);
            map.retain(|_, value| {
                !matches!(value, Value::Null | Value::Bool(false))
                    && value.as_str() != Some("")
                    && !value.as_array().is_some_and(Vec::is_empty)
            });
        }
        Value::Array(items) => items.iter_mut().for_each(drop_zeros),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_through_what_the_api_server_fills_in() {
        for (kind, ours, theirs) in [
            ("secret", json!({"secretName": "s"}), json!({"secretName": "s", "defaultMode": 420})),
            ("hostPath", json!({"path": "/a", "type": ""}), json!({"path": "/a"})),
            ("emptyDir", json!({"sizeLimit": "1024Mi"}), json!({"sizeLimit": "1Gi"})),
            ("persistentVolumeClaim", json!({"claimName": "c"}), json!({"claimName": "c", "readOnly": false})),
            (
                "projected",
                json!({"sources": [{"serviceAccountToken": {"path": "t"}}]}),
                json!({"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}], "defaultMode": 420}),
            ),
        ] {
            assert!(same_source_values(kind, &theirs, &ours), "{kind}");
        }
        let mode = json!({"secretName": "s", "defaultMode": 0});
        assert!(!same_source_values("secret", &mode, &json!({"secretName": "s"})));
        let read_only = json!({"claimName": "c", "readOnly": true});
        assert!(!same_source_values("persistentVolumeClaim", &read_only, &json!({"claimName": "c"})));
    }

    #[test]
    fn compares_variables_by_what_they_say() {
        let says = |theirs: &'static str, ours: Value| {
            same_env(&crate::json::read::<EnvView<'_>>(theirs).unwrap(), Some(&Json::of(&ours)))
        };
        assert!(says(r#"{"name":"A"}"#, json!({"name": "A", "value": ""})));
        assert!(says(r#"{"name":"A","value":"x\n"}"#, json!({"name": "A", "value": "x\n"})));
        assert!(!says(r#"{"name":"A","value":"x"}"#, json!({"name": "A", "value": "y"})));
        let by_reference = json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}});
        let defaulted = r#"{"name":"A","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"status.hostIP"}}}"#;
        assert!(says(defaulted, by_reference));
        let secret = json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": false}}});
        let turned = r#"{"valueFrom":{"secretKeyRef":{"key":"k","name":"s"}},"name":"A"}"#;
        assert!(says(turned, secret));
        let cores = json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}});
        assert!(says(
            r#"{"name":"A","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu","divisor":"0"}}}"#,
            cores
        ));
    }
}
