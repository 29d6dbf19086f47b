//! What the API server will refuse of a policy's scheduling fields, found before it is put on a pod.
//!
//! The rules are those of `core/validation` in Kubernetes 1.36. Stricter than it where the API
//! server accepts what the scheduler then cannot use: a required term without requirements (it
//! matches no node), and `Gt`/`Lt` with anything but an integer. Tolerations with the operators `Lt`
//! and `Gt` are refused, since they need the feature gate TaintTolerationComparisonOperators and
//! an API server without it would refuse every pod they were put on.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Toleration,
        WeightedPodAffinityTerm,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use crate::{
    field_error::{FieldError, Problems, check, field, item},
    labels::Selector,
    names,
};

/// Checks a `nodeSelector`.
#[must_use]
pub fn node_selector(path: &str, pairs: &BTreeMap<String, String>) -> Problems {
    let mut problems = Problems::new();
    for (key, value) in pairs {
        let at = field(path, key);
        check(&at, key, names::label_key(key), &mut problems);
        check(&at, value, names::label_value(value), &mut problems);
    }
    problems
}

/// Checks a list of tolerations (`ValidateTolerations`).
#[must_use]
pub fn tolerations(path: &str, tolerations: &[Toleration]) -> Problems {
    let mut problems = Problems::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        check_toleration(&item(path, index), toleration, &mut problems);
    }
    problems
}

/// Checks an affinity (`validateAffinity`).
#[must_use]
pub fn affinity(path: &str, affinity: &Affinity) -> Problems {
    let mut problems = Problems::new();
    if let Some(node) = &affinity.node_affinity {
        check_node_affinity(&field(path, "nodeAffinity"), node, &mut problems);
    }
    if let Some(pod) = &affinity.pod_affinity {
        let path = field(path, "podAffinity");
        let required = &pod.required_during_scheduling_ignored_during_execution;
        let preferred = &pod.preferred_during_scheduling_ignored_during_execution;
        check_pod_terms(&path, required.as_deref(), preferred.as_deref(), &mut problems);
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let path = field(path, "podAntiAffinity");
        let required = &pod.required_during_scheduling_ignored_during_execution;
        let preferred = &pod.preferred_during_scheduling_ignored_during_execution;
        check_pod_terms(&path, required.as_deref(), preferred.as_deref(), &mut problems);
    }
    problems
}

/// Checks a `priorityClassName`.
#[must_use]
pub fn priority_class_name(path: &str, name: &str) -> Problems {
    let mut problems = Problems::new();
    check(path, name, names::priority_class_name(name), &mut problems);
    problems
}

fn check_toleration(path: &str, toleration: &Toleration, problems: &mut Problems) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, operator) = (text(&toleration.key), text(&toleration.operator));
    let (value, effect) = (text(&toleration.value), text(&toleration.effect));
    if !key.is_empty() {
        check(&field(path, "key"), &key, names::taint_key(&key), problems);
    } else if operator != "Exists" {
        let allowed = "must be Exists where key is empty";
        check(&field(path, "operator"), &operator, Err(allowed), problems);
    }
    let at = field(path, "value");
    match operator.as_str() {
        "" | "Equal" => check(&at, &value, names::taint_value(&value), problems),
        "Exists" if value.is_empty() => {}
        "Exists" => check(&at, &value, Err("must be empty where operator is Exists"), problems),
        other => {
            let allowed = "must be Equal or Exists; Lt and Gt need a feature gate that API servers have off by default";
            check(&field(path, "operator"), other, Err(allowed), problems);
        }
    }
    let at = field(path, "effect");
    if !matches!(effect.as_str(), "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        let allowed = "must be NoSchedule, PreferNoSchedule or NoExecute, or left out for all of them";
        check(&at, &effect, Err(allowed), problems);
    } else if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let allowed = "must be NoExecute where tolerationSeconds is set";
        check(&at, &effect, Err(allowed), problems);
    }
}

fn check_node_affinity(path: &str, node: &NodeAffinity, problems: &mut Problems) {
    if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
        let path = field(&field(path, "requiredDuringSchedulingIgnoredDuringExecution"), "nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            problems.push(FieldError::new(path.as_str(), "must have at least one term"));
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            let path = item(&path, index);
            if is_blank(term) {
                let message = "must have a requirement: an empty term matches no node";
                problems.push(FieldError::new(path.as_str(), message));
            }
            check_term(&path, term, problems);
        }
    }
    let preferred = node.preferred_during_scheduling_ignored_during_execution.iter();
    for (index, term) in preferred.flatten().enumerate() {
        let path = item(&field(path, "preferredDuringSchedulingIgnoredDuringExecution"), index);
        check_weight(&path, term.weight, problems);
        check_term(&field(&path, "preference"), &term.preference, problems);
    }
}

fn is_blank(term: &NodeSelectorTerm) -> bool {
    let lists = [&term.match_expressions, &term.match_fields];
    lists.iter().all(|list| list.as_ref().is_none_or(Vec::is_empty))
}

fn check_term(path: &str, term: &NodeSelectorTerm, problems: &mut Problems) {
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        check_node_expression(&item(&field(path, "matchExpressions"), index), expression, problems);
    }
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        check_node_field(&item(&field(path, "matchFields"), index), requirement, problems);
    }
}

fn check_node_expression(path: &str, expression: &NodeSelectorRequirement, problems: &mut Problems) {
    let (key, operator) = (&expression.key, expression.operator.as_str());
    let values = expression.values.as_deref().unwrap_or_default();
    check(&field(path, "key"), key, names::label_key(key), problems);
    match operator {
        "In" | "NotIn" | "Exists" | "DoesNotExist" => check_values(path, operator, values, problems),
        "Gt" | "Lt" => match values {
            [value] if value.parse::<i64>().is_ok() => {}
            _ => {
                let why = format!("must be exactly one integer where operator is {operator}");
                problems.push(FieldError::new(field(path, "values"), why));
            }
        },
        other => {
            let allowed = "must be In, NotIn, Exists, DoesNotExist, Gt or Lt";
            check(&field(path, "operator"), other, Err(allowed), problems);
        }
    }
}

fn check_node_field(path: &str, requirement: &NodeSelectorRequirement, problems: &mut Problems) {
    if requirement.key != "metadata.name" {
        let allowed = "must be metadata.name, the only field of nodes that can be selected by";
        check(&field(path, "key"), &requirement.key, Err(allowed), problems);
    }
    if !matches!(requirement.operator.as_str(), "In" | "NotIn") {
        let allowed = "must be In or NotIn for a field";
        check(&field(path, "operator"), &requirement.operator, Err(allowed), problems);
    }
    match requirement.values.as_deref().unwrap_or_default() {
        [name] => check(&item(&field(path, "values"), 0), name, names::dns1123_subdomain(name), problems),
        _ => problems.push(FieldError::new(field(path, "values"), "must be exactly one node name")),
    }
}

fn check_values(path: &str, operator: &str, values: &[String], problems: &mut Problems) {
    let is_set = matches!(operator, "In" | "NotIn");
    if is_set == values.is_empty() {
        let wanted = if is_set { "must not be empty" } else { "must be empty" };
        problems.push(FieldError::new(field(path, "values"), format!("{wanted} where operator is {operator}")));
    }
    for (index, value) in values.iter().enumerate() {
        check(&item(&field(path, "values"), index), value, names::label_value(value), problems);
    }
}

fn check_pod_terms(
    path: &str,
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
    problems: &mut Problems,
) {
    for (index, term) in required.unwrap_or_default().iter().enumerate() {
        let path = item(&field(path, "requiredDuringSchedulingIgnoredDuringExecution"), index);
        check_pod_term(&path, term, problems);
    }
    for (index, term) in preferred.unwrap_or_default().iter().enumerate() {
        let path = item(&field(path, "preferredDuringSchedulingIgnoredDuringExecution"), index);
        check_weight(&path, term.weight, problems);
        check_pod_term(&field(&path, "podAffinityTerm"), &term.pod_affinity_term, problems);
    }
}

fn check_pod_term(path: &str, term: &PodAffinityTerm, problems: &mut Problems) {
    let key = &term.topology_key;
    check(&field(path, "topologyKey"), key, names::topology_key(key), problems);
    if let Some(selector) = &term.label_selector {
        Selector::parse(selector, &field(path, "labelSelector"), problems);
    }
    if let Some(selector) = &term.namespace_selector {
        Selector::parse(selector, &field(path, "namespaceSelector"), problems);
    }
    for (index, name) in term.namespaces.iter().flatten().enumerate() {
        check(&item(&field(path, "namespaces"), index), name, names::namespace(name), problems);
    }
    let mismatched = term.mismatch_label_keys.as_deref().unwrap_or_default();
    let matched = term.match_label_keys.as_deref().unwrap_or_default();
    match_label_keys(matched, term.label_selector.as_ref(), path, problems);
    let lists = [("matchLabelKeys", matched), ("mismatchLabelKeys", mismatched)];
    for (name, keys) in lists {
        let path = field(path, name);
        if !keys.is_empty() && term.label_selector.is_none() {
            problems.push(FieldError::new(path.as_str(), "must be empty where labelSelector is not set"));
        }
        for (index, key) in keys.iter().enumerate() {
            let path = item(&path, index);
            if name == "mismatchLabelKeys" {
                check(&path, key, names::label_key(key), problems);
            }
            if name == "matchLabelKeys" && mismatched.contains(key) {
                check(&path, key, Err("must not be in mismatchLabelKeys as well"), problems);
            }
        }
    }
}

/// Keys of `matchLabelKeys`, in the object at `path`: the API server makes requirements of them, and refuses a pod that has
/// one for the same label already.
pub(crate) fn match_label_keys(keys: &[String], selector: Option<&LabelSelector>, path: &str, problems: &mut Problems) {
    let asks = |key: &String| {
        let labels = selector.and_then(|selector| selector.match_labels.as_ref());
        let expressions = selector.and_then(|selector| selector.match_expressions.as_ref());
        labels.is_some_and(|labels| labels.contains_key(key))
            || expressions.is_some_and(|expressions| expressions.iter().any(|one| one.key == *key))
    };
    for (index, key) in keys.iter().enumerate() {
        let path = item(&field(path, "matchLabelKeys"), index);
        check(&path, key, names::label_key(key), problems);
        if asks(key) {
            check(&path, key, Err("must not be in labelSelector as well"), problems);
        }
    }
}

fn check_weight(path: &str, weight: i32, problems: &mut Problems) {
    if !(1..=100).contains(&weight) {
        problems.push(FieldError::new(field(path, "weight"), format!("{weight} must be 1 to 100")));
    }
}
