//! Wrong policies, and what the API server says of them.

use hyper::StatusCode;
use serde_json::{Value, json};
use stowage::policy::crd::{API_VERSION, CLUSTER_KIND, NAMESPACED_KIND};

use crate::{cluster, policies::collection};

/// A policy whose spec has these fields too.
fn policy(kind: &str, spec: &Value) -> Value {
    let mut whole = json!({"match": {"podSelector": {}}, "env": [{"name": "A", "value": "b"}]});
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "wrong"}, "spec": whole})
}

/// Each is a spec, the field that the message must name, and more of what it must say.
async fn refused(table: &[(Value, &str, &str)]) {
    let Some(cluster) = cluster::shared() else { return };
    cluster.definitions().await;
    let mut wrong = Vec::new();
    for kind in [CLUSTER_KIND, NAMESPACED_KIND] {
        let path = format!("{}?fieldValidation=Strict&dryRun=All", collection(kind, "default"));
        for (spec, field, says) in table {
            let reply = cluster.post(&path, &policy(kind, spec)).await;
            let named = reply.message().contains(field) && reply.message().contains(says);
            let refused = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&reply.status);
            if !refused || !named {
                wrong.push(format!("{kind} {spec}\n  not {field}: …{says}… but {}: {}", reply.status, reply.message()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn storage(modifier: &Value) -> Value {
    json!({"storage": [modifier]})
}

#[tokio::test]
async fn refuses_what_the_rules_of_the_spec_forbid() {
    let toleration = json!([{"key": "spot", "operator": "Exists"}]);
    refused(&[
        (json!({"env": []}), "spec", "the policy changes nothing: add at least one of"),
        (storage(&json!({"v3io": {}})), "spec.storage", "need spec.v3io"),
        (storage(&json!({"v3ioFuse": {}})), "spec.storage", "need spec.v3io"),
        (json!({"autoMount": {"type": "pvc"}}), "spec.autoMount.params", "pvc, s3 and secret_env need params"),
        (json!({"autoMount": {"type": "s3", "params": ""}}), "spec.autoMount.params", "need params"),
        (json!({"autoMount": {"type": "secret_env"}}), "spec.autoMount.params", "need params"),
        (json!({"autoMount": {"type": "v3io_fuse"}}), "spec.autoMount.type", "need spec.v3io"),
        (json!({"autoMount": {"type": "v3io_credentials"}}), "spec.autoMount.type", "need spec.v3io"),
        (
            json!({"preemption": {"mode": "constrain", "tolerations": toleration}}),
            "spec.preemption.nodeSelector",
            "constrain",
        ),
        (
            json!({"preemption": {"mode": "constrain", "nodeSelector": {}, "tolerations": toleration}}),
            "spec.preemption.nodeSelector",
            "constrain",
        ),
        (
            json!({"persistence": {"outputs": {"a": {"mountPath": "/a"}}, "defaultOutputs": "b"}}),
            "spec.persistence.defaultOutputs",
            "name of",
        ),
        (json!({"persistence": {"defaultOutputs": "b"}}), "spec.persistence.defaultOutputs", "name of"),
        (json!({"containers": {"include": ["a"], "exclude": ["b"]}}), "spec.containers", "include and exclude"),
        (json!({"containers": {"include": []}}), "spec.containers.include", "at least 1"),
        (
            json!({"persistence": {"data": {"a": {"mountPath": "/a", "existingClaim": "c", "hostPath": "/h"}}}}),
            "spec.persistence.data[a]",
            "only one of existingClaim, hostPath and store",
        ),
        (
            json!({"persistence": {"outputs": {"a": {"existingClaim": "c", "store": "s3"}}}}),
            "spec.persistence.outputs[a]",
            "only one of existingClaim, hostPath and store",
        ),
        (json!({"stateThresholds": {"running": "1h", "executing": "1h"}}), "spec.stateThresholds", "two names"),
        (
            json!({"stateThresholds": {"mlrunDefaults": {"running": "1h", "executing": "1h"}}}),
            "spec.stateThresholds.mlrunDefaults",
            "two names",
        ),
    ])
    .await;
}

#[tokio::test]
async fn refuses_two_paths_within_a_volume_and_one_that_nobody_expands() {
    let mount = |fields: Value| {
        let mut whole = json!({"mountPath": "/a"});
        whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        whole
    };
    let both = mount(json!({"claimName": "c", "subPath": "a", "subPathExpr": "b"}));
    let plain = mount(json!({"secretName": "c", "subPath": "$(POD_NAME)"}));
    let fuse = json!({"v3ioFuse": {"mounts": [{"path": "/a", "subPath": "a", "subPathExpr": "b"}]}});
    let entry = mount(json!({"existingClaim": "c", "subPath": "$(POD_NAME)"}));
    refused(&[
        (storage(&json!({"pvc": both})), "spec.storage[0].pvc.subPathExpr", "cannot both be given"),
        (storage(&json!({"secret": plain})), "spec.storage[0].secret.subPath", "use subPathExpr"),
        (storage(&fuse), "spec.storage[0].v3ioFuse.mounts[0].subPathExpr", "cannot both be given"),
        (json!({"persistence": {"data": {"d": entry}}}), "spec.persistence.data[d].subPath", "use subPathExpr"),
    ])
    .await;
}

#[tokio::test]
async fn refuses_storage_entries_that_are_not_one_modifier() {
    refused(&[
        (storage(&json!({"gcs": {"secretName": "a"}, "azure": {"secretName": "b"}})), "spec.storage[0]", "at most 1"),
        (storage(&json!({})), "spec.storage[0]", "at least 1"),
        (storage(&json!({"nfs": {}})), "spec.storage[0].nfs", "unknown field"),
        (storage(&json!({"pvc": {}})), "spec.storage[0].pvc.claimName", "Required"),
        (storage(&json!({"s3": {}})), "spec.storage[0].s3.secretName", "Required"),
        (storage(&json!({"configMap": {"name": "a"}})), "spec.storage[0].configMap.mountPath", "Required"),
        (
            storage(&json!({"secret": {"secretName": "a", "mountPath": "/a", "defaultMode": 512}})),
            "spec.storage[0].secret.defaultMode",
            "511",
        ),
        (
            storage(&json!({"secret": {"secretName": "a", "mountPath": "/a", "defaultMode": -1}})),
            "spec.storage[0].secret.defaultMode",
            "0",
        ),
        (
            storage(&json!({"hostPath": {"path": "/a", "mountPath": "/a", "type": "Folder"}})),
            "spec.storage[0].hostPath.type",
            "Directory",
        ),
        (
            storage(&json!({"volume": {"name": "a", "mountPath": "/a", "source": {}}})),
            "spec.storage[0].volume.source",
            "at least 1",
        ),
        (
            storage(&json!({"volume": {"name": "a", "mountPath": "/a", "source": {"emptyDir": {}, "image": {}}}})),
            "spec.storage[0].volume.source",
            "at most 1",
        ),
        (
            storage(&json!({"volume": {"name": "a", "mountPath": "/a", "source": {"emptydir": {}}}})),
            "spec.storage[0].volume.source.emptydir",
            "unknown field",
        ),
        (storage(&json!({"v3ioFuse": {"remote": "~/"}})), "spec.storage[0].v3ioFuse.mounts", "required with remote"),
        (storage(&json!({"v3ioFuse": {"mounts": []}})), "spec.storage[0].v3ioFuse.mounts", "at least 1"),
    ])
    .await;
}

#[tokio::test]
async fn refuses_words_that_are_not_known_and_names_the_known_ones() {
    refused(&[
        (json!({"onConflict": "keep"}), "spec.onConflict", "\"Keep\", \"Override\", \"Reject\""),
        (json!({"autoMount": {"type": "nfs"}}), "spec.autoMount.type", "\"v3io_credentials\""),
        (json!({"preemption": {"mode": "never"}}), "spec.preemption.mode", "\"prevent\""),
        (json!({"imagePullPolicy": "always"}), "spec.imagePullPolicy", "\"IfNotPresent\""),
        // `onExceeded.action` is a word or one for each state, which no structural schema can say: it is refused when the
        // policy is compiled, by `check` and by the condition Accepted (tests/core/resolve.rs).
        (json!({"persistence": {"data": {"a": {"store": "minio"}}}}), "spec.persistence.data.a.store", "\"azure\""),
        (
            storage(&json!({"volume": {"name": "a", "mountPath": "/a", "source": {"emptyDir": {}}, "mountPropagation": "Both"}})),
            "spec.storage[0].volume.mountPropagation",
            "\"HostToContainer\"",
        ),
    ])
    .await;
}

#[tokio::test]
async fn refuses_wrong_types_and_times() {
    refused(&[
        (json!({"stateThresholds": {"running": 3600}}), "spec.stateThresholds.running", "must be a time such as '90m'"),
        (
            json!({"stateThresholds": {"running": "3600"}}),
            "spec.stateThresholds.running",
            "must be a time such as '90m'",
        ),
        (
            json!({"stateThresholds": {"overrides": {"min": 0}}}),
            "spec.stateThresholds.overrides.min",
            "must be a time such as '90m'",
        ),
        (
            json!({"stateThresholds": {"mlrunDefaults": {"running": 1}}}),
            "spec.stateThresholds.mlrunDefaults.running",
            "must be a time such as '90m'",
        ),
        (json!({"stateThresholds": {"runing": "1h"}}), "spec.stateThresholds.runing", "unknown field"),
        (json!({"stateThresholds": {"running": true}}), "spec.stateThresholds.running", "string"),
        (json!({"onExceeded": {"gracePeriodSeconds": -1}}), "spec.onExceeded.gracePeriodSeconds", "0"),
        (json!({"priority": "high"}), "spec.priority", "integer"),
        (json!({"priority": 3_000_000_000_u64}), "spec.priority", "int32"),
        (json!({"env": [{"value": "b"}]}), "spec.env[0].name", "Required"),
        (json!({"env": [{"name": "A", "vale": "b"}]}), "spec.env[0].vale", "unknown field"),
        (json!({"match": {}}), "spec.match.podSelector", "Required"),
        (json!({"v3io": {"username": "iris"}}), "spec.v3io.accessKeySecret", "Required"),
        (json!({"labels": {"a": 1}}), "spec.labels.a", "string"),
        (json!({"defaults": {"resources": {"limits": {"cpu": true}}}}), "spec.defaults.resources.limits.cpu", "string"),
    ])
    .await;
}

#[tokio::test]
async fn refuses_lists_maps_and_strings_over_their_bounds() {
    let many =
        |count: usize| (0..count).map(|n| json!({"env": {"variables": {"N": n.to_string()}}})).collect::<Vec<_>>();
    let entries = |count: usize| (0..count).map(|n| (format!("d{n}"), json!({"mountPath": format!("/{n}")}))).collect();
    let entries = |count| Value::Object(entries(count));
    let selector: serde_json::Map<_, _> = (0..65).map(|n| (format!("k{n}"), json!("v"))).collect();
    refused(&[
        (json!({"storage": many(65)}), "spec.storage", "at most 64"),
        (json!({"persistence": {"data": entries(129)}}), "spec.persistence.data", "at most 128"),
        (json!({"nodeSelector": selector}), "spec.nodeSelector", "at most 64"),
        (json!({"preemption": {"nodeSelector": selector}}), "spec.preemption.nodeSelector", "at most 64"),
        (json!({"priorityClassName": "x".repeat(5000)}), "spec.priorityClassName", "4096"),
    ])
    .await;
}

#[tokio::test]
async fn a_namespaced_policy_cannot_select_namespaces() {
    let Some(cluster) = cluster::shared() else { return };
    cluster.definitions().await;
    let spec = json!({"match": {"podSelector": {}, "namespaceSelector": {}}});
    let path = format!("{}?fieldValidation=Strict&dryRun=All", collection(NAMESPACED_KIND, "default"));
    let reply = cluster.post(&path, &policy(NAMESPACED_KIND, &spec)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.message().contains("unknown field \"spec.match.namespaceSelector\""), "{}", reply.message());
}
