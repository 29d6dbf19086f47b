//! What the watcher watches, each by a task of its own.

use std::sync::Arc;

use kube::Client;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    desk::{Heard, News},
    live::LiveArgs,
};
use crate::{
    cli::{
        now,
        world::{self, Writer},
    },
    cluster::{
        deployment, follow_scope,
        lease::{Candidate, Elector, Leadership},
        namespaces, nodes, pods, policies,
    },
    metrics::{Metrics, WatcherMetrics, Watching},
    policy::{compile::Compiler, roster::PolicyKind},
    reaper::watcher::RELEASE,
    server::{
        board::Question,
        readiness::{Readiness, ReadinessCheck},
    },
    tasks::Tasks,
};

/// Pods that were heard of and not yet looked at.
const NEWS: usize = 1024;
/// Questions of the board at once.
const QUESTIONS: usize = 16;

/// Starts watches.
pub(super) struct Watches {
    pub(super) client: Client,
    pub(super) metrics: Arc<Metrics>,
    /// Stowage's own.
    pub(super) namespace: String,
}

/// The other ends of what the desk hears.
pub(super) struct Ends {
    /// Asks for a list of all pods.
    pub(super) relist: Arc<Notify>,
    pub(super) stop: oneshot::Sender<oneshot::Sender<()>>,
    pub(super) questions: mpsc::Sender<Question>,
}

impl Watches {
    /// Policies and namespaces; the receiver hears once all of them are known.
    pub(super) fn policies(&self, writer: &mut Writer, tasks: &mut Tasks) -> oneshot::Receiver<()> {
        let watches = [Watching::ClusterPolicies, Watching::Policies, Watching::Namespaces];
        // Statuses are the webhook's to write.
        let synced = writer.await_cluster(watches, None);
        let compiler = Arc::new(Compiler::new());
        for (name, kind) in [("cluster policies", PolicyKind::Cluster), ("policies", PolicyKind::Namespaced)] {
            let news = writer.sender();
            let tell = move |told| news.send(world::WorldNews::Policies(told));
            let (client, metrics) = (self.client.clone(), Arc::clone(&self.metrics));
            tasks.spawn(name, policies::follow(client, kind, Arc::clone(&compiler), metrics, tell));
        }
        let news = writer.sender();
        let tell = move |change| news.send(world::WorldNews::Cluster(change));
        tasks.spawn("namespaces", namespaces::follow(self.client.clone(), Arc::clone(&self.metrics), tell));
        synced
    }

    /// The election, where there is one.
    pub(super) fn election(
        &self,
        live: &LiveArgs,
        metrics: &Arc<WatcherMetrics>,
        tasks: &mut Tasks,
    ) -> (Option<Arc<Elector>>, Leadership) {
        if !live.leader_election {
            metrics.leader.set(1);
            return (None, Leadership::undisputed());
        }
        let candidate = Candidate {
            namespace: self.namespace.clone(),
            name: live.lease.clone(),
            identity: Candidate::identity(live.pod_name.as_deref().unwrap_or("stowage")),
            clock: now,
        };
        let (elector, leadership) = Elector::new(self.client.clone(), candidate);
        let metrics = Arc::clone(metrics);
        tasks.spawn("lease", Arc::clone(&elector).run(move |leads| metrics.leader.set(leads.into())));
        (Some(elector), leadership)
    }

    /// Everything else. Pods are listed once policies are known, or each would be judged twice.
    pub(super) fn world(
        &self,
        live: &LiveArgs,
        published: watch::Receiver<()>,
        synced: oneshot::Receiver<()>,
        readiness: &Arc<Readiness>,
        tasks: &mut Tasks,
    ) -> (Heard, Ends) {
        let (client, metrics) = (|| self.client.clone(), || Arc::clone(&self.metrics));
        let relist = Arc::new(Notify::new());
        let (pod_news, pods) = mpsc::channel(NEWS);
        let (other_news, others) = mpsc::unbounded_channel();
        let tell = |news: mpsc::UnboundedSender<News>| {
            move |told| {
                // The desk ends with the process.
                let _ = news.send(told);
            }
        };
        let all_pods = pods::follow(client(), metrics(), Arc::clone(&relist), pod_news);
        let ready = Arc::clone(readiness);
        tasks.spawn("pods", async move {
            // Whoever knows policies ends with the process.
            let _ = synced.await;
            ready.set("policies", ReadinessCheck::Passing);
            all_pods.await;
        });
        let of_nodes = tell(other_news.clone());
        tasks.spawn("nodes", nodes::follow(client(), metrics(), move |told| of_nodes(News::Nodes(Box::new(told)))));
        let of_scope = tell(other_news.clone());
        let scope = follow_scope(client(), live.registration.clone(), metrics(), move |scope| {
            of_scope(News::Registration(scope));
        });
        tasks.spawn("registration", scope);
        let of_own = tell(other_news);
        let own = deployment::follow(client(), self.namespace.clone(), live.deployment.clone(), RELEASE, move |own| {
            of_own(News::Own(own))
        });
        tasks.spawn("deployment", own);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (stop, told_to_stop) = oneshot::channel();
        (Heard { pods, others, questions: asked, published, stop: told_to_stop }, Ends { relist, stop, questions })
    }
}
