//! When two elements of a list say the same: the API server drops what is null or an empty list.

use std::{collections::hash_map::RandomState, hash::BuildHasher};

use serde_json::{Map, Value};

/// Whether both are one element for the API server, which drops what is null or an empty list: what
/// a policy added must be found again after it has been through there.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys = one.keys().chain(other.keys());
            keys.all(|key| match (present(one, key), present(other, key)) {
                (Some(one), Some(other)) => is_same(one, other),
                (one, other) => one.is_none() && other.is_none(),
            })
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        _ => one == other,
    }
}

/// Equal for elements that are the [same](is_same).
pub(super) fn same_hash(hasher: &RandomState, value: &Value) -> u64 {
    match value {
        Value::Object(object) => {
            let members = object.iter().filter(|(key, value)| !is_dropped(key, value));
            members.fold(1, |sum, (key, value)| sum.wrapping_add(hasher.hash_one((key, same_hash(hasher, value)))))
        }
        Value::Array(list) => list.iter().fold(2, |sum, value| hasher.hash_one((sum, same_hash(hasher, value)))),
        value => hasher.hash_one(value),
    }
}

fn present<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !is_dropped(key, value))
}

fn is_dropped(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        // An empty selector object selects everything and is kept; only this map is `omitempty`.
        Value::Object(map) => map.is_empty() && key == "matchLabels",
        _ => false,
    }
}

pub(super) fn to_json(wire: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(wire)
        .expect("Kubernetes types hold strings, numbers and string-keyed maps, which are JSON");
    drop_blank(&mut value);
    value
}

fn drop_blank(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, value| !is_dropped(key, value));
            object.values_mut().for_each(drop_blank);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_blank),
        _ => {}
    }
}
