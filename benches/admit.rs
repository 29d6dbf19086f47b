//! The whole decision: bytes of an AdmissionReview in, bytes of the answer out.
//!
//! Beside it the conventional way with the same five modifiers: `AdmissionReview<DynamicObject>` to `Pod`, changed as a
//! typed object, `json_patch::diff`, encoded by kube. Both stand in one run, since only their ratio travels. And the
//! decision among 10,000 policies of which 3 match, beside 3.

#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to tell but the one who runs it")]

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use k8s_openapi::api::core::v1::{
    EnvVar, EnvVarSource, FlexVolumeSource, LocalObjectReference, PersistentVolumeClaimVolumeSource, Pod,
    SecretKeySelector, Toleration, Volume, VolumeMount,
};
use kube_core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview},
};
use stowage::{
    admission::admit,
    policy::{index::PolicyIndex, loaded::Loaded, snapshot::Snapshot},
};

const JOB: &[u8] = include_bytes!("../tests/fixtures/reviews/mlrun-job.json");
const LARGE: &[u8] = include_bytes!("../tests/fixtures/reviews/mlrun-job-large.json");
const BARE: &[u8] = include_bytes!("../tests/fixtures/reviews/bare-minimal.json");
const FIVE: &str = include_str!("fixtures/five-modifiers.yaml");

fn snapshot(text: &str) -> Snapshot {
    let mut loaded = Loaded::default();
    loaded.add("bench", text);
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    loaded.snapshot()
}

/// The patched review, as a second pass would see it.
fn patched(review: &[u8], snapshot: &Snapshot) -> Vec<u8> {
    let answer: serde_json::Value = serde_json::from_slice(&admit(review, snapshot).unwrap().body).unwrap();
    let patch = answer.pointer("/response/patch").and_then(serde_json::Value::as_str).unwrap();
    let patch = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, patch).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut review: serde_json::Value = serde_json::from_slice(review).unwrap();
    json_patch::patch(review.pointer_mut("/request/object").unwrap(), &patch).unwrap();
    serde_json::to_vec(&review).unwrap()
}

fn whole_decision(c: &mut Criterion) {
    let five = snapshot(FIVE);
    let mut group = c.benchmark_group("admit");
    for (name, review) in [("mlrun-job", JOB), ("mlrun-job-large", LARGE), ("no match", BARE)] {
        group.bench_function(name, |b| b.iter(|| admit(black_box(review), &five).unwrap().body.len()));
    }
    let again = patched(JOB, &five);
    group.bench_function("mlrun-job, second pass", |b| b.iter(|| admit(black_box(&again), &five).unwrap().body.len()));
    group.bench_function("mlrun-job, conventional way", |b| b.iter(|| conventional(black_box(JOB)).len()));
    group.finish();
}

fn many_policies(c: &mut Criterion) {
    let matching = (0..3).map(|n| policy(&format!("match-{n}"), "mlrun/class: job"));
    let others = (0..9_997).map(|n| policy(&format!("other-{n}"), &format!("mlrun/project: project-{n}")));
    let matching: Vec<String> = matching.collect();
    let three = snapshot(&matching.join("---\n"));
    let mut all = Loaded::default();
    all.add("matching", &matching.join("---\n"));
    // A file holds at most 1,024 documents.
    for (number, text) in others.enumerate() {
        all.add(&number.to_string(), &text);
    }
    assert!(all.errors.is_empty(), "{:?}", all.errors.first());
    assert_eq!(all.policies.len(), 10_000);
    let many =
        Snapshot { policies: Arc::new(PolicyIndex::new(all.policies.iter().map(Arc::clone))), ..Snapshot::default() };
    let mut group = c.benchmark_group("policies");
    group.bench_function("3 of 3 match", |b| b.iter(|| admit(black_box(JOB), &three).unwrap().body.len()));
    group.bench_function("3 of 10,000 match", |b| b.iter(|| admit(black_box(JOB), &many).unwrap().body.len()));
    group.finish();
}

fn policy(name: &str, label: &str) -> String {
    format!(
        "apiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         match: {{podSelector: {{matchLabels: {{{label}}}}}}}\n  \
         env: [{{name: \"FROM_{name}\", value: x}}]\n"
    )
}

/// What most webhooks written with kube-rs do.
fn conventional(body: &[u8]) -> Vec<u8> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).unwrap();
    let request: AdmissionRequest<DynamicObject> = review.try_into().unwrap();
    let response = AdmissionResponse::from(&request);
    let before: Pod = request.object.unwrap().try_parse().unwrap();
    let mut after = before.clone();
    change(&mut after);
    let before = serde_json::to_value(&before).unwrap();
    let after = serde_json::to_value(&after).unwrap();
    // kube-core takes the patch of json-patch 4.
    let patch = json_patch_4::diff(&before, &after);
    serde_json::to_vec(&response.with_patch(patch).unwrap().into_review()).unwrap()
}

fn change(pod: &mut Pod) {
    let owner = pod.metadata.labels.as_ref().and_then(|labels| labels.get("mlrun/owner")).cloned().unwrap();
    let secret = format!("v3io-{owner}");
    let spec = pod.spec.as_mut().unwrap();
    let text = |name: &str, value: &str| EnvVar { name: name.into(), value: Some(value.into()), value_from: None };
    let key = SecretKeySelector { name: secret.clone(), key: "accessKey".into(), optional: None };
    let from = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    let env = [
        text("V3IO_API", "http://v3io-webapi:8081"),
        text("V3IO_USERNAME", &owner),
        EnvVar { name: "V3IO_ACCESS_KEY".into(), value: None, value_from: Some(from) },
        text("V3IO_FRAMESD", "http://framesd:8080"),
        text("HTTP_PROXY", "http://proxy:3128"),
    ];
    let mount = |name: &str, path: &str, sub_path: Option<String>| VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        sub_path,
        ..VolumeMount::default()
    };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container.env.get_or_insert_default().extend(env.iter().cloned());
        container.volume_mounts.get_or_insert_default().extend([
            mount("v3io", "/v3io", None),
            mount("v3io", "/User", Some(format!("users/{owner}"))),
            mount("data", "/data", None),
        ]);
    }
    let directory = format!("[{{\"name\": \"users//{owner}\", \"permissions\": 488}}]");
    let flex = FlexVolumeSource {
        driver: "v3io/fuse".into(),
        options: Some(BTreeMap::from([("dirsToCreate".into(), directory)])),
        secret_ref: Some(LocalObjectReference { name: secret }),
        ..FlexVolumeSource::default()
    };
    let claim = PersistentVolumeClaimVolumeSource { claim_name: "team-data".into(), read_only: None };
    spec.volumes.get_or_insert_default().extend([
        Volume { name: "v3io".into(), flex_volume: Some(flex), ..Volume::default() },
        Volume { name: "data".into(), persistent_volume_claim: Some(claim), ..Volume::default() },
    ]);
    spec.tolerations.get_or_insert_default().push(Toleration {
        key: Some("spot".into()),
        operator: Some("Equal".into()),
        value: Some("true".into()),
        effect: Some("NoSchedule".into()),
        ..Toleration::default()
    });
    pod.metadata.annotations.get_or_insert_default().insert("stowage.dev/injected".into(), "{}".into());
}

criterion_group!(benches, whole_decision, many_policies);
criterion_main!(benches);
