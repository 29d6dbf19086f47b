//! The webhook as the API server calls it: the binary, registered as in production.

mod placement;
mod pods;
mod refused;
mod reinvocation;
mod security;
mod volumes;

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::Reply,
    cluster::{self, Cluster, free_address},
};

/// A running `stowage serve`.
pub(crate) struct Stowage {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

/// A namespace whose pods go through a webhook of its own.
pub(crate) struct Field {
    pub(crate) cluster: &'static Cluster,
    pub(crate) stowage: Stowage,
    pub(crate) namespace: String,
}

/// Binary and certificates by its own verbs; `policies` are documents of a policy file.
impl Stowage {
    pub(crate) async fn start(policies: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binary = || Command::new(env!("CARGO_BIN_EXE_stowage"));
        let [certs, file] = ["certs", "policies.yaml"].map(|name| folder.path().join(name));
        let issued = binary().args(["certs", "--dns-name", "127.0.0.1", "--out"]).arg(&certs).output().unwrap();
        assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
        let documents: Vec<_> = policies.iter().map(Value::to_string).collect();
        std::fs::write(&file, documents.join("\n---\n")).unwrap();
        let [address, admin] = [free_address(), free_address()];
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = binary()
            .arg("serve")
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string(), "--policies"])
            .arg(file)
            .arg("--tls-cert")
            .arg(certs.join("tls.crt"))
            .arg("--tls-key")
            .arg(certs.join("tls.key"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let stowage = Self { child, folder, address, admin };
        for _ in 0..200 {
            if stowage.admin("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return stowage;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not ready: {}", std::fs::read_to_string(stowage.folder.path().join("log")).unwrap());
    }

    pub(crate) fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("certs/ca.crt")).unwrap()
    }

    /// How many requests had this outcome.
    pub(crate) async fn requests(&self, outcome: &str) -> u64 {
        let metrics = self.admin("/metrics").await.unwrap();
        let start = format!("stowage_requests_total{{outcome=\"{outcome}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }

    async fn admin(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

impl Drop for Stowage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Field {
    /// A namespace with these labels beside what the test needs; `None` without a control plane.
    pub(crate) async fn start(name: &str, labels: Value, policies: &[Value]) -> Option<Self> {
        Self::named(name, &format!("t-{name}"), labels, policies).await
    }

    /// The same in a namespace of this name.
    pub(crate) async fn named(name: &str, namespace: &str, labels: Value, policies: &[Value]) -> Option<Self> {
        let cluster = cluster::shared()?;
        let mut labels = labels;
        labels["test"] = json!(name);
        cluster.namespace(namespace, &labels).await;
        let mut documents = policies.to_vec();
        for policy in &mut documents {
            if policy["kind"] == "InjectionPolicy" {
                policy["metadata"]["namespace"] = json!(namespace);
            }
        }
        documents
            .push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}));
        let field = Self { cluster, stowage: Stowage::start(&documents).await, namespace: namespace.to_owned() };
        register(cluster, &format!("m-{name}"), name, field.stowage.address, &field.stowage.ca_pem()).await;
        field.await_registration().await;
        Some(field)
    }

    pub(crate) async fn create(&self, pod: &Value) -> Reply {
        self.post(pod, "").await
    }

    pub(crate) async fn try_out(&self, pod: &Value) -> Reply {
        self.post(pod, "&dryRun=All").await
    }

    async fn post(&self, pod: &Value, more: &str) -> Reply {
        let path = format!("/api/v1/namespaces/{}/pods?fieldValidation=Strict{more}", self.namespace);
        self.cluster.post(&path, pod).await
    }

    /// Waits until the API server calls the webhook: it hears of a registration a moment after it was made.
    async fn await_registration(&self) {
        for _ in 0..200 {
            self.try_out(&pod(json!({"containers": [container("probe")]}))).await;
            let mut answered = 0;
            for outcome in ["patched", "no_match", "unchanged", "refused", "excluded", "opted_out"] {
                answered += self.stowage.requests(outcome).await;
            }
            if answered > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the API server never called");
    }
}

/// Registers a webhook for the namespaces labelled `test: SELECTED`, as DESIGN's manifests do but by URL, and with
/// `Fail`, so that an error shows.
pub(crate) async fn register(cluster: &Cluster, name: &str, selected: &str, address: SocketAddr, ca_pem: &str) {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "pods.stowage.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://{address}/mutate"), "caBundle": STANDARD.encode(ca_pem)},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
            "timeoutSeconds": 2,
            "reinvocationPolicy": "IfNeeded",
            "matchPolicy": "Equivalent",
            "sideEffects": "NoneOnDryRun",
            "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"test": selected}}
        }]
    });
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let reply = cluster.call(Method::POST, path, Some(&configuration)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
}

/// A ClusterInjectionPolicy for every pod.
pub(crate) fn policy(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("match").is_none() {
        spec["match"] = json!({"podSelector": {}});
    }
    json!({"apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {"name": name}, "spec": spec})
}

/// A pod with a generated name.
pub(crate) fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"}, "spec": spec})
}

pub(crate) fn container(name: &str) -> Value {
    json!({"name": name, "image": "registry.k8s.io/pause:3.10"})
}

/// What Stowage says of the pod in its annotation.
pub(crate) fn marker(pod: &Value) -> Value {
    let text = pod["metadata"]["annotations"]["stowage.dev/injected"].as_str();
    serde_json::from_str(text.unwrap_or_else(|| panic!("no marker: {}", pod["metadata"]))).unwrap()
}

/// A container's variables as name and what it holds, and its mounts by path.
pub(crate) fn env<'a>(container: &'a Value, name: &str) -> &'a Value {
    let found: Vec<_> = container["env"].as_array().into_iter().flatten().filter(|var| var["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name} in {container}");
    found[0]
}

/// The mount at `path`, of which there is one.
pub(crate) fn mount<'a>(container: &'a Value, path: &str) -> &'a Value {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let found: Vec<_> = mounts.filter(|mount| mount["mountPath"] == path).collect();
    assert_eq!(found.len(), 1, "{path} in {container}");
    found[0]
}

/// The volume of this name, of which there is one.
pub(crate) fn volume<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let found: Vec<_> = volumes.filter(|volume| volume["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name} in {}", pod["spec"]["volumes"]);
    found[0]
}

/// All containers that Stowage touches.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = [&pod["spec"]["initContainers"], &pod["spec"]["containers"]];
    lists.into_iter().flat_map(|list| list.as_array().into_iter().flatten())
}

/// The pod of a recorded review, as a client would send it.
pub(crate) fn recorded(file: &Path) -> Value {
    let review: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut pod = review["request"]["object"].clone();
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.retain(|name, _| ["labels", "annotations", "ownerReferences"].contains(&name.as_str()));
    metadata.insert("generateName".into(), json!("recorded-"));
    pod
}
