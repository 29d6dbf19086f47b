//! The reader of reviews beside serde_json: the same documents are accepted, and read to the same values.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use stowage::json::{Error, ErrorKind, Fields, Raw, Read, Reader, Str, read};

const REVIEWS: [&str; 3] = [
    include_str!("../fixtures/reviews/mlrun-job-large.json"),
    include_str!("../fixtures/reviews/native-sidecar.json"),
    include_str!("../fixtures/reviews/bare-minimal.json"),
];

/// Right and wrong in every way there is.
const DOCUMENTS: &[&str] = &[
    "",
    " ",
    "null",
    " true ",
    "nul",
    "nulll",
    "falsee",
    "tru e",
    "0",
    "-0",
    "00",
    "01",
    "-",
    "-x",
    "1.",
    "1.5",
    ".5",
    "1e",
    "1e5",
    "1E+5",
    "1e-",
    "1e400",
    "123456789012345678901234567890",
    "+1",
    "1 2",
    "\"",
    "\"a",
    "\"a\"",
    "\"\\",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\u1234\"",
    "\"\\ud800\"",
    "\"\t\"",
    "\"\u{7f}é\u{10ffff}\"",
    "[",
    "]",
    "[]",
    "[ ]",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,2]",
    "{",
    "{}",
    "{ }",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{\"a\":1 \"b\":2}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1,\"a\":2}",
    "[}",
    "{]",
    "[[]",
    "[]]",
    "[{\"a\":[{}]},[]]",
    "\u{feff}1",
    "\u{a0}1",
    "1\u{0}",
    "\"12345678\\",
    "\"1234567\u{1}\"",
    "\"\u{80}\u{81}\u{82}\u{83}\"",
];

/// A whole document by way of the reader.
struct Tree(Value);

impl<'a> Read<'a> for Tree {
    fn read(json: &mut Reader<'a>) -> Result<Self, Error> {
        let raw = Raw::read(json)?.get();
        Ok(Self(match raw.as_bytes()[0] {
            b'{' => {
                let fields: Fields<'_, Self> = read(raw)?;
                let fields = fields.0.into_iter().map(|(key, Self(value))| (key.0.into_owned(), value));
                Value::Object(fields.collect::<Map<_, _>>())
            }
            b'[' => Value::Array(read::<Vec<Self>>(raw)?.into_iter().map(|Self(value)| value).collect()),
            b'"' => Value::String(read::<Str<'_>>(raw)?.0.into_owned()),
            b't' | b'f' => Value::Bool(read(raw)?),
            b'n' => Value::Null,
            _ => serde_json::from_str(raw).unwrap_or_default(),
        }))
    }
}

fn accepts(text: &str) -> bool {
    let ours = read::<()>(text);
    let theirs = serde_json::from_str::<IgnoredAny>(text);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?} and {theirs:?} of {text:?}");
    ours.is_ok()
}

#[test]
fn reads_every_review_to_the_same_value() {
    for text in REVIEWS {
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
        for text in [text, &pretty] {
            assert_eq!(read::<Tree>(text).unwrap().0, serde_json::from_str::<Value>(text).unwrap());
        }
    }
}

#[test]
fn accepts_and_refuses_what_serde_json_does() {
    let accepted = DOCUMENTS.iter().filter(|text| accepts(text)).count();
    assert_eq!(accepted, 21);
}

#[test]
fn no_nesting_is_too_deep_to_pass_over() {
    for depth in [1, 63, 64, 65, 128, 129, 1_000_000] {
        let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let mixed = format!("{}{}", "[{\"a\":".repeat(depth) + "0", "}]".repeat(depth));
        for text in [&lists, &objects, &mixed] {
            assert_eq!(read::<()>(text), Ok(()), "{depth}");
            assert!(read::<()>(&text[..text.len() - 1]).is_err());
        }
        assert!(read::<()>(&mixed.replacen("}]", "]}", 1)).is_err());
    }
}

#[test]
fn an_error_says_where_and_quotes_nothing() {
    for (text, wanted) in [
        ("{\n  \"metadata\": secret}", "JSON is malformed at line 2 column 15"),
        ("[1, \"secret", "JSON ends too early at line 1 column 11"),
        ("{\"metadata\":\n[\"secret\"]}", "a field has the wrong type or is missing at line 2 column 1"),
    ] {
        assert_eq!(read::<stowage::pod::PodView<'_>>(text).unwrap_err().to_string(), wanted, "{text}");
    }
    for text in ["9223372036854775808", "1.0", "1e3", "\"1\"", "true"] {
        assert_eq!(read::<i64>(text).unwrap_err().kind, ErrorKind::Type, "{text}");
    }
    assert_eq!(read::<i64>("-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(read::<Option<i64>>(" null "), Ok(None));
    assert_eq!(read::<bool>("0").unwrap_err().kind, ErrorKind::Type);
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            proptest::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn reads_any_value_to_the_same(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(read::<Tree>(&text).unwrap().0, serde_json::from_str::<Value>(&text).unwrap());
    }

    #[test]
    fn any_text_is_accepted_or_refused_as_by_serde_json(text in "[\\[\\]{}\":,0-9eE+.truefalsn \\\\\n\u{1}é-]{0,24}") {
        accepts(&text);
    }

    #[test]
    fn a_review_with_one_thing_wrong_is_judged_as_by_serde_json(
        which in 0..REVIEWS.len(), at in any::<proptest::sample::Index>(), put in "[\\[\\]{}\":,0-9a-f \\\\\n\u{1}é-]{0,2}", cut in 0..3_usize,
    ) {
        let review = REVIEWS[which].trim_end();
        let at = at.index(review.len());
        // The reviews are ASCII.
        let text = format!("{}{put}{}", &review[..at], &review[(at + cut).min(review.len())..]);
        accepts(&text);
        // Cut off instead.
        accepts(&format!("{}{put}", &review[..at]));
        prop_assert_eq!(read::<()>(&review[..at]).unwrap_err().kind, ErrorKind::Eof);
        // What is read of it, and not only passed over.
        let (ours, theirs) = (read::<Tree>(&text), serde_json::from_str::<Value>(&text));
        prop_assert_eq!(ours.map(|tree| tree.0).ok(), theirs.ok());
    }
}
