//! What may happen to Stowage while pods are created, and what it costs them.
//!
//! Where nothing else is said the registration fails closed, so that a pod which Stowage did not see is a failed creation
//! and not one that came up bare.

use std::{
    path::Path,
    process::Command,
    sync::Once,
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};

use super::{
    IMAGE, SECOND,
    image::run,
    lab::{self, Lab},
    load::{Load, Loss, Lost, NAME, Tally, VARIABLE, creations},
    overlay, policy,
    replica::metric,
    say, unscheduled, until, variable,
};
use crate::cluster::skipped;

/// Where the registration is.
const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/00-stowage";
const SECRET: &str = "/api/v1/namespaces/stowage/secrets/stowage-certificates";

/// The lab, where creations under failures were asked for.
pub(super) fn shared() -> Option<&'static Lab> {
    static SAID: Once = Once::new();
    if creations().is_none() {
        SAID.call_once(|| skipped("STOWAGE_E2E_CREATIONS is not set: nothing was killed while pods are created"));
        return None;
    }
    lab::shared()
}

/// Installed, with the policy of the load in force.
pub(super) async fn loaded(lab: &'static Lab, failure_policy: &str) {
    lab.installed().await;
    lab.namespace(NAME, json!({})).await;
    let fail = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": failure_policy}]);
    let name = ["mutatingwebhookconfiguration", "00-stowage"];
    run(lab.kubectl().arg("patch").args(name).args(["--type=json", "-p", &fail.to_string()]));
    lab.apply(&policy(NAME, json!({"env": [{"name": VARIABLE, "value": "yes"}]})));
    until("the policy is in force", async || {
        let tried = lab.cluster.post(&format!("/api/v1/namespaces/{NAME}/pods?dryRun=All"), &unscheduled(NAME)).await;
        variable(&tried.body, VARIABLE).is_some()
    })
    .await;
}

/// How many requests a replica has answered with a patch.
async fn patched(replica: &Value) -> Option<f64> {
    metric(replica, "stowage_requests_total{outcome=\"patched\"}").await
}

/// The replica that the API server keeps to.
pub(super) async fn serving(lab: &Lab, load: &Load) -> Value {
    let replicas = lab.replicas().await;
    let mut before = Vec::new();
    for replica in &replicas {
        before.push(patched(replica).await);
    }
    load.more(20).await;
    let mut most = (0.0, None);
    for (replica, before) in replicas.into_iter().zip(before) {
        let grown = patched(&replica).await.unwrap_or_default() - before.unwrap_or_default();
        if grown > most.0 {
            most = (grown, Some(replica));
        }
    }
    most.1.expect("a replica serves")
}

fn kill(lab: &Lab, replica: &Value) {
    let id = replica["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    run(Command::new("kill").args(["-KILL", &lab.pid(id).to_string()]));
}

/// How often its container was started again, of all replicas.
async fn restarts(lab: &Lab) -> u64 {
    let replicas = lab.replicas().await;
    replicas.iter().filter_map(|replica| replica["status"]["containerStatuses"][0]["restartCount"].as_u64()).sum()
}

impl Tally {
    /// What is said of it, with the times of losses from `since` on.
    fn say(&self, what: &str, since: Instant) {
        let of = |loss: &Loss| (loss.begun.saturating_duration_since(since), format!("{:?}", loss.lost));
        let ends = self.losses.first().into_iter().chain(self.losses.last()).map(of);
        let ends: Vec<_> = ends.collect();
        say(&format!("{what}: {} injected, {} lost {ends:?}", self.injected, self.losses.len()));
    }

    /// Nothing was lost.
    pub(super) fn is_whole(&self, what: &str, since: Instant) {
        self.say(what, since);
        assert!(self.losses.is_empty(), "{what}: {:?}", self.losses);
    }

    /// Every loss began before this.
    fn lost_only_until(&self, end: Instant) {
        let later: Vec<_> = self.losses.iter().filter(|loss| loss.begun > end).collect();
        assert!(later.is_empty(), "{later:?}");
    }

    fn none_was_admitted_uninjected(&self) {
        let bare = self.losses.iter().filter(|loss| matches!(loss.lost, Lost::Uninjected)).count();
        assert_eq!(bare, 0, "admitted uninjected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_costs_no_creation_that_begins_half_a_second_later() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    let load = Load::begin(lab);
    let serving = serving(lab, &load).await;
    let before = restarts(lab).await;
    let killed = Instant::now();
    kill(lab, &serving);
    until("its container is started again", async || restarts(lab).await > before).await;
    lab.await_ready_replicas(2).await;
    load.more(100).await;
    let tally = load.end().await;
    tally.say("the replica that serves killed", killed);
    tally.none_was_admitted_uninjected();
    tally.lost_only_until(killed + SECOND / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_deleted_costs_no_creation() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    let load = Load::begin(lab);
    let serving = serving(lab, &load).await;
    let name = serving["metadata"]["name"].as_str().unwrap();
    let deleted = Instant::now();
    // Back when the pod is gone.
    run(lab.kubectl().args(["-n", "stowage", "delete", "pod", name]));
    lab.await_ready_replicas(2).await;
    load.more(100).await;
    load.end().await.is_whole("the replica that serves deleted", deleted);
}

/// Kills both; when the first is ready again.
async fn kill_both(lab: &Lab) -> (Instant, Instant) {
    let before = restarts(lab).await;
    let killed = Instant::now();
    for replica in lab.replicas().await {
        kill(lab, &replica);
    }
    until("both are started again", async || restarts(lab).await >= before + 2).await;
    until("one is ready", async || lab.replicas().await.iter().any(super::is_ready)).await;
    (killed, Instant::now())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_killed_and_ignore_every_pod_is_created() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Ignore").await;
    let load = Load::begin(lab);
    load.more(50).await;
    let (killed, back) = kill_both(lab).await;
    load.more(100).await;
    let tally = load.end().await;
    tally.say(&format!("both killed, Ignore, one ready after {:?}", back - killed), killed);
    let refused: Vec<_> = tally.losses.iter().filter(|loss| !matches!(loss.lost, Lost::Uninjected)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    tally.lost_only_until(back + SECOND);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_killed_and_fail_no_pod_is_created_uninjected() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    let load = Load::begin(lab);
    load.more(50).await;
    let (killed, back) = kill_both(lab).await;
    load.more(100).await;
    let tally = load.end().await;
    tally.say(&format!("both killed, Fail, one ready after {:?}", back - killed), killed);
    tally.none_was_admitted_uninjected();
    tally.lost_only_until(back + SECOND);
    for loss in &tally.losses {
        let says = "failed calling webhook \"pods.stowage.dev\"";
        assert!(matches!(&loss.lost, Lost::Refused(message) if message.contains(says)), "{loss:?}");
    }
    assert!(!tally.losses.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_restarts_admits_no_pod_uninjected() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Ignore").await;
    let load = Load::begin(lab);
    load.more(50).await;
    let killed = Instant::now();
    lab.restart_apiserver();
    let back = Instant::now();
    load.more(200).await;
    let tally = load.end().await;
    tally.say(&format!("API server killed and ready again after {:?}", back - killed), killed);
    tally.none_was_admitted_uninjected();
    tally.lost_only_until(back);
    // What changes afterwards is heard of, by both.
    lab.apply(&policy(NAME, json!({"env": [{"name": VARIABLE, "value": "after"}]})));
    let took = until("the change shows", async || {
        variable(&lab.tried(NAME, &unscheduled(NAME)).await, VARIABLE) == Some("after")
    })
    .await;
    say(&format!("a policy changed after the restart: {took:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_pauses_admits_no_pod_uninjected_and_takes_no_readiness() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Ignore").await;
    let before = restarts(lab).await;
    let load = Load::begin(lab);
    load.more(50).await;
    let paused = Instant::now();
    lab.signal("etcd", "STOP");
    tokio::time::sleep(SECOND * 8).await;
    lab.signal("etcd", "CONT");
    load.more(100).await;
    let back = Instant::now();
    lab.await_ready_replicas(2).await;
    let tally = load.end().await;
    tally.say("etcd paused for 8 s", paused);
    tally.none_was_admitted_uninjected();
    tally.lost_only_until(back);
    assert_eq!(restarts(lab).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_deleted_costs_no_creation() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    let load = Load::begin(lab);
    load.more(50).await;
    let before = lab.cluster.get(SECRET).await.object();
    let deleted = Instant::now();
    lab.cluster.call(Method::DELETE, SECRET, None).await.object();
    until("it is back", async || lab.cluster.get(SECRET).await.status.is_success()).await;
    load.more(200).await;
    load.end().await.is_whole("the Secret deleted", deleted);
    assert_eq!(lab.cluster.get(SECRET).await.object()["data"], before["data"]);
}

/// Between the blanking and the API server's hearing that it was put back a new connection trusts nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_blanked_ca_bundle_is_put_back_within_half_a_second() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    let before = lab.bundle().await.unwrap();
    let load = Load::begin(lab);
    load.more(50).await;
    let mut registration = lab.cluster.get(REGISTRATION).await.object();
    registration["webhooks"][0]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    let blanked = Instant::now();
    let patch = json!({"webhooks": registration["webhooks"]});
    lab.cluster.patch(REGISTRATION, &patch).await.object();
    until("it is put back", async || lab.bundle().await.as_ref() == Some(&before)).await;
    load.more(200).await;
    let tally = load.end().await;
    tally.say("caBundle blanked", blanked);
    tally.none_was_admitted_uninjected();
    tally.lost_only_until(blanked + SECOND / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_rolled_cost_no_creation() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    let load = Load::begin(lab);
    load.more(50).await;
    let begun = Instant::now();
    run(lab.kubectl().args(["-n", "stowage", "rollout", "restart", "deployment/stowage"]));
    lab.await_replicas();
    lab.gone_are_gone().await;
    let took = begun.elapsed();
    load.more(100).await;
    load.end().await.is_whole(&format!("rolled in {took:?}"), begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_drained_moves_both_replicas_to_the_other_and_costs_no_creation() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    let [first, second] = lab.two_nodes();
    lab.import_stowage(IMAGE, Path::new(env!("CARGO_BIN_EXE_stowage")));
    loaded(lab, "Fail").await;
    let load = Load::begin(lab);
    let begun = Instant::now();
    for [from, to] in [[first, second], [second, first]] {
        load.more(50).await;
        let of_node = async |node: &str| {
            let replicas = lab.replicas().await;
            replicas.iter().filter(|replica| replica["spec"]["nodeName"] == node).count()
        };
        assert_eq!([of_node(from).await, of_node(to).await], [2, 0]);
        run(lab.kubectl().args(["uncordon", to]));
        let drained = Instant::now();
        let drain = ["drain", from, "--pod-selector=app.kubernetes.io/name=stowage", "--timeout=120s"];
        let drain = lab.kubectl().args(drain).output().unwrap();
        let says = String::from_utf8(drain.stderr).unwrap();
        assert!(drain.status.success(), "{says}");
        assert!(says.contains("violate the pod's disruption budget"), "the budget lets both go at once: {says}");
        lab.await_replicas();
        lab.gone_are_gone().await;
        assert_eq!([of_node(from).await, of_node(to).await], [0, 2]);
        say(&format!("{from} drained in {:?}", drained.elapsed()));
    }
    let took = begun.elapsed();
    load.more(100).await;
    load.end().await.is_whole(&format!("both nodes drained in turn in {took:?}"), begun);
}

fn stowage(lab: &Lab) -> Command {
    let mut kubectl = lab.kubectl();
    kubectl.args(["-n", "stowage"]);
    kubectl
}

/// Begins with another authority, as docs/cannot-create-pods.md says, after a change to the Deployment.
async fn with_another_authority(lab: &Lab, change: impl FnOnce()) {
    run(stowage(lab).args(["scale", "deployment/stowage", "--replicas=0"]));
    run(stowage(lab).args(["wait", "--for=delete", "pod", "--all", "--timeout=60s"]));
    run(stowage(lab).args(["delete", "secret", "stowage-certificates"]));
    change();
    run(stowage(lab).args(["scale", "deployment/stowage", "--replicas=2"]));
    lab.await_replicas();
}

/// An authority is due after 12 seconds here, and signs 2 seconds after it was published.
#[tokio::test(flavor = "multi_thread")]
async fn three_changes_of_authority_cost_no_creation() {
    let Some(lab) = shared() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    let arguments: Vec<_> = ["--ca-life=18s", "--certificate-life=12s", "--ca-settle=2s"]
        .iter()
        .map(|argument| json!({"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": argument}))
        .collect();
    let patch = Value::from(arguments).to_string();
    let arguments = || run(stowage(lab).args(["patch", "deployment/stowage", "--type=json", "-p", &patch]));
    with_another_authority(lab, || drop(arguments())).await;
    until("pods are created again", async || {
        let path = format!("/api/v1/namespaces/{NAME}/pods?dryRun=All");
        lab.cluster.post(&path, &unscheduled(NAME)).await.status.is_success()
    })
    .await;
    let load = Load::begin(lab);
    load.more(50).await;
    let begun = Instant::now();
    let authority = async || lab.cluster.get(SECRET).await.body["data"]["ca.crt"].clone();
    let mut seen = vec![authority().await];
    until("there were four authorities", async || {
        let now = authority().await;
        if now.is_string() && seen.last() != Some(&now) {
            seen.push(now);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen.len() >= 4
    })
    .await;
    let took = begun.elapsed();
    load.more(100).await;
    let tally = load.end().await;
    // Certificates of seconds are no start for the others.
    with_another_authority(lab, || drop(run(lab.kubectl().arg("apply").arg("-k").arg(overlay())))).await;
    tally.is_whole(&format!("{} authorities in {took:?}", seen.len()), begun);
}
