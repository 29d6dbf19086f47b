//! The definitions and the policies that ship, as the API server takes them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stowage::policy::{
    compile::Compiler,
    crd::{API_VERSION, NAMESPACED_KIND},
    document,
};

use crate::cluster;

/// The files of `manifests/examples`.
pub(crate) fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The documents of a file.
pub(crate) fn documents(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    document::parse(&text).unwrap().into_iter().map(|document| document.value).collect()
}

/// Where policies of this kind are posted.
pub(crate) fn collection(kind: &str, namespace: &str) -> String {
    match kind {
        NAMESPACED_KIND => format!("/apis/{API_VERSION}/namespaces/{namespace}/injectionpolicies"),
        _ => format!("/apis/{API_VERSION}/clusterinjectionpolicies"),
    }
}

/// The compiled form. The API server sorts keys, so they are sorted here too.
fn meaning(mut policy: Value) -> String {
    policy.sort_all_objects();
    format!("{:?}", Compiler::new().compile(&policy).unwrap())
}

#[tokio::test]
async fn both_definitions_are_established_and_structural() {
    let Some(cluster) = cluster::shared() else { return };
    for definition in cluster.definitions().await {
        let conditions = definition["status"]["conditions"].as_array().unwrap();
        let status = |kind: &str| {
            let found = conditions.iter().find(|condition| condition["type"] == kind);
            found.map(|condition| condition["status"].as_str().unwrap().to_owned())
        };
        assert_eq!(status("Established").as_deref(), Some("True"), "{conditions:?}");
        assert_eq!(status("NamesAccepted").as_deref(), Some("True"), "{conditions:?}");
        assert_eq!(status("NonStructuralSchema"), None, "{conditions:?}");
    }
}

#[tokio::test]
async fn every_example_policy_is_accepted_and_means_the_same_when_read_back() {
    let Some(cluster) = cluster::shared() else { return };
    cluster.definitions().await;
    for file in examples() {
        let mut policies = 0;
        for policy in documents(&file) {
            if policy["apiVersion"] != API_VERSION {
                continue;
            }
            let text = |pointer| policy.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let [kind, name, namespace] = ["/kind", "/metadata/name", "/metadata/namespace"].map(text);
            let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            if !namespace.is_empty() {
                // Two examples may share it.
                cluster.post("/api/v1/namespaces", &made).await;
            }
            let path = collection(&kind, &namespace);
            let reply = cluster.post(&format!("{path}?fieldValidation=Strict"), &policy).await;
            assert!(reply.status.is_success(), "{} {name}: {}", file.display(), reply.message());
            assert_eq!(reply.warnings, [""; 0], "{} {name}", file.display());
            let mut stored = cluster.get(&format!("{path}/{name}")).await.object();
            stored["metadata"].as_object_mut().unwrap().remove("generation");
            assert_eq!(meaning(policy), meaning(stored), "{} {name}", file.display());
            policies += 1;
        }
        assert!(policies > 0, "{}", file.display());
    }
}

/// One policy with every field, so that no part of the schema goes untried.
#[tokio::test]
async fn a_policy_with_every_block_is_accepted_and_means_the_same_when_read_back() {
    let Some(cluster) = cluster::shared() else { return };
    cluster.definitions().await;
    for policy in documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/control_plane/everything.yaml"))
    {
        let path = collection(policy["kind"].as_str().unwrap(), "default");
        let mut stored = cluster.post(&format!("{path}?fieldValidation=Strict"), &policy).await.object();
        stored["metadata"].as_object_mut().unwrap().remove("generation");
        assert_eq!(meaning(policy), meaning(stored));
    }
}
