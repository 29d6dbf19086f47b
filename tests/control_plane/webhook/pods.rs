//! Recorded pods and the examples' own: accepted as patched, with what the policies say in them.

use std::path::Path;

use serde_json::{Value, json};

use super::{Field, container, containers, env, marker, mount, pod, policy, recorded, volume};
use crate::policies::{documents, examples};

/// The label by which a policy selects namespaces by name.
const NAME: &str = "kubernetes.io/metadata.name";

fn five_modifiers() -> Value {
    policy(
        "five",
        json!({
            "onConflict": "Override",
            "v3io": {"username": "iris", "accessKeySecret": {"name": "v3io-iris"}},
            "storage": [
                {"v3io": {}},
                {"v3ioFuse": {}},
                {"pvc": {"claimName": "team-data", "volumeName": "data", "mountPath": "/data"}},
                {"s3": {"secretName": "s3-creds", "endpointUrl": "http://minio:9000"}},
                {"volume": {"name": "shm", "source": {"emptyDir": {"medium": "Memory"}}, "mountPath": "/dev/shm"}}
            ],
            "labels": {"team": "ml"}
        }),
    )
}

fn holds_five_modifiers(pod: &Value) {
    for container in containers(pod) {
        assert_eq!(env(container, "V3IO_USERNAME")["value"], "iris");
        let key = json!({"secretKeyRef": {"name": "v3io-iris", "key": "accessKey"}});
        assert_eq!(env(container, "V3IO_ACCESS_KEY")["valueFrom"], key);
        assert_eq!(env(container, "AWS_ENDPOINT_URL_S3")["value"], "http://minio:9000");
        assert_eq!(mount(container, "/data")["name"], "data");
        assert_eq!(mount(container, "/dev/shm")["name"], "shm");
        assert_eq!(mount(container, "/User")["subPath"], "users/iris");
    }
    assert_eq!(volume(pod, "v3io")["flexVolume"]["driver"], "v3io/fuse");
    assert_eq!(volume(pod, "data")["persistentVolumeClaim"]["claimName"], "team-data");
    assert_eq!(pod["metadata"]["labels"]["team"], "ml");
    let marker = marker(pod);
    assert_eq!(marker["policies"][0]["name"], "five");
    assert_eq!(marker["policies"][0].get("skipped"), None, "{marker}");
}

#[tokio::test]
async fn recorded_pods_come_up_with_five_modifiers() {
    let Some(field) = Field::start("recorded", json!({}), &[five_modifiers()]).await else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reviews");
    let mut tried = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let pod = recorded(&file.unwrap().path());
        let told = field.try_out(&pod).await;
        let made = field.create(&pod).await;
        assert_eq!(told.warnings, made.warnings);
        holds_five_modifiers(&told.object());
        let made = made.object();
        holds_five_modifiers(&made);
        let path =
            format!("/api/v1/namespaces/{}/pods/{}", field.namespace, made["metadata"]["name"].as_str().unwrap());
        holds_five_modifiers(&field.cluster.get(&path).await.object());
        tried += 1;
    }
    assert!(tried >= 8, "{tried}");
}

#[tokio::test]
async fn a_conflict_reaches_the_client_as_a_warning_and_a_refusal_as_its_status() {
    let keep = policy("keep", json!({"env": [{"name": "MODE", "value": "policy"}]}));
    let reject = policy(
        "reject",
        json!({"match": {"podSelector": {"matchLabels": {"strict": "yes"}}}, "onConflict": "Reject",
               "env": [{"name": "TIER", "value": "policy"}]}),
    );
    let Some(field) = Field::start("conflict", json!({}), &[keep, reject]).await else { return };
    let mut own = container("base");
    own["env"] = json!([{"name": "MODE", "value": "own"}, {"name": "TIER", "value": "own"}]);
    let mut pod = pod(json!({"containers": [own]}));
    let reply = field.create(&pod).await;
    assert!(reply.warnings.iter().any(|warning| warning.contains("MODE")), "{:?}", reply.warnings);
    let made = reply.object();
    assert_eq!(env(&made["spec"]["containers"][0], "MODE")["value"], "own");
    pod["metadata"]["labels"] = json!({"strict": "yes"});
    let reply = field.create(&pod).await;
    assert!(reply.status.is_client_error(), "{}", reply.status);
    let says = reply.message();
    assert!(says.contains("pods.stowage.dev") && says.contains("denied") && says.contains("TIER"), "{says}");
    pod["metadata"]["labels"] = json!({});
    pod["metadata"]["annotations"] = json!({"stowage.dev/inject": "false"});
    let untouched = field.create(&pod).await.object();
    assert_eq!(untouched["metadata"]["annotations"].get("stowage.dev/injected"), None);
}

/// Every example in every kind of namespace that it speaks of.
#[tokio::test]
async fn each_examples_own_pods_are_accepted_and_injected() {
    for file in examples() {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let documents = documents(&file);
        let (policies, others): (Vec<_>, Vec<_>) =
            documents.into_iter().partition(|document| document["apiVersion"] == "stowage.dev/v1alpha1");
        let pods: Vec<_> = others.into_iter().filter(|document| document["kind"] == "Pod").collect();
        assert!(!pods.is_empty(), "{stem} has no pod to try");
        for (n, labels) in namespaces(&policies).into_iter().enumerate() {
            let name = format!("example-{stem}-{n}");
            let namespace = labels[NAME].as_str().map_or_else(|| format!("t-{name}"), str::to_owned);
            let Some(field) = Field::named(&name, &namespace, labels, &policies).await else { return };
            let named =
                |pointer: &'static str| policies.iter().filter_map(move |policy| policy.pointer(pointer)?.as_str());
            for class in named("/spec/priorityClassName").chain(named("/spec/defaults/priorityClassName")) {
                priority_class(&field, class).await;
            }
            for class in named("/spec/defaults/runtimeClassName") {
                let class = json!({
                    "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": class}, "handler": class
                });
                field.cluster.post("/apis/node.k8s.io/v1/runtimeclasses", &class).await;
            }
            for account in named("/spec/defaults/serviceAccountName") {
                service_account(&field, account).await;
            }
            let mut touched = 0;
            for pod in &pods {
                let mut pod = pod.clone();
                pod["metadata"].as_object_mut().unwrap().remove("namespace");
                if let Some(account) = pod["spec"]["serviceAccountName"].as_str() {
                    service_account(&field, account).await;
                }
                let reply = field.create(&pod).await;
                assert!(reply.status.is_success(), "{name}: {}", reply.message());
                let made = reply.object();
                if made["metadata"]["annotations"].get("stowage.dev/injected").is_none() {
                    continue;
                }
                let marker = marker(&made);
                let policies = marker["policies"].as_array().unwrap();
                let applied = policies.iter().any(|policy| policy.get("applied").is_some());
                assert!(applied, "{name}: {marker}");
                touched += 1;
            }
            assert!(touched > 0, "{name}: no pod of the example is matched by it");
        }
    }
}

async fn service_account(field: &Field, name: &str) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    // Two of the pods may share it.
    field.cluster.post(&format!("/api/v1/namespaces/{}/serviceaccounts", field.namespace), &account).await;
}

/// The label sets that the policies' namespace selectors ask for.
fn namespaces(policies: &[Value]) -> Vec<Value> {
    let mut found = Vec::new();
    for policy in policies {
        let selector = &policy["spec"]["match"]["namespaceSelector"];
        let mut labels = selector.get("matchLabels").cloned().unwrap_or_else(|| json!({}));
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            if expression["operator"] == "In" {
                labels[expression["key"].as_str().unwrap()] = expression["values"][0].clone();
            }
        }
        if !found.contains(&labels) {
            found.push(labels);
        }
    }
    found
}

async fn priority_class(field: &Field, name: &str) {
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1000});
    // Another namespace's turn may have made it.
    field.cluster.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
}
