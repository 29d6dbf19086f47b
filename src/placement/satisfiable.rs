//! Whether a pod's `nodeSelector` and required node terms contradict each other.
//!
//! This sees only what the pod alone shows: one label key with requirements that no value, and no
//! absence, can meet. Where it is not sure it says that a node may match.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::placement::affinity::{expressions, fields, is_blank, requirement_parts};

#[derive(Clone, Copy)]
enum NodeRequirement<'a> {
    Equals(&'a Value),
    Listed(&'a str, &'a [Value]),
}

pub(super) fn is_contradictory(selector: Option<&Map<String, Value>>, terms: Option<&[Value]>) -> bool {
    terms.is_some_and(|terms| !terms.iter().any(|term| may_match(selector, term)))
}

fn may_match(selector: Option<&Map<String, Value>>, term: &Value) -> bool {
    if is_blank(term) {
        return false;
    }
    let mut by_label = group(expressions(term));
    for (key, requirements) in &mut by_label {
        if let Some(value) = selector.and_then(|selector| selector.get(*key)) {
            requirements.push(NodeRequirement::Equals(value));
        }
    }
    let by_field = group(fields(term));
    let mut all = by_label.values().chain(by_field.values());
    all.all(|requirements| is_satisfiable(requirements))
}

fn group(requirements: &[Value]) -> BTreeMap<&str, Vec<NodeRequirement<'_>>> {
    let mut grouped: BTreeMap<&str, Vec<NodeRequirement<'_>>> = BTreeMap::new();
    for requirement in requirements {
        let (key, operator, values) = requirement_parts(requirement);
        let entry = grouped.entry(key).or_default();
        entry.push(NodeRequirement::Listed(operator, values));
    }
    grouped
}

fn is_satisfiable(requirements: &[NodeRequirement<'_>]) -> bool {
    let has = |wanted: &str| requirements.iter().any(|one| one.operator() == wanted);
    let mut allowed: Option<HashSet<&Value>> = None;
    for values in requirements.iter().filter(|one| one.operator() == "In").map(NodeRequirement::values) {
        allowed = Some(match allowed {
            None => values.iter().collect(),
            Some(allowed) => values.iter().filter(|value| allowed.contains(value)).collect(),
        });
    }
    let Some(mut allowed) = allowed else {
        let needs_presence = has("Exists") || has("Gt") || has("Lt");
        return !needs_presence || (!has("DoesNotExist") && has_integer(requirements));
    };
    if has("DoesNotExist") {
        return false;
    }
    for value in requirements.iter().filter(|one| one.operator() == "NotIn").flat_map(NodeRequirement::values) {
        allowed.remove(value);
    }
    let (low, high) = bounds(requirements);
    let is_compared = has("Gt") || has("Lt");
    allowed.into_iter().any(|value| {
        !is_compared || integer(value).is_some_and(|own| low <= i128::from(own) && i128::from(own) <= high)
    })
}

/// Whether an integer lies within all `Gt` and `Lt`. Values that `NotIn` takes away are few and the
/// spellings of an integer many, so they do not count.
fn has_integer(requirements: &[NodeRequirement<'_>]) -> bool {
    let (low, high) = bounds(requirements);
    low <= high
}

/// The least and the greatest integer within all `Gt` and `Lt`; one whose value is none is met by nothing.
fn bounds(requirements: &[NodeRequirement<'_>]) -> (i128, i128) {
    let (mut low, mut high) = (i128::from(i64::MIN), i128::from(i64::MAX));
    for one in requirements.iter().filter(|one| matches!(one.operator(), "Gt" | "Lt")) {
        match (one.operator(), one.values().first().and_then(integer)) {
            ("Gt", Some(bound)) => low = low.max(i128::from(bound) + 1),
            (_, Some(bound)) => high = high.min(i128::from(bound) - 1),
            (_, None) => return (1, 0),
        }
    }
    (low, high)
}

impl<'a> NodeRequirement<'a> {
    fn operator(&self) -> &'a str {
        match self {
            Self::Equals(_) => "In",
            Self::Listed(operator, _) => operator,
        }
    }

    fn values(&self) -> &'a [Value] {
        match self {
            Self::Equals(value) => std::slice::from_ref(*value),
            Self::Listed(_, values) => values,
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contradictory(selector: Value, expressions: Value) -> bool {
        let terms = [json!({"matchExpressions": expressions})];
        is_contradictory(selector.as_object(), Some(&terms))
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
        assert!(!is_contradictory(json!({"a": "x"}).as_object(), None));
        assert!(is_contradictory(None, Some(&[])));
        assert!(is_contradictory(None, Some(&[json!({})])));
        assert!(!is_contradictory(
            None,
            Some(&[json!({}), json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]})])
        ));
    }

    #[test]
    fn fields_contradict_as_labels_do() {
        let field =
            |operator: &str, name: &str| json!({"key": "metadata.name", "operator": operator, "values": [name]});
        let term = json!({"matchFields": [field("In", "n1"), field("In", "n2")]});
        assert!(is_contradictory(None, Some(&[term])));
    }
}
