//! References to the pod itself and to single keys, from variables and from files (`validateEnvVarValueFrom`,
//! `validateObjectFieldSelector`, `validateContainerResourceFieldSelector` in Kubernetes 1.36).

use k8s_openapi::api::core::v1::{EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};

use crate::{
    field_error::{FieldError, Problems, check, field},
    names,
    quantity::Quantity,
};

/// Who reads a reference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReadBy {
    /// A variable of a container.
    Variable,
    /// A file of a volume.
    Volume,
}

/// Fields of a pod that a variable can show.
const OF_VARIABLES: [&str; 10] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.host",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a pod that a file can show.
const OF_VOLUMES: [&str; 5] =
    ["metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"];
/// Resources of a container that either can show, beside huge pages.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Where a variable's value comes from, at the path `at`. That there is one source, and a secret's name, is the caller's.
pub(super) fn variable_source(from: &EnvVarSource, at: &str, problems: &mut Problems) {
    if let Some(of) = &from.field_ref {
        pod_field(of, ReadBy::Variable, &field(at, "fieldRef"), problems);
    }
    if let Some(of) = &from.resource_field_ref {
        resource(of, ReadBy::Variable, &field(at, "resourceFieldRef"), problems);
    }
    if let Some(key) = &from.config_map_key_ref {
        let at = field(at, "configMapKeyRef");
        check(&field(&at, "name"), &key.name, names::config_map_name(&key.name), problems);
        check(&field(&at, "key"), &key.key, names::data_key(&key.key), problems);
    }
    if let Some(key) = &from.secret_key_ref {
        check(&field(&field(at, "secretKeyRef"), "key"), &key.key, names::data_key(&key.key), problems);
    }
    if from.file_key_ref.is_some() {
        let why = "reads a file of a volume of the pod's own, and the API server refuses a pod that does not have it";
        problems.push(FieldError::new(field(at, "fileKeyRef"), why));
    }
}

/// A field of the pod.
pub(super) fn pod_field(of: &ObjectFieldSelector, by: ReadBy, at: &str, problems: &mut Problems) {
    if let Some(version) = of.api_version.as_deref().filter(|version| !matches!(*version, "" | "v1")) {
        check(&field(at, "apiVersion"), version, Err("must be v1, or left out"), problems);
    }
    let path = of.field_path.as_str();
    let subscript = path.strip_suffix("']").and_then(|path| path.split_once("['"));
    let outcome = match (subscript, by) {
        (Some(("metadata.labels", key)), _) => names::label_key(key),
        (Some(("metadata.annotations", key)), _) => names::annotation_key(key),
        (None, ReadBy::Variable) if OF_VARIABLES.contains(&path) => Ok(()),
        (None, ReadBy::Volume) if OF_VOLUMES.contains(&path) => Ok(()),
        (_, ReadBy::Variable) => Err(
            "must be metadata.name, .namespace, .uid, .labels['KEY'] or .annotations['KEY'], spec.nodeName or .serviceAccountName, or status.hostIP, .hostIPs, .podIP or .podIPs",
        ),
        (_, ReadBy::Volume) => Err(
            "must be metadata.name, .namespace, .uid, .labels or .annotations, the last two with or without ['KEY']",
        ),
    };
    check(&field(at, "fieldPath"), path, outcome, problems);
}

/// A request or limit of a container.
pub(super) fn resource(of: &ResourceFieldSelector, by: ReadBy, at: &str, problems: &mut Problems) {
    if by == ReadBy::Volume && of.container_name.as_deref().unwrap_or_default().is_empty() {
        problems.push(FieldError::new(field(at, "containerName"), "must not be empty"));
    }
    let name = of.resource.strip_prefix("limits.").or_else(|| of.resource.strip_prefix("requests."));
    let is_known = name.is_some_and(|name| RESOURCES.contains(&name) || name.starts_with("hugepages-"));
    if !is_known {
        let allowed =
            Err("must be limits or requests of cpu, memory, ephemeral-storage or hugepages-SIZE, as limits.cpu");
        check(&field(at, "resource"), &of.resource, allowed, problems);
    }
    let Some(divisor) = of.divisor.as_ref().map(|divisor| divisor.0.as_str()) else { return };
    let units = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (units, allowed): (&[&str], _) = match name {
        Some("cpu") => (&["1", "1m"], "must be 1 or 1m for cpu"),
        _ => (&units, "must be 1 or one unit, such as 1Mi"),
    };
    let amount = |text: &str| text.parse::<Quantity>().ok();
    let divisor_amount = amount(divisor);
    let is_unit = units.iter().any(|unit| amount(unit) == divisor_amount);
    if !(divisor_amount.is_some() && (is_unit || divisor_amount == amount("0"))) {
        check(&field(at, "divisor"), divisor, Err(allowed), problems);
    }
}
