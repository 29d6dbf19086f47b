//! All pods, one after the other: what the watcher does not keep is kept nowhere.
//!
//! The list at the start is streamed where the server can, which holds no page of it in memory on either side; elsewhere
//! it comes in pages. A new list may be asked for at any time, since whoever judges pods does not keep them and has to
//! see them again when a policy changes.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tracing::{debug, info};

use super::slim::Slim;
use super::watch::{Health, REQUEST_LIFE};
use crate::metrics::{Metrics, Watching};
use crate::threshold::WatchedPod;

/// What is told of pods.
#[derive(Debug)]
pub enum PodNews {
    /// A list of all pods begins. One that broke off is followed by another that begins.
    ListBegins,
    /// One was listed, made or changed.
    Pod(Box<WatchedPod>),
    /// The list is complete; what was not in it is gone.
    ListEnds,
    /// The pod of this uid is gone.
    Gone(String),
}

/// Pods in one answer, where the server cannot stream.
const PAGE: u32 = 500;
/// Lists that may break off before the next one is asked for in pages: a server that knows nothing of streamed lists
/// never says that one is complete.
const STREAMS: u32 = 2;

/// Watches pods, for ever or until nobody listens. `relist` asks for a new list.
pub async fn follow(client: Client, metrics: Arc<Metrics>, relist: Arc<Notify>, news: Sender<PodNews>) {
    let mut health = Health::new(Watching::Pods, metrics);
    let mut streams = true;
    loop {
        let config = Config::default().timeout(REQUEST_LIFE).page_size(PAGE);
        let config = if streams { config.streaming_lists() } else { config };
        let api: Api<Slim<WatchedPod>> = Api::all(client.clone());
        match through(api, config, streams, &relist, &news, &mut health).await {
            End::Relist => debug!("all pods are listed once more"),
            End::NoStreams => {
                info!("the server does not stream lists: pods are listed in pages");
                streams = false;
            }
            End::Deaf => return,
        }
    }
}

/// Why a watch is not gone on with.
enum End {
    Relist,
    NoStreams,
    Deaf,
}

async fn through(
    api: Api<Slim<WatchedPod>>,
    config: Config,
    streams: bool,
    relist: &Notify,
    news: &Sender<PodNews>,
    health: &mut Health,
) -> End {
    let mut stream = pin!(watcher(api, config));
    let mut begun = 0;
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = relist.notified() => return End::Relist,
        };
        let Some(event) = event else { return End::Relist };
        if streams && event.as_ref().is_err_and(is_no_stream) {
            return End::NoStreams;
        }
        let Some(event) = health.heard(event).await else { continue };
        let told = match event {
            Event::Init => {
                begun += 1;
                if streams && begun > STREAMS {
                    return End::NoStreams;
                }
                PodNews::ListBegins
            }
            Event::InitApply(pod) | Event::Apply(pod) => PodNews::Pod(Box::new(pod.view)),
            Event::InitDone => {
                begun = 0;
                PodNews::ListEnds
            }
            Event::Delete(pod) => PodNews::Gone(pod.view.metadata.uid),
        };
        if news.send(told).await.is_err() {
            return End::Deaf;
        }
    }
}

/// Whether a server refuses a streamed list as such: the API server before 1.32 answers 422.
fn is_no_stream(error: &watcher::Error) -> bool {
    let watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error else { return false };
    matches!(status.code, 400 | 405 | 415 | 422)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::cluster::mock::{MockReply, server};

    fn pod(name: &str, version: u32) -> Value {
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": version.to_string()},
               "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "SECRET", "value": "s3cret"}]}]}})
    }

    fn line(kind: &str, object: &Value) -> String {
        format!("{}\n", json!({"type": kind, "object": object}))
    }

    fn end(version: u32) -> String {
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
        line("BOOKMARK", &json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata}))
    }

    struct Following {
        news: Receiver<PodNews>,
        relist: Arc<Notify>,
        metrics: Arc<Metrics>,
    }

    impl Following {
        fn begin(client: Client) -> Self {
            let (sender, news) = channel(1);
            let metrics = Arc::new(Metrics::new("1").unwrap());
            let relist = Arc::new(Notify::new());
            tokio::spawn(follow(client, Arc::clone(&metrics), Arc::clone(&relist), sender));
            Self { news, relist, metrics }
        }

        /// What comes, in short.
        async fn heard(&mut self, count: usize) -> Vec<String> {
            let mut heard = Vec::new();
            for _ in 0..count {
                let news = tokio::time::timeout(Duration::from_secs(60), self.news.recv()).await;
                heard.push(match news.expect("news in time").unwrap() {
                    PodNews::ListBegins => "begins".to_owned(),
                    PodNews::ListEnds => "ends".to_owned(),
                    PodNews::Pod(pod) => pod.metadata.name,
                    PodNews::Gone(uid) => format!("{uid} gone"),
                });
            }
            heard
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamed_list_is_followed_by_changes_and_comes_again_when_asked_for() {
        let mut lists = 0;
        let client = server(move |request| {
            if !request.path.contains("sendInitialEvents=true") {
                return MockReply::Hang;
            }
            lists += 1;
            let pods = if lists == 1 { vec![pod("a", 1), pod("b", 2)] } else { vec![pod("b", 2)] };
            let listed: String = pods.iter().map(|pod| line("ADDED", pod)).collect();
            let changed = line("MODIFIED", &pod("b", 4)) + &line("DELETED", &pod("a", 5));
            MockReply::Stream(listed + &end(3) + &changed)
        });
        let mut following = Following::begin(client);
        assert_eq!(following.heard(6).await, ["begins", "a", "b", "ends", "b", "a gone"]);
        following.relist.notify_one();
        assert_eq!(following.heard(3).await, ["begins", "b", "ends"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cannot_stream_is_asked_for_pages() {
        let client = server(|request| {
            if request.path.contains("sendInitialEvents=true") {
                return MockReply::Status(422, "Invalid");
            }
            if request.path.contains("watch=true") {
                return MockReply::Hang;
            }
            assert!(request.path.contains("limit=500"), "{}", request.path);
            let more = request.path.contains("continue=more");
            let items = if more { vec![pod("b", 2)] } else { vec![pod("a", 1)] };
            let metadata = json!({"resourceVersion": "9", "continue": if more { "" } else { "more" }});
            MockReply::Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}))
        });
        let mut following = Following::begin(client);
        assert_eq!(following.heard(4).await, ["begins", "a", "b", "ends"]);
        assert_eq!(following.metrics.cluster.watch_failures.total(Watching::Pods), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_completes_a_stream_is_asked_for_pages() {
        let client = server(|request| {
            if request.path.contains("sendInitialEvents=true") {
                return MockReply::Stream(line("ADDED", &pod("a", 1)));
            }
            if request.path.contains("watch=true") {
                return MockReply::Hang;
            }
            let metadata = json!({"resourceVersion": "9"});
            MockReply::Json(
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": [pod("a", 1)]}),
            )
        });
        let mut following = Following::begin(client);
        assert_eq!(following.heard(7).await, ["begins", "a", "begins", "a", "begins", "a", "ends"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_stays_broken_never_shows_as_whole() {
        let client = server(|request| match request.path.contains("sendInitialEvents=true") {
            true => MockReply::Status(422, "Invalid"),
            false => MockReply::Status(500, "InternalError"),
        });
        let mut following = Following::begin(client);
        let mut seen = Vec::new();
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            while following.news.try_recv().is_ok() {}
            seen.push(following.metrics.cluster.watch_failing.number(Watching::Pods));
        }
        let first = seen.iter().position(|failing| *failing == 1).unwrap();
        assert!(seen[first..].iter().all(|failing| *failing == 1));
        assert!(following.metrics.cluster.watch_failures.total(Watching::Pods) > 3);
    }
}
