//! RFC 6902 operations against the raw object: parents made once where absent, lists appended to, nothing replaced
//! whole.

pub mod diff;

use std::borrow::Cow;

use json_patch::PatchOperation;

use crate::json::{Json, escaped};

/// Operations in the order in which they apply, kept as text: nearly all of what they carry comes as text from a policy,
/// and goes as text to the API server. [`Patch::ops`] gives them as json-patch's types. Places are JSON pointers, whose
/// [tokens](token) are escaped.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    /// Empty, or a whole JSON list.
    json: Vec<u8>,
    count: usize,
}

impl Patch {
    /// Sets a member of an object that is there; `add` replaces one that is there already.
    pub fn set(&mut self, at: &str, value: &Json<'_>) {
        self.put("add", at, None, value);
    }

    /// Replaces what is there.
    pub fn replace(&mut self, at: &str, value: &Json<'_>) {
        self.put("replace", at, None, value);
    }

    /// Takes out what is there.
    pub fn remove(&mut self, at: &str) {
        self.begin("remove", at, None);
        self.end();
    }

    /// Appends to a list; makes it where it is not `there`.
    pub fn append(&mut self, list: &str, there: bool, values: &[Json<'_>]) {
        if there {
            for value in values {
                self.put("add", list, Some("-"), value);
            }
        } else if !values.is_empty() {
            self.begin("add", list, None);
            self.value(|json| {
                for (number, value) in values.iter().enumerate() {
                    json.push(if number == 0 { b'[' } else { b',' });
                    json.extend_from_slice(value.as_str().as_bytes());
                }
                json.push(b']');
            });
            self.end();
        }
    }

    /// Sets members of an object of strings, such as labels; makes it where it is not `there`.
    pub fn merge(&mut self, object: &str, there: bool, members: &[(&str, &str)]) {
        if there {
            for (name, value) in members {
                self.begin("add", object, Some(name));
                self.value(|json| push_string(json, value));
                self.end();
            }
        } else if !members.is_empty() {
            self.begin("add", object, None);
            self.value(|json| {
                for (number, (name, value)) in members.iter().enumerate() {
                    json.push(if number == 0 { b'{' } else { b',' });
                    push_string(json, name);
                    json.push(b':');
                    push_string(json, value);
                }
                json.push(b'}');
            });
            self.end();
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
    pub fn json(&self) -> &[u8] {
        if self.json.is_empty() { b"[]" } else { &self.json }
    }

    /// The operations as json-patch's types.
    #[must_use]
    pub fn ops(&self) -> Vec<PatchOperation> {
        // What was written above is a patch.
        serde_json::from_slice(self.json()).unwrap_or_default()
    }

    /// Opens the list, or opens it again for one more.
    fn separate(&mut self) {
        if self.json.pop().is_some() {
            self.json.push(b',');
        } else {
            self.json.reserve(2048);
            self.json.push(b'[');
        }
        self.count += 1;
    }

    fn put(&mut self, op: &str, at: &str, last: Option<&str>, value: &Json<'_>) {
        self.begin(op, at, last);
        self.value(|json| json.extend_from_slice(value.as_str().as_bytes()));
        self.end();
    }

    fn begin(&mut self, op: &str, at: &str, last: Option<&str>) {
        self.separate();
        for part in ["{\"op\":\"", op, "\",\"path\":\""] {
            self.json.extend_from_slice(part.as_bytes());
        }
        self.json.extend_from_slice(escaped(at).as_bytes());
        if let Some(last) = last {
            self.json.push(b'/');
            self.json.extend_from_slice(escaped(&token(last)).as_bytes());
        }
        self.json.push(b'"');
    }

    fn value(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.json.extend_from_slice(b",\"value\":");
        write(&mut self.json);
    }

    fn end(&mut self) {
        self.json.extend_from_slice(b"}]");
    }
}

/// A reference token of a JSON pointer, as RFC 6901 escapes it.
#[must_use]
pub fn token(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| matches!(byte, b'~' | b'/')) {
        Cow::Owned(text.replace('~', "~0").replace('/', "~1"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Appends a list's index to a pointer. Nearly every index has one digit, and what formats any number costs ten times as much.
pub(crate) fn push_number(text: &mut String, number: usize) {
    match u8::try_from(number) {
        Ok(digit @ 0..10) => text.push(char::from(b'0' + digit)),
        _ => text.push_str(&number.to_string()),
    }
}

fn push_string(json: &mut Vec<u8>, text: &str) {
    // A string always has a JSON form, and memory takes all that is written.
    let _ = serde_json::to_writer(json, text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn makes_parents_once_and_escapes_tokens() {
        let mut patch = Patch::default();
        patch.append("/spec/volumes", false, &[Json::of(&json!({"name": "a"})), Json::of(&json!({"name": "b"}))]);
        patch.append("/spec/containers/0/env", true, &[Json::of(&json!({"name": "A"}))]);
        patch.merge("/metadata/labels", true, &[("a/b~c\"", "v\n")]);
        assert_eq!(
            json!(patch.ops()),
            json!([
                {"op": "add", "path": "/spec/volumes", "value": [{"name": "a"}, {"name": "b"}]},
                {"op": "add", "path": "/spec/containers/0/env/-", "value": {"name": "A"}},
                {"op": "add", "path": "/metadata/labels/a~1b~0c\"", "value": "v\n"}
            ])
        );
    }
}
