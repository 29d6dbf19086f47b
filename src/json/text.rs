//! JSON that is made: text for patches, and how a string is written in it.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
    rc::Rc,
};

use serde_json::Value;

/// `text` as the inside of a JSON string.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let odd = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    // Written so that many bytes are looked at at once; nearly every text stays as it is.
    if !text.bytes().fold(false, |found, byte| found | odd(byte)) {
        return Cow::Borrowed(text);
    }
    let mut quoted = Value::from(text).to_string();
    quoted.pop();
    quoted.remove(0);
    Cow::Owned(quoted)
}

/// A text that is borrowed, or shared by all who hold a copy of it: one text goes into every container.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Borrowed, of a policy mostly.
    Borrowed(&'a str),
    /// Made for this pod.
    Shared(Rc<str>),
}

/// The same text, whoever holds it.
impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text<'_> {}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// JSON as text, ready to be put into a patch.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Json<'a>(Text<'a>);

impl Text<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

impl<'a> Json<'a> {
    /// The text of `value`.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// Text that is JSON already.
    #[must_use]
    pub const fn borrowed(text: &'a str) -> Self {
        Self(Text::Borrowed(text))
    }

    /// The same, made for this pod.
    #[must_use]
    pub fn made(text: String) -> Self {
        Self(text.into())
    }

    /// A JSON string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        let mut json = String::with_capacity(text.len() + 2);
        json.push('"');
        push_escaped(&mut json, text);
        json.push('"');
        Self(json.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The text, as it is kept.
    #[must_use]
    pub fn into_text(self) -> Text<'a> {
        self.0
    }

    /// What the text says, for comparisons.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(self.as_str()).unwrap_or_default()
    }
}

/// Appends `text` as the inside of a JSON string.
pub fn push_escaped(json: &mut String, text: &str) {
    json.push_str(&escaped(text));
}
