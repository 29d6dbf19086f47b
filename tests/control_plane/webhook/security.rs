//! Namespaces with a pod security level: what Stowage leaves out keeps the pod admissible, and it leaves out no more.

use serde_json::{Value, json};
use stowage::inject::pod_security::{PodSecurityLevel, refuses_volume};

use super::{Field, container, marker, pod, policy, volumes::SOURCES};
use crate::cluster;

fn hardened(mut pod: Value) -> Value {
    pod["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container["securityContext"] = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    }
    pod
}

fn policies() -> [Value; 1] {
    [policy(
        "mixed",
        json!({
            "v3io": {"username": "iris", "accessKeySecret": {"name": "v3io-iris"}},
            "storage": [
                {"v3ioFuse": {}},
                {"hostPath": {"path": "/mnt", "mountPath": "/mnt/host"}},
                {"pvc": {"claimName": "shared"}},
                {"volume": {"name": "weights", "source": {"image": {"reference": "registry/weights:1"}}, "mountPath": "/weights"}},
                {"volume": {"name": "nfs", "source": {"nfs": {"server": "nas", "path": "/a"}}, "mountPath": "/nas"}}
            ],
            "defaults": {"securityContext": {"fsGroup": 100, "sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}
        }),
    )]
}

async fn injected(level: &str) -> Option<(Vec<String>, Value)> {
    let labels = json!({"pod-security.kubernetes.io/enforce": level});
    let field = Field::start(level, labels, &policies()).await?;
    let reply = field.create(&hardened(pod(json!({"containers": [container("base")]})))).await;
    let warnings = reply.warnings.clone();
    Some((warnings, reply.object()))
}

fn names(pod: &Value) -> Vec<&str> {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    volumes.iter().map(|volume| volume["name"].as_str().unwrap()).filter(|name| !name.starts_with("kube-api")).collect()
}

#[tokio::test]
async fn baseline_costs_host_paths_only() {
    let Some((warnings, pod)) = injected("baseline").await else { return };
    assert_eq!(names(&pod), ["v3io", "pipeline", "weights", "nfs"]);
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 100);
    assert_eq!(pod["spec"]["securityContext"].get("sysctls"), None);
    assert!(warnings.iter().any(|warning| warning.contains("baseline refuses hostPath")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("sysctls")), "{warnings:?}");
    assert!(marker(&pod)["policies"][0]["skipped"]["storage[1].hostPath"].is_string(), "{}", marker(&pod));
}

#[tokio::test]
async fn restricted_costs_what_the_level_refuses() {
    let Some((warnings, pod)) = injected("restricted").await else { return };
    assert_eq!(names(&pod), ["pipeline", "weights"]);
    for kind in ["flexVolume", "hostPath", "nfs"] {
        let says = format!("restricted refuses {kind} volumes");
        assert!(warnings.iter().any(|warning| warning.contains(&says)), "{kind} {warnings:?}");
    }
}

/// The levels themselves, kind by kind: what we hold to be refused is refused, and nothing else.
#[tokio::test]
async fn both_levels_refuse_the_volume_kinds_that_we_know_of() {
    let Some(cluster) = cluster::shared() else { return };
    for (name, level) in [("baseline", PodSecurityLevel::Baseline), ("restricted", PodSecurityLevel::Restricted)] {
        let namespace = format!("t-kinds-{name}");
        cluster.namespace(&namespace, &json!({"pod-security.kubernetes.io/enforce": name})).await;
        for (kind, source) in SOURCES {
            let source: Value = serde_json::from_str(source).unwrap();
            let volume = json!({"name": "a", kind: source});
            let pod = hardened(pod(json!({"containers": [container("base")], "volumes": [volume]})));
            let reply = cluster.post(&format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), &pod).await;
            let refused = reply.message().contains("violates PodSecurity");
            assert!(refused || reply.status.is_success(), "{name} {kind}: {}", reply.message());
            assert_eq!(refused, refuses_volume(level, kind).is_some(), "{name} {kind}: {}", reply.message());
        }
    }
}
