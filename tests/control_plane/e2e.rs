//! Stowage on a real control plane and node, installed as a person would.
//!
//! Needs root, kubectl, and beside etcd and kube-apiserver also kube-controller-manager, kube-scheduler, kubelet,
//! containerd with ctr, runc and the CNI plugins. Without them these tests pass and one line says so. They take turns on
//! one lab, and each leaves it installed `cluster-wide`, with no policy.

mod adversary;
mod examples;
mod failures;
mod image;
mod inside;
mod install;
mod lab;
mod load;
mod page;
mod replica;
mod scale;
mod told;
mod upgrade;
mod watcher;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::{image::run, lab::Lab};

const SECOND: Duration = Duration::from_secs(1);

/// What the manifests call the image.
const IMAGE: &str = "localhost/stowage:0.1.0";

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

/// The overlay that the tests share.
fn overlay() -> PathBuf {
    manifests().join("overlays/cluster-wide")
}

/// What was measured, past the harness.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "e2e: {text}");
}

/// Waits until it is so; how long that took.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < SECOND * 300, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

impl Lab {
    /// `kubectl apply -f -`; what it says where it fails.
    fn try_apply(&self, object: &Value) -> Result<(), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), object.to_string()).unwrap();
        let output = self.kubectl().args(["apply", "-f"]).arg(file.path()).stdin(Stdio::null()).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
    }

    fn apply(&self, object: &Value) {
        self.try_apply(object).unwrap();
    }

    /// `kubectl apply -k`; both replicas are ready after it, at the newest revision.
    fn install(&self, overlay: &Path) {
        // What is registered for a kind is applied after the kind, but may be asked for before it is served.
        let applied = |lab: &Self| lab.kubectl().args(["apply", "-k"]).arg(overlay).output().unwrap();
        let output = applied(self);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.await_replicas();
    }

    fn await_replicas(&self) {
        let status = ["-n", "stowage", "rollout", "status", "deployment/stowage", "--timeout=120s"];
        let output = self.kubectl().args(status).output().unwrap();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.told());
    }

    /// The image, and the overlay that all tests share; empty of policies.
    async fn installed(&self) {
        static IMPORTED: std::sync::Once = std::sync::Once::new();
        IMPORTED.call_once(|| self.import_stowage(IMAGE, Path::new(env!("CARGO_BIN_EXE_stowage"))));
        self.install(&overlay());
        self.no_policies();
        until("caBundle is written", async || self.bundle().await.is_some()).await;
    }

    /// Gives every node an image of this Stowage.
    fn import_stowage(&self, image: &str, binary: &Path) {
        let root = tempfile::tempdir().unwrap();
        image::stowage(binary, root.path());
        self.import(image, root.path(), &["/usr/bin/stowage"]);
    }

    fn no_policies(&self) {
        run(self.kubectl().args(["delete", "clusterinjectionpolicies", "--all"]));
        run(self.kubectl().args(["delete", "injectionpolicies", "--all", "--all-namespaces"]));
    }

    /// The authorities that the API server was given for our webhook, as it has them.
    async fn bundle(&self) -> Option<String> {
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-stowage";
        let registration = self.cluster.get(path).await.body;
        Some(registration["webhooks"][0]["clientConfig"]["caBundle"].as_str()?.to_owned())
            .filter(|text| !text.is_empty())
    }

    /// Makes the namespace and waits for its service account.
    async fn namespace(&self, name: &str, labels: Value) {
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        until("the service account is there", async || self.cluster.get(&path).await.status.is_success()).await;
    }

    async fn create(&self, namespace: &str, pod: &Value) -> Value {
        self.cluster.post(&format!("/api/v1/namespaces/{namespace}/pods"), pod).await.object()
    }

    /// What a pod made now would be.
    async fn tried(&self, namespace: &str, pod: &Value) -> Value {
        self.cluster.post(&format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), pod).await.object()
    }

    /// The pods of the Deployment that are not on their way out.
    async fn replicas(&self) -> Vec<Value> {
        let path = "/api/v1/namespaces/stowage/pods?labelSelector=app.kubernetes.io/component%3Dwebhook";
        let pods = self.cluster.get(path).await.object();
        let pods = pods["items"].as_array().unwrap().iter();
        pods.filter(|pod| pod["metadata"].get("deletionTimestamp").is_none()).cloned().collect()
    }

    /// Waits until there are this many replicas and all are ready.
    async fn await_ready_replicas(&self, number: usize) -> Duration {
        until("the replicas are ready", async || {
            let replicas = self.replicas().await;
            replicas.len() == number && replicas.iter().all(is_ready)
        })
        .await
    }

    /// Waits until no replica is on its way out.
    async fn gone_are_gone(&self) {
        let path = "/api/v1/namespaces/stowage/pods?labelSelector=app.kubernetes.io/component%3Dwebhook";
        until("those that stop have stopped", async || {
            let pods = self.cluster.get(path).await.body;
            pods["items"].as_array().is_some_and(|pods| pods.len() == 2)
        })
        .await;
    }

    /// What is known of Stowage's pods, for a test that fails.
    fn told(&self) -> String {
        let ask = |args: &[&str]| {
            let output = self.kubectl().args(args).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let logs = Command::new("sh")
            .args(["-c", "tail -n 5 \"$0\"/node*/podlogs/stowage_*/stowage/*.log"])
            .arg(&self.folder)
            .output();
        [
            ask(&["-n", "stowage", "get", "pods", "-o", "wide"]),
            ask(&["-n", "stowage", "get", "events"]),
            String::from_utf8_lossy(&logs.unwrap().stdout).into_owned(),
        ]
        .join("\n")
    }
}

/// What the accounts of Stowage's namespace have asked for, as the API server noted it.
fn audited(lab: &Lab) -> Vec<Value> {
    let log = fs::read_to_string(lab.folder.join("audit.log")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A policy for pods labelled `e2e: NAME`.
fn policy(name: &str, mut spec: Value) -> Value {
    spec["match"] = json!({"podSelector": {"matchLabels": {"e2e": name}}});
    json!({"apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {"name": name}, "spec": spec})
}

/// A pod that the policy of this name matches, and nobody schedules.
fn unscheduled(policy: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "labels": {"e2e": policy}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "localhost/tools:1"}]}
    })
}

/// A variable of the pod's first container.
fn variable<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let mut env = pod["spec"]["containers"][0]["env"].as_array()?.iter();
    env.find(|variable| variable["name"] == name)?["value"].as_str()
}
