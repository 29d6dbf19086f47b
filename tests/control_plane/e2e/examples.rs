//! The examples' own pods on a real node, with what their policies bring seen from inside.
//!
//! Images are of this machine, and claims are folders of it. Left out are the examples that want what no such node has: a
//! driver (mlrun-iguazio, fuse-csi), a GPU (shared-pool), a runtime that mounts images (digitalhub).

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::Method;
use serde_json::{Value, json};
use stowage::policy::document;
use tempfile::TempDir;

use super::{Lab, image::run, lab, say, until};

/// A folder of this machine that a claim of the namespace is bound to, with a file in it that says the claim's name.
fn claim(lab: &Lab, namespace: &str, name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("there"), name).unwrap();
    let common = json!({"accessModes": ["ReadWriteMany"], "storageClassName": ""});
    let mut volume = common.clone();
    volume["capacity"] = json!({"storage": "1Gi"});
    volume["hostPath"] = json!({"path": folder.path()});
    volume["claimRef"] = json!({"namespace": namespace, "name": name});
    let mut claim = common;
    claim["volumeName"] = json!(name);
    claim["resources"] = json!({"requests": {"storage": "1Gi"}});
    let metadata = json!({"name": name});
    lab.apply(&json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": volume}));
    let metadata = json!({"name": name, "namespace": namespace});
    lab.apply(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim}));
    folder
}

fn secret(lab: &Lab, namespace: &str, name: &str, values: &[(&str, &str)]) {
    let data: serde_json::Map<String, Value> =
        values.iter().map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value)))).collect();
    let metadata = json!({"name": name, "namespace": namespace});
    lab.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}));
}

/// Applies the example, all but its pod, and answers with the pod. Each container runs `look` instead of its own program.
async fn applied(lab: &Lab, file: &str, change: impl Fn(String) -> String, look: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/examples").join(file);
    let text = change(fs::read_to_string(path).unwrap());
    let mut pod = Value::Null;
    for document in document::parse(&text).unwrap() {
        match document.value["kind"].as_str().unwrap() {
            "Pod" => pod = document.value,
            _ => lab.apply(&document.value),
        }
    }
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container["image"] = json!("localhost/tools:1");
        container["imagePullPolicy"] = json!("Never");
        container["args"] = json!([look]);
    }
    pod
}

/// Has the pod made once its policies are in force, and waits until it has run to its end.
async fn ran(lab: &Lab, namespace: &str, pod: &Value) -> Value {
    until("the policies are in force", async || {
        let tried = lab.cluster.post(&format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), pod).await;
        tried.status.is_success() && tried.body["metadata"]["annotations"].get("stowage.dev/injected").is_some()
    })
    .await;
    let made = lab.create(namespace, pod).await;
    ended(lab, &made).await
}

fn path(pod: &Value) -> String {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap();
    format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"))
}

async fn ended(lab: &Lab, made: &Value) -> Value {
    let mut pod = Value::Null;
    let took = until("the pod has run", async || {
        pod = lab.cluster.get(&path(made)).await.object();
        assert_ne!(pod["status"]["phase"], "Failed", "{}", pod["status"]);
        pod["status"]["phase"] == "Succeeded"
    })
    .await;
    say(&format!("{} ran to its end in {took:?}", path(made)));
    pod
}

/// Takes away what an example brought.
async fn away(lab: &Lab, pod: &Value, claims: &[&str]) {
    lab.cluster.call(Method::DELETE, &path(pod), None).await.object();
    lab.no_policies();
    let namespace = pod["metadata"]["namespace"].as_str().unwrap();
    for claim in claims {
        run(lab.kubectl().args(["-n", namespace, "delete", "--wait=false", "persistentvolumeclaim", claim]));
        run(lab.kubectl().args(["delete", "--wait=false", "persistentvolume", claim]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_mlrun_sees_its_credentials_and_its_claim() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace("mlrun", json!({})).await;
    secret(lab, "mlrun", "mlrun-s3", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")]);
    let shared = claim(lab, "mlrun", "mlrun-shared");
    let look = r#"echo "$AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_ENDPOINT_URL_S3"
cat /mnt/shared/there; echo; echo kept >/mnt/shared/mine"#;
    let pod = applied(lab, "mlrun-ce.yaml", |text| text, look).await;
    let pod = ran(lab, "mlrun", &pod).await;
    let said = lab.log(&pod, "base");
    assert_eq!(said, ["id key http://minio.mlrun.svc.cluster.local:9000", "mlrun-shared"]);
    assert_eq!(fs::read_to_string(shared.path().join("mine")).unwrap(), "kept\n");
    away(lab, &pod, &["mlrun-shared"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_teams_pod_reads_the_data_set_and_writes_into_its_own_folder() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace("team-vision", json!({})).await;
    lab.apply(
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ann", "namespace": "team-vision"}}),
    );
    secret(lab, "team-vision", "vision-s3", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")]);
    let [imagenet, scratch] = ["imagenet", "scratch"].map(|name| claim(lab, "team-vision", name));
    let look = r#"echo "$AWS_ACCESS_KEY_ID $AWS_REGION $HTTPS_PROXY"
cat /data/imagenet/there; echo
(echo changed >/data/imagenet/there) 2>/dev/null || echo "the data set cannot be changed"
echo kept >/scratch/mine
stat -f -c %T /dev/shm"#;
    let pod = applied(lab, "team-storage.yaml", |text| text, look).await;
    let pod = ran(lab, "team-vision", &pod).await;
    let wanted =
        ["id eu-central-1 http://proxy.platform.svc:3128", "imagenet", "the data set cannot be changed", "tmpfs"];
    assert_eq!(lab.log(&pod, "train"), wanted);
    assert_eq!(fs::read_to_string(scratch.path().join("ann/mine")).unwrap(), "kept\n");
    assert_eq!(fs::read_to_string(imagenet.path().join("there")).unwrap(), "imagenet");
    away(lab, &pod, &["imagenet", "scratch"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_polyaxon_has_the_catalogue_in_the_container_that_runs_its_code() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace("polyaxon", json!({})).await;
    secret(lab, "polyaxon", "secret-name", &[("secret-key", "key")]);
    let outputs = claim(lab, "polyaxon", "outputs-2-pvc");
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("there"), "of the host").unwrap();
    // The folder of Polyaxon's documentation is on no machine.
    let on_host = |text: String| text.replace("/path/to/data", data.path().to_str().unwrap());
    let look = r#"echo "${SECRET_KEY:-no key} ${POLYAXON_RUN_OUTPUTS_PATH:-no outputs}"
[ -n "$SECRET_KEY" ] || exit 0
cat /data/1/there; echo
echo kept >/outputs/2/mine"#;
    let pod = applied(lab, "polyaxon.yaml", on_host, look).await;
    let pod = ran(lab, "polyaxon", &pod).await;
    assert_eq!(lab.log(&pod, "polyaxon-main"), ["key /outputs/2", "of the host"]);
    assert_eq!(lab.log(&pod, "polyaxon-sidecar"), ["no key no outputs"]);
    assert_eq!(fs::read_to_string(outputs.path().join("mine")).unwrap(), "kept\n");
    away(lab, &pod, &["outputs-2-pvc"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_bound_to_spot_nodes_waits_until_there_is_one_and_runs_there() {
    const NAME: &str = "spot-gke";
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace(NAME, json!({"stowage.dev/spot": "gke"})).await;
    let pod = applied(lab, "spot.yaml", |text| text, "echo here").await;
    until("the policy is in force", async || {
        lab.tried(NAME, &pod).await["spec"]["affinity"]["nodeAffinity"].is_object()
    })
    .await;
    let made = lab.create(NAME, &pod).await;
    until("no node will do", async || {
        let pod = lab.cluster.get(&path(&made)).await.object();
        pod["status"]["conditions"][0]["reason"] == "Unschedulable"
    })
    .await;
    let label = |value: &str| run(lab.kubectl().args(["label", "node", "node1", value]));
    label("cloud.google.com/gke-spot=true");
    let pod = ended(lab, &made).await;
    label("cloud.google.com/gke-spot-");
    assert_eq!(lab.log(&pod, "base"), ["here"]);
    away(lab, &pod, &[]).await;
}
