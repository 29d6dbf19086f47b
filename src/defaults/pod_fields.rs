//! What a pod gets only where it says nothing: pull secrets, a service account and a pod security
//! context. Resources have a module of their own.
//!
//! What the API server has filled in before a webhook is called counts as the pod's own word: the
//! pull secrets of the service account, the account `default` where none was named (so `default`
//! counts as nothing said), an empty security context. After a changed service account the token
//! volume stays as it is, since the kubelet fills it for the account that the pod then has.

use json_patch::{PatchOperation, ReplaceOperation};
use serde_json::{Map, Value, json};

use crate::{
    defaults::edits::{Edits, add, pointer},
    reason::Note,
};

/// Gives a pod without pull secrets those of the policy.
///
/// A pod whose service account has pull secrets arrives with them and keeps them.
#[must_use]
pub fn image_pull_secrets(own: Option<&Value>, names: &[String], base: &str) -> Edits {
    let has_own = own.and_then(Value::as_array).is_some_and(|own| !own.is_empty());
    if has_own || names.is_empty() {
        return Edits::default();
    }
    let secrets: Value = names.iter().map(|name| json!({"name": name})).collect();
    Edits { ops: vec![add(base, &["spec", "imagePullSecrets"], secrets)], notes: Vec::new() }
}

/// Gives a pod that names no service account, or `default`, that of the policy.
///
/// `own` is `spec.serviceAccountName` and `alias` the deprecated `spec.serviceAccount`, which the
/// API server writes beside it and overrules by it; where it is there it is kept in step.
#[must_use]
pub fn service_account_name(own: Option<&str>, alias: Option<&str>, wanted: &str, base: &str) -> Edits {
    let named = [own, alias].into_iter().flatten().find(|name| !name.is_empty());
    if wanted.is_empty() || named.is_some_and(|name| name != "default") || named == Some(wanted) {
        return Edits::default();
    }
    let mut ops = vec![add(base, &["spec", "serviceAccountName"], Value::from(wanted))];
    if alias.is_some() {
        ops.push(PatchOperation::Replace(ReplaceOperation {
            path: pointer(base, &["spec", "serviceAccount"]),
            value: Value::from(wanted),
        }));
    }
    Edits { ops, notes: Vec::new() }
}

/// Gives a pod the fields of a security context that it does not set, each whole.
///
/// `own` is `spec.securityContext` and `os` `spec.os.name`. Left out with a note is what the API
/// server refuses for the pod's operating system, and a user or `runAsNonRoot` that the pod's own
/// word contradicts, which no kubelet would start.
#[must_use]
pub fn security_context(own: Option<&Value>, wanted: &Map<String, Value>, os: Option<&str>, base: &str) -> Edits {
    let own = own.and_then(Value::as_object);
    let said = |field: &str| own.and_then(|own| own.get(field)).filter(|value| !value.is_null());
    let mut edits = Edits::default();
    let mut added = Map::new();
    for (field, value) in wanted {
        if said(field).is_some() || value.is_null() {
            continue;
        }
        match contradiction(field, value, said("runAsUser"), said("runAsNonRoot"), os) {
            None => {
                added.insert(field.clone(), value.clone());
            }
            Some(why) => edits.notes.push(Note::warning(format!("default securityContext.{field} is left out: {why}"))),
        }
    }
    if added.is_empty() {
        return edits;
    }
    if own.is_some() {
        let fields = added.into_iter();
        edits.ops = fields.map(|(field, value)| add(base, &["spec", "securityContext", &field], value)).collect();
    } else {
        let whole = Value::Object(added);
        edits.ops = vec![add(base, &["spec", "securityContext"], whole)];
    }
    edits
}

fn contradiction(
    field: &str,
    value: &Value,
    own_user: Option<&Value>,
    own_non_root: Option<&Value>,
    os: Option<&str>,
) -> Option<&'static str> {
    let is_portable = matches!(field, "runAsNonRoot");
    let is_windows_only = field == "windowsOptions";
    match (field, os) {
        (_, Some("windows")) if !is_windows_only && !is_portable => Some("the pod's operating system is windows"),
        (_, Some("linux")) if is_windows_only => Some("the pod's operating system is linux"),
        ("runAsNonRoot", _) if *value == true && own_user.is_some_and(|user| *user == 0) => {
            Some("the pod sets runAsUser to 0")
        }
        ("runAsUser", _) if *value == 0 && own_non_root.is_some_and(|own| *own == true) => {
            Some("the pod sets runAsNonRoot")
        }
        _ => None,
    }
}
