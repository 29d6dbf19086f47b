//! RFC 6902 operations against the raw object: parents made once where absent, lists appended to, nothing replaced
//! whole.

use json_patch::{AddOperation, PatchOperation, RemoveOperation, ReplaceOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value};

/// Operations in the order in which they apply.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    ops: Vec<PatchOperation>,
}

impl Patch {
    /// Sets a member of an object that is there; `add` replaces one that is there already.
    pub fn set(&mut self, path: &[&str], value: Value) {
        let path = pointer(path);
        self.ops.push(PatchOperation::Add(AddOperation { path, value }));
    }

    /// Replaces what is there.
    pub fn replace(&mut self, path: &[&str], value: Value) {
        let path = pointer(path);
        self.ops.push(PatchOperation::Replace(ReplaceOperation { path, value }));
    }

    /// Takes out what is there.
    pub fn remove(&mut self, path: &[&str]) {
        let path = pointer(path);
        self.ops.push(PatchOperation::Remove(RemoveOperation { path }));
    }

    /// Appends to a list; makes it where it is not `there`.
    pub fn append(&mut self, list: &[&str], there: bool, values: Vec<Value>) {
        if values.is_empty() {
            return;
        }
        if !there {
            return self.set(list, Value::Array(values));
        }
        let mut end = list.to_vec();
        end.push("-");
        for value in values {
            self.set(&end, value);
        }
    }

    /// Sets members of an object; makes it where it is not `there`.
    pub fn merge(&mut self, object: &[&str], there: bool, members: Vec<(String, Value)>) {
        if members.is_empty() {
            return;
        }
        if !there {
            return self.set(object, Value::Object(members.into_iter().collect::<Map<_, _>>()));
        }
        for (name, value) in members {
            let mut path = object.to_vec();
            path.push(&name);
            self.set(&path, value);
        }
    }

    /// Adds operations that were made elsewhere, for the same base.
    pub fn extend(&mut self, ops: impl IntoIterator<Item = PatchOperation>) {
        self.ops.extend(ops);
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The operations.
    #[must_use]
    pub fn into_ops(self) -> Vec<PatchOperation> {
        self.ops
    }
}

fn pointer(path: &[&str]) -> PointerBuf {
    let mut pointer = String::with_capacity(64);
    for token in path {
        pointer.push('/');
        if token.contains(['~', '/']) {
            pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
        } else {
            pointer.push_str(token);
        }
    }
    // Every token is escaped above and begins with a slash, so the text is a pointer.
    PointerBuf::parse(pointer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn makes_parents_once_and_escapes_tokens() {
        let mut patch = Patch::default();
        patch.append(&["spec", "volumes"], false, vec![json!({"name": "a"}), json!({"name": "b"})]);
        patch.append(&["spec", "containers", "0", "env"], true, vec![json!({"name": "A"})]);
        patch.merge(&["metadata", "labels"], true, vec![("a/b~c".into(), json!("v"))]);
        assert_eq!(
            json!(patch.into_ops()),
            json!([
                {"op": "add", "path": "/spec/volumes", "value": [{"name": "a"}, {"name": "b"}]},
                {"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "A"}},
                {"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "v"}
            ])
        );
    }
}
