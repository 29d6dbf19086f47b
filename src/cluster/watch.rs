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
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::{info, warn};

use crate::metrics::{Label, Metrics, Watching};

/// What a watch tells of objects, as far as somebody wants to know of them.
#[derive(Debug)]
pub enum Told<T> {
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

/// Watches for ever, and keeps of each object what `read` takes out of it.
pub async fn follow<K, T>(
    api: Api<K>,
    config: watcher::Config,
    watching: Watching,
    metrics: Arc<Metrics>,
    read: impl Fn(K) -> T,
    mut tell: impl FnMut(Told<T>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watcher(api, config.timeout(REQUEST_LIFE)).backoff(Pauses::default());
    let mut stream = pin!(stream);
    let mut listed = Vec::new();
    let mut health = Health::new(watching, metrics);
    while let Some(event) = stream.next().await {
        let Some(event) = health.heard(event) else { continue };
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => listed.push(read(object)),
            watcher::Event::InitDone => tell(Told::Relisted(std::mem::take(&mut listed))),
            watcher::Event::Apply(object) => tell(Told::Applied(read(object))),
            watcher::Event::Delete(object) => {
                tell(Told::Deleted { namespace: object.namespace(), name: object.name_any() });
            }
        }
    }
}

/// Whether a watch works, for metrics and the log.
pub(super) struct Health {
    watching: Watching,
    metrics: Arc<Metrics>,
    failing: bool,
}

impl Health {
    pub(super) const fn new(watching: Watching, metrics: Arc<Metrics>) -> Self {
        Self { watching, metrics, failing: false }
    }

    /// The event, where it is one and no failure.
    pub(super) fn heard<K>(&mut self, event: watcher::Result<watcher::Event<K>>) -> Option<watcher::Event<K>> {
        match event {
            Ok(event) => {
                // That a list begins is said before it is asked for.
                if !matches!(event, watcher::Event::Init) {
                    self.works();
                }
                Some(event)
            }
            Err(error) => {
                self.broken(&error);
                None
            }
        }
    }

    fn broken(&mut self, error: &watcher::Error) {
        self.metrics.cluster.watch_failures.count(self.watching);
        self.metrics.cluster.watch_failing.set(self.watching, 1);
        if !std::mem::replace(&mut self.failing, true) {
            warn!(watch = self.watching.text(), error = error as &dyn StdError, "a watch is broken");
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            self.metrics.cluster.watch_failing.set(self.watching, 0);
            info!(watch = self.watching.text(), "a watch works again");
        }
    }
}

/// 200 ms, twice as long each time, up to 10 s; from the beginning once something came.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    failures: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(200 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        Some(pause.min(Duration::from_secs(10)))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_seconds_and_begin_anew() {
        let mut pauses = Pauses::default();
        let millis = |pauses: &mut Pauses| pauses.next().unwrap().as_millis();
        let first: Vec<u128> = (0..8).map(|_| millis(&mut pauses)).collect();
        assert_eq!(first, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        pauses.reset();
        assert_eq!(millis(&mut pauses), 200);
    }
}
