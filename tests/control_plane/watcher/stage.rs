//! What the tests of the watcher share: a control plane with the controllers that make pods, watchers that run as their
//! manifests say, and pods in whatever state a kubelet would show.
//!
//! There is no node that runs anything: a Node is an object, and what a kubelet would write is written by the tests. A pod
//! without a node goes at once when it is deleted; one with a node stays, marked, until a kubelet lets it go.

mod running;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};
use stowage::{
    policy::{crd::API_VERSION, document},
    reaper::watcher::RELEASE,
};
use tempfile::TempDir;

pub(crate) use self::running::{Running, fetch};
use crate::cluster::{self, Cluster, find, skipped};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The control plane that the tests of the watcher share, one at a time: each watcher sees all of it.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    turn: tokio::sync::Mutex<()>,
}

/// One test's turn on the stage.
pub(crate) struct Turn {
    stage: &'static Stage,
    pub(crate) namespace: String,
    _turn: Option<tokio::sync::MutexGuard<'static, ()>>,
}

/// The stage in a namespace of its own; `None`, said once, where a program is missing.
pub(crate) async fn turn(namespace: &str) -> Option<Turn> {
    static STAGE: OnceLock<Option<Stage>> = OnceLock::new();
    let stage = STAGE.get_or_init(|| Stage::set(Some("job-controller,garbage-collector-controller"))).as_ref()?;
    let turn = stage.turn.lock().await;
    stage.clear().await;
    stage.cluster.namespace(namespace, &json!({})).await;
    Some(Turn { stage, namespace: namespace.to_owned(), _turn: Some(turn) })
}

/// A stage for one test alone, without any controller.
pub(crate) async fn apart(namespace: &str) -> Option<Turn> {
    // It ends with the process, as the other one does.
    let stage = Box::leak(Box::new(Stage::set(None)?));
    stage.cluster.namespace(namespace, &json!({})).await;
    Some(Turn { stage, namespace: namespace.to_owned(), _turn: None })
}

impl Stage {
    fn set(controllers: Option<&str>) -> Option<Self> {
        if find("kubectl").is_none() {
            skipped("no kubectl: the watcher's roles cannot be rendered");
            return None;
        }
        let mut cluster = cluster::apart()?;
        if controllers.is_some_and(|controllers| !cluster.run_controllers(controllers)) {
            return None;
        }
        std::thread::scope(|scope| {
            let setting = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    cluster.definitions().await;
                    cluster.namespace("stowage", &json!({})).await;
                });
            });
            setting.join().unwrap();
        });
        Some(Self { cluster, turn: tokio::sync::Mutex::default() })
    }

    /// Removes what an earlier test left: its policies, the Lease and the Deployment.
    async fn clear(&self) {
        for plural in ["clusterinjectionpolicies", "injectionpolicies"] {
            let path = format!("/apis/{API_VERSION}/{plural}");
            for policy in self.cluster.get(&path).await.object()["items"].as_array().unwrap() {
                let text = |key: &str| policy["metadata"][key].as_str().unwrap_or_default();
                let path = crate::policies::collection(
                    if text("namespace").is_empty() { "ClusterInjectionPolicy" } else { "InjectionPolicy" },
                    text("namespace"),
                );
                self.cluster.call(Method::DELETE, &format!("{path}/{}", text("name")), None).await.object();
            }
        }
        for path in ["coordination.k8s.io/v1/namespaces/stowage/leases", "apps/v1/namespaces/stowage/deployments"] {
            self.cluster.call(Method::DELETE, &format!("/apis/{path}/stowage-watcher"), None).await;
        }
    }
}

impl Turn {
    pub(crate) fn cluster(&self) -> &'static Cluster {
        &self.stage.cluster
    }

    /// The same stage in another namespace.
    pub(crate) async fn elsewhere(&self, namespace: &str) -> Self {
        self.cluster().namespace(namespace, &json!({})).await;
        Self { stage: self.stage, namespace: namespace.to_owned(), _turn: None }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// An InjectionPolicy over every pod of the namespace, with what the watcher reads of it.
    pub(crate) async fn policy(&self, thresholds: Value, on_exceeded: Value) {
        let mut spec = json!({"match": {"podSelector": {}}, "stateThresholds": thresholds});
        if !on_exceeded.is_null() {
            spec["onExceeded"] = on_exceeded;
        }
        let metadata = json!({"name": "watched", "namespace": self.namespace});
        let policy = json!({"apiVersion": API_VERSION, "kind": "InjectionPolicy", "metadata": metadata, "spec": spec});
        let path = crate::policies::collection("InjectionPolicy", &self.namespace);
        self.cluster().post(&format!("{path}?fieldValidation=Strict"), &policy).await.object();
    }

    /// Lays this over the policy's spec.
    pub(crate) async fn edit_policy(&self, spec: Value) {
        let path = crate::policies::collection("InjectionPolicy", &self.namespace);
        self.cluster().patch(&format!("{path}/watched"), &json!({"spec": spec})).await.object();
    }

    /// The Deployment that the watcher's manifests would make, without pods.
    pub(crate) async fn deployment(&self) {
        let mut deployment = rendered("watcher")
            .into_iter()
            .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "stowage-watcher")
            .unwrap();
        deployment["spec"]["replicas"] = json!(0);
        self.cluster().post("/apis/apps/v1/namespaces/stowage/deployments", &deployment).await.object();
    }

    /// Writes the annotation that releases the circuit breaker.
    pub(crate) async fn release_breaker(&self, value: &str) {
        let path = "/apis/apps/v1/namespaces/stowage/deployments/stowage-watcher";
        let change = json!({"metadata": {"annotations": {RELEASE: value}}});
        self.cluster().patch(path, &change).await.object();
    }

    /// Takes the Lease from whoever was killed with it.
    pub(crate) async fn release_lease(&self) {
        let lease = "/apis/coordination.k8s.io/v1/namespaces/stowage/leases/stowage-watcher";
        self.cluster().patch(lease, &json!({"spec": {"holderIdentity": ""}})).await.object();
    }

    /// A pod that no scheduler binds, with these changes to it.
    pub(crate) async fn pod(&self, name: &str, change: Value) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "localhost/none:1"}]},
        });
        merge(&mut pod, change);
        self.cluster().post(&self.path("pods"), &pod).await.object()
    }

    /// The pod, where it is there.
    pub(crate) async fn get_pod(&self, name: &str) -> Option<Value> {
        let reply = self.cluster().get(&self.path(&format!("pods/{name}"))).await;
        reply.status.is_success().then_some(reply.body)
    }

    pub(crate) async fn pods(&self) -> Vec<Value> {
        let pods = self.cluster().get(&self.path("pods")).await.object();
        pods["items"].as_array().unwrap().clone()
    }

    /// What a kubelet would write.
    pub(crate) async fn status(&self, pod: &str, status: Value) {
        let path = self.path(&format!("pods/{pod}/status"));
        self.cluster().patch(&path, &json!({"status": status})).await.object();
    }

    /// Has the pod's one container run since now, as a kubelet would say it.
    pub(crate) async fn run(&self, pod: &str) {
        let now = cluster::now().to_string();
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
        let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
        let container = json!({
            "name": "main", "image": "localhost/none:1", "imageID": "", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": now}},
        });
        let status = json!({"phase": "Running", "startTime": now, "conditions": conditions.map(condition),
                            "containerStatuses": [container]});
        self.status(pod, status).await;
    }

    /// A Job whose one pod no scheduler binds.
    pub(crate) async fn job(&self, name: &str) -> Value {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"spec": {
                "schedulerName": "nobody", "restartPolicy": "Never",
                "containers": [{"name": "main", "image": "localhost/none:1"}],
            }}},
        });
        self.cluster().post(&format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace), &job).await.object()
    }

    /// Whether an object of that path is there.
    pub(crate) async fn is_there(&self, path: &str) -> bool {
        self.cluster().get(path).await.status.is_success()
    }

    /// The Events on the object of that name, as (reason, note).
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String)> {
        self.events_in(&self.namespace, name).await
    }

    /// The same in another namespace.
    pub(crate) async fn events_in(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let events = self.cluster().get(&path).await.object();
        let of_object = events["items"].as_array().unwrap().iter().filter(|event| event["regarding"]["name"] == name);
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        of_object.map(|event| (text(event, "reason"), text(event, "note"))).collect()
    }

    /// A node that a kubelet keeps ready.
    pub(crate) async fn node(&self, name: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        self.cluster().post("/api/v1/nodes", &node).await;
        self.node_ready(name, "True").await;
    }

    /// What a node says of itself from now on.
    pub(crate) async fn node_ready(&self, name: &str, status: &str) {
        let now = cluster::now().to_string();
        let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": now, "lastHeartbeatTime": now,
                           "reason": "Test", "message": ""});
        let path = format!("/api/v1/nodes/{name}/status");
        self.cluster().patch(&path, &json!({"status": {"conditions": [ready]}})).await.object();
    }

    /// A watcher under the roles of this component, ready.
    pub(crate) async fn watch(&self, component: &str, name: &str, args: &[&str]) -> Running {
        let token = self.account(component).await;
        let running = Running::start(&self.cluster().kubeconfig(&token), name, args);
        until("the watcher is ready", async || running.get("/readyz").await.is_some_and(|(status, _)| status == 200))
            .await;
        running
    }

    /// The token of the watcher's account, which has the roles of this component and no others.
    async fn account(&self, component: &str) -> String {
        let objects = rendered(component);
        let account = |object: &Value| object["metadata"]["name"].as_str().unwrap().starts_with("stowage-watcher");
        for (kind, path) in [
            ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
            ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
            ("Role", "/apis/rbac.authorization.k8s.io/v1/namespaces/stowage/roles"),
            ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1/namespaces/stowage/rolebindings"),
            ("ServiceAccount", "/api/v1/namespaces/stowage/serviceaccounts"),
        ] {
            for name in ["stowage-watcher", "stowage-watcher-delete", "stowage-watcher-evict"] {
                self.cluster().call(Method::DELETE, &format!("{path}/{name}"), None).await;
            }
            for object in objects.iter().filter(|object| object["kind"] == kind && account(object)) {
                self.cluster().post(path, object).await.object();
            }
        }
        self.token("stowage", "stowage-watcher").await
    }

    /// A token of that service account.
    pub(crate) async fn token(&self, namespace: &str, account: &str) -> String {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        self.cluster().post(&path, &request).await.object()["status"]["token"].as_str().unwrap().to_owned()
    }
}

/// Waits until it is so; how long that took.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < SECOND * 120, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

/// Lays `change` over `value`, as a merge patch does.
pub(crate) fn merge(value: &mut Value, change: Value) {
    match (value, change) {
        (Value::Object(value), Value::Object(change)) => {
            for (key, change) in change {
                merge(value.entry(key).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change,
    }
}

/// A folder with the cluster-wide overlay and one component, as a person would write it.
pub(crate) fn overlay_with(component: &str) -> TempDir {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let folder = tempfile::tempdir().unwrap();
    let up: PathBuf = folder.path().canonicalize().unwrap().components().skip(1).map(|_| "..").collect();
    let at = |path: &str| up.join(manifests.join(path).strip_prefix("/").unwrap());
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [at("overlays/cluster-wide")], "components": [at(&format!("components/{component}"))],
    });
    fs::write(folder.path().join("kustomization.yaml"), kustomization.to_string()).unwrap();
    folder
}

/// The objects of the cluster-wide overlay with one component.
pub(crate) fn rendered(component: &str) -> Vec<Value> {
    let folder = overlay_with(component);
    let output = Command::new("kubectl").arg("kustomize").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    document::parse(&text).unwrap().into_iter().map(|document| document.value).collect()
}
