//! The operations between two states of a JSON value, made so that lists are edited by element.
//!
//! Both states come from the same pod and the second was made from the first by removing elements,
//! appending elements and editing terms in place, so a walk over both lists in step finds the
//! elements again. Whatever the walk cannot pair is removed and added: the result is right for any
//! two values, and short for those that policies make.

use serde_json::{Map, Value};

use crate::{
    json::Json,
    patch::{Patch, token},
};

/// Writes what leads from one state of the object at the pointer `at` to the other; `None` is an object that is not there.
pub fn write(at: &str, before: Option<&Map<String, Value>>, after: Option<&Map<String, Value>>, patch: &mut Patch) {
    match (before, after) {
        (Some(before), Some(after)) => objects(at, before, after, patch),
        (None, Some(after)) if !after.is_empty() => patch.set(at, &Json::of(&Value::Object(after.clone()))),
        (Some(_), None) => patch.remove(at),
        (None, _) => {}
    }
}

fn below(at: &str, key: impl AsRef<str>) -> String {
    format!("{at}/{}", token(key.as_ref()))
}

fn values(at: &str, before: &Value, after: &Value, patch: &mut Patch) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => objects(at, before, after, patch),
        (Value::Array(before), Value::Array(after)) => lists(at, before, after, patch),
        _ if before == after => {}
        _ => patch.replace(at, &Json::of(after)),
    }
}

fn objects(at: &str, before: &Map<String, Value>, after: &Map<String, Value>, patch: &mut Patch) {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.remove(&below(at, key));
    }
    for (key, value) in after {
        match before.get(key) {
            Some(old) if old == value => {}
            Some(old) => values(&below(at, key), old, value, patch),
            None => patch.set(&below(at, key), &Json::of(value)),
        }
    }
}

/// Edits first, while indices are those of `before`; then removals from the end; then what is
/// new. Elements are only ever found again in order, so all that is new stands behind them.
fn lists(at: &str, before: &[Value], after: &[Value], patch: &mut Patch) {
    let mut removed = Vec::new();
    let mut rest = after;
    for (index, old) in before.iter().enumerate() {
        match rest.split_first() {
            Some((new, tail)) if old == new => rest = tail,
            Some((new, tail)) if is_same_term(old, new) => {
                values(&below(at, index.to_string()), old, new, patch);
                rest = tail;
            }
            _ => removed.push(index),
        }
    }
    for index in removed.into_iter().rev() {
        patch.remove(&below(at, index.to_string()));
    }
    for new in rest {
        patch.set(&below(at, "-"), &Json::of(new));
    }
}

/// Whether one node selector term is an edited form of the other: requirements are taken out and
/// appended, so the first that is left of the old ones heads the new list. Nothing else in these
/// fields is a list element that policies edit in place.
fn is_same_term(old: &Value, new: &Value) -> bool {
    ["matchExpressions", "matchFields"].iter().any(|field| {
        let lists = (old.get(field).and_then(Value::as_array), new.get(field).and_then(Value::as_array));
        match lists {
            (Some(old), Some(new)) => new.first().is_some_and(|first| old.contains(first)),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The operations, after checking that they lead from the one to the other.
    fn ops(field: &str, before: Value, after: Value) -> Value {
        let mut patch = Patch::default();
        write(&format!("/spec/{field}"), before.as_object(), after.as_object(), &mut patch);
        let mut document = json!({"spec": {field: before}});
        json_patch::patch(&mut document, &patch.ops()).unwrap();
        assert_eq!(document["spec"][field], after);
        serde_json::to_value(patch.ops()).unwrap()
    }

    fn list_ops(before: Value, after: Value) -> Value {
        ops("affinity", json!({"list": before}), json!({"list": after}))
    }

    #[test]
    fn equal_values_need_no_operation() {
        assert_eq!(list_ops(json!([1, {"a": [2]}]), json!([1, {"a": [2]}])), json!([]));
    }

    #[test]
    fn elements_are_removed_from_the_end_and_appended() {
        let ops = list_ops(json!(["a", "b", "c", "d"]), json!(["a", "c", "e"]));
        assert_eq!(
            ops,
            json!([
                {"op": "remove", "path": "/spec/affinity/list/3"},
                {"op": "remove", "path": "/spec/affinity/list/1"},
                {"op": "add", "path": "/spec/affinity/list/-", "value": "e"},
            ])
        );
    }

    #[test]
    fn unrelated_lists_are_still_turned_into_each_other() {
        list_ops(json!([1, 2, 3]), json!([3, 2, 1, 0]));
        list_ops(json!([]), json!([{"a": 1}]));
        list_ops(json!([{"a": 1}]), json!([]));
    }

    #[test]
    fn terms_are_edited_inside() {
        let ops = list_ops(
            json!([{"matchExpressions": [{"key": "a"}, {"key": "b"}], "future": 1}]),
            json!([{"matchExpressions": [{"key": "b"}, {"key": "c"}], "future": 1}]),
        );
        assert_eq!(
            ops,
            json!([
                {"op": "remove", "path": "/spec/affinity/list/0/matchExpressions/0"},
                {"op": "add", "path": "/spec/affinity/list/0/matchExpressions/-", "value": {"key": "c"}},
            ])
        );
    }

    #[test]
    fn keys_with_slashes_are_escaped() {
        assert_eq!(
            ops("nodeSelector", json!({"a/b": "1", "c~d": "2"}), json!({"a/b": "3", "e/f": "4"})),
            json!([
                {"op": "remove", "path": "/spec/nodeSelector/c~0d"},
                {"op": "replace", "path": "/spec/nodeSelector/a~1b", "value": "3"},
                {"op": "add", "path": "/spec/nodeSelector/e~1f", "value": "4"},
            ])
        );
    }
}
