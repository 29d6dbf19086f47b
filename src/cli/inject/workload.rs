//! Pods, and workloads with a pod template.

use json_patch::{PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use crate::inject::{Place, equal::pulls_always};

/// Where an object's pod is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// The object's kind.
    pub(super) kind: &'static str,
    /// Pointer of the pod template, empty for a pod.
    pointer: &'static str,
}

const TARGETS: [Target; 9] = [
    Target { kind: "Pod", pointer: "" },
    Target { kind: "Job", pointer: "/spec/template" },
    Target { kind: "CronJob", pointer: "/spec/jobTemplate/spec/template" },
    Target { kind: "Deployment", pointer: "/spec/template" },
    Target { kind: "StatefulSet", pointer: "/spec/template" },
    Target { kind: "DaemonSet", pointer: "/spec/template" },
    Target { kind: "ReplicaSet", pointer: "/spec/template" },
    Target { kind: "ReplicationController", pointer: "/spec/template" },
    Target { kind: "PodTemplate", pointer: "/template" },
];

impl Target {
    /// Where `object` has its pod; `None` where it has none.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let kind = object.get("kind").and_then(Value::as_str)?;
        let target = TARGETS.into_iter().find(|target| target.kind == kind)?;
        object.pointer(target.pointer).is_some_and(Value::is_object).then_some(target)
    }

    /// Where the decision takes place. A template's operations are made as for a pod and moved afterwards.
    pub(super) fn place<'r>(&self, namespace: &'r str) -> Place<'r> {
        Place { namespace, template: !self.pointer.is_empty(), daemon_set: self.kind == "DaemonSet" }
    }

    /// The pod with what the API server fills in before a webhook is called, so that the decision is the same.
    pub(super) fn filled(&self, object: &Value) -> Value {
        let mut pod = object.pointer(self.pointer).cloned().unwrap_or_default();
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return pod };
        let named = spec.get("serviceAccountName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if !named {
            let alias = spec.get("serviceAccount").cloned().unwrap_or_else(|| json!("default"));
            spec.insert("serviceAccountName".into(), alias);
        }
        for list in ["initContainers", "containers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    fill(container);
                }
            }
        }
        pod
    }

    /// Operations on the pod, as operations on the object.
    pub(super) fn prefixed(&self, mut ops: Vec<PatchOperation>) -> Vec<PatchOperation> {
        if !self.pointer.is_empty() {
            for op in &mut ops {
                let path = match op {
                    PatchOperation::Add(op) => &mut op.path,
                    PatchOperation::Replace(op) => &mut op.path,
                    PatchOperation::Remove(op) => &mut op.path,
                    PatchOperation::Test(op) => &mut op.path,
                    PatchOperation::Move(op) => &mut op.path,
                    PatchOperation::Copy(op) => &mut op.path,
                };
                // Two pointers joined are a pointer.
                *path = PointerBuf::parse(format!("{}{path}", self.pointer)).unwrap_or_default();
            }
        }
        ops
    }
}

fn fill(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if pulls_always(image) { "Always" } else { "IfNotPresent" };
    container.entry("imagePullPolicy").or_insert_with(|| json!(policy));
}

/// `namespace/name` of an object, as far as it has them.
pub(super) fn name(object: &Value) -> String {
    let text = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
    let name = text("name").or_else(|| text("generateName")).unwrap_or("without a name");
    match text("namespace") {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

/// `metadata.uid` of an object, for an answer that nobody asked for.
pub(super) fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}
