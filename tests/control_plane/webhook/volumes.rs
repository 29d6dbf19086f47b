//! Every volume source of `core/v1`, by way of a policy.

use serde_json::{Value, json};
use stowage::policy::crd::{CLUSTER_KIND, Definitions};

use super::{Field, container, marker, mount, pod, policy, volume};

/// Each source of the schema, with the least that the API server takes.
pub(crate) const SOURCES: [(&str, &str); 30] = [
    ("awsElasticBlockStore", r#"{"volumeID": "vol-1"}"#),
    ("azureDisk", r#"{"diskName": "a", "diskURI": "https://blob.core.windows.net/a"}"#),
    ("azureFile", r#"{"secretName": "a", "shareName": "b"}"#),
    ("cephfs", r#"{"monitors": ["a"]}"#),
    ("cinder", r#"{"volumeID": "a"}"#),
    ("configMap", r#"{"name": "a"}"#),
    ("csi", r#"{"driver": "a.csi.example.com"}"#),
    ("downwardAPI", r#"{"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}"#),
    ("emptyDir", r#"{"medium": "Memory", "sizeLimit": "1Gi"}"#),
    (
        "ephemeral",
        r#"{"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}"#,
    ),
    ("fc", r#"{"targetWWNs": ["a"], "lun": 1}"#),
    ("flexVolume", r#"{"driver": "v3io/fuse"}"#),
    ("flocker", r#"{"datasetName": "a"}"#),
    ("gcePersistentDisk", r#"{"pdName": "a"}"#),
    ("gitRepo", r#"{"repository": "https://example.com/a.git"}"#),
    ("glusterfs", r#"{"endpoints": "a", "path": "b"}"#),
    ("hostPath", r#"{"path": "/mnt"}"#),
    ("image", r#"{"reference": "registry/weights:1", "pullPolicy": "IfNotPresent"}"#),
    ("iscsi", r#"{"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:storage", "lun": 0}"#),
    ("nfs", r#"{"server": "nas", "path": "/a"}"#),
    ("persistentVolumeClaim", r#"{"claimName": "a"}"#),
    ("photonPersistentDisk", r#"{"pdID": "a"}"#),
    ("portworxVolume", r#"{"volumeID": "a"}"#),
    ("projected", r#"{"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "b"}}]}"#),
    ("quobyte", r#"{"registry": "a:1", "volume": "b"}"#),
    ("rbd", r#"{"monitors": ["a"], "image": "b"}"#),
    ("scaleIO", r#"{"gateway": "a", "system": "b", "secretRef": {"name": "c"}, "volumeName": "d"}"#),
    ("secret", r#"{"secretName": "a"}"#),
    ("storageos", r#"{"volumeName": "a"}"#),
    ("vsphereVolume", r#"{"volumePath": "a"}"#),
];

#[test]
fn every_source_of_the_schema_is_tried() {
    let definitions = Definitions::generate();
    let schema = definitions.spec_schema(CLUSTER_KIND).unwrap();
    let sources = &schema["properties"]["storage"]["items"]["properties"]["volume"]["properties"]["source"];
    let mut known: Vec<_> = sources["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    known.sort_unstable();
    assert_eq!(known, SOURCES.map(|(kind, _)| kind));
}

#[tokio::test]
async fn a_pod_with_every_volume_source_is_accepted() {
    let entry = |(kind, source): (&str, &str)| {
        let source: Value = serde_json::from_str(source).unwrap();
        let name = kind.to_ascii_lowercase();
        json!({"volume": {"name": name, "source": {kind: source}, "mountPath": format!("/mnt/{name}")}})
    };
    let policies = [policy("volumes", json!({"storage": SOURCES.map(entry)}))];
    let Some(field) = Field::start("volumes", json!({}), &policies).await else { return };
    let made = field.create(&pod(json!({"containers": [container("base")]}))).await.object();
    for (kind, source) in SOURCES {
        let source: Value = serde_json::from_str(source).unwrap();
        let name = kind.to_ascii_lowercase();
        let stored = &volume(&made, &name)[kind];
        for (field, value) in source.as_object().unwrap() {
            // A template is completed by the API server.
            assert!(stored[field] == *value || kind == "ephemeral" || kind == "downwardAPI", "{kind}: {stored}");
        }
        assert_eq!(mount(&made["spec"]["containers"][0], &format!("/mnt/{name}"))["name"], json!(name));
    }
    assert_eq!(marker(&made)["policies"][0].get("skipped"), None);
}

#[tokio::test]
async fn every_storage_modifier_is_accepted() {
    let policies = [policy(
        "modifiers",
        json!({
            "v3io": {"username": "{serviceAccount}", "accessKeySecret": {"name": "v3io-{namespace}"}},
            "storage": [
                {"v3io": {}},
                {"v3ioFuse": {"remote": "~/data", "mounts": [{"path": "/User"}, {"path": "/v3io", "subPath": "a/{namespace}"}]}},
                {"v3iod": {}},
                {"pvc": {"claimName": "data-{namespace}", "subPath": "{serviceAccount}", "readOnly": true}},
                {"s3": {"secretName": "s3", "region": "us-east-1", "prefix": "LAKE_", "nonAnonymous": true, "sessionToken": true}},
                {"gcs": {"secretName": "gcs-key"}},
                {"azure": {"secretName": "azure"}},
                {"configMap": {"name": "conf", "mountPath": "/conf", "items": [{"key": "a", "path": "b", "mode": 288}], "defaultMode": 288, "optional": true}},
                {"secret": {"secretName": "tls", "mountPath": "/tls/tls.crt", "subPath": "tls.crt", "defaultMode": 256}},
                {"hostPath": {"path": "/mnt/scratch", "type": "DirectoryOrCreate", "mountPath": "/scratch"}},
                {"volume": {"name": "runs", "source": {"emptyDir": {}}, "mountPath": "/runs", "subPathExpr": "{namespace}/$(NODE)"}},
                {"env": {"variables": {"A": "b", "WITH.DOT": "c"}}},
                {"secretEnv": {"secretName": "creds", "keys": ["TOKEN"]}},
                {"secretEnv": {"secretName": "whole"}}
            ],
            "persistence": {
                "data": {"raw": {"mountPath": "/data/raw", "hostPath": "/raw", "readOnly": true},
                         "lake": {"store": "gcs", "bucket": "gs://lake", "secret": "lake", "secretKey": "key.json"},
                         "blobs": {"store": "azure", "bucket": "wasbs://c@a.blob.core.windows.net/", "secret": "blobs"}},
                "outputs": {"runs": {"mountPath": "/outputs", "existingClaim": "outputs"}},
                "defaultOutputs": "runs"
            },
            "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    {"name": "CORES", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "envFrom": [{"prefix": "T_", "configMapRef": {"name": "team"}}],
            "annotations": {"gke-gcsfuse/volumes": "true"}
        }),
    )];
    let Some(field) = Field::start("modifiers", json!({}), &policies).await else { return };
    let spec = json!({"containers": [container("base"), container("side")], "initContainers": [container("init")]});
    let made = field.create(&pod(spec)).await.object();
    assert_eq!(marker(&made)["policies"][0].get("skipped"), None, "{}", marker(&made));
    assert_eq!(made["metadata"]["annotations"]["gke-gcsfuse/volumes"], "true");
    for container in made["spec"]["containers"].as_array().unwrap() {
        assert_eq!(mount(container, "/runs")["subPathExpr"], format!("{}/$(NODE)", field.namespace));
    }
}
