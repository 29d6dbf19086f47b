//! Pieces of JSON with places that templates fill.

use serde_json::Value;

use crate::{
    json::{Json, push_escaped},
    policy::template::{PlaceholderValues, Template, Unresolved},
};

/// A piece of JSON with places that templates fill, kept as text: most pods take it as it is.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// JSON in which nothing stands where the holes are.
    text: Box<str>,
    /// What goes in between, by its place in the text. Most fragments have none.
    holes: Box<[(usize, Template)]>,
}

/// A fragment that is being written.
#[derive(Debug, Default)]
struct FragmentWriter<'h> {
    text: String,
    filled: Vec<(usize, Template)>,
    holes: &'h [Hole],
}

/// A string within a [`Fragment`] that depends on the pod.
#[derive(Clone, Debug)]
pub struct Hole {
    /// RFC 6901 pointer to the string, which must be there.
    pub pointer: String,
    /// What stands before the resolved text.
    pub before: String,
    /// The text.
    pub template: Template,
    /// What stands after it.
    pub after: String,
}

impl Hole {
    /// The whole string at `pointer`.
    #[must_use]
    pub fn whole(pointer: &str, template: Template) -> Self {
        Self::between(pointer, "", template, "")
    }

    /// The string at `pointer`, with text around what the template gives.
    #[must_use]
    pub fn between(pointer: &str, before: impl Into<String>, template: Template, after: impl Into<String>) -> Self {
        Self { pointer: pointer.to_owned(), before: before.into(), template, after: after.into() }
    }
}

impl Fragment {
    /// JSON without holes.
    #[must_use]
    pub fn fixed(value: &Value) -> Self {
        Self::with_holes(value, &[])
    }

    /// JSON with holes.
    #[must_use]
    pub fn with_holes(value: &Value, holes: &[Hole]) -> Self {
        let mut writer = FragmentWriter { holes, ..FragmentWriter::default() };
        writer.write(value, &mut String::new());
        Self { text: writer.text.into(), holes: writer.filled.into() }
    }

    /// The JSON with every hole filled.
    ///
    /// # Errors
    ///
    /// Where a template does not resolve.
    pub fn resolve<'a>(&'a self, facts: &PlaceholderValues<'a>) -> Result<Json<'a>, Unresolved> {
        if self.holes.is_empty() {
            return Ok(Json::borrowed(&self.text));
        }
        let mut json = String::with_capacity(256);
        let mut from = 0;
        for (to, template) in &self.holes {
            json.push_str(self.text.get(from..*to).unwrap_or_default());
            push_escaped(&mut json, &template.resolve(facts)?);
            from = *to;
        }
        json.push_str(self.text.get(from..).unwrap_or_default());
        Ok(Json::made(json))
    }
}

impl FragmentWriter<'_> {
    /// Writes `value`, which stands at the pointer `at`.
    fn write(&mut self, value: &Value, at: &mut String) {
        if let Some(hole) = self.holes.iter().find(|hole| hole.pointer == *at) {
            self.hole(hole);
            return;
        }
        let end = at.len();
        let inside = |hole: &Hole| hole.pointer.strip_prefix(at.as_str()).is_some_and(|rest| rest.starts_with('/'));
        match value {
            Value::Object(map) if self.holes.iter().any(inside) => {
                for (index, (key, value)) in map.iter().enumerate() {
                    self.text.push(if index == 0 { '{' } else { ',' });
                    self.text.push('"');
                    push_escaped(&mut self.text, key);
                    self.text.push_str("\":");
                    at.push('/');
                    at.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    self.write(value, at);
                    at.truncate(end);
                }
                self.text.push('}');
            }
            Value::Array(items) if self.holes.iter().any(inside) => {
                for (index, value) in items.iter().enumerate() {
                    self.text.push(if index == 0 { '[' } else { ',' });
                    at.push('/');
                    at.push_str(&index.to_string());
                    self.write(value, at);
                    at.truncate(end);
                }
                self.text.push(']');
            }
            value => self.text.push_str(&value.to_string()),
        }
    }

    fn hole(&mut self, hole: &Hole) {
        self.text.push('"');
        push_escaped(&mut self.text, &hole.before);
        match hole.template.fixed() {
            Some(text) => push_escaped(&mut self.text, text),
            None => self.filled.push((self.text.len(), hole.template.clone())),
        }
        push_escaped(&mut self.text, &hole.after);
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{labels::Labels, policy::template::Kind};

    #[derive(Debug)]
    struct NoLabels;

    impl Labels for NoLabels {
        fn label(&self, _: &str) -> Option<&str> {
            None
        }

        fn each<'s>(&'s self, _: &mut dyn FnMut(&'s str, &'s str)) {}
    }

    fn resolved(fragment: &Fragment) -> String {
        let facts =
            PlaceholderValues { namespace: "ns", service_account: "sa", username: Some("u"), labels: &NoLabels };
        fragment.resolve(&facts).unwrap().as_str().to_owned()
    }

    fn template(text: &str) -> Template {
        Template::parse(text, Kind::Secret).unwrap()
    }

    #[test]
    fn fills_holes_and_escapes_what_stands_around_them() {
        let value = json!({"a": "", "b": {"c/d~": ["", 1]}, "d": "say \"x\"", "e": "", "f": {"g": [{}]}});
        let fragment = Fragment::with_holes(
            &value,
            &[
                Hole::whole("/a", template("x-{username}")),
                Hole::whole("/e", template("fixed")),
                Hole::between("/b/c~1d~0/0", "[{\"name\": \"", template("{namespace}"), "\"}]\n"),
            ],
        );
        let wanted = json!({
            "a": "x-u", "b": {"c/d~": ["[{\"name\": \"ns\"}]\n", 1]}, "d": "say \"x\"", "e": "fixed", "f": {"g": [{}]}
        });
        assert_eq!(resolved(&fragment), wanted.to_string());
    }

    #[test]
    fn a_text_that_looks_like_anything_is_no_hole() {
        for odd in ["\u{1}0\u{1}", "{namespace}", "\"", "\\"] {
            let value = json!({"items": [{"key": odd, odd: odd}], "secretName": ""});
            let fragment = Fragment::with_holes(&value, &[Hole::whole("/secretName", template("x-{namespace}"))]);
            let wanted = json!({"items": [{"key": odd, odd: odd}], "secretName": "x-ns"});
            assert_eq!(resolved(&fragment), wanted.to_string(), "{odd:?}");
        }
    }

    #[test]
    fn a_whole_that_is_one_string_can_be_a_hole() {
        let fragment = Fragment::with_holes(&json!(""), &[Hole::whole("", template("{namespace}"))]);
        assert_eq!(resolved(&fragment), "\"ns\"");
    }
}
