//! The watcher before a real API server and the controllers that make pods.
//!
//! Needs kube-controller-manager beside etcd and kube-apiserver, and kubectl, which renders the roles that each watcher
//! runs under.

mod outages;
mod owners;
pub(crate) mod stage;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::stage::{SECOND, turn, until};
use crate::cluster::now;

/// MLRun's words, with which every Event of a removal begins.
const ABORTED: &str = "Run aborted due to exceeded state threshold: pending_not_scheduled";

/// No notice that lasts longer than a test, and no breaker: its pods come due together.
const PROMPT: [&str; 2] = ["--overdue-notice=1s", "--breaker=off"];

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_pod_is_deleted_at_its_deadline_and_one_that_asks_to_be_spared_is_reported() {
    let Some(turn) = turn("watch-bare").await else { return };
    turn.policy(json!({"pendingNotScheduled": "5s"}), Value::Null).await;
    let watcher = turn.watch("watcher", "one", &PROMPT).await;
    turn.pod("spared", json!({"metadata": {"labels": {"stowage.dev/reap": "false"}}})).await;
    turn.pod("own-word", json!({"metadata": {"annotations": {"stowage.dev/pending-not-scheduled-threshold": "1h"}}}))
        .await;
    let made = now();
    let pod = turn.pod("stuck", json!({})).await;
    let mut rows = watcher.rows("").await;
    until("the watcher has seen it", async || {
        rows = watcher.rows("").await;
        rows.contains_key("stuck")
    })
    .await;
    assert_eq!(rows["stuck"]["state"], "pending_not_scheduled", "{rows:?}");
    assert_eq!((&rows["stuck"]["action"], &rows["own-word"]["word"]), (&json!("delete"), &json!("pod")));
    until("the pod is gone", async || turn.get_pod("stuck").await.is_none()).await;
    let after = now().duration_since(made).as_secs_f64();
    assert!((4.0..8.0).contains(&after), "gone after {after} s: its creation is told in whole seconds");
    until("the removal is told", async || !watcher.removals().is_empty()).await;
    let removals = watcher.removals();
    let told = &removals[0];
    assert_eq!(removals.len(), 1, "{removals:?}");
    assert_eq!(told["uid"], uid(&pod), "{told}");
    for (field, value) in [
        ("namespace", "watch-bare"),
        ("pod", "stuck"),
        ("state", "pending_not_scheduled"),
        ("threshold", "5s"),
        ("action", "delete"),
        ("policy", "watch-bare/watched"),
    ] {
        assert_eq!(told[field], value, "{told}");
    }
    assert!(told["since"].is_string() && told["age"].is_string(), "{told}");
    until("its Event is there", async || turn.events("stuck").await.iter().any(|(_, note)| note.starts_with(ABORTED)))
        .await;
    until("the other is reported", async || !turn.events("spared").await.is_empty()).await;
    let done = "stowage_watcher_actions_total{action=\"delete\",result=\"done\"} ";
    assert_eq!(watcher.metric(done).await, Some(1.0));
    assert_eq!(watcher.metric("stowage_watcher_lateness_seconds_bucket{le=\"5\"} ").await, Some(1.0));
    let left: BTreeSet<String> =
        turn.pods().await.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left, BTreeSet::from(["own-word".to_owned(), "spared".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_deleted_with_its_pods_and_nothing_comes_back() {
    let Some(turn) = turn("watch-job").await else { return };
    // An owner is not deleted before its pod is 30 s old.
    turn.policy(json!({"pendingNotScheduled": "32s"}), Value::Null).await;
    let watcher = turn.watch("watcher", "one", &PROMPT).await;
    turn.job("train").await;
    until("the Job has a pod", async || !turn.pods().await.is_empty()).await;
    let job = "/apis/batch/v1/namespaces/watch-job/jobs/train";
    until("the Job is gone", async || !turn.is_there(job).await).await;
    until("its pod is gone", async || turn.pods().await.is_empty()).await;
    tokio::time::sleep(SECOND * 15).await;
    assert!(turn.pods().await.is_empty(), "a pod came back");
    let removals = watcher.removals();
    assert_eq!(removals.len(), 1, "one action for one owner: {removals:?}");
    assert_eq!((&removals[0]["action"], &removals[0]["owner"]), (&json!("delete-owner"), &json!("Job/train")));
    until("the Job's Event is there", async || {
        turn.events("train").await.iter().any(|(_, note)| note.starts_with(ABORTED))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pod_is_removed_once_though_the_leader_is_killed_in_the_middle() {
    const PODS: usize = 40;
    let Some(turn) = turn("watch-kill").await else { return };
    turn.policy(json!({"pendingNotScheduled": "15s"}), Value::Null).await;
    let args = [&PROMPT[..], &["--rate=4/s", "--namespace-rate=off"]].concat();
    let first = turn.watch("watcher", "first", &args).await;
    until("the first leads", async || first.leads().await).await;
    let second = stage::Running::start(&first.kubeconfig(), "second", &args);
    until("the second is ready", async || second.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    turn.pod("keep", json!({"metadata": {"labels": {"stowage.dev/reap": "false"}}})).await;
    let mut stuck = BTreeSet::new();
    for number in 0..PODS {
        stuck.insert(uid(&turn.pod(&format!("stuck-{number}"), json!({})).await));
    }
    until("some are removed", async || first.removals().len() >= PODS / 4).await;
    assert!(!second.leads().await);
    first.signal("KILL");
    until("all are gone", async || turn.pods().await.len() == 1).await;
    assert!(second.leads().await);
    until("all are told", async || first.removals().len() + second.removals().len() >= PODS).await;
    let removed: Vec<String> = [first.removals(), second.removals()]
        .concat()
        .iter()
        .map(|line| line["uid"].as_str().unwrap().to_owned())
        .collect();
    let once: BTreeSet<String> = removed.iter().cloned().collect();
    // What the first had removed and not yet told when it was killed is told by nobody.
    assert!(once.is_subset(&stuck) && removed.len() == once.len(), "{} lines, {} pods", removed.len(), once.len());
    assert!(first.removals().len() < PODS && !second.removals().is_empty());
    assert!(turn.get_pod("keep").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_is_told_to_stop_lets_another_begin_at_once() {
    let Some(turn) = turn("watch-stop").await else { return };
    let mut first = turn.watch("watcher", "first", &[]).await;
    until("the first leads", async || first.leads().await).await;
    let second = stage::Running::start(&first.kubeconfig(), "second", &[]);
    until("the second is ready", async || second.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    assert!(!second.leads().await);
    first.signal("TERM");
    let waited = until("the second leads", async || second.leads().await).await;
    assert!(waited < SECOND * 6, "{waited:?}");
    assert!(first.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn under_each_components_roles_it_does_what_they_allow_and_no_more() {
    let Some(turn) = turn("watch-roles").await else { return };
    turn.policy(json!({"pendingNotScheduled": "3s"}), json!({"action": "Evict"})).await;
    let report = turn.watch("watcher-report", "one", &[&PROMPT[..], &["--dry-run"]].concat()).await;
    turn.pod("stuck", json!({})).await;
    until("it is reported", async || !turn.events("stuck").await.is_empty()).await;
    tokio::time::sleep(SECOND * 5).await;
    assert!(turn.get_pod("stuck").await.is_some(), "a dry run removes nothing");
    assert!(report.removals().is_empty());
    no_calls_fail(&report.log());
    drop(report);
    turn.release_lease().await;
    let evict = turn.watch("watcher-evict", "two", &PROMPT).await;
    until("it is evicted", async || turn.get_pod("stuck").await.is_none()).await;
    until("that is told", async || !evict.removals().is_empty()).await;
    assert_eq!(evict.removals()[0]["action"], "evict");
    no_calls_fail(&evict.log());
    turn.edit_policy(json!({"onExceeded": {"action": "Delete"}})).await;
    turn.pod("again", json!({})).await;
    let forbidden = "stowage_watcher_action_forbidden{action=\"delete\"} ";
    until("the API server forbids it", async || evict.metric(forbidden).await == Some(1.0)).await;
    tokio::time::sleep(SECOND * 5).await;
    let tried = "stowage_watcher_actions_total{action=\"delete\",result=\"forbidden\"} ";
    assert_eq!(evict.metric(tried).await, Some(1.0), "it is not tried again and again");
    assert!(turn.get_pod("again").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_roles_it_says_what_is_missing_and_does_not_shout() {
    let Some(turn) = turn("watch-nothing").await else { return };
    let token = turn.token("watch-nothing", "builder").await;
    let watcher = stage::Running::start(&turn.cluster().kubeconfig(&token), "one", &PROMPT);
    until("it answers", async || watcher.get("/livez").await.is_some_and(|(status, _)| status == 200)).await;
    tokio::time::sleep(SECOND * 15).await;
    let (status, checks) = watcher.get("/readyz").await.unwrap();
    assert_eq!(status, 503);
    for missing in ["policies", "nodes", "pods"] {
        assert!(checks.contains(&format!("[-]{missing} failed")), "{checks}");
    }
    assert_eq!(watcher.metric("stowage_watch_failing{watch=\"nodes\"} ").await, Some(1.0));
    let failures = watcher.metric("stowage_watch_failures_total{watch=\"nodes\"} ").await.unwrap();
    assert!((3.0..12.0).contains(&failures), "{failures} tries in 15 s");
    let lines = watcher.log();
    assert!(lines.len() < 20, "{} lines: {:?}", lines.len(), lines.last());
}

fn no_calls_fail(log: &[Value]) {
    let failed: Vec<&Value> = log.iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR").collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_waits_for_its_node_and_is_then_deleted_once() {
    let Some(turn) = turn("watch-node").await else { return };
    turn.node("n1").await;
    turn.policy(json!({"running": "6s"}), Value::Null).await;
    let watcher = turn.watch("watcher", "one", &PROMPT).await;
    turn.pod("long", json!({"spec": {"nodeName": "n1"}})).await;
    turn.run("long").await;
    until("it is seen to run", async || {
        watcher.rows("").await.get("long").is_some_and(|row| row["state"] == "running")
    })
    .await;
    turn.node_ready("n1", "False").await;
    tokio::time::sleep(SECOND * 9).await;
    let rows = watcher.rows("?state=running&namespace=watch-node").await;
    assert!(rows["long"]["held"].as_str().is_some_and(|held| held.contains("node")), "{rows:?}");
    assert!(watcher.removals().is_empty());
    assert_eq!(watcher.metric("stowage_watcher_held_pods{rail=\"node\",state=\"running\"} ").await, Some(1.0));
    turn.node_ready("n1", "True").await;
    until("it is deleted", async || turn.get_pod("long").await.unwrap()["metadata"]["deletionTimestamp"].is_string())
        .await;
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(watcher.removals().len(), 1);
    let done = "stowage_watcher_actions_total{action=\"delete\",result=\"done\"} ";
    assert_eq!(watcher.metric(done).await, Some(1.0), "it is not deleted twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_policy_judges_every_pod_again_and_what_it_makes_overdue_is_announced_first() {
    let Some(turn) = turn("watch-edit").await else { return };
    turn.policy(json!({"pendingNotScheduled": "1h"}), Value::Null).await;
    let watcher = turn.watch("watcher", "one", &["--overdue-notice=6s", "--breaker=off"]).await;
    turn.pod("stuck", json!({})).await;
    until("it has its hour", async || watcher.rows("").await.contains_key("stuck")).await;
    tokio::time::sleep(SECOND * 4).await;
    turn.edit_policy(json!({"stateThresholds": {"pendingNotScheduled": "3s"}})).await;
    until("it is announced", async || !turn.events("stuck").await.is_empty()).await;
    let held = watcher.rows("").await;
    assert!(held["stuck"]["held"].is_string(), "{held:?}");
    assert!(turn.get_pod("stuck").await.is_some());
    let waited = until("it is removed", async || turn.get_pod("stuck").await.is_none()).await;
    assert!(waited > SECOND * 4, "removed {waited:?} after it was announced");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_holds_what_comes_due_together_until_the_deployments_annotation_lets_it_go() {
    let Some(turn) = turn("watch-breaker").await else { return };
    turn.deployment().await;
    turn.policy(json!({"pendingNotScheduled": "8s"}), Value::Null).await;
    let watcher = turn.watch("watcher", "one", &["--overdue-notice=1s", "--namespace-rate=off"]).await;
    for number in 0..12 {
        turn.pod(&format!("stuck-{number}"), json!({})).await;
    }
    let open = "stowage_watcher_breaker_open{group=\"pending_not_scheduled\"} ";
    until("the breaker opens", async || watcher.metric(open).await == Some(1.0)).await;
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(turn.pods().await.len(), 12, "nothing is removed meanwhile");
    let said = turn.events_in("stowage", "stowage-watcher").await;
    assert!(
        said.iter().any(|(reason, note)| reason == "BreakerOpened" && note.contains("watch-breaker/watched")),
        "{said:?}"
    );
    turn.release_breaker(&format!("{} pending_not_scheduled", now().strftime("%FT%TZ"))).await;
    until("they are let go", async || turn.pods().await.is_empty()).await;
    until("all are told", async || watcher.removals().len() == 12).await;
}
