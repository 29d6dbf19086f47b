//! Pieces of JSON with places that templates fill.

use serde_json::Value;

use crate::{
    json::{Json, push_escaped},
    policy::template::{PlaceholderValues, Template, Unresolved},
};

/// A piece of JSON with places that templates fill, kept as text: most pods take it as it is.
#[derive(Clone, Debug)]
pub struct Fragment {
    segments: Vec<Segment>,
}

/// A stretch of a fragment's text.
#[derive(Clone, Debug)]
enum Segment {
    /// JSON, or a part of it.
    Text(String),
    /// The inside of a string, or a part of it, that a template gives.
    Hole(Template),
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
        Self { segments: vec![Segment::Text(value.to_string())] }
    }

    /// JSON with holes.
    #[must_use]
    pub fn with_holes(value: &Value, holes: &[Hole]) -> Self {
        let mut fragment = Self { segments: Vec::new() };
        fragment.write(value, &mut String::new(), holes);
        fragment
    }

    /// The JSON with every hole filled.
    ///
    /// # Errors
    ///
    /// Where a template does not resolve.
    pub fn resolve<'a>(&'a self, facts: &PlaceholderValues<'a>) -> Result<Json<'a>, Unresolved> {
        if let [Segment::Text(text)] = self.segments.as_slice() {
            return Ok(Json::borrowed(text));
        }
        let mut json = String::with_capacity(256);
        for segment in &self.segments {
            match segment {
                Segment::Text(text) => json.push_str(text),
                Segment::Hole(template) => push_escaped(&mut json, &template.resolve(facts)?),
            }
        }
        Ok(Json::made(json))
    }

    /// Writes `value`, which stands at the pointer `at`.
    fn write(&mut self, value: &Value, at: &mut String, holes: &[Hole]) {
        if let Some(hole) = holes.iter().find(|hole| hole.pointer == *at) {
            self.hole(hole);
            return;
        }
        let end = at.len();
        let inside = |hole: &Hole| hole.pointer.strip_prefix(at.as_str()).is_some_and(|rest| rest.starts_with('/'));
        match value {
            Value::Object(map) if holes.iter().any(inside) => {
                for (index, (key, value)) in map.iter().enumerate() {
                    self.text().push(if index == 0 { '{' } else { ',' });
                    self.text().push('"');
                    push_escaped(self.text(), key);
                    self.text().push_str("\":");
                    at.push('/');
                    at.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    self.write(value, at, holes);
                    at.truncate(end);
                }
                self.text().push('}');
            }
            Value::Array(items) if holes.iter().any(inside) => {
                for (index, value) in items.iter().enumerate() {
                    self.text().push(if index == 0 { '[' } else { ',' });
                    at.push('/');
                    at.push_str(&index.to_string());
                    self.write(value, at, holes);
                    at.truncate(end);
                }
                self.text().push(']');
            }
            value => self.text().push_str(&value.to_string()),
        }
    }

    fn hole(&mut self, hole: &Hole) {
        self.text().push('"');
        push_escaped(self.text(), &hole.before);
        match hole.template.fixed() {
            Some(text) => push_escaped(self.text(), text),
            None => self.segments.push(Segment::Hole(hole.template.clone())),
        }
        push_escaped(self.text(), &hole.after);
        self.text().push('"');
    }

    /// The text at the end, to be added to.
    fn text(&mut self) -> &mut String {
        if !matches!(self.segments.last(), Some(Segment::Text(_))) {
            self.segments.push(Segment::Text(String::new()));
        }
        match self.segments.last_mut() {
            Some(Segment::Text(text)) => text,
            _ => unreachable!("a text was pushed where none stood"),
        }
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
