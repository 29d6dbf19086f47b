//! The one writer of the world: everything that is learnt comes here, and snapshots go out.

use std::{collections::HashSet, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot, watch,
};
use tracing::{info, warn};

use crate::{
    cluster::{policies::PolicyNews, status::Statuses},
    metrics::{Metrics, Watching},
    policy::{
        loaded::Loaded,
        roster::{PolicyChange, PolicyKind},
        snapshot::Snapshot,
        world::{Change, Watched, World},
    },
};

/// Something that was learnt.
pub(super) enum WorldNews {
    /// What policy files hold.
    Files(Loaded),
    /// Policy files are wrong in so many places.
    FilesRefused(usize),
    /// Policies of the cluster.
    Policies(PolicyNews),
    /// Something else of the cluster.
    Cluster(Change),
}

/// Sends news to the writer.
#[derive(Clone)]
pub(super) struct Sender(UnboundedSender<WorldNews>);

/// Owns the world.
pub(super) struct Writer {
    world: World,
    snapshot: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    refused_in_files: usize,
    statuses: Option<Statuses>,
    /// Watches that have not told of all that there is yet.
    awaited: HashSet<Watching>,
    synced: Option<oneshot::Sender<()>>,
    published: watch::Sender<()>,
    sender: UnboundedSender<WorldNews>,
    news: UnboundedReceiver<WorldNews>,
}

impl Sender {
    pub(super) fn send(&self, news: WorldNews) {
        // The writer ends with the process.
        let _ = self.0.send(news);
    }
}

impl Writer {
    pub(super) fn new(
        untouched: impl IntoIterator<Item = String>,
        metrics: Arc<Metrics>,
    ) -> (Self, Arc<ArcSwap<Snapshot>>) {
        let world = World::new(untouched);
        let snapshot = Arc::new(ArcSwap::from_pointee(world.snapshot()));
        let (sender, news) = unbounded_channel();
        let writer = Self {
            world,
            snapshot: Arc::clone(&snapshot),
            metrics,
            refused_in_files: 0,
            statuses: None,
            awaited: HashSet::new(),
            synced: None,
            published: watch::Sender::default(),
            sender,
            news,
        };
        (writer, snapshot)
    }

    pub(super) fn sender(&self) -> Sender {
        Sender(self.sender.clone())
    }

    /// Says what there is to say of policies here, where somebody writes it, and tells once all of these watches have told
    /// of all that there is.
    pub(super) fn await_cluster(
        &mut self,
        watches: impl IntoIterator<Item = Watching>,
        statuses: Option<Statuses>,
    ) -> oneshot::Receiver<()> {
        let (synced, receiver) = oneshot::channel();
        self.awaited = watches.into_iter().collect();
        (self.synced, self.statuses) = (Some(synced), statuses);
        receiver
    }

    /// Changes whenever a snapshot was published.
    pub(super) fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// Takes in what is learnt, for ever. What has come together is published together.
    pub(super) async fn run(mut self) {
        while let Some(news) = self.news.recv().await {
            self.take(news);
            while let Ok(news) = self.news.try_recv() {
                self.take(news);
            }
            self.publish();
        }
    }

    pub(super) fn take(&mut self, news: WorldNews) {
        match news {
            WorldNews::Files(loaded) => {
                self.refused_in_files = 0;
                self.apply(loaded.into());
            }
            WorldNews::FilesRefused(errors) => self.refused_in_files = errors,
            WorldNews::Policies(news) => {
                if let Some(statuses) = &self.statuses {
                    statuses.seen(&news);
                }
                self.apply(Change::Policies(news.change));
            }
            WorldNews::Cluster(change) => self.apply(change),
        }
    }

    pub(super) fn publish(&mut self) {
        self.snapshot.store(Arc::new(self.world.snapshot()));
        self.published.send_replace(());
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.policies_loaded.set(count(self.world.policies_in_force()));
        self.metrics.policies_refused.set(count(self.world.policies_refused() + self.refused_in_files));
        if self.awaited.is_empty()
            && let Some(synced) = self.synced.take()
        {
            info!(policies = self.world.policies_in_force(), "all of the cluster that matters is known");
            let _ = synced.send(());
        }
    }

    fn apply(&mut self, change: Change) {
        if let Some(watch) = told_whole(&change) {
            self.awaited.remove(&watch);
        }
        let (_, statuses) = self.world.apply(change);
        for status in statuses.iter().filter(|status| status.uid.is_none()) {
            // A policy of a file has no status that could say it.
            warn!(policy = %status.id, error = status.acceptance.message, "policy refused");
        }
        if let Some(writer) = &self.statuses {
            writer.say(statuses);
        }
    }
}

/// The watch that told of all that there is by this change.
fn told_whole(change: &Change) -> Option<Watching> {
    match change {
        Change::Policies(PolicyChange::Relisted(PolicyKind::Cluster, _)) => Some(Watching::ClusterPolicies),
        Change::Policies(PolicyChange::Relisted(PolicyKind::Namespaced, _)) => Some(Watching::Policies),
        Change::Namespaces(Watched::Relisted(_)) => Some(Watching::Namespaces),
        Change::PriorityClasses(Watched::Relisted(_)) => Some(Watching::PriorityClasses),
        Change::RuntimeClasses(Watched::Relisted(_)) => Some(Watching::RuntimeClasses),
        _ => None,
    }
}
