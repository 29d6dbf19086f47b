//! Namespaces with their labels: watched, and asked for where a pod comes before the watch knows its namespace.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::watch::{self, WatchNews};
use crate::metrics::{Call, Metrics, Watching};
use crate::policy::world::{Change, Watched};

/// How long a decision waits for the labels of a namespace that is not known.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// Namespaces asked for at once; a decision that comes beyond them goes without.
const AT_ONCE: usize = 8;

/// Watches namespaces, for ever.
pub async fn follow(client: Client, metrics: Arc<Metrics>, mut tell: impl FnMut(Change)) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    watch::follow(api, Config::default(), Watching::Namespaces, metrics, labels, |told| {
        tell(Change::Namespaces(match told {
            WatchNews::Applied((name, labels)) => Watched::Applied(name, labels),
            WatchNews::Deleted { name, .. } => Watched::Deleted(name.into()),
            WatchNews::Relisted(list) => Watched::Relisted(list),
        }));
    })
    .await;
}

fn labels(namespace: PartialObjectMeta<Namespace>) -> (Arc<str>, BTreeMap<String, String>) {
    (namespace.name_any().into(), namespace.metadata.labels.unwrap_or_default())
}

/// Asks for single namespaces.
#[derive(Clone)]
pub struct Lookup {
    api: Api<PartialObjectMeta<Namespace>>,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Lookup {
    /// By this client.
    #[must_use]
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { api: Api::all(client), room: Arc::new(Semaphore::new(AT_ONCE)), metrics }
    }

    /// The labels of the namespace `name`, where an answer comes within [`PATIENCE`].
    pub async fn labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let Ok(_place) = self.room.try_acquire() else {
            self.metrics.cluster.namespace_lookups.count(Call::Failed);
            return None;
        };
        match timeout(PATIENCE, self.api.get(name)).await {
            Ok(Ok(namespace)) => {
                self.metrics.cluster.namespace_lookups.count(Call::Done);
                Some(namespace.metadata.labels.unwrap_or_default())
            }
            Ok(Err(error)) => {
                self.metrics.cluster.namespace_lookups.count(Call::Failed);
                warn!(namespace = name, error = &error as &dyn StdError, "asking for a namespace");
                None
            }
            Err(_) => {
                self.metrics.cluster.namespace_lookups.count(Call::Failed);
                warn!(namespace = name, patience = ?PATIENCE, "no answer about a namespace");
                None
            }
        }
    }
}
