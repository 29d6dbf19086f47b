//! Another webhook that adds, shuffles and relabels whatever it is shown, before ours and after it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stowage::{
    admission::{Outcome, admit},
    certs::{
        Served,
        issue::{Authority, DAY},
    },
    metrics::Metrics,
    policy::loaded::Loaded,
    server::{
        self, Decide, HttpAnswer, Limits,
        tls::{self, ServingCertificate},
    },
    shutdown::ShutdownPhase,
};
use tokio::{net::TcpListener, sync::watch};

use super::until;
use crate::{
    cluster::now,
    webhook::{Field, container, containers, env, marker, mount, pod, policy, register},
};

/// Adds its sidecar once; turns the volumes round and counts up a label each time that it is asked.
struct Adversary {
    asked: AtomicUsize,
    _phase: watch::Sender<ShutdownPhase>,
}

impl Decide for Adversary {
    async fn decide(&self, body: &[u8]) -> HttpAnswer {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let review: Value = serde_json::from_slice(body).unwrap();
        let pod = &review["request"]["object"];
        let mut patch = vec![json!({"op": "add", "path": "/metadata/labels/shuffled", "value": asked.to_string()})];
        if !containers(pod).any(|container| container["name"] == "sidecar") {
            patch.push(json!({"op": "add", "path": "/spec/containers/-", "value": container("sidecar")}));
        }
        if let Some(volumes) = pod["spec"]["volumes"].as_array() {
            let turned: Vec<_> = volumes.iter().rev().collect();
            patch.push(json!({"op": "replace", "path": "/spec/volumes", "value": turned}));
        }
        let patch = STANDARD.encode(Value::from(patch).to_string());
        let uid = &review["request"]["uid"];
        let response = json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch});
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        HttpAnswer::review(answer.to_string().into_bytes(), Outcome::Patched)
    }
}

/// Serves one and registers it under this name, for the pods of the field; returns once it is asked.
async fn adversary(field: &Field, registration: &str, selected: &str) {
    let authority = Authority::new(now(), DAY).unwrap();
    let serving = authority.sign(&["127.0.0.1".to_owned()], now(), DAY).unwrap();
    let served = Served::from_pem(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes()).unwrap();
    let tls = tls::server_config(ServingCertificate::new(served)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, phase) = watch::channel(ShutdownPhase::Serving);
    let adversary = Arc::new(Adversary { asked: AtomicUsize::new(0), _phase: sender });
    let metrics = Arc::new(Metrics::new("test").unwrap());
    tokio::spawn(server::serve(listener, tls, Arc::clone(&adversary), Limits::default(), metrics, phase));
    register(field.cluster, registration, selected, address, authority.certificate_pem()).await;
    until("it is asked", async || {
        field.try_out(&victim()).await;
        adversary.asked.load(Ordering::Relaxed) > 0
    })
    .await;
}

fn everything() -> Value {
    policy(
        "all",
        json!({
            "v3io": {"username": "iris", "accessKeySecret": {"name": "v3io-iris"}},
            "storage": [
                {"v3io": {}}, {"v3ioFuse": {}}, {"gcs": {"secretName": "gcs-key"}},
                {"configMap": {"name": "conf", "mountPath": "/conf"}}
            ],
            "autoMount": {"type": "pvc", "params": "pvc_name=shared,volume_mount_path=/mnt/pipeline"},
            "env": [{"name": "GREETING", "value": "hello"}],
            "labels": {"team": "ml"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "preemption": {"mode": "prevent", "nodeSelector": {"lifecycle": "spot"}}
        }),
    )
}

fn victim() -> Value {
    let mut base = container("base");
    base["volumeMounts"] = json!([{"name": "one", "mountPath": "/one"}, {"name": "two", "mountPath": "/two"}]);
    let mut pod = pod(json!({
        "automountServiceAccountToken": false,
        "containers": [base],
        "volumes": [{"name": "one", "emptyDir": {}}, {"name": "two", "emptyDir": {}}]
    }));
    pod["metadata"]["labels"] = json!({"shuffled": "never"});
    pod
}

/// What a third call would be answered.
fn third_pass(field: &Field, pod: &Value) -> Outcome {
    let request = json!({
        "uid": "1", "operation": "CREATE", "namespace": field.namespace, "object": pod,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let mut loaded = Loaded::default();
    loaded.add("policies.yaml", &everything().to_string());
    admit(review.to_string().as_bytes(), &loaded.snapshot()).unwrap().outcome
}

/// The pod without what differs between any two: names, times, the label and the order that the adversary changes.
fn settled(pod: &Value) -> Value {
    let mut settled = json!({"metadata": {}, "spec": pod["spec"]});
    for key in ["labels", "annotations"] {
        settled["metadata"][key] = pod["metadata"][key].clone();
    }
    settled["metadata"]["labels"].as_object_mut().unwrap().remove("shuffled");
    settled["spec"]["volumes"].as_array_mut().unwrap().sort_by_key(|volume| volume["name"].to_string());
    settled.sort_all_objects();
    settled
}

#[tokio::test]
async fn an_adversarial_webhook_before_or_after_ours_changes_nothing_but_the_order() {
    let mut made = Vec::new();
    // Registrations are called in the order of their names; ours is m-…
    for (name, registration) in [("hostile-first", "a-hostile-first"), ("hostile-last", "z-hostile-last")] {
        let Some(field) = Field::start(name, json!({}), &[everything()]).await else { return };
        adversary(&field, registration, name).await;
        let reply = field.create(&victim()).await;
        assert_eq!(reply.warnings, [""; 0], "{name}");
        let pod = reply.object();
        assert_eq!(containers(&pod).count(), 2, "{name}: {pod}");
        for container in containers(&pod) {
            assert_eq!(env(container, "V3IO_USERNAME")["value"], "iris", "{name}: {container}");
            assert_eq!(env(container, "GREETING")["value"], "hello");
            env(container, "GOOGLE_APPLICATION_CREDENTIALS");
            mount(container, "/mnt/pipeline");
            mount(container, "/conf");
            mount(container, "/User");
        }
        assert_ne!(pod["metadata"]["labels"]["shuffled"], "never");
        assert_eq!(marker(&pod)["policies"][0].get("skipped"), None, "{name}");
        assert_eq!(third_pass(&field, &pod), Outcome::Unchanged, "{name}");
        made.push(settled(&pod));
    }
    assert_eq!(made[0], made[1]);
}
