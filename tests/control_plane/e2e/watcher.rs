//! The watcher, installed by `components/watcher` as it stands, among pods that a real kubelet runs or cannot run.

mod calls;
mod installed;

use std::{io::ErrorKind, net::SocketAddr};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use self::installed::Installed;
use super::{Lab, SECOND, image::run, lab, policy, say, until};
use crate::{cluster::now, watcher::stage::fetch};

/// MLRun's words, with which every Event of a removal begins.
const ABORTED: &str = "Run aborted due to exceeded state threshold: ";

/// How long after its deadline a pod may be removed here, on a machine that is busy with something else.
const LATE: SignedDuration = SignedDuration::from_secs(4);

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// A pod of that policy, with one container that runs until it is told to end.
fn pod(policy: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"e2e": policy}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [running()]}
    })
}

fn running() -> Value {
    json!({"name": "main", "image": "localhost/tools:1", "imagePullPolicy": "Never", "args": ["exec sleep infinity"]})
}

/// A container that waits for a registry which is not there.
fn unpullable() -> Value {
    json!({"name": "main", "image": "localhost:1/absent:1", "imagePullPolicy": "IfNotPresent"})
}

/// A container that waits for a config map which is not there.
fn unconfigured() -> Value {
    let mut container = running();
    container["envFrom"] = json!([{"configMapRef": {"name": "absent"}}]);
    container
}

/// When a pod was first seen to be on its way out or gone, and what it was like before.
struct Removed {
    at: Timestamp,
    before: Value,
}

async fn removed(lab: &Lab, namespace: &str, name: &str) -> Removed {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let mut before = Value::Null;
    until("the pod is removed", async || {
        tokio::time::sleep(SECOND / 20).await;
        let reply = lab.cluster.get(&path).await;
        if !reply.status.is_success() || reply.body["metadata"]["deletionTimestamp"].is_string() {
            return true;
        }
        before = reply.body;
        false
    })
    .await;
    Removed { at: now(), before }
}

/// When the kubelet first said this of a pod.
async fn kubelet_said(lab: &Lab, namespace: &str, name: &str, reason: &str) -> Timestamp {
    let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name%3D{name}");
    let events = lab.cluster.get(&path).await.object();
    let events = events["items"].as_array().unwrap().iter().filter(|event| event["reason"] == reason);
    events.filter_map(|event| time(&event["firstTimestamp"])).min().unwrap_or_else(|| panic!("{name}: no {reason}"))
}

/// Whether somebody told of this, on the object of that name.
async fn is_told(lab: &Lab, namespace: &str, name: &str, words: &str) -> bool {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let events = lab.cluster.get(&path).await.object();
    let mut events = events["items"].as_array().unwrap().iter();
    events
        .any(|event| event["regarding"]["name"] == name && event["note"].as_str().is_some_and(|n| n.starts_with(words)))
}

/// Whether an Event is of a removal.
fn is_of_removal(event: &Value) -> bool {
    event["note"].as_str().is_some_and(|note| note.starts_with(ABORTED))
}

/// Holds a removal against the log line, the Event and what the kubelet knows of its beginning.
async fn at_its_deadline(
    watcher: &Installed,
    namespace: &str,
    state: &str,
    threshold: i64,
    began: Timestamp,
    was: &Removed,
) {
    let name = was.before["metadata"]["name"].as_str().unwrap();
    until("the removal is told", async || watcher.removals().iter().any(|line| line["pod"] == name)).await;
    let lines: Vec<Value> = watcher.removals().into_iter().filter(|line| line["pod"] == name).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["state"], &line["action"]), (&json!(state), &json!("delete")), "{line}");
    assert_eq!(line["uid"], was.before["metadata"]["uid"], "{line}");
    let since = time(&line["since"]).unwrap();
    // The kubelet's times are whole seconds, and a condition of its comes a moment after the deed.
    let error = since.duration_since(began);
    assert!(error.abs() <= SignedDuration::from_secs(2), "{name}: {state} since {since}, began {began}");
    let late = was.at.duration_since(since) - SignedDuration::from_secs(threshold);
    say(&format!("{name}: {state} past {threshold} s, removed {late:?} after its deadline, since off by {error:?}"));
    assert!(!late.is_negative() && late < LATE, "{name}: removed {late:?} after its deadline");
    let words = format!("{ABORTED}{state}");
    until("its Event is there", async || is_told(watcher.lab, namespace, name, &words).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pod_that_waits_on_a_real_node_is_removed_at_its_deadline_and_not_before() {
    const NAME: &str = "node-waits";
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    let watcher = Installed::start(lab).await;
    lab.namespace(NAME, json!({})).await;
    // After an init container the kubelet says why the next one waits with its next look at the pod, 10 to 15 s later, so
    // a threshold below that would try the kubelet.
    lab.apply(&policy(NAME, json!({"stateThresholds": {"imagePullBackoff": "20s", "pendingScheduled": "28s"}})));
    let with = |name: &str, container: Value| {
        let mut pod = pod(NAME, name);
        pod["spec"]["containers"] = json!([container]);
        pod
    };
    lab.create(NAME, &with("pull", unpullable())).await;
    // No time is counted that an init container has taken.
    let mut late = with("pull-late", unpullable());
    let mut first = running();
    first["name"] = json!("first");
    first["args"] = json!(["sleep 6"]);
    late["spec"]["initContainers"] = json!([first]);
    lab.create(NAME, &late).await;
    lab.create(NAME, &with("config", unconfigured())).await;
    // What can run is left alone.
    lab.create(NAME, &with("well", running())).await;
    let [pull, late, config] = ["pull", "pull-late", "config"].map(|name| removed(lab, NAME, name));
    let (pull, late, config) = tokio::join!(pull, late, config);
    let began = kubelet_said(lab, NAME, "pull", "Pulling").await;
    at_its_deadline(&watcher, NAME, "image_pull_backoff", 20, began, &pull).await;
    let first = &late.before["status"]["initContainerStatuses"][0]["state"]["terminated"];
    let began = time(&first["finishedAt"]).unwrap();
    assert!(began > kubelet_said(lab, NAME, "pull", "Pulling").await + SECOND * 4, "{first}");
    at_its_deadline(&watcher, NAME, "image_pull_backoff", 20, began, &late).await;
    let waiting = &config.before["status"]["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "CreateContainerConfigError");
    let began = kubelet_said(lab, NAME, "config", "Failed").await;
    at_its_deadline(&watcher, NAME, "container_error", 28, began, &config).await;
    let well = lab.cluster.get(&format!("/api/v1/namespaces/{NAME}/pods/well")).await.object();
    assert_eq!((&well["status"]["phase"], well["metadata"].get("deletionTimestamp")), (&json!("Running"), None));
    assert_eq!(watcher.removals().len(), 3);
    watcher.says_of_no_failure();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_since_its_first_start_however_often_its_node_starts_it_again() {
    const NAME: &str = "node-runs";
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    let watcher = Installed::start(lab).await;
    lab.namespace(NAME, json!({})).await;
    lab.apply(&policy(NAME, json!({"stateThresholds": {"running": "45s"}})));
    let mut own = pod(NAME, "own-word");
    own["metadata"]["annotations"] = json!({"stowage.dev/state-thresholds": "{\"running\": \"12s\"}"});
    lab.create(NAME, &own).await;
    lab.create(NAME, &pod(NAME, "long")).await;
    lab.create(NAME, &pod(NAME, "restarted")).await;
    // The machine restarts one of them twice: after that the object has lost when it was first started.
    let restarted = async {
        let first = runs(lab, NAME, "restarted", 0).await;
        tokio::time::sleep(SECOND * 4).await;
        kill(lab, &first);
        let second = runs(lab, NAME, "restarted", 1).await;
        tokio::time::sleep(SECOND * 2).await;
        kill(lab, &second);
        runs(lab, NAME, "restarted", 2).await;
        (started(&first), removed(lab, NAME, "restarted").await)
    };
    let kept = async |name| {
        let began = started(&runs(lab, NAME, name, 0).await);
        (began, removed(lab, NAME, name).await)
    };
    let (own, long, restarted) = tokio::join!(kept("own-word"), kept("long"), restarted);
    at_its_deadline(&watcher, NAME, "running", 12, own.0, &own.1).await;
    at_its_deadline(&watcher, NAME, "running", 45, long.0, &long.1).await;
    let restarts = &restarted.1.before["status"]["containerStatuses"][0];
    assert_eq!(restarts["restartCount"], 2, "{restarts}");
    assert!(started(&restarted.1.before) > restarted.0 + SECOND * 5, "the last start is not the first");
    at_its_deadline(&watcher, NAME, "running", 45, restarted.0, &restarted.1).await;
    assert_eq!(watcher.removals().len(), 3);
    watcher.says_of_no_failure();
}

/// Waits until the pod's container runs after so many restarts; the pod then.
async fn runs(lab: &Lab, namespace: &str, name: &str, restarts: u32) -> Value {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let mut pod = Value::Null;
    until("the container runs", async || {
        pod = lab.cluster.get(&path).await.object();
        let container = &pod["status"]["containerStatuses"][0];
        container["restartCount"] == restarts && container["state"].get("running").is_some()
    })
    .await;
    pod
}

/// When the run of the pod's container began.
fn started(pod: &Value) -> Timestamp {
    time(&pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]).unwrap()
}

/// Kills the program of the pod's container, as a node does that lacks memory.
fn kill(lab: &Lab, pod: &Value) {
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    run(std::process::Command::new("kill").args(["-KILL", &lab.pid(container).to_string()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_too_long_on_a_node_is_deleted_and_makes_no_other_pod() {
    const NAME: &str = "node-job";
    const THRESHOLD: i64 = 33;
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    let watcher = Installed::start(lab).await;
    lab.namespace(NAME, json!({})).await;
    // An owner is not deleted before its pod is 30 s old.
    lab.apply(&policy(NAME, json!({"stateThresholds": {"running": format!("{THRESHOLD}s")}})));
    let mut spec = pod(NAME, "")["spec"].clone();
    spec["restartPolicy"] = json!("Never");
    let template = json!({"metadata": {"labels": {"e2e": NAME}}, "spec": spec});
    let job = |name: &str, parallelism: u32| {
        let spec = json!({"parallelism": parallelism, "completions": parallelism, "template": template});
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NAME}, "spec": spec})
    };
    lab.apply(&job("train", 2));
    let pods = async || {
        let pods = lab.cluster.get(&format!("/api/v1/namespaces/{NAME}/pods")).await.object();
        pods["items"].as_array().unwrap().clone()
    };
    let is_running = |pod: &Value| pod["status"]["phase"] == "Running";
    let mut made = Vec::new();
    until("both pods run", async || {
        made = pods().await;
        made.len() == 2 && made.iter().all(is_running)
    })
    .await;
    let began = made.iter().map(started).min().unwrap();
    let path = format!("/apis/batch/v1/namespaces/{NAME}/jobs/train");
    until("the Job is gone", async || !lab.cluster.get(&path).await.status.is_success()).await;
    let late = now().duration_since(began) - SignedDuration::from_secs(THRESHOLD);
    say(&format!("the Job of two pods: deleted {late:?} after the deadline of its first"));
    assert!(!late.is_negative() && late < LATE, "{late:?}");
    let mut other = Vec::new();
    let names = |pods: &[Value]| pods.iter().map(|pod| pod["metadata"]["name"].clone()).collect::<Vec<_>>();
    let mine = names(&made);
    until("its pods are gone", async || {
        let left = pods().await;
        other.extend(names(&left).into_iter().filter(|name| !mine.contains(name)));
        left.is_empty()
    })
    .await;
    tokio::time::sleep(SECOND * 12).await;
    other.extend(names(&pods().await));
    assert!(other.is_empty(), "{other:?}");
    let removals = watcher.removals();
    assert_eq!(removals.len(), 1, "one action for one owner: {removals:?}");
    assert_eq!((&removals[0]["action"], &removals[0]["owner"]), (&json!("delete-owner"), &json!("Job/train")));
    let words = format!("{ABORTED}running");
    until("the Job's Event is there", async || is_told(lab, NAME, "train", &words).await).await;
    watcher.says_of_no_failure();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_is_for_whoever_may_forward_a_port_and_probes_and_metrics_for_the_cluster() {
    const NAME: &str = "node-board";
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    let watcher = Installed::start(lab).await;
    lab.namespace(NAME, json!({})).await;
    lab.apply(&policy(NAME, json!({"stateThresholds": {"pendingScheduled": "6s", "running": "1h"}})));
    let leader = watcher.leader().await;
    let (done, late) = (
        "stowage_watcher_actions_total{action=\"delete\",result=\"done\"} ",
        "stowage_watcher_lateness_seconds_count ",
    );
    assert_eq!((watcher.metric(&leader, done).await, watcher.metric(&leader, late).await), (Some(0.0), Some(0.0)));
    let mut stuck = pod(NAME, "stuck");
    stuck["spec"]["containers"] = json!([unconfigured()]);
    lab.create(NAME, &stuck).await;
    lab.create(NAME, &pod(NAME, "well")).await;
    runs(lab, NAME, "well", 0).await;
    removed(lab, NAME, "stuck").await;
    until("the removal is counted", async || watcher.metric(&leader, done).await == Some(1.0)).await;
    assert_eq!(watcher.metric(&leader, late).await, Some(1.0));
    for replica in &watcher.replicas {
        let address = |port: u16| SocketAddr::new(installed::ip(replica), port);
        let (status, text) = fetch(address(8080), "/readyz").await.unwrap();
        assert_eq!(status, 200, "{text}");
        assert!(watcher.metric(replica, "stowage_watcher_leader ").await.is_some());
        let refused = TcpStream::connect(address(8090)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let forwarded = watcher.forward(replica, 8090);
        let mut rows = Value::Null;
        until("the board shows what runs", async || {
            let path = format!("/pods.json?namespace={NAME}&state=running");
            let Some((200, text)) = fetch(forwarded.address, &path).await else { return false };
            rows = serde_json::from_str::<Value>(&text).unwrap()["rows"].clone();
            rows.as_array().is_some_and(|rows| !rows.is_empty())
        })
        .await;
        assert_eq!((&rows[0]["name"], &rows[0]["state"]), (&json!("well"), &json!("running")), "{rows}");
        assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
        let (status, page) = fetch(forwarded.address, "/").await.unwrap();
        assert!(status == 200 && page.contains("</html>"), "{status}");
    }
    watcher.says_of_no_failure();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_components_without_all_hands_report_and_evict_and_lack_nothing() {
    const NAME: &str = "node-hands";
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    let report = Installed::of(lab, "watcher-report").await;
    lab.namespace(NAME, json!({})).await;
    let runs_long = |action: Value| policy(NAME, json!({"stateThresholds": {"running": "4s"}, "onExceeded": action}));
    lab.apply(&runs_long(json!({"action": "Delete"})));
    lab.create(NAME, &pod(NAME, "long")).await;
    let words = "Exceeded state threshold: running. Without --dry-run the pod would be deleted";
    until("it is reported", async || is_told(lab, NAME, "long", words).await).await;
    tokio::time::sleep(SECOND * 5).await;
    let long = runs(lab, NAME, "long", 0).await;
    assert_eq!(long["metadata"].get("deletionTimestamp"), None, "the watcher without hands removes nothing");
    assert!(report.removals().is_empty());
    report.says_of_no_failure();
    drop(report);
    run(lab.kubectl().args(["-n", NAME, "delete", "pod", "long"]));
    let evict = Installed::of(lab, "watcher-evict").await;
    lab.apply(&runs_long(json!({"action": "Evict"})));
    lab.create(NAME, &pod(NAME, "again")).await;
    removed(lab, NAME, "again").await;
    until("that is told", async || !evict.removals().is_empty()).await;
    assert_eq!(evict.removals()[0]["action"], "evict");
    evict.says_of_no_failure();
}
