//! Other webhooks beside ours: what they add gets the same, and nothing is doubled.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use stowage::{
    admission::Outcome,
    admission::{Outcome as Decided, admit},
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

use super::{Field, Stowage, container, containers, env, marker, mount, pod, policy, register, volume};
use crate::cluster::now;

/// A webhook that answers with one patch, the first time it sees a pod, and keeps what it was asked.
struct Other {
    patch: Value,
    /// Where the patch has left its trace.
    done: &'static str,
    asked: Mutex<Vec<Vec<u8>>>,
    _phase: watch::Sender<ShutdownPhase>,
}

impl Decide for Other {
    async fn decide(&self, body: &[u8]) -> HttpAnswer {
        self.asked.lock().unwrap().push(body.to_vec());
        let review: Value = serde_json::from_slice(body).unwrap();
        let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
        if review["request"]["object"].pointer(self.done).is_none() {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(self.patch.to_string()));
        }
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        HttpAnswer::review(answer.to_string().into_bytes(), Outcome::Patched)
    }
}

impl Other {
    /// Serves and registers it, to be called after ours.
    async fn start(field: &Field, name: &str, patch: Value, done: &'static str) -> Arc<Self> {
        let authority = Authority::new(now(), DAY).unwrap();
        let serving = authority.sign(&["127.0.0.1".to_owned()], now(), DAY).unwrap();
        let served = Served::from_pem(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes()).unwrap();
        let tls = tls::server_config(ServingCertificate::new(served)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, phase) = watch::channel(ShutdownPhase::Serving);
        let other = Arc::new(Self { patch, done, asked: Mutex::default(), _phase: sender });
        let metrics = Arc::new(Metrics::new("test").unwrap());
        tokio::spawn(server::serve(listener, tls, Arc::clone(&other), Limits::default(), metrics, phase));
        // Registrations are called in the order of their names.
        register(field.cluster, &format!("z-{name}"), name, address, authority.certificate_pem()).await;
        for _ in 0..200 {
            if !other.asked.lock().unwrap().is_empty() {
                break;
            }
            field.try_out(&pod(json!({"containers": [container("probe")]}))).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        other.asked.lock().unwrap().clear();
        other
    }
}

fn storage() -> Value {
    json!({
        "v3io": {"username": "iris", "accessKeySecret": {"name": "v3io-iris"}},
        "storage": [{"v3io": {}}, {"v3ioFuse": {}}, {"gcs": {"secretName": "gcs-key"}}],
        "autoMount": {"type": "pvc", "params": "pvc_name=shared,volume_mount_path=/mnt/pipeline"},
        "labels": {"team": "ml"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "preemption": {"mode": "prevent", "nodeSelector": {"lifecycle": "spot"}}
    })
}

fn nothing_is_doubled(pod: &Value) {
    let names = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|entry| entry[key].to_string()).collect()
    };
    let mut lists = vec![names(&pod["spec"]["volumes"], "name")];
    let tolerations = pod["spec"]["tolerations"].as_array().into_iter().flatten();
    lists.push(tolerations.map(Value::to_string).collect());
    for container in containers(pod) {
        lists.push(names(&container["env"], "name"));
        lists.push(names(&container["volumeMounts"], "mountPath"));
    }
    for list in lists {
        let once: BTreeSet<_> = list.iter().collect();
        assert_eq!(once.len(), list.len(), "{list:?}");
    }
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let wanted = json!({"key": "lifecycle", "operator": "NotIn", "values": ["spot"]});
    for term in required["nodeSelectorTerms"].as_array().unwrap() {
        let expressions = term["matchExpressions"].as_array().unwrap();
        assert_eq!(expressions.iter().filter(|expression| **expression == wanted).count(), 1, "{term}");
    }
}

#[tokio::test]
async fn a_pull_policy_that_is_set_back_stays() {
    let model = json!({"name": "model", "source": {"image": {"reference": "i:1"}}, "mountPath": "/model"});
    let spec = json!({"imagePullPolicy": "IfNotPresent", "storage": [{"volume": model}]});
    let Some(field) = Field::start("puller", json!({}), &[policy("pull", spec)]).await else { return };
    // The admission plugin AlwaysPullImages does so too, and in the end refuses a pod that has it otherwise.
    let patch = json!([
        {"op": "add", "path": "/metadata/labels", "value": {"set-back": "yes"}},
        {"op": "replace", "path": "/spec/containers/0/imagePullPolicy", "value": "Always"},
        {"op": "add", "path": "/spec/volumes/0/image/pullPolicy", "value": "Always"}
    ]);
    let other = Other::start(&field, "puller", patch, "/metadata/labels/set-back").await;
    let mut base = container("base");
    base["imagePullPolicy"] = json!("Always");
    let given = pod(json!({"containers": [base], "automountServiceAccountToken": false}));
    let before = field.stowage.requests("patched").await;
    let made = field.create(&given).await.object();
    assert!(field.stowage.requests("patched").await >= before + 2, "called again");
    let seen: Value = serde_json::from_slice(&other.asked.lock().unwrap()[0]).unwrap();
    assert_eq!(seen["request"]["object"]["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(volume(&made, "model")["image"]["pullPolicy"], "Always");
    let why = marker(&made)["policies"][0]["skipped"]["imagePullPolicy"].to_string();
    assert!(why.contains("PullPolicySetBack"), "{why}");
}

#[tokio::test]
async fn a_container_that_another_webhook_adds_gets_the_same() {
    let Some(field) = Field::start("adder", json!({}), &[policy("all", storage())]).await else { return };
    let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": container("added")}]);
    let other = Other::start(&field, "adder", patch, "/spec/containers/1").await;
    let before = field.stowage.requests("patched").await;
    let made = field.create(&pod(json!({"containers": [container("base")]}))).await.object();
    assert_eq!(made["spec"]["containers"].as_array().unwrap().len(), 2);
    for container in containers(&made) {
        assert_eq!(env(container, "V3IO_USERNAME")["value"], "iris", "{container}");
        assert_eq!(mount(container, "/mnt/pipeline")["name"], "pipeline");
        assert_eq!(mount(container, "/User")["name"], "v3io");
        env(container, "GOOGLE_APPLICATION_CREDENTIALS");
    }
    volume(&made, "pipeline");
    nothing_is_doubled(&made);
    assert_eq!(marker(&made)["policies"][0].get("skipped"), None);
    assert_eq!(field.stowage.requests("patched").await - before, 2);
    assert!(!other.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_second_call_with_nothing_to_do_answers_without_a_patch() {
    let Some(field) = Field::start("annotator", json!({}), &[policy("all", storage())]).await else { return };
    let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes", "team": "ml"}}]);
    Other::start(&field, "annotator", patch, "/metadata/labels/seen").await;
    let (patched, unchanged) = (field.stowage.requests("patched").await, field.stowage.requests("unchanged").await);
    for file in ["mlrun-job", "native-sidecar", "polyaxon-experiment"] {
        let file = format!("{}/tests/fixtures/reviews/{file}.json", env!("CARGO_MANIFEST_DIR"));
        nothing_is_doubled(&field.create(&super::recorded(file.as_ref())).await.object());
    }
    assert_eq!(field.stowage.requests("patched").await - patched, 3);
    assert_eq!(field.stowage.requests("unchanged").await - unchanged, 3);
}

#[tokio::test]
async fn two_installations_with_other_policies_do_not_undo_each_other() {
    let Some(field) = Field::start("two", json!({}), &[policy("all", storage())]).await else { return };
    let mine = json!({"storage": [{"s3": {"secretName": "s3"}}], "env": [{"name": "SECOND", "value": "yes"}]});
    let second = Stowage::start(&[policy("second", mine)]).await;
    register(field.cluster, "z-two", "two", second.address, &second.ca_pem()).await;
    while second.requests("patched").await == 0 {
        field.try_out(&pod(json!({"containers": [container("probe")]}))).await;
    }
    let reply = field.create(&pod(json!({"containers": [container("base")]}))).await;
    assert_eq!(reply.warnings, [""; 0]);
    let made = reply.object();
    nothing_is_doubled(&made);
    let base = &made["spec"]["containers"][0];
    assert_eq!(env(base, "SECOND")["value"], "yes");
    env(base, "AWS_ACCESS_KEY_ID");
    env(base, "V3IO_ACCESS_KEY");
    mount(base, "/mnt/pipeline");
}

/// What the API server sends has the shape of the recorded reviews, and is decided as they are.
#[tokio::test]
async fn a_review_from_the_api_server_has_the_recorded_shape() {
    let Some(field) = Field::start("shape", json!({}), &[policy("all", storage())]).await else { return };
    let other = Other::start(&field, "shape", json!([]), "/metadata").await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reviews/mlrun-job.json");
    field.create(&super::recorded(file.as_ref())).await.object();
    let asked = other.asked.lock().unwrap().pop().unwrap();
    let keys = |review: &Value, pointer: &str| -> BTreeSet<String> {
        review.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect()
    };
    let live: Value = serde_json::from_slice(&asked).unwrap();
    let recorded: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for pointer in ["", "/request/resource", "/request/kind", "/request/userInfo"] {
        assert!(keys(&live, pointer).is_superset(&keys(&recorded, pointer)), "{pointer}");
    }
    let optional = BTreeSet::from(["name".to_owned()]);
    let difference = |a: &Value, b: &Value| -> BTreeSet<_> {
        keys(a, "/request").difference(&keys(b, "/request")).cloned().collect()
    };
    assert!(difference(&recorded, &live).is_subset(&optional));
    let mut loaded = Loaded::default();
    loaded.add("policies.yaml", &policy("all", storage()).to_string());
    // Our webhook was called before this one, so there is nothing left to do.
    let admitted = admit(&asked, &loaded.snapshot()).unwrap();
    assert_eq!(admitted.outcome, Decided::Unchanged);
}
