//! One watch that never ends.
//!
//! A broken watch is begun again after a pause that grows to ten seconds. It shows in metrics and in the log, and
//! changes nothing of what is known.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::metrics::{Label, Metrics, Watching};

/// What a watch tells of objects, as far as somebody wants to know of them.
#[derive(Debug)]
pub enum WatchNews<T> {
    /// One was made or changed.
    Applied(T),
    /// One is gone.
    Deleted {
        /// Its namespace, where it has one.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// All that are there; what is not among them is gone.
    Relisted(Vec<T>),
}

/// How long one request of a watch lasts: a connection that died without a word is noticed after it.
pub(super) const REQUEST_LIFE: u32 = 120;

/// Objects in one answer to a list. What is kept of an object lies in memory between what was read and is let go, so a
/// large answer leaves large holes.
const PAGE: u32 = 100;

/// Watches for ever, and keeps of each object what `read` takes out of it.
pub async fn follow<K, T>(
    api: Api<K>,
    config: watcher::Config,
    watching: Watching,
    metrics: Arc<Metrics>,
    read: impl Fn(K) -> T,
    mut tell: impl FnMut(WatchNews<T>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut stream = pin!(watcher(api, config.timeout(REQUEST_LIFE).page_size(PAGE)));
    let mut listed = Vec::new();
    let mut health = Health::new(watching, metrics);
    while let Some(event) = stream.next().await {
        let Some(event) = health.heard(event).await else { continue };
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => listed.push(read(object)),
            watcher::Event::InitDone => tell(WatchNews::Relisted(std::mem::take(&mut listed))),
            watcher::Event::Apply(object) => tell(WatchNews::Applied(read(object))),
            watcher::Event::Delete(object) => {
                tell(WatchNews::Deleted { namespace: object.namespace(), name: object.name_any() });
            }
        }
    }
}

/// Whether a watch works: for metrics, for the log, and for how soon it is begun again.
pub(super) struct Health {
    watching: Watching,
    metrics: Arc<Metrics>,
    /// How often it has failed since it worked.
    failures: u32,
}

impl Health {
    pub(super) const fn new(watching: Watching, metrics: Arc<Metrics>) -> Self {
        Self { watching, metrics, failures: 0 }
    }

    /// The event, where it is one and no failure; after a failure it waits as long as the watch should.
    ///
    /// That a list begins is an event before it is asked for, and no sign that anything works. kube's own backoff takes it
    /// for one, and asks an API server that forbids a list five times a second for ever.
    pub(super) async fn heard<K>(&mut self, event: watcher::Result<watcher::Event<K>>) -> Option<watcher::Event<K>> {
        match event {
            Ok(event) => {
                if !matches!(event, watcher::Event::Init) {
                    self.works();
                }
                Some(event)
            }
            Err(error) => {
                self.broken(&error);
                sleep(pause(self.failures)).await;
                self.failures = self.failures.saturating_add(1);
                None
            }
        }
    }

    fn broken(&mut self, error: &watcher::Error) {
        self.metrics.cluster.watch_failures.count(self.watching);
        self.metrics.cluster.watch_failing.set(self.watching, 1);
        if self.failures == 0 {
            warn!(watch = self.watching.text(), error = error as &dyn StdError, "a watch is broken");
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            self.metrics.cluster.watch_failing.set(self.watching, 0);
            info!(watch = self.watching.text(), "a watch works again");
        }
    }
}

/// 200 ms, twice as long with each failure, up to 10 s.
fn pause(failures: u32) -> Duration {
    Duration::from_millis(200 << failures.min(6)).min(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::Instant;

    use super::*;
    use crate::cluster::mock::{MockReply, server};

    #[test]
    fn pauses_grow_to_ten_seconds() {
        let millis: Vec<u128> = (0..8).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(millis, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_stays_forbidden_is_asked_for_ever_more_rarely() {
        let (asked, mut heard) = unbounded_channel();
        let begun = Instant::now();
        let client = server(move |_| {
            asked.send(begun.elapsed().as_secs()).unwrap();
            MockReply::Status(403, "Forbidden")
        });
        let metrics = Arc::new(Metrics::new("1").unwrap());
        let api: Api<Namespace> = Api::all(client);
        let config = watcher::Config::default();
        tokio::spawn(follow(api, config, Watching::Namespaces, Arc::clone(&metrics), |_| (), |_| {}));
        sleep(Duration::from_secs(600)).await;
        let asked: Vec<u64> = std::iter::from_fn(|| heard.try_recv().ok()).collect();
        assert!((50..80).contains(&asked.len()), "{asked:?}");
        assert_eq!(metrics.cluster.watch_failing.number(Watching::Namespaces), 1);
    }
}
