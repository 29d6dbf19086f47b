//! Pods, and workloads with a pod template.

use json_patch::{AddOperation, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value, json};

use crate::inject::{PodContext, equal::pulls_always};

/// Where an object's pod is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) struct PodPlace {
    /// The object's kind.
    pub(in crate::cli) kind: &'static str,
    /// The API group of the kind; other groups have kinds of the same name (Volcano's Job).
    group: &'static str,
    /// Pointer of the pod template, empty for a pod.
    pointer: &'static str,
}

const TARGETS: [PodPlace; 9] = [
    PodPlace { kind: "Pod", group: "", pointer: "" },
    PodPlace { kind: "Job", group: "batch", pointer: "/spec/template" },
    PodPlace { kind: "CronJob", group: "batch", pointer: "/spec/jobTemplate/spec/template" },
    PodPlace { kind: "Deployment", group: "apps", pointer: "/spec/template" },
    PodPlace { kind: "StatefulSet", group: "apps", pointer: "/spec/template" },
    PodPlace { kind: "DaemonSet", group: "apps", pointer: "/spec/template" },
    PodPlace { kind: "ReplicaSet", group: "apps", pointer: "/spec/template" },
    PodPlace { kind: "ReplicationController", group: "", pointer: "/spec/template" },
    PodPlace { kind: "PodTemplate", group: "", pointer: "/template" },
];

/// Variable that the Job controller gives the pods of an indexed Job (`addCompletionIndexEnvVariable`).
const COMPLETION_INDEX: &str = "JOB_COMPLETION_INDEX";

impl PodPlace {
    /// Where `object` has its pod.
    ///
    /// # Errors
    ///
    /// Why it has none, in words that complete "is passed over: ".
    pub(in crate::cli) fn of(object: &Value) -> Result<Self, String> {
        let text = |field: &str| object.get(field).and_then(Value::as_str);
        let Some(kind) = text("kind") else { return Err("it has no kind".to_owned()) };
        let group = text("apiVersion").map(|version| version.split_once('/').map_or("", |(group, _)| group));
        let target =
            TARGETS.into_iter().find(|target| target.kind == kind && group.is_none_or(|own| own == target.group));
        let Some(target) = target else {
            let kinds = TARGETS.map(|target| target.kind).join(", ");
            return Err(format!(
                "stowage inject reads pods out of {kinds}; pods of any other kind are decided on when they are created"
            ));
        };
        if object.pointer(target.pointer).is_some_and(Value::is_object) {
            Ok(target)
        } else {
            Err(format!("it has no {}", target.pointer.trim_start_matches('/').replace('/', ".")))
        }
    }

    /// Where the decision takes place. A template's operations are made as for a pod and moved afterwards.
    pub(in crate::cli) fn place<'r>(&self, namespace: &'r str) -> PodContext<'r> {
        PodContext { namespace, template: !self.pointer.is_empty(), daemon_set: self.kind == "DaemonSet" }
    }

    /// The pod with what its controller adds and what the API server fills in before a webhook is called, so that the
    /// decision is the same.
    pub(in crate::cli) fn filled(&self, object: &Value) -> Value {
        let mut pod = object.pointer(self.pointer).cloned().unwrap_or_default();
        match self.kind {
            "StatefulSet" => add_claims(object, &mut pod),
            "Job" => add_job_facts(object, &mut pod),
            _ => {}
        }
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return pod };
        let named = spec.get("serviceAccountName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if !named {
            let alias = spec.get("serviceAccount").cloned().unwrap_or_else(|| json!("default"));
            spec.insert("serviceAccountName".into(), alias);
        }
        for container in containers(spec) {
            fill(container);
        }
        pod
    }

    /// Operations on the filled pod, as operations on the object.
    ///
    /// A list that only the controller makes is not in the object, so it is made before something is put into it.
    pub(super) fn prefixed(&self, object: &Value, ops: Vec<PatchOperation>) -> Vec<PatchOperation> {
        let mut made: Vec<String> = Vec::new();
        let mut all = Vec::with_capacity(ops.len());
        for mut op in ops {
            let path = match &mut op {
                PatchOperation::Add(op) => &mut op.path,
                PatchOperation::Replace(op) => &mut op.path,
                PatchOperation::Remove(op) => &mut op.path,
                PatchOperation::Test(op) => &mut op.path,
                PatchOperation::Move(op) => &mut op.path,
                PatchOperation::Copy(op) => &mut op.path,
            };
            // Two pointers joined are a pointer.
            *path = PointerBuf::parse(format!("{}{path}", self.pointer)).unwrap_or_default();
            if let PatchOperation::Add(add) = &op
                && let Some((list, element)) = add.path.as_str().rsplit_once('/')
                && (element == "-" || element == "0")
                && object.pointer(list).is_none()
                && !made.iter().any(|other| other == list)
                && !all.iter().any(|other| is_made_by(other, list))
            {
                made.push(list.to_owned());
                let path = PointerBuf::parse(list.to_owned()).unwrap_or_default();
                all.push(PatchOperation::Add(AddOperation { path, value: json!([]) }));
            }
            all.push(op);
        }
        all
    }
}

fn is_made_by(op: &PatchOperation, list: &str) -> bool {
    matches!(op, PatchOperation::Add(add) if add.path.as_str() == list)
}

fn containers(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let lists = spec.iter_mut().filter(|(name, _)| matches!(name.as_str(), "initContainers" | "containers"));
    lists.filter_map(|(_, list)| list.as_array_mut()).flatten().filter_map(Value::as_object_mut)
}

/// The volumes that the StatefulSet controller makes of `volumeClaimTemplates` (`updateStorage`); each takes the place of
/// a volume of its name.
fn add_claims(object: &Value, pod: &mut Value) {
    let set = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let templates = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).into_iter().flatten();
    let names = templates.filter_map(|template| template.pointer("/metadata/name").and_then(Value::as_str));
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for name in names {
        let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": format!("{name}-{set}-0")}});
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if volumes.is_null() {
            *volumes = json!([]);
        }
        let Some(volumes) = volumes.as_array_mut() else { return };
        let own = volumes.iter_mut().find(|own| own.get("name").and_then(Value::as_str) == Some(name));
        match own {
            Some(own) => *own = volume,
            None => volumes.push(volume),
        }
    }
}

/// The labels that every Job's pods carry (`generateSelector`), and the variable of an indexed one.
fn add_job_facts(object: &Value, pod: &mut Value) {
    if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str) {
        let metadata = pod.as_object_mut().map(|pod| pod.entry("metadata").or_insert_with(|| json!({})));
        let labels = metadata.and_then(Value::as_object_mut);
        let labels = labels.map(|metadata| metadata.entry("labels").or_insert_with(|| json!({})));
        if let Some(labels) = labels.and_then(Value::as_object_mut) {
            for key in ["batch.kubernetes.io/job-name", "job-name"] {
                labels.entry(key).or_insert_with(|| json!(name));
            }
        }
    }
    if object.pointer("/spec/completionMode").and_then(Value::as_str) != Some("Indexed") {
        return;
    }
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for container in containers(spec) {
        let field = "metadata.labels['batch.kubernetes.io/job-completion-index']";
        let variable = json!({"name": COMPLETION_INDEX, "valueFrom": {"fieldRef": {"fieldPath": field}}});
        let Some(env) = container.entry("env").or_insert_with(|| json!([])).as_array_mut() else { continue };
        if !env.iter().any(|own| own.get("name").and_then(Value::as_str) == Some(COMPLETION_INDEX)) {
            env.push(variable);
        }
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
