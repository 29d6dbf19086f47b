//! RFC 6902 operations against the raw object: parents made once where absent, lists appended to, nothing replaced
//! whole.

use json_patch::PatchOperation;

use crate::policy::unit::{Json, push_escaped};

/// Operations in the order in which they apply, kept as text: nearly all of what they carry comes as text from a policy,
/// and goes as text to the API server. [`Patch::ops`] gives them as json-patch's types.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    json: String,
    count: usize,
}

impl Patch {
    /// Sets a member of an object that is there; `add` replaces one that is there already.
    pub fn set(&mut self, path: &[&str], value: &Json<'_>) {
        self.begin("add", path);
        self.end_with(value.as_str());
    }

    /// Replaces what is there.
    pub fn replace(&mut self, path: &[&str], value: &Json<'_>) {
        self.begin("replace", path);
        self.end_with(value.as_str());
    }

    /// Takes out what is there.
    pub fn remove(&mut self, path: &[&str]) {
        self.begin("remove", path);
        self.json.push('}');
    }

    /// Appends to a list; makes it where it is not `there`.
    pub fn append(&mut self, list: &[&str], there: bool, values: &[Json<'_>]) {
        if values.is_empty() {
            return;
        }
        if there {
            let mut end = list.to_vec();
            end.push("-");
            values.iter().for_each(|value| self.set(&end, value));
            return;
        }
        self.begin("add", list);
        let mut json = String::from("[");
        for value in values {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(value.as_str());
        }
        json.push(']');
        self.end_with(&json);
    }

    /// Sets members of an object; makes it where it is not `there`.
    pub fn merge(&mut self, object: &[&str], there: bool, members: &[(String, Json<'_>)]) {
        if members.is_empty() {
            return;
        }
        if there {
            for (name, value) in members {
                let mut path = object.to_vec();
                path.push(name);
                self.set(&path, value);
            }
            return;
        }
        self.begin("add", object);
        let mut json = String::from("{");
        for (name, value) in members {
            if json.len() > 1 {
                json.push(',');
            }
            json.push('"');
            push_escaped(&mut json, name);
            json.push_str("\":");
            json.push_str(value.as_str());
        }
        json.push('}');
        self.end_with(&json);
    }

    /// Adds operations that were made elsewhere, for the same object.
    pub fn extend(&mut self, ops: impl IntoIterator<Item = PatchOperation>) {
        for op in ops {
            // An operation always has a JSON form.
            if let Ok(json) = serde_json::to_string(&op) {
                self.separate();
                self.json.push_str(&json);
            }
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many operations there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// The JSON document that RFC 6902 describes.
    #[must_use]
    pub fn to_json(&self) -> String {
        if self.json.is_empty() { "[]".to_owned() } else { format!("{}]", self.json) }
    }

    /// The operations as json-patch's types.
    #[must_use]
    pub fn ops(&self) -> Vec<PatchOperation> {
        // What was written above is a patch.
        serde_json::from_str(&self.to_json()).unwrap_or_default()
    }

    fn separate(&mut self) {
        if self.json.is_empty() {
            self.json.reserve(2048);
        }
        self.json.push(if self.count == 0 { '[' } else { ',' });
        self.count += 1;
    }

    fn begin(&mut self, op: &str, path: &[&str]) {
        self.separate();
        self.json.push_str("{\"op\":\"");
        self.json.push_str(op);
        self.json.push_str("\",\"path\":\"");
        for token in path {
            self.json.push('/');
            if token.contains(['~', '/']) {
                push_escaped(&mut self.json, &token.replace('~', "~0").replace('/', "~1"));
            } else {
                push_escaped(&mut self.json, token);
            }
        }
        self.json.push('"');
    }

    fn end_with(&mut self, value: &str) {
        self.json.push_str(",\"value\":");
        self.json.push_str(value);
        self.json.push('}');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn makes_parents_once_and_escapes_tokens() {
        let mut patch = Patch::default();
        patch.append(&["spec", "volumes"], false, &[Json::of(&json!({"name": "a"})), Json::of(&json!({"name": "b"}))]);
        patch.append(&["spec", "containers", "0", "env"], true, &[Json::of(&json!({"name": "A"}))]);
        patch.merge(&["metadata", "labels"], true, &[("a/b~c".into(), Json::string("v"))]);
        assert_eq!(
            json!(patch.ops()),
            json!([
                {"op": "add", "path": "/spec/volumes", "value": [{"name": "a"}, {"name": "b"}]},
                {"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "A"}},
                {"op": "add", "path": "/metadata/labels/a~1b~0c", "value": "v"}
            ])
        );
    }
}
