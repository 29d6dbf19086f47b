//! RFC 6902 once more, written from the RFC and sharing nothing with the crate under test.

use serde_json::Value;

/// Applies `ops` to `document`.
pub(crate) fn apply(document: &mut Value, ops: &Value) -> Result<(), String> {
    for op in ops.as_array().ok_or("a patch is a list")? {
        one(document, op).map_err(|why| format!("{why}: {op}"))?;
    }
    Ok(())
}

fn one(document: &mut Value, op: &Value) -> Result<(), String> {
    let path = op["path"].as_str().ok_or("no path")?;
    let (parent, last) = path.rsplit_once('/').ok_or("the whole document is not patched")?;
    let parent = resolve(document, parent)?;
    let last = unescape(last);
    match (op["op"].as_str(), parent) {
        (Some("add"), Value::Object(map)) => {
            map.insert(last, op["value"].clone());
        }
        (Some("add"), Value::Array(list)) => {
            let at = if last == "-" { list.len() } else { index(&last)? };
            if at > list.len() {
                return Err("index beyond the end".into());
            }
            list.insert(at, op["value"].clone());
        }
        (Some("replace"), Value::Object(map)) => {
            *map.get_mut(&last).ok_or("nothing to replace")? = op["value"].clone();
        }
        (Some("replace"), Value::Array(list)) => {
            *list.get_mut(index(&last)?).ok_or("nothing to replace")? = op["value"].clone();
        }
        (Some("remove"), Value::Object(map)) => {
            map.shift_remove(&last).ok_or("nothing to remove")?;
        }
        (Some("remove"), Value::Array(list)) => {
            let at = index(&last)?;
            if at >= list.len() {
                return Err("nothing to remove".into());
            }
            list.remove(at);
        }
        _ => return Err("an operation that is not understood, or a parent that holds nothing".into()),
    }
    Ok(())
}

fn resolve<'v>(mut at: &'v mut Value, pointer: &str) -> Result<&'v mut Value, String> {
    for token in pointer.split('/').skip(1) {
        let token = unescape(token);
        at = match at {
            Value::Object(map) => map.get_mut(&token),
            Value::Array(list) => list.get_mut(index(&token)?),
            _ => None,
        }
        .ok_or_else(|| format!("no {token}"))?;
    }
    Ok(at)
}

fn index(token: &str) -> Result<usize, String> {
    if token.len() > 1 && token.starts_with('0') {
        return Err("leading zero".into());
    }
    token.parse().map_err(|_| "no index".to_owned())
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}
