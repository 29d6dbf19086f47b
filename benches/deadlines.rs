//! What the watcher's structures cost at 100,000 pods: bytes a pod, CPU an event, and a burst of deadlines.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use stowage::reaper::deadlines::{Deadlines, Kin, Seen, Uid};
use stowage::reaper::terms::{Terms, TermsTable};
use stowage::threshold::resolve::{PolicyThresholds, resolve};
use stowage::threshold::spec::{OnExceeded, StateThresholds, StateThresholdsSpec};
use stowage::threshold::{Kept, NodeReadiness, WatchedPod, evaluate};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const PODS: usize = 100_000;
const BURST: usize = 10_000;
const START: &str = "2026-01-01T00:00:00Z";

/// A pod as a watch event carries it: managedFields, env, volumes and all, about 10 KB.
fn pod(index: usize) -> Vec<u8> {
    let fields: serde_json::Map<String, Value> =
        (0..60).map(|field| (format!("f:field-number-{field}"), json!({".": {}, "f:value": {"f:name": {}}}))).collect();
    let env: Vec<Value> =
        (0..40).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "some value of a usual length"})).collect();
    let conditions: Vec<Value> =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": START}))
            .collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("training-run-of-a-usual-name-{index:06}-worker-0"),
            "namespace": format!("team-{}", index % 200),
            "uid": format!("{:08x}-0000-4000-8000-{index:012x}", index.wrapping_mul(0x9e37_79b1) & 0xffff_ffff),
            "resourceVersion": index.to_string(), "creationTimestamp": START,
            "labels": {"mlrun/class": "job", "mlrun/project": "p", "mlrun/uid": format!("{index:032x}"), "mlrun/owner": "u"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x".repeat(1_500)},
            "managedFields": [{"manager": "m", "operation": "Update", "time": START, "fieldsV1": fields}]
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "base", "image": "registry.example/image:tag", "env": env}], "priority": 0},
        "status": {"phase": "Running", "startTime": START, "conditions": conditions,
            "containerStatuses": [{"name": "base", "restartCount": 0, "ready": true, "image": "registry.example/image:tag",
                "state": {"running": {"startedAt": START}}, "lastState": {}}]}
    });
    serde_json::to_vec(&pod).expect("JSON of strings")
}

fn thresholds() -> StateThresholds {
    let spec: StateThresholdsSpec =
        serde_json::from_value(json!({"pendingScheduled": "1h", "imagePullBackoff": "1h", "running": "24h"}))
            .expect("a spec");
    spec.compile().expect("right time strings")
}

fn event(
    bytes: &[u8],
    thresholds: &StateThresholds,
    name: &Arc<str>,
    terms: &mut TermsTable,
    deadlines: &mut Deadlines,
) {
    let pod: WatchedPod = serde_json::from_slice(bytes).expect("a pod");
    let policy =
        PolicyThresholds { name, cluster: true, thresholds: Some(thresholds), on_exceeded: OnExceeded::default() };
    let resolved = resolve(&pod.words(), &[policy]);
    let now: Timestamp = Timestamp::UNIX_EPOCH;
    let mut verdict = evaluate(&pod, NodeReadiness::Unheard, &resolved.thresholds, now);
    // Spread the deadlines, so that the heap has something to sort.
    let spread = u64::try_from(bytes.len()).unwrap_or_default()
        + u64::from(pod.metadata.uid.bytes().map(u32::from).sum::<u32>());
    verdict.deadline =
        verdict.deadline.and_then(|deadline| deadline.checked_add(Duration::from_secs(spread % 3_600)).ok());
    let kept = Kept::next(deadlines.kept(&pod.metadata.uid).as_ref(), &pod, now);
    let content = Terms { thresholds: resolved.thresholds, policies: [name.clone()].into(), is_spared: false };
    let terms = &terms.share(content);
    deadlines.upsert(&Seen { pod: &pod, kept: &kept, verdict: &verdict, terms, kin: Kin::Bare });
}

fn memory(_: &mut Criterion) {
    let (thresholds, name, mut terms) = (thresholds(), Arc::from("mlrun"), TermsTable::default());
    let before = ALLOCATED.current_usage();
    let mut deadlines = Deadlines::new();
    let mut spent = Duration::ZERO;
    for index in 0..PODS {
        let bytes = pod(index);
        let begun = Instant::now();
        event(&bytes, &thresholds, &name, &mut terms, &mut deadlines);
        spent += begun.elapsed();
    }
    let per_pod = (ALLOCATED.current_usage() - before) / PODS;
    println!("deadlines/memory: {per_pod} B a pod at {PODS} pods, names of 43 bytes (bar: 256)");
    println!("deadlines/first list: {:.1} µs an event (bar: 25)", spent.as_secs_f64() * 1e6 / PODS as f64);
    // The worst the heap may hold: as many stale entries as are tolerated.
    for round in 1..=4_i64 {
        for index in 0..PODS {
            let uid = format!("{:08x}-0000-4000-8000-{index:012x}", index.wrapping_mul(0x9e37_79b1) & 0xffff_ffff);
            deadlines.postpone(Uid::of(&uid), Timestamp::from_second(round * 1_000_000 + 1).expect("in range"));
        }
    }
    let worst = (ALLOCATED.current_usage() - before) / PODS;
    println!("deadlines/memory: {worst} B a pod after every deadline moved four times (bar: 256)");
    assert!(per_pod <= 256 && worst <= 256, "{per_pod} and {worst} B a pod");
}

fn per_event(c: &mut Criterion) {
    let (thresholds, name, mut terms) = (thresholds(), Arc::from("mlrun"), TermsTable::default());
    let mut deadlines = Deadlines::new();
    let events: Vec<Vec<u8>> = (0..1_000).map(pod).collect();
    println!("deadlines/event: {} B of JSON an event", events.first().map_or(0, Vec::len));
    let mut next = events.iter().cycle();
    c.bench_function("deadlines/event: decode, resolve, evaluate, upsert", |b| {
        b.iter(|| next.next().map(|bytes| event(black_box(bytes), &thresholds, &name, &mut terms, &mut deadlines)));
    });
}

fn burst(c: &mut Criterion) {
    let (thresholds, name, mut terms) = (thresholds(), Arc::from("mlrun"), TermsTable::default());
    let pods: Vec<Vec<u8>> = (0..BURST).map(pod).collect();
    let far = Timestamp::from_second(4_000_000_000).expect("in range");
    c.bench_function("deadlines/burst: 10,000 deadlines of one second", |b| {
        b.iter_batched(
            || {
                let mut deadlines = Deadlines::new();
                for bytes in &pods {
                    event(bytes, &thresholds, &name, &mut terms, &mut deadlines);
                }
                deadlines
            },
            |mut deadlines| {
                let drained = deadlines.due(far).count();
                assert_eq!(drained, BURST);
                deadlines
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = memory, per_event, burst
}
criterion_main!(benches);
