//! Whether a pod's `nodeSelector` and required node terms contradict each other.
//!
//! This sees only what the pod alone shows: one label key with requirements that no value, and no
//! absence, can meet. Where it is not sure it says that a node may match.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::placement::affinity::{EXPRESSIONS, NodeRequirement};

/// Of the terms that are required each is the requirements that it has.
pub(super) fn is_contradictory<'t>(
    selector: Option<&Map<String, Value>>,
    mut terms: impl Iterator<Item = Vec<NodeRequirement<'t>>>,
) -> bool {
    !terms.any(|term| may_match(selector, &term))
}

fn may_match(selector: Option<&Map<String, Value>>, term: &[NodeRequirement<'_>]) -> bool {
    let mut grouped: BTreeMap<(&str, &str), Vec<&NodeRequirement<'_>>> = BTreeMap::new();
    for requirement in term {
        grouped.entry((requirement.field(), requirement.key)).or_default().push(requirement);
    }
    let selected = |field: &str, key: &str| {
        let value = selector.filter(|_| field == EXPRESSIONS)?.get(key)?;
        Some(value.as_str().unwrap_or_default())
    };
    !term.is_empty()
        && grouped.iter().all(|((field, key), requirements)| is_satisfiable(selected(field, key), requirements))
}

/// Whether a value, or that there is none, meets all requirements, and is the one that `nodeSelector` asks for.
fn is_satisfiable(selected: Option<&str>, requirements: &[&NodeRequirement<'_>]) -> bool {
    let has = |wanted: &str| requirements.iter().any(|one| one.operator == wanted);
    let of = |wanted: &'static str| requirements.iter().filter(move |one| one.operator == wanted);
    let mut allowed: Option<HashSet<&str>> = selected.map(|value| HashSet::from([value]));
    for one in of("In") {
        let values = one.values.iter().map(AsRef::as_ref);
        allowed = Some(match allowed {
            None => values.collect(),
            Some(allowed) => values.filter(|value| allowed.contains(value)).collect(),
        });
    }
    let Some(mut allowed) = allowed else {
        let needs_presence = has("Exists") || has("Gt") || has("Lt");
        return !needs_presence || (!has("DoesNotExist") && has_integer(requirements));
    };
    if has("DoesNotExist") {
        return false;
    }
    for value in of("NotIn").flat_map(|one| &one.values) {
        allowed.remove(value.as_ref());
    }
    let (low, high) = bounds(requirements);
    let is_compared = has("Gt") || has("Lt");
    allowed.into_iter().any(|value| {
        !is_compared || integer(value).is_some_and(|own| low <= i128::from(own) && i128::from(own) <= high)
    })
}

/// Whether an integer lies within all `Gt` and `Lt`. Values that `NotIn` takes away are few and the
/// spellings of an integer many, so they do not count.
fn has_integer(requirements: &[&NodeRequirement<'_>]) -> bool {
    let (low, high) = bounds(requirements);
    low <= high
}

/// The least and the greatest integer within all `Gt` and `Lt`; one whose value is none is met by nothing.
fn bounds(requirements: &[&NodeRequirement<'_>]) -> (i128, i128) {
    let (mut low, mut high) = (i128::from(i64::MIN), i128::from(i64::MAX));
    for one in requirements.iter().filter(|one| matches!(one.operator.as_ref(), "Gt" | "Lt")) {
        match (one.operator.as_ref(), one.values.first().and_then(|value| integer(value))) {
            ("Gt", Some(bound)) => low = low.max(i128::from(bound) + 1),
            (_, Some(bound)) => high = high.min(i128::from(bound) - 1),
            (_, None) => return (1, 0),
        }
    }
    (low, high)
}

fn integer(value: &str) -> Option<i64> {
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{json, placement::Placement};

    /// Whether a pod with that `nodeSelector` and those required terms shows that no node is left.
    fn contradicts(selector: Value, terms: Option<Value>) -> bool {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        let affinity = terms.map(|_| json!({"nodeAffinity": required}).to_string());
        let selector = selector.to_string();
        let affinity = affinity.as_deref().map(|text| json::read(text).unwrap());
        Placement::read(Some(json::read(&selector).unwrap()), None, affinity).unwrap().is_contradictory()
    }

    fn contradictory(selector: Value, expressions: Value) -> bool {
        contradicts(selector, Some(json!([{"matchExpressions": expressions}])))
    }

    #[test]
    fn selector_and_terms_contradict_over_one_key() {
        let not_in = json!([{"key": "a", "operator": "NotIn", "values": ["x"]}]);
        assert!(contradictory(json!({"a": "x"}), not_in.clone()));
        assert!(!contradictory(json!({"a": "y"}), not_in.clone()));
        assert!(!contradictory(json!({"b": "x"}), not_in.clone()));
        assert!(!contradictory(json!({}), not_in));
    }

    #[test]
    fn requirements_of_one_term_contradict() {
        let table = [
            (
                json!([{"key": "a", "operator": "In", "values": ["x"]}, {"key": "a", "operator": "In", "values": ["y"]}]),
                true,
            ),
            (
                json!([{"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "a", "operator": "NotIn", "values": ["x"]}]),
                false,
            ),
            (json!([{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "DoesNotExist"}]), true),
            (json!([{"key": "a", "operator": "In", "values": ["x"]}, {"key": "a", "operator": "DoesNotExist"}]), true),
            (
                json!([{"key": "a", "operator": "Gt", "values": ["4"]}, {"key": "a", "operator": "Lt", "values": ["5"]}]),
                true,
            ),
            (
                json!([{"key": "a", "operator": "Gt", "values": ["4"]}, {"key": "a", "operator": "Lt", "values": ["6"]}]),
                false,
            ),
            (
                json!([{"key": "a", "operator": "Gt", "values": ["4"]}, {"key": "a", "operator": "In", "values": ["3", "x"]}]),
                true,
            ),
            (
                json!([{"key": "a", "operator": "NotIn", "values": ["x"]}, {"key": "a", "operator": "DoesNotExist"}]),
                false,
            ),
        ];
        for (expressions, expected) in table {
            assert_eq!(contradictory(json!({}), expressions.clone()), expected, "{expressions}");
        }
    }

    #[test]
    fn a_pod_without_required_terms_contradicts_nothing_and_one_without_matches_nothing() {
        assert!(!contradicts(json!({"a": "x"}), None));
        assert!(contradicts(json!({}), Some(json!([]))));
        assert!(contradicts(json!({}), Some(json!([{}]))));
        let exists = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
        assert!(!contradicts(json!({}), Some(json!([{}, exists]))));
    }

    #[test]
    fn fields_contradict_as_labels_do() {
        let field =
            |operator: &str, name: &str| json!({"key": "metadata.name", "operator": operator, "values": [name]});
        let term = json!({"matchFields": [field("In", "n1"), field("In", "n2")]});
        assert!(contradicts(json!({}), Some(json!([term]))));
    }

    #[test]
    fn a_selector_speaks_of_labels_and_of_no_field() {
        let term = json!({"matchFields": [{"key": "a", "operator": "In", "values": ["x"]}]});
        assert!(!contradicts(json!({"a": "y"}), Some(json!([term]))));
    }
}
