//! Every example goes through check and inject, and gives its own pod what its comments say.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use stowage::{policy::snapshot::Snapshot, standalone::SAMPLE_REVIEW};

use crate::webhook::{Admission, inject, pods, policies};

const FOLDER: &str = "manifests/examples";
const V3IO: [&str; 4] = ["V3IO_API", "V3IO_USERNAME", "V3IO_ACCESS_KEY", "V3IO_FRAMESD"];

/// The whole folder, as `serve --standalone` of the README loads it.
fn all() -> Snapshot {
    policies(FOLDER).snapshot()
}

/// What comes of the one pod of an example, under all examples.
fn example(name: &str) -> Admission {
    example_in(name, &all())
}

fn example_in(name: &str, snapshot: &Snapshot) -> Admission {
    let mut pods = pods(&format!("{FOLDER}/{name}.yaml"));
    let pod = pods.pop().unwrap();
    assert!(pods.is_empty(), "{name}.yaml ends with one pod");
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    inject(snapshot, &namespace, &pod)
}

/// All examples, and the namespace `name` with a label.
fn all_with_namespace(name: &str, key: &str, value: &str) -> Snapshot {
    let mut snapshot = all();
    let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Arc::make_mut(&mut snapshot.namespaces).insert(name, labels);
    snapshot
}

#[test]
fn check_accepts_all_examples_with_the_notes_that_are_meant() {
    let loaded = policies(FOLDER);
    let said = |remarks: &[stowage::policy::loaded::Located]| -> Vec<String> {
        remarks.iter().map(|remark| format!("{}: {}", file_name(&remark.file), remark.error)).collect()
    };
    assert_eq!(said(&loaded.errors), Vec::<String>::new());
    let notes = said(&loaded.notes);
    for (file, what) in [
        ("digitalhub.yaml", "an API server older than Kubernetes 1.35 refuses the pod"),
        ("mlrun-iguazio.yaml", "whoever sets the label mlrun/owner on a pod chooses the credential"),
        ("polyaxon.yaml", "runs cannot write to outputs that are read-only"),
        ("shared-pool.yaml", "a pod that sets POD_NAME itself chooses the folder"),
    ] {
        assert!(notes.iter().any(|note| note.starts_with(file) && note.contains(what)), "{file}: {what}");
    }
    let files = ["digitalhub.yaml", "mlrun-iguazio.yaml", "polyaxon.yaml", "shared-pool.yaml"];
    let meant = |note: &&String| files.iter().any(|file| note.starts_with(file));
    assert_eq!(notes.iter().filter(meant).count(), notes.len(), "{notes:#?}");
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

#[test]
fn every_example_begins_with_a_comment_and_ends_with_a_pod() {
    let mut seen = 0;
    for entry in std::fs::read_dir(crate::webhook::root().join(FOLDER)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{}", path.display());
        let last = text.rsplit("\n---\n").next().unwrap();
        assert!(last.contains("\nkind: Pod\n"), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn mlrun_iguazio_gives_a_run_its_owners_volume_and_credentials() {
    let run = example("mlrun-iguazio");
    assert_eq!(run.policies, ["mlrun-iguazio", "mlrun-iguazio-thresholds"]);
    assert_eq!(run.warnings, Vec::<String>::new());
    assert_eq!(run.env("base"), V3IO);
    assert_eq!(run.variable("base", "V3IO_USERNAME"), "ann");
    let key = json!({"secretKeyRef": {"name": "v3io-ann", "key": "accessKey"}});
    assert_eq!(run.variable("base", "V3IO_ACCESS_KEY"), &key);
    assert_eq!(run.volume("v3io")["flexVolume"]["secretRef"], json!({"name": "v3io-ann"}));
    assert_eq!(run.mounts("base"), ["/v3io", "/User"]);
}

#[test]
fn mlrun_ce_gives_a_run_the_store_and_the_claim() {
    let run = example("mlrun-ce");
    assert_eq!(run.policies, ["mlrun-ce", "mlrun-ce-thresholds"]);
    assert_eq!(run.warnings, Vec::<String>::new());
    assert_eq!(
        run.variable("base", "AWS_ACCESS_KEY_ID"),
        &json!({"secretKeyRef": {"name": "mlrun-s3", "key": "AWS_ACCESS_KEY_ID"}})
    );
    assert_eq!(run.variable("base", "S3_ENDPOINT_URL"), "http://minio.mlrun.svc.cluster.local:9000");
    assert_eq!(run.volume("shared")["persistentVolumeClaim"]["claimName"], "mlrun-shared");
    assert_eq!(run.mounts("base"), ["/mnt/shared"]);
}

#[test]
fn team_storage_gives_the_teams_claims_and_the_platforms_proxy() {
    let run = example("team-storage");
    assert_eq!(run.policies, ["team-vision/data", "platform-proxy"]);
    assert_eq!(run.warnings, Vec::<String>::new());
    assert_eq!(run.volumes(), ["imagenet", "scratch", "shm"]);
    assert_eq!(run.mounts("train"), ["/data/imagenet", "/scratch", "/dev/shm"]);
    let mounts = run.pod.pointer("/spec/containers/0/volumeMounts").unwrap();
    assert_eq!((&mounts[0]["readOnly"], &mounts[1]["subPath"]), (&json!(true), &json!("ann")));
    assert_eq!(run.variable("train", "AWS_REGION"), "eu-central-1");
    assert_eq!(run.variable("train", "HTTPS_PROXY"), "http://proxy.platform.svc:3128");
    assert_eq!(run.pod["spec"]["securityContext"]["fsGroup"], 100);
}

#[test]
fn the_teams_policy_acts_in_its_own_namespace_only() {
    let pod = pods(&format!("{FOLDER}/team-storage.yaml")).pop().unwrap();
    assert_eq!(inject(&all(), "team-audio", &pod).volumes(), Vec::<&str>::new());
}

#[test]
fn polyaxon_gives_what_the_run_names_and_the_default_outputs() {
    let run = example("polyaxon");
    assert_eq!(run.policies, ["polyaxon"]);
    assert_eq!(run.warnings, Vec::<String>::new());
    assert_eq!(run.volumes(), ["data1", "outputs2"]);
    assert_eq!(run.mounts("polyaxon-main"), ["/data/1", "/outputs/2"]);
    assert_eq!(
        run.variable("polyaxon-main", "POLYAXON_RUN_DATA_PATHS"),
        r#"{"data1": "/data/1", "data-s3": "s3://data-bucket"}"#
    );
    assert_eq!(run.variable("polyaxon-main", "POLYAXON_RUN_OUTPUTS_PATH"), "/outputs/2");
    assert_eq!(
        run.variable("polyaxon-main", "POLYSTORES_RUN_STORES_ACCESS_KEYS"),
        r#"{"s3://data-bucket": {"store": "s3", "secret_key": "secret-key"}}"#
    );
    assert_eq!(
        run.variable("polyaxon-main", "secret-key"),
        &json!({"secretKeyRef": {"name": "secret-name", "key": "secret-key"}})
    );
    assert_eq!(run.mounts("polyaxon-sidecar"), Vec::<&str>::new());
    assert_eq!(run.env("polyaxon-sidecar"), Vec::<&str>::new());
}

#[test]
fn digitalhub_gives_every_kind_of_volume_and_the_placement() {
    let run = example("digitalhub");
    assert_eq!(run.policies, ["digitalhub"]);
    assert_eq!(run.warnings, Vec::<String>::new());
    assert_eq!(run.volumes(), ["dataset", "shared", "settings", "registry-ca", "work", "scratch", "model"]);
    for (volume, source) in [
        ("dataset", "persistentVolumeClaim"),
        ("shared", "persistentVolumeClaim"),
        ("settings", "configMap"),
        ("registry-ca", "secret"),
        ("work", "emptyDir"),
        ("scratch", "ephemeral"),
        ("model", "image"),
    ] {
        assert!(run.volume(volume)[source].is_object(), "{volume}");
    }
    for container in ["c-mlrunjob-1f0c7c7e", "init-container-1f0c7c7e"] {
        assert_eq!(
            run.mounts(container),
            ["/data", "/shared", "/etc/run", "/etc/registry-ca", "/work", "/scratch", "/model"]
        );
        assert_eq!(run.variable(container, "S3_ENDPOINT_URL"), "http://minio:9000");
        let secret = json!({"secretKeyRef": {"name": "datalake", "key": "AWS_ACCESS_KEY_ID"}});
        assert_eq!(run.variable(container, "AWS_ACCESS_KEY_ID"), &secret);
    }
    assert_eq!(run.variable("c-mlrunjob-1f0c7c7e", "PROJECT_NAME"), "churn");
    let spec = &run.pod["spec"];
    assert_eq!(spec["nodeSelector"], json!({"pool": "ml"}));
    assert_eq!(spec["tolerations"][0]["key"], "pool");
    assert_eq!(spec["containers"][0]["resources"]["limits"], json!({"memory": "4Gi"}));
    let terms = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    assert_eq!(spec.pointer(terms).unwrap()[0]["matchExpressions"][0]["values"], json!(["amd64"]));
}

#[test]
fn fuse_csi_mounts_a_bucket_as_each_driver_takes_it() {
    let inline = |driver: &str| json!({"csi": driver});
    for (cloud, policy, wanted) in [
        ("gcs", "fuse-gcs", inline("gcsfuse.csi.storage.gke.io")),
        ("azure", "fuse-azure", inline("blob.csi.azure.com")),
        ("s3", "fuse-s3", json!({"claim": "s3-bucket"})),
    ] {
        let run = example_in("fuse-csi", &all_with_namespace("ml", "stowage.dev/fuse", cloud));
        assert_eq!(run.policies, [policy]);
        assert_eq!(run.warnings, Vec::<String>::new(), "{cloud}");
        assert_eq!(run.mounts("main"), ["/data"], "{cloud}");
        let volume = run.volume("bucket");
        let found = match volume.get("csi") {
            Some(csi) => json!({"csi": csi["driver"]}),
            None => json!({"claim": volume["persistentVolumeClaim"]["claimName"]}),
        };
        assert_eq!(found, wanted, "{cloud}");
        // GKE's webhook comes after Stowage's and finds what the policy set.
        let annotation = run.pod.pointer("/metadata/annotations/gke-gcsfuse~1volumes");
        assert_eq!(annotation.is_some(), cloud == "gcs", "{cloud}");
    }
}

#[test]
fn init_containers_and_the_sidecar_of_cloud_storage_fuse_get_no_bucket() {
    let mut pod = pods(&format!("{FOLDER}/fuse-csi.yaml")).pop().unwrap();
    pod["spec"]["initContainers"] = json!([
        {"name": "gke-gcsfuse-sidecar", "image": "example/sidecar:1", "restartPolicy": "Always"},
        {"name": "fetch", "image": "example/fetch:1"},
    ]);
    let run = inject(&all_with_namespace("ml", "stowage.dev/fuse", "gcs"), "ml", &pod);
    assert_eq!(run.mounts("gke-gcsfuse-sidecar"), Vec::<&str>::new());
    assert_eq!(run.mounts("fetch"), Vec::<&str>::new(), "it would wait for a sidecar that starts after it");
    assert_eq!(run.mounts("main"), ["/data"]);
}

#[test]
fn spot_binds_a_pod_that_asks_to_preemptible_nodes() {
    for (cloud, labels) in [
        ("gke", vec!["cloud.google.com/gke-preemptible", "cloud.google.com/gke-spot"]),
        ("eks-karpenter", vec!["karpenter.sh/capacity-type"]),
        ("eks-nodegroup", vec!["eks.amazonaws.com/capacityType"]),
        ("aks", vec!["kubernetes.azure.com/scalesetpriority"]),
        ("iguazio", vec!["app.iguazio.com/lifecycle"]),
    ] {
        let mut pod = pods(&format!("{FOLDER}/spot.yaml")).pop().unwrap();
        let snapshot = all_with_namespace("research", "stowage.dev/spot", cloud);
        let run = inject(&snapshot, "research", &pod);
        assert_eq!(run.policies, [format!("spot-{cloud}")]);
        let asked = |run: &Admission, operator: &str| -> Vec<String> {
            let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
            let terms = run.pod.pointer(terms).unwrap().as_array().unwrap();
            let expressions = terms.iter().flat_map(|term| term["matchExpressions"].as_array().unwrap());
            let mut keys: Vec<String> = expressions
                .inspect(|expression| assert_eq!(expression["operator"], operator))
                .map(|expression| expression["key"].as_str().unwrap().to_owned())
                .collect();
            keys.sort();
            keys
        };
        assert_eq!(asked(&run, "In"), labels, "{cloud}");
        pod["metadata"].as_object_mut().unwrap().remove("annotations");
        assert_eq!(asked(&inject(&snapshot, "research", &pod), "NotIn"), labels, "{cloud}");
    }
}

#[test]
fn shared_pool_gives_habits_to_every_pod_and_more_to_those_that_request_a_gpu() {
    let mut pod = pods(&format!("{FOLDER}/shared-pool.yaml")).pop().unwrap();
    let with_gpu = inject(&all(), "research", &pod);
    assert_eq!(with_gpu.policies, ["pool-gpu", "pool-habits"]);
    assert_eq!(with_gpu.warnings, Vec::<String>::new());
    assert_eq!(with_gpu.mounts("train"), ["/runs"]);
    assert_eq!(with_gpu.mounts("log-sidecar"), Vec::<&str>::new());
    let mount = with_gpu.pod.pointer("/spec/containers/0/volumeMounts/0/subPathExpr").unwrap();
    assert_eq!(mount, "research/$(POD_NAME)");
    let spec = |pod: &Admission| pod.pod["spec"].clone();
    let gpu = spec(&with_gpu);
    assert_eq!((&gpu["nodeSelector"], &gpu["runtimeClassName"]), (&json!({"pool": "gpu"}), &json!("nvidia")));
    assert_eq!((&gpu["schedulerName"], &gpu["serviceAccountName"]), (&json!("volcano"), &json!("trainer")));
    assert_eq!(gpu["imagePullSecrets"], json!([{"name": "nvcr"}, {"name": "mirror"}]));
    pod["spec"]["containers"][0].as_object_mut().unwrap().remove("resources");
    let plain = spec(&inject(&all(), "research", &pod));
    assert_eq!((&plain["nodeSelector"], &plain["enableServiceLinks"]), (&json!({"pool": "general"}), &json!(false)));
    assert_eq!((&plain["priorityClassName"], &plain["runtimeClassName"]), (&json!("batch"), &json!(null)));
    let preferred = "/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";
    let weights: Vec<_> =
        plain.pointer(preferred).unwrap().as_array().unwrap().iter().map(|one| &one["weight"]).collect();
    assert_eq!(weights, [10, 100], "the default, and spot nodes before all");
}

#[test]
fn the_review_that_standalone_prints_shows_a_store_and_a_claim() {
    let review: serde_json::Value = serde_json::from_str(SAMPLE_REVIEW).unwrap();
    let run = inject(&all(), review["request"]["namespace"].as_str().unwrap(), &review["request"]["object"]);
    assert_eq!(run.policies, ["mlrun-ce"]);
    assert_eq!(run.warnings, Vec::<String>::new());
    assert_eq!(run.volumes(), ["shared"]);
    assert_eq!(
        run.env("base"),
        ["S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    );
}
