//! Policy files as text: YAML or JSON, many documents, each value with the line it stands on.
//!
//! YAML is read as `kubectl` reads it (`yes` is a boolean, `0400` is octal, duplicate keys are refused). Errors carry no excerpt of the
//! text, since a policy may hold a literal credential.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::field_error::{field, item};

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// The document as JSON; fields that are null are left out, as the API server leaves them out.
    pub value: Value,
    lines: HashMap<String, u64>,
}

/// The text is neither YAML nor JSON.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct SyntaxError {
    /// Line, from 1; 0 where it is not known.
    pub line: u64,
    /// What is wrong, without an excerpt.
    pub reason: String,
}

impl Document {
    /// The line of the field at `path`, or of the nearest field around it.
    #[must_use]
    pub fn line(&self, path: &str) -> u64 {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or(""),
                None => return self.lines.get("").copied().unwrap_or(1),
            }
        }
    }
}

/// Splits `text` into its documents; empty ones are left out.
///
/// # Errors
///
/// Where the text is neither YAML nor JSON.
pub fn parse(text: &str) -> Result<Vec<Document>, SyntaxError> {
    // A leading zero is octal for kubectl, as file modes are written.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let nodes: Vec<Spanned<Node>> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let error = error.without_snippet().to_string();
        let reason = error.lines().next().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        let reason = reason.split_once(": ").filter(|(at, _)| at.starts_with("line ")).map_or(reason, |(_, r)| r);
        let reason = reason.split(", set DuplicateKeyPolicy").next().unwrap_or(reason);
        SyntaxError { line, reason: reason.to_owned() }
    })?;
    Ok(nodes
        .into_iter()
        .filter(|node| !matches!(node.value, Node::Null))
        .map(|node| {
            let mut lines = HashMap::new();
            let value = settle(node, String::new(), &mut lines);
            Document { value, lines }
        })
        .collect())
}

#[derive(Debug)]
enum Node {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // Infinities and NaN have no JSON form; their text is what a person wrote.
        Ok(Number::from_f64(value).map_or_else(|| Node::String(value.to_string()), Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = access.next_key()? {
            fields.push((key, access.next_value()?));
        }
        Ok(Node::Map(fields))
    }
}

fn settle(node: Spanned<Node>, path: String, lines: &mut HashMap<String, u64>) -> Value {
    let line = node.referenced.line();
    let value = match node.value {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(value),
        Node::Number(value) => Value::Number(value),
        Node::String(value) => Value::String(value),
        Node::List(items) => Value::Array(
            items.into_iter().enumerate().map(|(index, node)| settle(node, item(&path, index), lines)).collect(),
        ),
        Node::Map(fields) => {
            let mut map = Map::with_capacity(fields.len());
            for (key, node) in fields {
                let path = field(&path, &key.value);
                let at = key.referenced.line();
                let value = settle(node, path.clone(), lines);
                // The key's line is where a person looks; a block value begins below it.
                lines.insert(path, at);
                if !value.is_null() {
                    map.insert(key.value, value);
                }
            }
            Value::Object(map)
        }
    };
    lines.entry(path).or_insert(line);
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_the_line_of_a_field_and_of_the_nearest_around_it() {
        let documents =
            parse("a: 1\nspec:\n  storage:\n  - pvc:\n      claimName: x\n---\n\n---\n{\"b\": [1,\n 2]}\n").unwrap();
        let [first, second] = documents.as_slice() else { panic!("{documents:?}") };
        assert_eq!(first.line("spec.storage[0].pvc.claimName"), 5);
        assert_eq!(first.line("spec.storage[0].pvc.mountPath"), 4);
        assert_eq!(first.line("nothing"), 1);
        assert_eq!(second.line("b[1]"), 10);
    }

    #[test]
    fn reads_as_kubectl_does_and_drops_nulls() {
        let documents = parse("a: yes\nb: ~\nc: {\"x/y\": 8}\n").unwrap();
        assert_eq!(documents[0].value, serde_json::json!({"a": true, "c": {"x/y": 8}}));
        assert_eq!(documents[0].line("c[\"x/y\"]"), 3);
    }

    #[test]
    fn reads_numbers_as_kubectl_does() {
        let read = |text: &str| parse(text).unwrap().remove(0).value["a"].clone();
        for (text, number) in [
            ("a: 0400", json!(256)),
            ("a: 0o400", json!(256)),
            ("a: -0400", json!(-256)),
            ("a: 0x1F", json!(31)),
            ("a: 0", json!(0)),
            ("a: 400", json!(400)),
            ("a: 0.5", json!(0.5)),
            ("a: \"0400\"", json!("0400")),
        ] {
            assert_eq!(read(text), number, "{text}");
        }
        // No octal digits: kubectl falls back to a decimal fraction.
        assert_eq!(read("a: 0890").as_f64(), Some(890.0));
    }

    #[test]
    fn names_the_line_of_a_syntax_error_without_an_excerpt() {
        let error = parse("a: [s3cr3t\nb: 2\n").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
        let error = parse("a: 1\na: 2\n").unwrap_err().to_string();
        assert_eq!(error, "line 2: duplicate mapping key: a");
    }
}
