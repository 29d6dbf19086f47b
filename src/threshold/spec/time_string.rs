//! A time as a policy writes it: int-or-string, so that `-1` needs no quotes.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::duration::{self, Threshold};

/// A time in a policy: a string, or the integer -1. Any other bare number is kept, to be refused with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeString {
    /// As written.
    Text(String),
    /// A bare number; only -1 is right.
    Number(i64),
}

impl TimeString {
    /// What the API server can see of a time string, for the CRD: RE2, and a superset of what [`duration::parse`] takes.
    pub const PATTERN: &'static str = concat!(
        r"^(-1|(?i:forever)|[ \t,]*((?i:and)[ \t,]+)*",
        r"[0-9]+([.][0-9]+)?[ \t]*(m|d|(?i:s|scs?|secs?|seconds?|mns?|mins?|minutes?|h|hrs?|hours?|dys?|days?|w|wks?|weeks?|y|yrs?|years?))",
        r"([ \t,]*([ \t,](?i:and)[ \t,]+)*[0-9]+([.][0-9]+)?[ \t]*(m|d|(?i:s|scs?|secs?|seconds?|mns?|mins?|minutes?|h|hrs?|hours?|dys?|days?|w|wks?|weeks?|y|yrs?|years?)))*",
        r"[ \t,]*)$"
    );

    /// The threshold.
    ///
    /// # Errors
    ///
    /// What is wrong and what would be right.
    pub fn parse(&self) -> Result<Threshold, String> {
        match self {
            Self::Number(-1) => Ok(Threshold::Never),
            Self::Number(number) => Err(format!(
                "a bare number has no unit; write `{}s` or `{}m`; only -1, never, stands alone",
                number.unsigned_abs(),
                number.unsigned_abs()
            )),
            Self::Text(text) => duration::parse(text).map_err(|error| error.to_string()),
        }
    }
}

impl Serialize for TimeString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for TimeString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntOrString;
        impl Visitor<'_> for IntOrString {
            type Value = TimeString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as `90m`, or -1")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TimeString, E> {
                Ok(TimeString::Text(text.to_owned()))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<TimeString, E> {
                Ok(TimeString::Number(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<TimeString, E> {
                let number = i64::try_from(number);
                number
                    .map(TimeString::Number)
                    .map_err(|_| E::custom("a bare number has no unit; write a time such as `90m`, or -1"))
            }
        }
        deserializer.deserialize_any(IntOrString)
    }
}

impl JsonSchema for TimeString {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TimeString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": duration::MAX_TEXT,
            "x-kubernetes-validations": [{
                "rule": format!("type(self) == string ? self.matches(r'{}') : self == -1", Self::PATTERN),
                "message": "must be a time such as '90m', '1 day 5h' or '1.5h', or '-1' or 'forever' for never"
            }]
        })
    }
}
