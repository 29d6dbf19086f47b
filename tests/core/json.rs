//! Views of JSON: what is read, what is passed over, and what an error says.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;
use stowage::{
    json::{ErrorKind, Fields, Raw, Str, read},
    pod::PodView,
};

#[test]
fn no_nesting_is_too_deep_to_pass_over() {
    for depth in [1, 127, 128, 129, 1_000_000] {
        let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let mixed = format!("{}{}", "[{\"a\":".repeat(depth) + "0", "}]".repeat(depth));
        for deep in [&lists, &objects, &mixed] {
            assert!(read::<IgnoredAny>(deep).is_ok(), "{depth}");
            assert_eq!(read::<Raw<'_>>(deep).unwrap().get(), deep);
            let pod = format!(r#"{{"future":{deep},"spec":{{"affinity":{deep},"containers":[{{"future":{deep}}}]}}}}"#);
            assert_eq!(read::<PodView<'_>>(&pod).unwrap().spec.unwrap().affinity.unwrap().get(), deep);
            assert!(read::<PodView<'_>>(&pod[..pod.len() - 1]).is_err());
        }
    }
}

#[test]
fn an_error_says_where_and_quotes_nothing() {
    for (text, wanted) in [
        ("{\n  \"metadata\": secret}", "JSON is malformed at line 2 column 15"),
        ("[1, \"secret", "a field has the wrong type or is missing at line 1 column 0"),
        ("{\"secret\": \"secret", "JSON ends too early at line 1 column 18"),
        ("{\"metadata\":\n[\"secret\"]}", "a field has the wrong type or is missing at line 2 column 0"),
        ("{\"metadata\":{\"name\":{\"secret\":1}}}", "a field has the wrong type or is missing at line 1 column 20"),
        ("{\"spec\":{\"priority\":\"secret\"}}", "a field has the wrong type or is missing at line 1 column 28"),
        ("{} secret", "JSON is malformed at line 1 column 4"),
    ] {
        assert_eq!(read::<PodView<'_>>(text).unwrap_err().to_string(), wanted, "{text}");
    }
    for text in ["9223372036854775808", "1.0", "1e3", "\"1\"", "true"] {
        assert_eq!(read::<i64>(text).unwrap_err().kind, ErrorKind::Type, "{text}");
    }
}

#[test]
fn of_a_member_that_is_there_twice_the_last_counts() {
    let pod: PodView<'_> = read(
        r#"{"metadata":{"name":"a","labels":{"k":"a","l":"x","k":"b"},"name":"b"},"spec":{"volumes":[{"name":"v"}],
            "volumes":null,"containers":[{"name":"a","name":"b","env":[{"name":"A"}],"env":[]}]}}"#,
    )
    .unwrap();
    assert_eq!(pod.name(), "b");
    assert_eq!(pod.labels().collect::<Vec<_>>(), [("l", "x"), ("k", "b")]);
    let spec = pod.spec.unwrap();
    assert!(spec.volumes.is_none());
    let container = &spec.containers.unwrap()[0];
    assert_eq!(container.name.as_ref().unwrap().as_str(), "b");
    assert_eq!(container.env.as_ref().unwrap().len(), 0);
}

#[test]
fn a_string_is_borrowed_unless_it_is_escaped() {
    use std::borrow::Cow;

    assert!(matches!(read::<Str<'_>>("\"é/\"").unwrap().0, Cow::Borrowed("é/")));
    assert_eq!(read::<Str<'_>>(r#""\u00e9\/""#).unwrap().0, "é/");
    assert!(read::<Option<Str<'_>>>("null").unwrap().is_none());
    assert_eq!(read::<Raw<'_>>(" [1 , 2] ").unwrap().get(), "[1 , 2]");
    assert_eq!(read::<Raw<'_>>(r#""a\n""#).unwrap().text().unwrap(), "a\n");
    assert!(read::<Raw<'_>>("[]").unwrap().text().is_none());
}

proptest! {
    #[test]
    fn members_are_those_of_a_map(pairs in proptest::collection::vec(("[a-j]{1,2}|\"|é", any::<u8>()), 0..60)) {
        let members: Vec<_> = pairs.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
        let text = format!("{{{}}}", members.join(","));
        let fields: Fields<'_, u8> = read(&text).unwrap();
        let map: Value = read(&text).unwrap();
        let map = map.as_object().unwrap();
        prop_assert_eq!(fields.iter().count(), map.len());
        for (key, value) in map {
            prop_assert_eq!(fields.get(key).copied().map(Value::from), Some(value.clone()));
        }
        prop_assert!(fields.get("k").is_none());
        // In the order of the last of each.
        let order: Vec<&str> = fields.iter().map(|(key, _)| key).collect();
        let mut last: Vec<&str> = Vec::new();
        for (key, _) in &pairs {
            last.retain(|other| other != key);
            last.push(key);
        }
        prop_assert_eq!(order, last);
    }
}
