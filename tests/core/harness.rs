//! Policies out of text, reviews out of pods, and answers read back.

use std::sync::{Arc, LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stowage::{
    admission::{Outcome, admit},
    policy::{compile::Compiler, loaded::Loaded, snapshot::Snapshot},
};

use crate::rfc6902;

/// Namespace of the pods under test.
pub(crate) const NAMESPACE: &str = "team";

/// An answer, read back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What the webhook made of it.
    pub(crate) outcome: Outcome,
    /// `response`.
    pub(crate) response: Value,
    /// The operations; `[]` where there are none.
    pub(crate) patch: Value,
    /// The pod with the patch applied.
    pub(crate) pod: Value,
}

/// The snapshot of policies that must all be right.
pub(crate) fn policies(text: &str) -> Snapshot {
    let loaded = load(text);
    assert!(loaded.errors.is_empty(), "{}", loaded.errors[0]);
    assert!(!loaded.policies.is_empty(), "no policy in {text}");
    loaded.snapshot()
}

/// No policies yet.
pub(crate) fn loaded() -> Loaded {
    // Kept: making it for every policy would take most of a property's time.
    static COMPILER: LazyLock<Arc<Compiler>> = LazyLock::new(Arc::default);
    Loaded::with_compiler(Arc::clone(&COMPILER))
}

/// Policies that may be wrong.
pub(crate) fn load(text: &str) -> Loaded {
    let mut loaded = loaded();
    loaded.add("policy.yaml", text);
    loaded
}

/// A ClusterInjectionPolicy for every pod, with `spec` (indented by two) beside its match.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {{name: {name}}}\nspec:\n  match: {{podSelector: {{}}}}\n{spec}\n"
    )
}

/// The same as an InjectionPolicy of [`NAMESPACE`].
pub(crate) fn namespaced(name: &str, spec: &str) -> String {
    policy(name, spec)
        .replace("ClusterInjectionPolicy", "InjectionPolicy")
        .replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, namespace: {NAMESPACE}}}"))
}

/// A pod of one container `main`, with `fields` of the container.
pub(crate) fn pod(fields: Value) -> Value {
    let mut container = json!({"name": "main", "image": "i:1", "imagePullPolicy": "IfNotPresent"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}})
}

/// The review of a pod's creation.
pub(crate) fn review(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": NAMESPACE,
            "operation": "CREATE", "object": pod, "oldObject": null, "dryRun": false,
        }
    })
}

/// The answer to a review, with the patch applied to its object; nothing is asked a second time.
pub(crate) fn once(review: &Value, snapshot: &Snapshot) -> Answer {
    let admitted = admit(review.to_string().as_bytes(), snapshot).unwrap();
    let body: Value = serde_json::from_slice(&admitted.body).unwrap();
    let response = body["response"].clone();
    assert_eq!(response["patch"].is_null(), response["patchType"].is_null(), "patch and patchType go together");
    let patch = match response["patch"].as_str() {
        Some(text) => serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap(),
        None => json!([]),
    };
    assert!(response["patch"].is_null() || patch != json!([]), "an empty patch is no patch");
    let pod = review["request"]["object"].clone();
    let (mut ours, mut theirs) = (pod.clone(), pod);
    rfc6902::apply(&mut ours, &patch).unwrap();
    let ops: Vec<json_patch::PatchOperation> = serde_json::from_value(patch.clone()).unwrap();
    json_patch::patch(&mut theirs, &ops).unwrap();
    assert_eq!(ours, theirs, "two implementations of RFC 6902 agree");
    Answer { outcome: admitted.outcome, response, patch, pod: ours }
}

/// The answer to a review; a second pass over its result, as the API server gives it back, has nothing to do.
pub(crate) fn answer_to(review: &Value, snapshot: &Snapshot) -> Answer {
    let first = once(review, snapshot);
    if first.is_allowed() {
        for pod in [first.pod.clone(), defaulted(&first.pod)] {
            let mut again = review.clone();
            again["request"]["object"] = pod;
            let second = once(&again, snapshot);
            assert!(second.is_allowed(), "a second pass refuses what the first has made: {}", second.message());
            assert_eq!(second.patch, json!([]), "a second pass has something to do");
        }
    }
    first
}

/// The same for a pod.
pub(crate) fn answer(pod: &Value, snapshot: &Snapshot) -> Answer {
    answer_to(&review(pod), snapshot)
}

/// The pod that comes out under policies given as text.
pub(crate) fn injected(pod: &Value, text: &str) -> Value {
    answer(pod, &policies(text)).pod
}

impl Answer {
    pub(crate) fn is_allowed(&self) -> bool {
        self.response["allowed"] == true
    }

    /// Why the pod is refused.
    pub(crate) fn message(&self) -> &str {
        self.response["status"]["message"].as_str().unwrap_or_default()
    }

    /// Warnings, one a line.
    pub(crate) fn warnings(&self) -> String {
        let warnings = self.response["warnings"].as_array().into_iter().flatten();
        warnings.map(|warning| warning.as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// The marker, parsed.
    pub(crate) fn marker(&self) -> Value {
        let text = self.pod["metadata"]["annotations"]["stowage.dev/injected"].as_str().expect("a marker");
        serde_json::from_str(text).unwrap()
    }
}

/// The container `name` of a pod.
pub(crate) fn container<'p>(pod: &'p Value, name: &str) -> &'p Value {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    lists.into_iter().flatten().flatten().find(|container| container["name"] == name).expect("a container")
}

/// The value of the variable `name` in the container `main`; all of its entry where it has a source.
pub(crate) fn env(pod: &Value, name: &str) -> Value {
    env_of(container(pod, "main"), name)
}

/// The same for a container.
pub(crate) fn env_of(container: &Value, name: &str) -> Value {
    let mut found = container["env"].as_array().into_iter().flatten().filter(|env| env["name"] == name);
    let first = found.next().cloned().unwrap_or_default();
    assert!(found.next().is_none(), "{name} is there twice");
    if first["valueFrom"].is_null() { first["value"].clone() } else { first["valueFrom"].clone() }
}

/// The mount at `path` in the container `main`.
pub(crate) fn mount(pod: &Value, path: &str) -> Value {
    let mut mounts = container(pod, "main")["volumeMounts"].as_array().into_iter().flatten();
    mounts.find(|mount| mount["mountPath"] == path).cloned().unwrap_or_default()
}

/// The volume `name`.
pub(crate) fn volume(pod: &Value, name: &str) -> Value {
    let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.find(|volume| volume["name"] == name).cloned().unwrap_or_default()
}

/// What the API server makes of a pod between two calls of a webhook: defaults filled in, quantities canonical, what is
/// empty left out.
pub(crate) fn defaulted(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let spec = pod["spec"].as_object_mut().unwrap();
    if let Some(name) = spec.get("serviceAccountName").cloned() {
        spec.insert("serviceAccount".into(), name);
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        default_volume(volume);
    }
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            default_container(container);
        }
    }
    pod
}

fn default_volume(volume: &mut Value) {
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(kind).and_then(Value::as_object_mut) {
            source.entry("defaultMode").or_insert(json!(420));
        }
    }
    if let Some(source) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        source.entry("type").or_insert(json!(""));
    }
    if let Some(source) = volume.get_mut("image").and_then(Value::as_object_mut) {
        source.entry("pullPolicy").or_insert(json!("IfNotPresent"));
    }
    for pointer in ["/downwardAPI/items", "/projected/sources/0/downwardAPI/items"] {
        for item in volume.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten() {
            default_reference(item);
        }
    }
    if let Some(token) = volume.pointer_mut("/projected/sources/0/serviceAccountToken").and_then(Value::as_object_mut) {
        token.entry("expirationSeconds").or_insert(json!(3600));
    }
    if let Some(size) = volume.pointer_mut("/emptyDir/sizeLimit") {
        canonical(size);
    }
    if let Some(template) = volume.pointer_mut("/ephemeral/volumeClaimTemplate").and_then(Value::as_object_mut) {
        template.entry("metadata").or_insert(json!({}));
        let spec = template["spec"].as_object_mut().unwrap();
        spec.entry("volumeMode").or_insert(json!("Filesystem"));
        if let Some(size) = template.get_mut("spec").and_then(|spec| spec.pointer_mut("/resources/requests/storage")) {
            canonical(size);
        }
    }
}

fn default_container(container: &mut Value) {
    for env in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if env["value"] == "" {
            env.as_object_mut().unwrap().shift_remove("value");
        }
        if let Some(from) = env.get_mut("valueFrom") {
            default_reference(from);
        }
    }
    let fields = container.as_object_mut().unwrap();
    fields.retain(|_, value| *value != json!([]) && !value.is_null());
    fields.entry("resources").or_insert(json!({}));
    fields.entry("terminationMessagePath").or_insert(json!("/dev/termination-log"));
}

fn default_reference(value: &mut Value) {
    if let Some(reference) = value.get_mut("fieldRef").and_then(Value::as_object_mut) {
        reference.entry("apiVersion").or_insert(json!("v1"));
    }
    if let Some(reference) = value.get_mut("resourceFieldRef").and_then(Value::as_object_mut) {
        reference.entry("divisor").or_insert(json!("0"));
    }
}

/// The few quantities of the tests, as Kubernetes writes them.
fn canonical(quantity: &mut Value) {
    let text = quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned);
    *quantity = match text.as_str() {
        "1024Mi" => json!("1Gi"),
        "1000000" => json!("1M"),
        "0.5Gi" => json!("512Mi"),
        other => json!(other),
    };
}
