//! What the API server will refuse of a policy's scheduling fields, found before it is put on a pod.
//!
//! The rules are those of `core/validation` in Kubernetes 1.36. Stricter than it where the API
//! server accepts what the scheduler then cannot use: a required term without requirements (it
//! matches no node), and `Gt`/`Lt` with anything but an integer. Tolerations with the operators `Lt`
//! and `Gt` are refused, since they need the feature gate TaintTolerationComparisonOperators and
//! an API server without it would refuse every pod they were put on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Toleration,
    WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{
    field_error::{Problems, check},
    names,
};

/// Checks a `nodeSelector`.
#[must_use]
pub fn node_selector(path: &str, pairs: &BTreeMap<String, String>) -> Problems {
    labels(path, pairs)
}

/// Checks a list of tolerations (`ValidateTolerations`).
#[must_use]
pub fn tolerations(path: &str, tolerations: &[Toleration]) -> Problems {
    let mut problems = Problems::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        check_toleration(&format!("{path}[{index}]"), toleration, &mut problems);
    }
    problems
}

/// Checks an affinity (`validateAffinity`).
#[must_use]
pub fn affinity(path: &str, affinity: &Affinity) -> Problems {
    let mut problems = Problems::new();
    if let Some(node) = &affinity.node_affinity {
        check_node_affinity(&format!("{path}.nodeAffinity"), node, &mut problems);
    }
    if let Some(pod) = &affinity.pod_affinity {
        let path = format!("{path}.podAffinity");
        let required = &pod.required_during_scheduling_ignored_during_execution;
        let preferred = &pod.preferred_during_scheduling_ignored_during_execution;
        check_pod_terms(&path, required.as_deref(), preferred.as_deref(), &mut problems);
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let path = format!("{path}.podAntiAffinity");
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

/// Checks labels, as a selector's `matchLabels` and a `nodeSelector` hold them.
#[must_use]
pub fn labels(path: &str, labels: &BTreeMap<String, String>) -> Problems {
    let mut problems = Problems::new();
    for (key, value) in labels {
        let path = format!("{path}[{key}]");
        check(&path, key, names::label_key(key), &mut problems);
        check(&path, value, names::label_value(value), &mut problems);
    }
    problems
}

/// Checks a label selector (`ValidateLabelSelector`).
#[must_use]
pub fn label_selector(path: &str, selector: &LabelSelector) -> Problems {
    let mut problems = match &selector.match_labels {
        Some(pairs) => labels(&format!("{path}.matchLabels"), pairs),
        None => Problems::new(),
    };
    let expressions = selector.match_expressions.iter().flatten();
    for (index, expression) in expressions.enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let (key, operator) = (&expression.key, expression.operator.as_str());
        let values = expression.values.as_deref().unwrap_or_default();
        check(&format!("{path}.key"), key, names::label_key(key), &mut problems);
        if matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist") {
            check_values(&path, operator, values, &mut problems);
        } else {
            let allowed = "must be In, NotIn, Exists or DoesNotExist";
            check(&format!("{path}.operator"), operator, Err(allowed), &mut problems);
        }
    }
    problems
}

fn check_toleration(path: &str, toleration: &Toleration, problems: &mut Problems) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, operator) = (text(&toleration.key), text(&toleration.operator));
    let (value, effect) = (text(&toleration.value), text(&toleration.effect));
    if !key.is_empty() {
        check(&format!("{path}.key"), &key, names::taint_key(&key), problems);
    } else if operator != "Exists" {
        let allowed = "must be Exists where key is empty";
        check(&format!("{path}.operator"), &operator, Err(allowed), problems);
    }
    let at = format!("{path}.value");
    match operator.as_str() {
        "" | "Equal" => check(&at, &value, names::taint_value(&value), problems),
        "Exists" if value.is_empty() => {}
        "Exists" => check(&at, &value, Err("must be empty where operator is Exists"), problems),
        other => {
            let allowed = "must be Equal or Exists; Lt and Gt need a feature gate that API servers have off by default";
            check(&format!("{path}.operator"), other, Err(allowed), problems);
        }
    }
    let at = format!("{path}.effect");
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
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
        if required.node_selector_terms.is_empty() {
            problems.push((path.clone(), "must have at least one term".to_owned()));
        }
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if is_blank(term) {
                let message = "must have a requirement: an empty term matches no node";
                problems.push((path.clone(), message.to_owned()));
            }
            check_term(&path, term, problems);
        }
    }
    let preferred = node.preferred_during_scheduling_ignored_during_execution.iter();
    for (index, term) in preferred.flatten().enumerate() {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]");
        check_weight(&path, term.weight, problems);
        check_term(&format!("{path}.preference"), &term.preference, problems);
    }
}

fn is_blank(term: &NodeSelectorTerm) -> bool {
    let lists = [&term.match_expressions, &term.match_fields];
    lists.iter().all(|list| list.as_ref().is_none_or(Vec::is_empty))
}

fn check_term(path: &str, term: &NodeSelectorTerm, problems: &mut Problems) {
    for (index, expression) in term.match_expressions.iter().flatten().enumerate() {
        check_node_expression(&format!("{path}.matchExpressions[{index}]"), expression, problems);
    }
    for (index, field) in term.match_fields.iter().flatten().enumerate() {
        check_node_field(&format!("{path}.matchFields[{index}]"), field, problems);
    }
}

fn check_node_expression(path: &str, expression: &NodeSelectorRequirement, problems: &mut Problems) {
    let (key, operator) = (&expression.key, expression.operator.as_str());
    let values = expression.values.as_deref().unwrap_or_default();
    check(&format!("{path}.key"), key, names::label_key(key), problems);
    match operator {
        "In" | "NotIn" | "Exists" | "DoesNotExist" => check_values(path, operator, values, problems),
        "Gt" | "Lt" => match values {
            [value] if value.parse::<i64>().is_ok() => {}
            _ => problems
                .push((format!("{path}.values"), format!("must be exactly one integer where operator is {operator}"))),
        },
        other => {
            let allowed = "must be In, NotIn, Exists, DoesNotExist, Gt or Lt";
            check(&format!("{path}.operator"), other, Err(allowed), problems);
        }
    }
}

fn check_node_field(path: &str, field: &NodeSelectorRequirement, problems: &mut Problems) {
    if field.key != "metadata.name" {
        let allowed = "must be metadata.name, the only field of nodes that can be selected by";
        check(&format!("{path}.key"), &field.key, Err(allowed), problems);
    }
    if !matches!(field.operator.as_str(), "In" | "NotIn") {
        let allowed = "must be In or NotIn for a field";
        check(&format!("{path}.operator"), &field.operator, Err(allowed), problems);
    }
    match field.values.as_deref().unwrap_or_default() {
        [name] => check(&format!("{path}.values[0]"), name, names::dns1123_subdomain(name), problems),
        _ => problems.push((format!("{path}.values"), "must be exactly one node name".to_owned())),
    }
}

fn check_values(path: &str, operator: &str, values: &[String], problems: &mut Problems) {
    let is_set = matches!(operator, "In" | "NotIn");
    if is_set == values.is_empty() {
        let wanted = if is_set { "must not be empty" } else { "must be empty" };
        problems.push((format!("{path}.values"), format!("{wanted} where operator is {operator}")));
    }
    for (index, value) in values.iter().enumerate() {
        check(&format!("{path}.values[{index}]"), value, names::label_value(value), problems);
    }
}

fn check_pod_terms(
    path: &str,
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
    problems: &mut Problems,
) {
    for (index, term) in required.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution[{index}]");
        check_pod_term(&path, term, problems);
    }
    for (index, term) in preferred.unwrap_or_default().iter().enumerate() {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]");
        check_weight(&path, term.weight, problems);
        check_pod_term(&format!("{path}.podAffinityTerm"), &term.pod_affinity_term, problems);
    }
}

fn check_pod_term(path: &str, term: &PodAffinityTerm, problems: &mut Problems) {
    let key = &term.topology_key;
    check(&format!("{path}.topologyKey"), key, names::topology_key(key), problems);
    if let Some(selector) = &term.label_selector {
        problems.extend(label_selector(&format!("{path}.labelSelector"), selector));
    }
    if let Some(selector) = &term.namespace_selector {
        problems.extend(label_selector(&format!("{path}.namespaceSelector"), selector));
    }
    for (index, name) in term.namespaces.iter().flatten().enumerate() {
        check(&format!("{path}.namespaces[{index}]"), name, names::namespace(name), problems);
    }
    let mismatched = term.mismatch_label_keys.as_deref().unwrap_or_default();
    let lists =
        [("matchLabelKeys", term.match_label_keys.as_deref().unwrap_or_default()), ("mismatchLabelKeys", mismatched)];
    for (field, keys) in lists {
        let path = format!("{path}.{field}");
        if !keys.is_empty() && term.label_selector.is_none() {
            problems.push((path.clone(), "must be empty where labelSelector is not set".to_owned()));
        }
        for (index, key) in keys.iter().enumerate() {
            let path = format!("{path}[{index}]");
            check(&path, key, names::label_key(key), problems);
            if field == "matchLabelKeys" && mismatched.contains(key) {
                check(&path, key, Err("must not be in mismatchLabelKeys as well"), problems);
            }
        }
    }
}

fn check_weight(path: &str, weight: i32, problems: &mut Problems) {
    if !(1..=100).contains(&weight) {
        problems.push((format!("{path}.weight"), format!("value {weight} must be 1 to 100")));
    }
}
