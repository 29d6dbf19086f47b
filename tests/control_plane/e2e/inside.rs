//! What was injected, read from inside the running container.

use std::{fs, path::Path, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{lab, lab::Lab, policy, say, until};

/// Prints what a program in the container sees, and stays.
const LOOK: &str = r#"echo "variable $INJECTED"
for file in /conf/key /cred/token /scratch/there; do echo "$file $(cat $file)"; done
echo kept >/cache/mine && echo "/cache/mine $(cat /cache/mine)"
echo "cache is a $(stat -f -c %T /cache)"
echo mine >/own/written
echo mine >/runs/written
echo done
exec sleep infinity"#;

fn everything(host: &Path) -> Value {
    policy(
        "inside",
        json!({
            "env": [
                {"name": "INJECTED", "value": "by-policy"},
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
            ],
            // The pod asks for Always, and there is no registry.
            "imagePullPolicy": "Never",
            "storage": [
                {"configMap": {"name": "conf", "mountPath": "/conf"}},
                {"secret": {"secretName": "cred", "mountPath": "/cred"}},
                {"hostPath": {"path": host, "type": "Directory", "mountPath": "/scratch"}},
                {"hostPath": {"path": host, "type": "Directory", "mountPath": "/own", "volumeName": "own", "subPath": "{namespace}"}},
                {"hostPath": {"path": host, "type": "Directory", "mountPath": "/runs", "volumeName": "runs", "subPathExpr": "{namespace}/$(POD_NAME)"}},
                {"volume": {"name": "cache", "source": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, "mountPath": "/cache"}}
            ]
        }),
    )
}

fn looking() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look", "labels": {"e2e": "inside"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "localhost/tools:1", "imagePullPolicy": "Always", "args": [LOOK]}]
        }
    })
}

/// What the container said, once it is done looking.
async fn seen(lab: &Lab, pod: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    until("the container has looked", async || {
        lines = lab.log(pod, "main");
        lines.iter().any(|line| line == "done")
    })
    .await;
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_sees_what_was_injected() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    let begun = Instant::now();
    lab.installed().await;
    let installed = begun.elapsed();
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("there"), "on the host").unwrap();
    fs::create_dir(host.path().join("inside")).unwrap();
    lab.namespace("inside", json!({})).await;
    let put = |kind: &str, name: &str, key: &str, value: String| {
        let data = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "inside"}, "data": {key: value}});
        lab.apply(&data);
    };
    put("ConfigMap", "conf", "key", "of the config map".into());
    put("Secret", "cred", "token", STANDARD.encode("of the secret"));
    lab.apply(&everything(host.path()));
    until("the policy is in force", async || {
        let pod = lab.tried("inside", &looking()).await;
        pod["metadata"]["annotations"].get("stowage.dev/injected").is_some()
    })
    .await;
    let pod = lab.create("inside", &looking()).await;
    let lines = seen(lab, &pod).await;
    say(&format!("both replicas ready after {installed:?}, an injected pod running after {:?}", begun.elapsed()));
    let wanted = [
        "variable by-policy",
        "/conf/key of the config map",
        "/cred/token of the secret",
        "/scratch/there on the host",
        "/cache/mine kept",
        "cache is a tmpfs",
        "done",
    ];
    assert_eq!(lines, wanted);
    assert_eq!(fs::read_to_string(host.path().join("inside/written")).unwrap(), "mine\n");
    // The kubelet made the folder that the expression names, for the pod's own name.
    assert_eq!(fs::read_to_string(host.path().join("inside/look/written")).unwrap(), "mine\n");
    // There is no registry, so a container that runs was not pulled: the policy's Never replaced the pod's Always.
    let running = lab.cluster.get("/api/v1/namespaces/inside/pods/look").await.object();
    assert_eq!(running["spec"]["containers"][0]["imagePullPolicy"], "Never");
    assert!(running["status"]["containerStatuses"][0]["state"].get("running").is_some(), "{}", running["status"]);
    lab.no_policies();
    lab.cluster.call(hyper::Method::DELETE, "/api/v1/namespaces/inside/pods/look", None).await.object();
}
