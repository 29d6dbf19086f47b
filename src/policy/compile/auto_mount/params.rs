//! `storage.auto_mount_params`: how MLRun writes them, and what it makes of their values.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::policy::spec::MountSpec;

/// Parameters by name.
pub(super) type Params = BTreeMap<String, Value>;

/// `k=v,k=v`, or base64 of a JSON object; and the items that are neither.
///
/// As MLRun's `get_storage_auto_mount_params`, but what crashes MLRun (base64 of something else) has an error, and what
/// it drops without a word is named.
pub(super) fn parse(text: &str) -> Result<(Params, Vec<usize>), String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok((Params::new(), Vec::new()));
    }
    if let Ok(bytes) = STANDARD.decode(text) {
        return match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(map)) => Ok((map.into_iter().collect(), Vec::new())),
            Ok(_) => Err("is base64 of JSON that is not an object; use an object, or k=v,k=v".into()),
            Err(_) => Err("is base64 of something that is not JSON; use base64 of a JSON object, or k=v,k=v".into()),
        };
    }
    if !text.contains('=') || text.trim_end_matches('=').len() > 40 && !text.trim_end_matches('=').contains(['=', ','])
    {
        let json = STANDARD.decode(format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4)));
        let why = if json.is_ok_and(|bytes| bytes.starts_with(b"{")) {
            "is base64 without its padding; add the '=' signs at its end"
        } else {
            "is neither k=v,k=v nor base64 of a JSON object"
        };
        return Err(why.into());
    }
    let mut params = Params::new();
    let mut ignored = Vec::new();
    for (index, pair) in text.split(',').enumerate() {
        match pair.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                params.insert(name.trim().to_owned(), Value::String(value.trim().to_owned()));
            }
            Some(_) => return Err(format!("item {} has no name before its '='", index + 1)),
            None => ignored.push(index + 1),
        }
    }
    Ok((params, ignored))
}

pub(super) fn volume_mounts(value: &Value) -> Option<Vec<MountSpec>> {
    let text;
    let value = match value {
        Value::String(json) => {
            text = serde_json::from_str::<Value>(json).ok()?;
            &text
        }
        value => value,
    };
    value
        .as_array()?
        .iter()
        .map(|mount| {
            let part = |name: &str, index: usize| {
                mount.get(name).or_else(|| mount.get(index)).and_then(Value::as_str).map(str::to_owned)
            };
            let sub_path = part("sub_path", 1).unwrap_or_default();
            Some(MountSpec { path: part("path", 0)?, sub_path, sub_path_expr: String::new() })
        })
        .collect()
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

/// MLRun takes every text for true, `False` too; what people mean by it is false.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Null => false,
        Value::String(text) => !matches!(text.to_lowercase().as_str(), "" | "false" | "no" | "0" | "none"),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(_) | Value::Object(_) => true,
    }
}

pub(super) fn secret_looking(name: &str) -> bool {
    let name = name.to_uppercase();
    ["SECRET", "PASSWORD", "ACCESS_KEY", "TOKEN", "CREDENTIAL"].iter().any(|word| name.contains(word))
}

pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_and_base64_as_mlrun_does() {
        let pairs = |text: &str| {
            parse(text).unwrap().0.into_iter().map(|(k, v)| format!("{k}={}", plain(&v))).collect::<Vec<_>>()
        };
        assert_eq!(pairs("a=b,c=d"), ["a=b", "c=d"]);
        assert_eq!(pairs(" a = b ,c=x=y"), ["a=b", "c=x=y"]);
        assert_eq!(pairs("k=v,k=v2"), ["k=v2"]);
        assert_eq!(pairs("e30="), [""; 0]);
        assert_eq!(pairs("eyJhIjogMX0="), ["a=1"]);
        assert_eq!(parse("a=b,novalue").unwrap().1, [2]);
    }

    #[test]
    fn refuses_with_a_reason_what_mlrun_drops_or_crashes_on() {
        for (text, why) in [
            ("bnVsbA==", "not an object"),
            ("W10=", "not an object"),
            ("YWJj", "not JSON"),
            ("abcd", "not JSON"),
            ("eyJhIjoxfQ", "padding"),
            ("novalue", "neither"),
            (",,", "neither"),
            ("=v", "item 1 has no name"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
