//! The watcher while something else goes wrong: its leader is killed, stopped or cut off, the API server is started anew,
//! or it comes to a cluster that is full of stuck pods.
//!
//! `STOWAGE_WATCH_PODS` says how many pods are removed over a leader kill; each of them counts once, by what the API server
//! itself counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::{
    PROMPT,
    stage::{Running, SECOND, Turn, turn, until},
    uid,
};
use crate::cluster::now;

/// A few pods a second, so that there is a middle.
const SLOWLY: [&str; 2] = ["--rate=4/s", "--namespace-rate=off"];

const NEVER: &str = "stowage.dev/pending-not-scheduled-threshold";

/// A wire to the API server that can be cut: what is on the way then arrives once it is mended, however late that is.
struct Wire {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
}

impl Wire {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_cut, told) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(carry(from_client, to_server, told.clone()));
                tokio::spawn(carry(from_server, to_client, told.clone()));
            }
        });
        Self { address, is_cut }
    }

    fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_cut: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let is_mended = is_cut.wait_for(|is_cut| !is_cut).await.is_ok();
        if !is_mended || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Pods that come due together, half of them on a node, and others beside them that never do.
struct Crowd {
    stuck: BTreeSet<String>,
    bystanders: BTreeSet<String>,
}

impl Crowd {
    async fn come(turn: &Turn, pods: usize) -> Self {
        let elsewhere = turn.elsewhere(&format!("{}-free", turn.namespace)).await;
        let making = |(turn, name, change): (_, String, Value)| {
            let turn: &Turn = turn;
            async move { uid(&turn.pod(&name, change).await) }
        };
        let on_node =
            |number: usize| if number.is_multiple_of(2) { json!({}) } else { json!({"spec": {"nodeName": "n1"}}) };
        let stuck = (0..pods).map(|number| (turn, format!("stuck-{number}"), on_node(number)));
        let stuck = stream::iter(stuck).map(making).buffer_unordered(8).collect::<BTreeSet<_>>();
        let others = (0..pods.div_ceil(10)).flat_map(|number| {
            let never = json!({"metadata": {"annotations": {NEVER: "-1"}}});
            [(turn, format!("never-{number}"), never), (&elsewhere, format!("free-{number}"), on_node(number))]
        });
        let bystanders = stream::iter(others).map(making).buffer_unordered(4).collect::<BTreeSet<_>>();
        let (stuck, bystanders) = tokio::join!(stuck, bystanders);
        Self { stuck, bystanders }
    }

    /// Waits until every stuck pod is deleted, marked where it is on a node, and sees that nobody else is.
    async fn is_gone(&self, turn: &Turn) {
        let free = format!("/api/v1/namespaces/{}-free/pods", turn.namespace);
        let mut left = BTreeSet::new();
        until("all are gone", async || {
            tokio::time::sleep(SECOND / 2).await;
            let free = turn.cluster().get(&free).await.object();
            let pods = [turn.pods().await, free["items"].as_array().unwrap().clone()].concat();
            let living = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
            left = living.map(uid).collect();
            left.is_disjoint(&self.stuck)
        })
        .await;
        assert_eq!(left, self.bystanders, "pods without a threshold stay");
    }
}

/// When the pods that are marked were asked to go, by uid; a second time changes nothing of it.
async fn asked_to_go(turn: &Turn) -> BTreeMap<String, Timestamp> {
    let pods = turn.pods().await;
    let marked = pods.iter().filter_map(|pod| {
        let gone: Timestamp = pod["metadata"]["deletionTimestamp"].as_str()?.parse().ok()?;
        let grace = SECOND * u32::try_from(pod["metadata"]["deletionGracePeriodSeconds"].as_u64()?).ok()?;
        Some((uid(pod), gone.checked_sub(grace).ok()?))
    });
    marked.collect()
}

/// How many pods the API server itself says that it has deleted.
async fn deletions(turn: &Turn) -> u64 {
    let text = turn.cluster().get("/metrics").await.object();
    let series = text.as_str().unwrap().lines().filter(|line| {
        let labels = ["apiserver_request_total{", "code=\"200\"", "resource=\"pods\"", "verb=\"DELETE\""];
        labels.iter().all(|label| line.contains(label))
    });
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// The uids of what these watchers say that they removed; each once, and each of the crowd.
fn told(watchers: &[&Running], crowd: &Crowd) -> BTreeSet<String> {
    let lines: Vec<Value> = watchers.iter().flat_map(|watcher| watcher.removals()).collect();
    let uids: BTreeSet<String> = lines.iter().map(|line| line["uid"].as_str().unwrap().to_owned()).collect();
    assert_eq!(uids.len(), lines.len(), "a pod is told twice");
    assert!(uids.is_subset(&crowd.stuck));
    uids
}

/// A leader and a standby, both ready; the leader by this wire where there is one.
async fn pair(turn: &Turn, args: &[&str], wire: Option<&Wire>) -> [Running; 2] {
    let args = [&PROMPT[..], args].concat();
    turn.node("n1").await;
    turn.policy(json!({"pendingNotScheduled": "15s", "pendingScheduled": "15s"}), Value::Null).await;
    let mut first = turn.watch("watcher", "first", &args).await;
    let kubeconfig = first.kubeconfig();
    if let Some(wire) = wire {
        until("the lease is there", async || first.leads().await).await;
        drop(first);
        turn.release_lease().await;
        let server = turn.cluster().address.to_string();
        first = Running::start(&kubeconfig.replace(&server, &wire.address.to_string()), "first", &args);
    }
    let is_ready = async |running: &Running| running.get("/readyz").await.is_some_and(|(status, _)| status == 200);
    until("the first leads", async || first.leads().await && is_ready(&first).await).await;
    let standby = Running::start(&kubeconfig, "second", &args);
    until("the second is ready", async || is_ready(&standby).await).await;
    [first, standby]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_removes_nothing_once_another_has_begun() {
    const PODS: usize = 60;
    let Some(turn) = turn("watch-cut").await else { return };
    let wire = Wire::to(turn.cluster().address).await;
    let [first, second] = pair(&turn, &SLOWLY, Some(&wire)).await;
    let before = deletions(&turn).await;
    let crowd = Crowd::come(&turn, PODS).await;
    until("some are removed", async || first.removals().len() >= PODS / 4).await;
    assert!(!second.leads().await);
    wire.cut(true);
    until("the second leads", async || second.leads().await).await;
    let (by_first, is_first) = (first.removals().len(), first.leads().await);
    assert!(!is_first && by_first < PODS);
    until("the second removes", async || second.removals().len() >= 5).await;
    // What the first had sent arrives now, late.
    wire.cut(false);
    crowd.is_gone(&turn).await;
    until("all are told", async || {
        // What was under way when the wire was cut is told by nobody.
        told(&[&first, &second], &crowd).len() + 8 >= PODS
    })
    .await;
    assert_eq!(first.removals().len(), by_first, "the first told of a removal after another had begun");
    assert!(second.leads().await && !first.leads().await);
    assert_eq!(deletions(&turn).await - before, 60, "each pod is deleted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_past_its_term_removes_nothing_when_it_goes_on() {
    const PODS: usize = 60;
    let Some(turn) = turn("watch-still").await else { return };
    let [first, second] = pair(&turn, &SLOWLY, None).await;
    let before = deletions(&turn).await;
    let crowd = Crowd::come(&turn, PODS).await;
    until("some are removed", async || first.removals().len() >= PODS / 4).await;
    first.signal("STOP");
    until("the second leads", async || second.leads().await).await;
    until("the second removes", async || second.removals().len() >= 5).await;
    let by_first = first.removals().len();
    first.signal("CONT");
    crowd.is_gone(&turn).await;
    assert!(second.leads().await && !first.leads().await);
    // One that was answered while it stood still is told now.
    assert!(first.removals().len() <= by_first + 4, "{by_first}, then {}", first.removals().len());
    told(&[&first, &second], &crowd);
    assert_eq!(deletions(&turn).await - before, 60, "each pod is deleted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_removed_twice_over_a_restart_of_the_api_server() {
    const PODS: usize = 40;
    let Some(turn) = turn("watch-restart").await else { return };
    let [first, second] = pair(&turn, &SLOWLY, None).await;
    let mut crowd = Crowd::come(&turn, PODS).await;
    // These come due while nobody answers.
    for number in 0..5 {
        let later = json!({"metadata": {"annotations": {NEVER: "24s"}}});
        crowd.stuck.insert(uid(&turn.pod(&format!("later-{number}"), later).await));
    }
    until("some are removed", async || first.removals().len() >= PODS / 4).await;
    turn.cluster().restart_api_server(SECOND * 8);
    crowd.is_gone(&turn).await;
    until("all are told", async || told(&[&first, &second], &crowd).len() + 8 >= PODS + 5).await;
    let said = told(&[&first, &second], &crowd).len();
    println!("{said} of {} removals are told over a restart of the API server", PODS + 5);
    for number in 0..5 {
        // They were seen before they were due.
        let events = turn.events(&format!("later-{number}")).await;
        assert!(events.iter().all(|(reason, _)| reason != "FoundOverdue"), "{events:?}");
    }
    for watcher in [&first, &second] {
        until("it is ready", async || watcher.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    }
    assert!(first.leads().await != second.leads().await, "one of them leads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_installation_announces_what_is_overdue_and_the_breaker_holds_it() {
    const PODS: usize = 500;
    const NOTICE: u32 = 40;
    let Some(turn) = turn("watch-first").await else { return };
    turn.deployment().await;
    let names = stream::iter((0..PODS).map(|number| format!("stuck-{number}")));
    names.for_each_concurrent(8, async |name| drop(turn.pod(&name, json!({})).await)).await;
    turn.policy(json!({"pendingNotScheduled": "1s"}), Value::Null).await;
    tokio::time::sleep(SECOND * 2).await;
    let notice = format!("--overdue-notice={NOTICE}s");
    let begun = Instant::now();
    let watcher = turn.watch("watcher", "one", &[&notice, "--rate=40/s", "--namespace-rate=20/s"]).await;
    until("all are announced", async || {
        tokio::time::sleep(SECOND).await;
        announced(&turn).await == PODS
    })
    .await;
    println!("{PODS} pods are announced after {:?}", begun.elapsed());
    assert!(begun.elapsed() < SECOND * NOTICE, "the announcements were late: {:?}", begun.elapsed());
    assert_eq!(turn.pods().await.len(), PODS);
    let open = "stowage_watcher_breaker_open{group=\"found_overdue\"} ";
    assert_eq!(watcher.metric(open).await, Some(0.0));
    until("the breaker opens", async || watcher.metric(open).await == Some(1.0)).await;
    assert!(begun.elapsed() >= SECOND * NOTICE, "the breaker opens as the notice ends: {:?}", begun.elapsed());
    tokio::time::sleep(SECOND * 6).await;
    assert_eq!(turn.pods().await.len(), PODS, "what is found overdue is held");
    assert!(watcher.removals().is_empty());
    let released = Instant::now();
    turn.release_breaker(&format!("{} found_overdue", now().strftime("%FT%TZ"))).await;
    until("all are removed", async || {
        tokio::time::sleep(SECOND).await;
        turn.pods().await.is_empty()
    })
    .await;
    // A bucket gives at once what one second allows.
    let least = SECOND * (u32::try_from(PODS).unwrap() / 20 - 1);
    assert!(released.elapsed() >= least, "{PODS} at 20 a second took {:?}", released.elapsed());
    until("all are told", async || watcher.removals().len() >= PODS).await;
    let uids: BTreeSet<String> = watcher.removals().iter().map(|line| line["uid"].to_string()).collect();
    assert_eq!((uids.len(), watcher.removals().len()), (PODS, PODS));
    println!("{PODS} pods are removed in {:?} after the release", released.elapsed());
}

/// How many pods an Event says of that they were found overdue.
async fn announced(turn: &Turn) -> usize {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", turn.namespace);
    let events = turn.cluster().get(&path).await.object();
    let events = events["items"].as_array().unwrap().iter().filter(|event| event["reason"] == "FoundOverdue");
    events.map(|event| event["regarding"]["uid"].to_string()).collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_due_pods_are_removed_once_each_over_a_leader_kill_and_no_other_pod_is() {
    let pods = std::env::var("STOWAGE_WATCH_PODS").map_or(100, |text| text.parse::<u32>().unwrap());
    let Some(turn) = turn("watch-many").await else { return };
    let rate = format!("--rate={}/s", (pods / 10).max(4));
    let [first, second] = pair(&turn, &[&rate, "--namespace-rate=off"], None).await;
    let before = deletions(&turn).await;
    let begun = Instant::now();
    let crowd = Crowd::come(&turn, pods.try_into().unwrap()).await;
    let made = begun.elapsed();
    until("some are removed", async || first.removals().len() >= crowd.stuck.len() / 4).await;
    assert!(!second.leads().await);
    let killed = now();
    first.signal("KILL");
    crowd.is_gone(&turn).await;
    let deleted = deletions(&turn).await - before;
    let told = told(&[&first, &second], &crowd).len();
    println!(
        "{pods} due pods made in {made:?}: {deleted} deleted by the API server's count, {told} told, {} by the first and {} \
         by the second; {} bystanders stay; {:?} in all",
        first.removals().len(),
        second.removals().len(),
        crowd.bystanders.len(),
        begun.elapsed()
    );
    // The API server counts what was asked by one that is dead by the time of the answer as something else.
    assert!(deleted <= u64::from(pods), "a pod is deleted twice");
    let asked = asked_to_go(&turn).await;
    for line in second.removals().iter().filter(|line| line["state"] == "pending_scheduled") {
        let asked = asked[line["uid"].as_str().unwrap()];
        assert!(asked > killed + SECOND * 5, "the second removed what the first had removed at {asked}: {line}");
    }
    assert!(first.removals().len() < crowd.stuck.len() && !second.removals().is_empty());
    // At most what the first had in hand is told by nobody.
    assert!(told + 64 >= crowd.stuck.len(), "{told}");
}
