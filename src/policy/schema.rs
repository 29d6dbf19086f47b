//! The structural schema of a policy, and documents held against it.
//!
//! The schema comes from the Rust types by way of the CustomResourceDefinition, so `check` refuses what the API server
//! refuses. Beyond that it refuses unknown fields, which the API server prunes silently for plain clients, and it
//! reports all that is wrong at once.

use k8s_openapi::api::core::v1::Volume;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::field_error::{FieldError, field, item};

/// Holds `value` against the structural schema `schema` and adds what is wrong to `errors`.
pub fn check(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        if !value.is_string() && !value.is_number() {
            errors.push(wrong_type(path, "a string or a number", value));
        }
        return;
    }
    match (schema.get("type").and_then(Value::as_str), value) {
        (Some("object"), Value::Object(map)) => check_object(map, schema, path, errors),
        (Some("array"), Value::Array(items)) => {
            bounds(items.len(), schema, "maxItems", "items", path, errors);
            let none = Value::Null;
            let of = schema.get("items").unwrap_or(&none);
            for (index, value) in items.iter().enumerate() {
                check(value, of, &item(path, index), errors);
            }
        }
        (Some("string"), Value::String(text)) => check_string(text, schema, path, errors),
        (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
            check_range(number.as_f64().unwrap_or_default(), schema, path, errors);
        }
        (Some("number"), Value::Number(number)) => {
            check_range(number.as_f64().unwrap_or_default(), schema, path, errors);
        }
        (Some(wanted), value) => errors.push(wrong_type(path, article(wanted), value)),
    }
}

/// The name out of `known` that is nearest to `name`, where one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The schema of `core/v1` Volume without its name: what `volume.source` takes.
pub fn volume_source(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Volume::json_schema(generator);
    if let Some(object) = schema.as_object_mut() {
        object.remove("required");
        object.insert("minProperties".into(), 1.into());
        object.insert("maxProperties".into(), 1.into());
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.remove("name");
        }
    }
    schema
}

/// The rules of a type with `subPath` and `subPathExpr`.
pub fn sub_path_rules() -> Value {
    json!([one_sub_path(), plain_sub_path()])
}

/// A mount has one path within its volume.
pub fn one_sub_path() -> Value {
    json!({
        "rule": "!(has(self.subPath) && self.subPath != '' && has(self.subPathExpr) && self.subPathExpr != '')",
        "message": "subPath and subPathExpr cannot both be given",
        "fieldPath": ".subPathExpr"
    })
}

/// What looks like a reference to a variable is none in a `subPath`.
pub fn plain_sub_path() -> Value {
    json!({
        "rule": "!has(self.subPath) || !self.subPath.contains('$(')",
        "message": "a subPath is not expanded, and $( would be the name of a folder; use subPathExpr",
        "fieldPath": ".subPath"
    })
}

fn check_object(map: &Map<String, Value>, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let rest = schema.get("additionalProperties").filter(|rest| rest.is_object());
    for (name, value) in map {
        let at = field(path, name);
        match (properties.and_then(|properties| properties.get(name)), rest) {
            (Some(schema), _) | (None, Some(schema)) => check(value, schema, &at, errors),
            (None, None) => {
                if let Some(properties) = properties {
                    errors.push(FieldError::new(at, unknown(name, properties)));
                }
            }
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required.filter(|name| !map.contains_key(*name)) {
        errors.push(FieldError::new(field(path, name), "required"));
    }
    bounds(map.len(), schema, "maxProperties", "entries", path, errors);
    let at_least = schema.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    let exactly_one = at_least == 1 && schema.get("maxProperties").and_then(Value::as_u64) == Some(1);
    if exactly_one && map.len() != 1 {
        let names = properties.map(names_of).unwrap_or_default();
        errors.retain(|error| error.path != path);
        errors.push(FieldError::new(path, format!("must have exactly one of {names}; it has {}", map.len())));
    }
}

fn check_string(text: &str, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(Value::Array(allowed)) = schema.get("enum")
        && !allowed.iter().any(|word| word.as_str() == Some(text))
    {
        let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        let hint = nearest(text, words.iter().copied()).map(|word| format!(" (did you mean {word}?)"));
        let message = format!("{text:?} is not allowed; use one of {}{}", words.join(", "), hint.unwrap_or_default());
        errors.push(FieldError::new(path, message));
    }
    bounds(text.chars().count(), schema, "maxLength", "characters", path, errors);
}

fn check_range(number: f64, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let bound = |name| schema.get(name).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| number < *least) {
        errors.push(FieldError::new(path, format!("{number} is less than {least}")));
    }
    if let Some(most) = bound("maximum").filter(|most| number > *most) {
        errors.push(FieldError::new(path, format!("{number} is more than {most}")));
    }
}

fn bounds(count: usize, schema: &Value, name: &str, what: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(most) = schema.get(name).and_then(Value::as_u64)
        && u64::try_from(count).is_ok_and(|count| count > most)
        && most > 1
    {
        errors.push(FieldError::new(path, format!("{count} {what}; at most {most} are allowed")));
    }
}

fn unknown(name: &str, properties: &Map<String, Value>) -> String {
    match nearest(name, properties.keys().map(String::as_str)) {
        Some(known) => format!("unknown field; did you mean {known}?"),
        None if properties.is_empty() => "unknown field; none is allowed here".to_owned(),
        None => format!("unknown field; known are {}", names_of(properties)),
    }
}

fn names_of(properties: &Map<String, Value>) -> String {
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_unstable();
    names.join(", ")
}

pub(super) fn wrong_type(path: &str, wanted: &str, value: &Value) -> FieldError {
    // The value itself stays out: it may be a credential in the wrong place.
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    FieldError::new(path, format!("must be {wanted}, not {got}"))
}

fn article(kind: &str) -> &'static str {
    match kind {
        "object" => "an object",
        "array" => "a list",
        "string" => "a string",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(value: &Value) -> Vec<String> {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "enum": ["Keep", "Reject"]},
            "n": {"type": "integer", "minimum": 0, "maximum": 5},
            "one": {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": {"x": {"type": "object"}, "y": {"type": "object"}}},
            "list": {"type": "array", "maxItems": 2, "items": {"x-kubernetes-int-or-string": true}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}}
        }});
        let mut errors = Vec::new();
        check(value, &schema, "spec", &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn accepts_what_the_schema_allows() {
        assert_eq!(
            errors(&json!({"a": "Keep", "n": 5, "one": {"x": {}}, "list": [1, "2"], "map": {"k": "v"}})),
            [""; 0]
        );
    }

    #[test]
    fn reports_all_that_is_wrong_at_once() {
        let found =
            errors(&json!({"n": 6, "one": {"x": {}, "y": {}}, "list": [true, 1, 2], "map": {"a/b": 1}, "lst": []}));
        assert_eq!(
            found,
            [
                "spec.n: 6 is more than 5",
                "spec.one: must have exactly one of x, y; it has 2",
                "spec.list: 3 items; at most 2 are allowed",
                "spec.list[0]: must be a string or a number, not a boolean",
                "spec.map[\"a/b\"]: must be a string, not a number",
                "spec.lst: unknown field; did you mean list?",
                "spec.a: required",
            ]
        );
    }

    #[test]
    fn names_the_allowed_words_and_the_nearest() {
        assert_eq!(
            errors(&json!({"a": "keep"})),
            ["spec.a: \"keep\" is not allowed; use one of Keep, Reject (did you mean Keep?)"]
        );
    }
}
