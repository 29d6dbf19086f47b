//! What the watcher's mind costs at 100,000 pods: bytes a pod, CPU an event, and a burst of deadlines.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{reflector, watcher::Event};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use stowage::policy::loaded::Loaded;
use stowage::policy::snapshot::Snapshot;
use stowage::reaper::options::WatcherOptions;
use stowage::reaper::step::{LiveFacts, NextStep, Read};
use stowage::reaper::watcher::Watcher;
use stowage::threshold::{WatchedNode, WatchedPod};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const PODS: usize = 100_000;
/// As many as the API server gives the watcher on one page of a list.
const PAGE: usize = 500;
const BURST: usize = 10_000;
/// Pods in the store that the watcher is held against; a hundred thousand of them take more than a gigabyte.
const STORED: usize = 10_000;
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

const POLICY: &str = "apiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {name: mlrun}\nspec:\n  \
                      match: {podSelector: {matchLabels: {mlrun/class: job}}}\n  \
                      stateThresholds: {pendingScheduled: 1h, imagePullBackoff: 1h, running: 24h}\n";

fn snapshot() -> Arc<Snapshot> {
    let mut loaded = Loaded::default();
    loaded.add("policy.yaml", POLICY);
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    Arc::new(loaded.snapshot())
}

fn at(hours: i64) -> Timestamp {
    let start: Timestamp = START.parse().expect("a time");
    start + Duration::from_secs(u64::try_from(hours * 3_600).expect("later"))
}

/// A watcher of one policy and one node, without limits, to which all pods are to be told.
fn watcher(snapshot: &Arc<Snapshot>) -> Watcher {
    let options = WatcherOptions { breaker: None, rate: None, namespace_rate: None, ..WatcherOptions::default() };
    let mut watcher = Watcher::new(options);
    let _ = watcher.snapshot(snapshot.clone(), at(0));
    let node: WatchedNode = serde_json::from_value(json!({"metadata": {"name": "node-1"},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": START}]}}))
    .expect("a node");
    watcher.begin_nodes();
    watcher.node(&node, at(0));
    watcher.end_nodes(at(0));
    watcher.begin_list();
    watcher
}

fn parsed(bytes: &[u8]) -> WatchedPod {
    serde_json::from_slice(bytes).expect("a pod")
}

fn memory(_: &mut Criterion) {
    let snapshot = snapshot();
    let before = ALLOCATED.current_usage();
    let mut watcher = watcher(&snapshot);
    let mut spent = Duration::ZERO;
    for first in (0..PODS).step_by(PAGE) {
        // A page is there before it is read: to make each pod just before it is told empties the caches in between.
        let page: Vec<Vec<u8>> = (first..first + PAGE).map(pod).collect();
        let begun = ThreadTime::now();
        page.iter().for_each(|bytes| watcher.pod(&parsed(bytes), at(0)));
        spent += begun.elapsed();
    }
    watcher.end_list(at(0));
    let per_pod = (ALLOCATED.current_usage() - before) / PODS;
    println!("watcher/memory: {per_pod} B a pod at {PODS} pods, names of 43 bytes (bar: 256)");
    println!("watcher/first list: {:.1} µs of CPU an event (bar: 25)", spent.as_secs_f64() * 1e6 / PODS as f64);
    let mut spent = Duration::ZERO;
    for index in (0..PODS).step_by(100) {
        let bytes = pod(index);
        let begun = ThreadTime::now();
        watcher.pod(&parsed(&bytes), at(0));
        spent += begun.elapsed();
    }
    println!("watcher/lone event: {:.1} µs of CPU, after other work", spent.as_secs_f64() * 1e6 / (PODS / 100) as f64);
    // The worst the heap may hold: as many stale entries as are tolerated.
    let mut spent = Duration::ZERO;
    for round in 1..=4_i64 {
        for index in 0..PODS {
            let mut pod = parsed(&pod(index));
            let begun = Instant::now();
            for container in &mut pod.status.container_statuses {
                container.state.running.as_mut().expect("it runs").started_at = Some(at(round));
            }
            watcher.pod(&pod, at(round));
            spent += begun.elapsed();
        }
    }
    let worst = (ALLOCATED.current_usage() - before) / PODS;
    println!("watcher/memory: {worst} B a pod after every deadline moved four times (bar: 256)");
    println!("watcher/move: {:.1} µs without decoding", spent.as_secs_f64() * 1e6 / (4 * PODS) as f64);
    let before = ALLOCATED.current_usage();
    let (store, mut writer) = reflector::store::<Pod>();
    for index in 0..STORED {
        writer.apply_watcher_event(&Event::Apply(serde_json::from_slice(&pod(index)).expect("a pod")));
    }
    let stored = (ALLOCATED.current_usage() - before) / store.state().len();
    println!("watcher/memory: a reflector's store takes {stored} B a pod, {} times as much (bar: 50)", stored / worst);
    let begun = Instant::now();
    let node: WatchedNode = serde_json::from_value(json!({"metadata": {"name": "node-1"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": START}]}}))
    .expect("a node");
    watcher.node(&node, at(5));
    println!("watcher/node: {:.1} ms for a node with all {PODS} pods", begun.elapsed().as_secs_f64() * 1e3);
    assert!(per_pod <= 256 && worst <= 256, "{per_pod} and {worst} B a pod");
}

fn per_event(c: &mut Criterion) {
    let mut watcher = watcher(&snapshot());
    let events: Vec<Vec<u8>> = (0..1_000).map(pod).collect();
    println!("watcher/event: {} B of JSON an event", events.first().map_or(0, Vec::len));
    let mut next = events.iter().cycle();
    c.bench_function("watcher/event: decode, match, resolve, evaluate, keep", |b| {
        b.iter(|| next.next().map(|bytes| watcher.pod(&parsed(black_box(bytes)), at(0))));
    });
}

/// All deadlines fall into one second: how late is the last one handed out, and decided about.
fn burst(c: &mut Criterion) {
    let snapshot = snapshot();
    let pods: Vec<Vec<u8>> = (0..BURST).map(pod).collect();
    let told = || {
        let mut watcher = watcher(&snapshot);
        pods.iter().for_each(|bytes| watcher.pod(&parsed(bytes), at(0)));
        watcher.end_list(at(0));
        watcher
    };
    c.bench_function("watcher/burst: 10,000 deadlines of one second, handed out", |b| {
        b.iter_batched(
            told,
            |mut watcher| {
                assert_eq!(watcher.due(at(24), true).attempts.len(), BURST);
                watcher
            },
            BatchSize::PerIteration,
        );
    });
    let mut watcher = told();
    let begun = Instant::now();
    let due = watcher.due(at(24), true);
    for (attempt, bytes) in due.attempts.iter().zip(&pods) {
        // Whichever pod it is, the cost is the same; the right one is found by its uid.
        let mut live = parsed(bytes);
        live.metadata.uid.clone_from(&attempt.uid);
        live.metadata.name.clone_from(&attempt.name);
        let step = watcher.decide(attempt, &LiveFacts::of_pod(Read::There(Box::new(live))), at(24));
        assert!(matches!(step, NextStep::Act(_)), "{step:?}");
    }
    println!("watcher/burst: the last of {BURST} is decided about after {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = memory, per_event, burst
}
criterion_main!(benches);
