//! The operations between two states of a JSON value, made so that lists are edited by element.
//!
//! Both states come from the same pod and the second was made from the first by removing elements,
//! appending elements and editing terms in place, so a walk over both lists in step finds the
//! elements again. Whatever the walk cannot pair is removed and added: the result is right for any
//! two values, and short for those that policies make.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value};

use super::edits::pointer;

/// Collects operations on the fields of one object's `spec`.
pub(super) struct Ops {
    spec: PointerBuf,
    ops: Vec<PatchOperation>,
}

impl Ops {
    /// `base` is the pointer of the object that has the `spec`.
    pub(super) fn at(base: &str) -> Self {
        Self { spec: pointer(base, &["spec"]), ops: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<PatchOperation> {
        self.ops
    }

    /// A field that holds an object.
    pub(super) fn map(&mut self, field: &str, before: &Option<Map<String, Value>>, after: &Option<Map<String, Value>>) {
        let at = self.spec.with_trailing_token(field);
        match (before, after) {
            (Some(before), Some(after)) => self.objects(&at, before, after),
            (None, Some(after)) if !after.is_empty() => self.add(at, Value::Object(after.clone())),
            (Some(_), None) => self.remove(at),
            (None, _) => {}
        }
    }

    /// A field that holds a list.
    pub(super) fn list(&mut self, field: &str, before: &Option<Vec<Value>>, after: &Option<Vec<Value>>) {
        let at = self.spec.with_trailing_token(field);
        match (before, after) {
            (Some(before), Some(after)) => self.lists(&at, before, after),
            (None, Some(after)) if !after.is_empty() => self.add(at, Value::Array(after.clone())),
            (Some(_), None) => self.remove(at),
            (None, _) => {}
        }
    }

    fn values(&mut self, at: PointerBuf, before: &Value, after: &Value) {
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => self.objects(&at, before, after),
            (Value::Array(before), Value::Array(after)) => self.lists(&at, before, after),
            _ if before == after => {}
            _ => self.ops.push(PatchOperation::Replace(ReplaceOperation { path: at, value: after.clone() })),
        }
    }

    fn objects(&mut self, at: &PointerBuf, before: &Map<String, Value>, after: &Map<String, Value>) {
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            self.remove(at.with_trailing_token(key));
        }
        for (key, value) in after {
            match before.get(key) {
                Some(old) if old == value => {}
                Some(old) => self.values(at.with_trailing_token(key), old, value),
                None => self.add(at.with_trailing_token(key), value.clone()),
            }
        }
    }

    /// Edits first, while indices are those of `before`; then removals from the end; then what is
    /// new. Elements are only ever found again in order, so all that is new stands behind them.
    fn lists(&mut self, at: &PointerBuf, before: &[Value], after: &[Value]) {
        let mut removed = Vec::new();
        let mut rest = after;
        for (index, old) in before.iter().enumerate() {
            match rest.split_first() {
                Some((new, tail)) if old == new => rest = tail,
                Some((new, tail)) if is_same_term(old, new) => {
                    self.values(at.with_trailing_token(index), old, new);
                    rest = tail;
                }
                _ => removed.push(index),
            }
        }
        for index in removed.into_iter().rev() {
            self.remove(at.with_trailing_token(index));
        }
        for new in rest {
            self.add(at.with_trailing_token("-"), new.clone());
        }
    }

    fn add(&mut self, path: PointerBuf, value: Value) {
        self.ops.push(PatchOperation::Add(AddOperation { path, value }));
    }

    fn remove(&mut self, path: PointerBuf) {
        self.ops.push(PatchOperation::Remove(RemoveOperation { path }));
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

    fn list_ops(before: Value, after: Value) -> Value {
        let (Value::Array(old), Value::Array(new)) = (before.clone(), after.clone()) else {
            panic!("lists are compared");
        };
        let mut ops = Ops::at("");
        ops.list("tolerations", &Some(old), &Some(new));
        let ops = ops.finish();
        let mut document = json!({"spec": {"tolerations": before}});
        json_patch::patch(&mut document, &ops).unwrap();
        assert_eq!(document["spec"]["tolerations"], after);
        serde_json::to_value(ops).unwrap()
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
                {"op": "remove", "path": "/spec/tolerations/3"},
                {"op": "remove", "path": "/spec/tolerations/1"},
                {"op": "add", "path": "/spec/tolerations/-", "value": "e"},
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
                {"op": "remove", "path": "/spec/tolerations/0/matchExpressions/0"},
                {"op": "add", "path": "/spec/tolerations/0/matchExpressions/-", "value": {"key": "c"}},
            ])
        );
    }

    #[test]
    fn keys_with_slashes_are_escaped_below_any_base() {
        let map = |value: Value| value.as_object().cloned();
        let mut ops = Ops::at("/spec/template");
        ops.map("nodeSelector", &map(json!({"a/b": "1", "c~d": "2"})), &map(json!({"a/b": "3", "e/f": "4"})));
        assert_eq!(
            serde_json::to_value(ops.finish()).unwrap(),
            json!([
                {"op": "remove", "path": "/spec/template/spec/nodeSelector/c~0d"},
                {"op": "replace", "path": "/spec/template/spec/nodeSelector/a~1b", "value": "3"},
                {"op": "add", "path": "/spec/template/spec/nodeSelector/e~1f", "value": "4"},
            ])
        );
    }
}
