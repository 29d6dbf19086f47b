//! What one policy reads of a pod and another replaces: labels, and what containers request.
//!
//! What a pod brought cannot be known again once it was replaced, so a second admission of the same pod would select and
//! resolve by the new value. Of two such policies one is refused.

use std::sync::Arc;

use crate::{
    defaults::resources::Resources,
    field_error::{FieldError, field, item},
    labels::Selector,
    policy::{Policy, Scope, spec::OnConflict},
};

/// Whether `policy` changes something that others may read.
pub(super) fn is_read_by_others(policy: &Policy) -> bool {
    replaces_labels(policy) || default_resources(policy).is_some()
}

fn replaces_labels(policy: &Policy) -> bool {
    policy.on_conflict == OnConflict::Override && !policy.labels.is_empty()
}

fn default_resources(policy: &Policy) -> Option<&Resources> {
    policy.defaults.as_ref().map(|defaults| &defaults.resources).filter(|resources| !resources.is_empty())
}

/// Why `policy` is refused beside `others`, which may hold itself; `None` where it is not.
///
/// The one that reads is refused, by the name of the one that replaces. But an InjectionPolicy that replaces what a
/// ClusterInjectionPolicy reads is refused itself, or whoever may write in one namespace could put the platform's policy
/// out of force everywhere.
pub(super) fn refusal<'p>(policy: &Policy, others: impl IntoIterator<Item = &'p Arc<Policy>>) -> Option<FieldError> {
    let of_own = || requested_default(policy, policy);
    of_itself(policy).or_else(of_own).or_else(|| others.into_iter().find_map(|other| of_other(policy, other)))
}

fn of_other(policy: &Policy, other: &Policy) -> Option<FieldError> {
    if other.id == policy.id {
        return None;
    }
    if let Some(error) = requested_default(policy, other) {
        return Some(error);
    }
    let (is_cluster, is_other_cluster) = (policy.is_cluster(), other.is_cluster());
    if (is_other_cluster || !is_cluster)
        && let Some((key, path)) = read_and_replaced(policy, other)
    {
        let why = format!("policy {} replaces the label {key} under onConflict: Override", other.id);
        let what = "a second admission could not see what the pod brought";
        return Some(FieldError::new(path, format!("{why}: {what}")));
    }
    if is_other_cluster
        && !is_cluster
        && let Some((key, _)) = read_and_replaced(other, policy)
    {
        let why = format!("policy {} reads this label", other.id);
        let what = "an InjectionPolicy may not replace it under onConflict: Override";
        return Some(FieldError::new(field("spec.labels", key), format!("{why}: {what}")));
    }
    None
}

/// A resource of `match.requests` that the defaults of `other` set, in a pod that both may match.
fn requested_default(policy: &Policy, other: &Policy) -> Option<FieldError> {
    let set = default_resources(other)?;
    let (index, resource) = policy.requests.iter().enumerate().find(|(_, resource)| set.sets(resource))?;
    if !may_meet(policy, other) {
        return None;
    }
    let whose = if policy.id == other.id { "the policy itself".to_owned() } else { format!("policy {}", other.id) };
    let why = "a second admission could not see what the pod itself requests";
    let path = item("spec.match.requests", index);
    Some(FieldError::new(path, format!("{whose} sets {resource} in defaults.resources: {why}")))
}

/// A policy may replace a label that it selects by, as long as the new value is one that it selects.
fn of_itself(policy: &Policy) -> Option<FieldError> {
    if !replaces_labels(policy) {
        return None;
    }
    policy.labels.iter().find_map(|(key, value)| {
        let own = policy.pods.requirements().iter().filter(|requirement| requirement.key == *key);
        let misses = own.into_iter().any(|requirement| !requirement.matches(Some(value)));
        let why = if policy.reads_by_placeholder(key) {
            "the policy has a placeholder of this label"
        } else if misses {
            "the policy selects by this label and would not select its own value"
        } else {
            return None;
        };
        let what = "under onConflict: Override a second admission could not see what the pod brought";
        Some(FieldError::new(field("spec.labels", key), format!("{why}: {what}")))
    })
}

/// A label that `reader` reads and `replacer` replaces in a pod that both may match, and where it is read.
fn read_and_replaced<'p>(reader: &Policy, replacer: &'p Policy) -> Option<(&'p str, &'static str)> {
    if !replaces_labels(replacer) || !may_meet(reader, replacer) {
        return None;
    }
    replacer.labels.iter().find_map(|(key, _)| {
        let path = if reader.pods.requirements().iter().any(|requirement| requirement.key == *key) {
            "spec.match.podSelector"
        } else if reader.reads_by_placeholder(key) {
            "spec"
        } else {
            return None;
        };
        Some((key.as_str(), path))
    })
}

/// Whether there can be a pod that `replacer` matches as it comes, and `reader` then or with the labels replaced.
fn may_meet(reader: &Policy, replacer: &Policy) -> bool {
    let scopes = match (&reader.id.scope, &replacer.id.scope) {
        (Scope::Namespace(one), Scope::Namespace(other)) => one == other,
        _ => true,
    };
    let namespaces = match (&reader.namespaces, &replacer.namespaces) {
        (Some(one), Some(other)) => !one.excludes(other, &[]),
        _ => true,
    };
    let replaced: Vec<&str> = replacer.labels.iter().map(|(key, _)| key.as_str()).collect();
    scopes && namespaces && !Selector::excludes(&reader.pods, &replacer.pods, &replaced)
}
