//! From every overlay to every other by server-side apply, while `caBundle` belongs to Stowage.

use std::{path::PathBuf, process::Command};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use stowage::policy::document;

use crate::cluster::{find, shared, skipped};

const NAME: &str = "overlays-switched";

#[tokio::test(flavor = "multi_thread")]
async fn switching_between_overlays_conflicts_with_nobody_and_leaves_the_bundle_alone() {
    let Some(cluster) = shared() else { return };
    if find("kubectl").is_none() {
        skipped("no kubectl: overlays were not switched");
        return;
    }
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client());
    let variants: Vec<(String, Value)> = [
        ("cluster-wide", None),
        ("namespace-opt-in", None),
        ("cert-manager", None),
        ("strict", None),
        ("cluster-wide", Some("pod-opt-in")),
        ("cluster-wide", Some("fail-closed")),
    ]
    .into_iter()
    .map(|(overlay, component)| {
        (format!("{overlay} {}", component.unwrap_or_default()), registration(overlay, component))
    })
    .collect();
    let bundle = k8s_openapi::ByteString(b"of ours".to_vec());
    let apply = |manager: &'static str, object: Value| {
        let api = api.clone();
        async move { api.patch(NAME, &PatchParams::apply(manager), &Patch::Apply(&object)).await }
    };
    let mut switched = 0;
    for (first, one) in &variants {
        for (second, other) in variants.iter().filter(|(name, _)| name != first) {
            apply("kubectl", one.clone()).await.unwrap();
            let ours = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": NAME},
                "webhooks": [{"name": "pods.stowage.dev", "clientConfig": {"caBundle": bundle}}],
            });
            apply("stowage", ours).await.unwrap();
            let found = apply("kubectl", other.clone()).await;
            let found = found.unwrap_or_else(|error| panic!("{first} to {second}: {error}"));
            let entries = found.webhooks.unwrap();
            assert_eq!(entries.len(), 1, "{first} to {second}");
            assert_eq!(entries[0].client_config.ca_bundle, Some(bundle.clone()), "{first} to {second}");
            let wanted: MutatingWebhookConfiguration = serde_json::from_value(other.clone()).unwrap();
            let wanted = &wanted.webhooks.unwrap()[0];
            assert_eq!(entries[0].namespace_selector, wanted.namespace_selector, "{first} to {second}");
            assert_eq!(entries[0].object_selector, wanted.object_selector, "{first} to {second}");
            assert_eq!(entries[0].failure_policy, wanted.failure_policy, "{first} to {second}");
            api.delete(NAME, &DeleteParams::default()).await.unwrap();
            switched += 1;
        }
    }
    assert_eq!(switched, 30);
}

/// The registration of an overlay, under another name and for something that no test creates.
fn registration(overlay: &str, component: Option<&str>) -> Value {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let up = folder.path().canonicalize().unwrap().components().skip(1).map(|_| "..").collect::<PathBuf>();
    let manifests = up.join(root.canonicalize().unwrap().strip_prefix("/").unwrap()).join("manifests");
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [manifests.join("overlays").join(overlay)],
        "components": component.iter().map(|name| manifests.join("components").join(name)).collect::<Vec<_>>(),
    });
    std::fs::write(folder.path().join("kustomization.yaml"), kustomization.to_string()).unwrap();
    let output = Command::new("kubectl").arg("kustomize").arg(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut objects = document::parse(&text).unwrap().into_iter().map(|document| document.value);
    let mut found = objects.rfind(|object| object["kind"] == "MutatingWebhookConfiguration").unwrap();
    found["metadata"]["name"] = json!(NAME);
    found["webhooks"][0]["rules"][0]["resources"] = json!(["podtemplates"]);
    found
}
