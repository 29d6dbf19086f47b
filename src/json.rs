//! JSON read with serde_json into borrowed views, and JSON text made for patches.
//!
//! A view names the members that a decision reads; what nobody asks for is passed over without being built, and without
//! recursion, so that no nesting can exhaust the stack. `null` counts as absent, as Go writes it for empty lists, and of a
//! member that is there twice the last counts, as for the API server.

mod text;

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{error::Category, value::RawValue};

pub(crate) use self::text::escaped;
pub use self::text::{Json, Text, push_escaped};

/// A string of a document, borrowed where JSON does not escape it.
///
/// serde borrows a `Cow` only where it is the whole field, and neither in an `Option` nor as a key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Str<'a>(pub Cow<'a, str>);

/// A value of a document, checked but not read.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a>(&'a RawValue);

/// An object as its members: each key once, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a, T> {
    members: Vec<(Str<'a>, T)>,
    /// Their places in the order of their keys, where a walk would take longer than a search.
    by_key: Vec<u32>,
}

/// Up to so many members a walk is cheaper than a search.
const FEW: usize = 16;

/// Reads a list, `null` as none, up to one element more than a limit, and passes over the rest: that there is one more
/// says that the list is too long, and nothing of what follows takes memory.
pub(crate) struct AtMost<T> {
    limit: usize,
    elements: PhantomData<T>,
}

/// Why a document could not be read. Says where, and nothing of what stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} at line {line} column {column}")]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Line, from 1.
    pub line: usize,
    /// Byte of that line, from 1, at which reading ended.
    pub column: usize,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// It is not JSON, or what is read of it is nested more than 128 levels deep.
    Syntax,
    /// It ends in the middle.
    Eof,
    /// It is JSON, but something in it has another type than what is read.
    Type,
}

/// Makes a struct readable from an object: the fields named, each from the member beside it, by a seed where one is given.
/// Other members are passed over, and of a member that is there twice the last counts; `#[derive(Deserialize)]` would
/// refuse it.
macro_rules! read_members {
    ($type:ident $(<$inner:ident>)? { $($key:literal => $field:ident $(by $seed:expr)?),+ $(,)? }) => {
        impl<'de: 'a, 'a $(, $inner: serde::Deserialize<'de> + Default)?> serde::Deserialize<'de>
            for $type<'a $(, $inner)?>
        {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members<'a $(, $inner)?>(std::marker::PhantomData<$type<'a $(, $inner)?>>);

                impl<'de: 'a, 'a $(, $inner: serde::Deserialize<'de> + Default)?> serde::de::Visitor<'de>
                    for Members<'a $(, $inner)?>
                {
                    type Value = $type<'a $(, $inner)?>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut read = Self::Value::default();
                        while let Some(key) = map.next_key::<$crate::json::Str<'de>>()? {
                            match key.as_str() {
                                $($key => read.$field = $crate::json::read_members!(@value map $($seed)?),)+
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(read)
                    }
                }

                deserializer.deserialize_map(Members(std::marker::PhantomData))
            }
        }
    };
    (@value $map:ident) => { $map.next_value()? };
    (@value $map:ident $seed:expr) => { $map.next_value_seed($seed)? };
}
pub(crate) use read_members;

/// Reads a document that holds one value and nothing else.
///
/// # Errors
///
/// Where it is not JSON, or the value has another type.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    Ok(serde_json::from_str(text)?)
}

impl Str<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrVisitor;

        impl<'de> Visitor<'de> for StrVisitor {
            type Value = Str<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Str<'de>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(StrVisitor)
    }
}

impl<'a> Raw<'a> {
    /// The JSON text, as it stands in the document.
    #[must_use]
    pub fn get(self) -> &'a str {
        self.0.get()
    }

    /// The string that it is; `None` where it is something else.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        read::<Str<'a>>(self.get()).ok().map(|text| text.0)
    }
}

/// The same text; the same value may be written in other ways.
impl PartialEq for Raw<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(Self)
    }
}

impl<'a, T> Fields<'a, T> {
    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.members.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of the member `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&T> {
        if self.by_key.is_empty() {
            return self.members.iter().find(|(own, _)| own.as_str() == key).map(|(_, value)| value);
        }
        let key_at = |place: &u32| self.at(*place).map_or("", |(own, _)| own.as_str());
        let found = self.by_key.binary_search_by(|place| key_at(place).cmp(key)).ok()?;
        self.by_key.get(found).and_then(|place| self.at(*place)).map(|(_, value)| value)
    }

    fn at(&self, place: u32) -> Option<&(Str<'a>, T)> {
        self.members.get(usize::try_from(place).ok()?)
    }

    /// Of members with one key the last.
    fn new(mut members: Vec<(Str<'a>, T)>) -> Self {
        if members.len() <= FEW {
            let mut place = 0;
            while let Some((key, _)) = members.get(place) {
                if members.iter().skip(place + 1).any(|(other, _)| other == key) {
                    members.remove(place);
                } else {
                    place += 1;
                }
            }
            return Self { members, by_key: Vec::new() };
        }
        let keys = by_key(&members);
        let places: Vec<u32> = keys.iter().map(|(_, place)| *place).collect();
        let mut superseded = vec![false; members.len()];
        for pair in keys.windows(2) {
            if let [(key, place), (next, _)] = pair
                && key == next
                && let Some(superseded) = usize::try_from(*place).ok().and_then(|place| superseded.get_mut(place))
            {
                *superseded = true;
            }
        }
        if !superseded.contains(&true) {
            return Self { members, by_key: places };
        }
        let mut superseded = superseded.into_iter();
        members.retain(|_| superseded.next() != Some(true));
        let places = by_key(&members).into_iter().map(|(_, place)| place).collect();
        Self { members, by_key: places }
    }
}

/// Keys with their places, in the order of the keys.
fn by_key<'m, T>(members: &'m [(Str<'_>, T)]) -> Vec<(&'m str, u32)> {
    let mut keys: Vec<(&str, u32)> = members.iter().map(|(key, _)| key.as_str()).zip(0..).collect();
    keys.sort_unstable();
    keys
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Fields<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<T> {
            type Value = Vec<(Str<'de>, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(FieldsVisitor(PhantomData)).map(Self::new)
    }
}

impl<T> AtMost<T> {
    /// A list of at most `limit` elements, and the one that is too many.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, elements: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for AtMost<T> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() <= self.limit {
            match seq.next_element()? {
                Some(element) => list.push(element),
                None => return Ok(Some(list)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(list))
    }
}

/// Errors of serde_json quote what they found; only the place is kept.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        let kind = match error.classify() {
            Category::Eof => ErrorKind::Eof,
            Category::Data => ErrorKind::Type,
            Category::Syntax | Category::Io => ErrorKind::Syntax,
        };
        Self { kind, line: error.line(), column: error.column() }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "JSON is malformed",
            Self::Eof => "JSON ends too early",
            Self::Type => "a field has the wrong type or is missing",
        })
    }
}
