//! The webhook in process: a pod and policies in, the patched pod and what was said of it out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use json_patch::{Patch, patch};
use serde_json::{Value, json};
use stowage::{
    admission::{Outcome, admit},
    files::{load, read},
    policy::{document, loaded::Loaded, snapshot::Snapshot},
};

/// What came of one pod.
pub(crate) struct Admission {
    pub(crate) pod: Value,
    pub(crate) warnings: Vec<String>,
    /// Names of the policies that matched.
    pub(crate) policies: Vec<String>,
    pub(crate) outcome: Outcome,
    /// Why the pod was refused.
    pub(crate) message: String,
}

/// The folder or file below the repository's root, loaded.
pub(crate) fn policies(path: &str) -> Loaded {
    load(&read(&[root().join(path)]).unwrap())
}

/// Where the repository is.
pub(crate) fn root() -> std::path::PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The pods among the documents of a file.
pub(crate) fn pods(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let documents = document::parse(&text).unwrap().into_iter().map(|document| document.value);
    documents.filter(|document| document["kind"] == "Pod").collect()
}

/// A pod with these labels, each `key=value`, and a container of each name.
pub(crate) fn labelled(labels: &str, containers: &[&str]) -> Value {
    let labels: serde_json::Map<String, Value> = labels
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    let containers: Vec<Value> =
        containers.iter().map(|name| json!({"name": name, "image": "example/image:1"})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "pod-", "labels": labels},
        "spec": {"serviceAccountName": "default", "containers": containers}
    })
}

/// Sends the pod through admission and applies the answer. Passing the result through again must change nothing.
pub(crate) fn inject(snapshot: &Snapshot, namespace: &str, pod: &Value) -> Admission {
    let first = once(snapshot, namespace, pod);
    let second = once(snapshot, namespace, &first.pod);
    assert_eq!(second.pod, first.pod, "a second pass changed the pod");
    assert_ne!(second.outcome, Outcome::Patched, "a second pass had operations");
    first
}

fn once(snapshot: &Snapshot, namespace: &str, pod: &Value) -> Admission {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "object": pod
        }
    });
    let admitted = admit(&serde_json::to_vec(&review).unwrap(), snapshot).unwrap();
    let answer: Value = serde_json::from_slice(&admitted.body).unwrap();
    let response = &answer["response"];
    let mut pod = pod.clone();
    if let Some(text) = response["patch"].as_str() {
        let operations: Patch = serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap();
        patch(&mut pod, &operations).unwrap();
    }
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Admission {
        pod,
        warnings: warnings.map(|warning| warning.as_str().unwrap().to_owned()).collect(),
        policies: admitted.summary.policies,
        outcome: admitted.outcome,
        message: response["status"]["message"].as_str().unwrap_or_default().to_owned(),
    }
}

impl Admission {
    /// Names of the pod's volumes.
    pub(crate) fn volumes(&self) -> Vec<&str> {
        names(&self.pod["spec"]["volumes"], "name")
    }

    /// The volume of this name.
    pub(crate) fn volume(&self, name: &str) -> &Value {
        named(&self.pod["spec"]["volumes"], name)
    }

    /// Names of a container's variables.
    pub(crate) fn env(&self, container: &str) -> Vec<&str> {
        names(&self.container(container)["env"], "name")
    }

    /// A variable of a container: its text, or where it comes from.
    pub(crate) fn variable(&self, container: &str, name: &str) -> &Value {
        let variable = named(&self.container(container)["env"], name);
        variable.get("value").unwrap_or_else(|| &variable["valueFrom"])
    }

    /// Paths that a container has mounted.
    pub(crate) fn mounts(&self, container: &str) -> Vec<&str> {
        names(&self.container(container)["volumeMounts"], "mountPath")
    }

    fn container(&self, name: &str) -> &Value {
        let lists = ["containers", "initContainers"].map(|list| &self.pod["spec"][list]);
        let found = lists.into_iter().filter_map(Value::as_array).flatten().find(|container| container["name"] == name);
        found.unwrap_or_else(|| panic!("no container {name}"))
    }
}

fn names<'v>(list: &'v Value, key: &str) -> Vec<&'v str> {
    list.as_array().into_iter().flatten().map(|item| item[key].as_str().unwrap()).collect()
}

fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    let found = list.as_array().into_iter().flatten().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}
