//! Tolerations: when two are the same, and when one makes another superfluous.
//!
//! Identity is (key, operator, value, effect), with the operator defaulting to `Equal`; covering is
//! what the scheduler's `ToleratesTaint` makes of it. `tolerationSeconds` takes no part in either:
//! the scheduler ignores it, and the taint-eviction controller asks the first toleration in the list
//! that matches a taint (`GetMatchingTolerations`), so one appended behind a toleration that covers
//! it is never consulted.

use std::fmt;

use k8s_openapi::api::core::v1 as core;
use serde_json::{Map, Value};

/// A toleration of a policy, checked by [`crate::policy::scheduling::tolerations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
    seconds: Option<i64>,
}

/// A toleration as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View<'a> {
    key: &'a str,
    operator: &'a str,
    value: &'a str,
    effect: &'a str,
}

impl From<&core::Toleration> for Toleration {
    fn from(wire: &core::Toleration) -> Self {
        Self {
            key: wire.key.clone().unwrap_or_default(),
            operator: wire.operator.clone().unwrap_or_default(),
            value: wire.value.clone().unwrap_or_default(),
            effect: wire.effect.clone().unwrap_or_default(),
            seconds: wire.toleration_seconds,
        }
    }
}

impl Toleration {
    pub(crate) fn view(&self) -> View<'_> {
        View { key: &self.key, operator: operator(&self.operator), value: &self.value, effect: &self.effect }
    }

    /// The toleration as a pod carries it, without what is empty.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = Map::new();
        let fields =
            [("key", &self.key), ("operator", &self.operator), ("value", &self.value), ("effect", &self.effect)];
        for (name, text) in fields {
            if !text.is_empty() {
                json.insert(name.to_owned(), Value::from(text.as_str()));
            }
        }
        if let Some(seconds) = self.seconds {
            json.insert("tolerationSeconds".to_owned(), Value::from(seconds));
        }
        Value::Object(json)
    }
}

impl fmt::Display for Toleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl<'a> View<'a> {
    /// The toleration in a pod, or `None` where it is no object.
    pub(crate) fn of(toleration: &'a Value) -> Option<Self> {
        let fields = toleration.as_object()?;
        let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        Some(Self {
            key: text("key"),
            operator: operator(text("operator")),
            value: text("value"),
            effect: text("effect"),
        })
    }

    /// Whether both are one toleration, seconds aside.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self == other
    }

    /// Whether every taint that `other` tolerates is tolerated by this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let effect = self.effect.is_empty() || self.effect == other.effect;
        let key = self.tolerates_every_key() || self.key == other.key;
        let value = match self.operator {
            "Exists" => true,
            operator => operator == other.operator && self.value == other.value,
        };
        effect && key && value
    }

    /// Whether some taint is tolerated by both. For the numeric operators the answer is `true`
    /// unless the rest excludes it.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let effect = self.effect.is_empty() || other.effect.is_empty() || self.effect == other.effect;
        let key = self.tolerates_every_key() || other.tolerates_every_key() || self.key == other.key;
        let both_equal = self.operator == "Equal" && other.operator == "Equal";
        effect && key && (!both_equal || self.value == other.value)
    }

    fn tolerates_every_key(&self) -> bool {
        self.key.is_empty() && self.operator == "Exists"
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() { "any key" } else { self.key };
        match self.operator {
            "Exists" => write!(f, "{key}")?,
            "Equal" => write!(f, "{key}={}", self.value)?,
            operator => write!(f, "{key} {operator} {}", self.value)?,
        }
        if self.effect.is_empty() { f.write_str(" (any effect)") } else { write!(f, ":{}", self.effect) }
    }
}

fn operator(text: &str) -> &str {
    if text.is_empty() { "Equal" } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn covers(broad: Value, narrow: Value) -> bool {
        View::of(&broad).unwrap().covers(&View::of(&narrow).unwrap())
    }

    fn overlaps(one: Value, other: Value) -> bool {
        let (one, other) = (View::of(&one).unwrap(), View::of(&other).unwrap());
        assert_eq!(one.overlaps(&other), other.overlaps(&one));
        one.overlaps(&other)
    }

    #[test]
    fn operator_defaults_to_equal_and_seconds_do_not_count() {
        let bare = json!({"key": "spot", "value": "true", "effect": "NoExecute"});
        let full =
            json!({"key": "spot", "operator": "Equal", "value": "true", "effect": "NoExecute", "tolerationSeconds": 5});
        assert!(View::of(&bare).unwrap().is_same(&View::of(&full).unwrap()));
    }

    #[test]
    fn exists_without_key_covers_everything_of_its_effect() {
        let spot = json!({"key": "spot", "operator": "Exists", "effect": "NoSchedule"});
        assert!(covers(json!({"operator": "Exists"}), spot.clone()));
        assert!(covers(json!({"operator": "Exists", "effect": "NoSchedule"}), spot.clone()));
        assert!(!covers(json!({"operator": "Exists", "effect": "NoExecute"}), spot));
    }

    #[test]
    fn exists_covers_equal_but_not_the_other_way_round() {
        let exists = json!({"key": "spot", "operator": "Exists"});
        let equal = json!({"key": "spot", "value": "true"});
        assert!(covers(exists.clone(), equal.clone()));
        assert!(!covers(equal.clone(), exists));
        assert!(!covers(equal, json!({"key": "spot", "value": "false"})));
    }

    #[test]
    fn one_effect_does_not_cover_all_effects() {
        let all = json!({"key": "spot", "operator": "Exists"});
        let one = json!({"key": "spot", "operator": "Exists", "effect": "NoSchedule"});
        assert!(covers(all.clone(), one.clone()));
        assert!(!covers(one, all));
    }

    #[test]
    fn numeric_operators_cover_only_themselves() {
        let above = json!({"key": "sla", "operator": "Gt", "value": "5"});
        assert!(covers(above.clone(), above.clone()));
        assert!(!covers(above.clone(), json!({"key": "sla", "operator": "Gt", "value": "9"})));
        assert!(!covers(above.clone(), json!({"key": "sla", "value": "9"})));
        assert!(covers(json!({"key": "sla", "operator": "Exists"}), above));
    }

    #[test]
    fn tolerations_overlap_where_a_taint_fits_both() {
        let spot = json!({"key": "spot", "operator": "Exists"});
        assert!(overlaps(spot.clone(), json!({"key": "spot", "value": "x", "effect": "NoSchedule"})));
        assert!(overlaps(spot.clone(), json!({"operator": "Exists", "effect": "NoExecute"})));
        assert!(!overlaps(spot, json!({"key": "gpu", "operator": "Exists"})));
        assert!(!overlaps(json!({"key": "a", "value": "1"}), json!({"key": "a", "value": "2"})));
    }

    #[test]
    fn json_leaves_out_what_is_empty() {
        let wire = core::Toleration {
            key: Some("spot".into()),
            operator: Some("Exists".into()),
            value: Some(String::new()),
            ..core::Toleration::default()
        };
        let expected = json!({"key": "spot", "operator": "Exists"});
        assert_eq!(Toleration::from(&wire).to_json(), expected);
    }
}
