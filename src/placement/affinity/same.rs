//! When two elements of a list say the same: the API server drops what is null or an empty list, and what a policy added
//! must be found again after it has been through there.

use serde_json::Value;

/// The text of an element of a policy, in the form in which elements are compared.
pub(super) fn of_wire(wire: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(wire)
        .expect("Kubernetes types hold strings, numbers and string-keyed maps, which are JSON");
    canonical(value)
}

/// The same text for elements that are one for the API server. Its members stand in the order of their names, as the API
/// server writes them itself.
pub(super) fn canonical(mut value: Value) -> String {
    drop_blank(&mut value);
    value.sort_all_objects();
    value.to_string()
}

fn drop_blank(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, value| !is_dropped(key, value));
            object.values_mut().for_each(drop_blank);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_blank),
        _ => {}
    }
}

fn is_dropped(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        // An empty selector object selects everything and is kept; only this map is `omitempty`.
        Value::Object(map) => map.is_empty() && key == "matchLabels",
        _ => false,
    }
}
