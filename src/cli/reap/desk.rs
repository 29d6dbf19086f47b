//! The one task that owns the watcher: what is heard comes here, and what is due goes out from here.
//!
//! It judges by the wall clock, which it reads anew in every turn, and sleeps by the monotonic one for a minute at most: a
//! clock that jumps moves what is due, and nothing else.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant as Moment, sleep},
};
use tracing::{debug, info, warn};

use super::{
    board,
    hands::{Hands, Taken},
    told::Told,
};
use crate::{
    cluster::{deployment::OwnDeployment, pods::PodNews, watch::WatchNews},
    policy::snapshot::Snapshot,
    reaper::{
        missed::Registration,
        step::{Attempt, LiveFacts, NextStep},
        watcher::Watcher,
    },
    server::{
        board::Question,
        readiness::{Readiness, ReadinessCheck},
    },
    threshold::WatchedNode,
};

/// Pods read or removed at once.
const AT_ONCE: usize = 64;
/// News taken in before it is looked whether something is due.
const BATCH: usize = 256;
/// The longest sleep, however far the next deadline is.
const LONGEST: Duration = Duration::from_secs(60);
/// How often metrics are brought up to date at most.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long policies have to be quiet before all pods are listed once more, and how long they may put it off.
const QUIET: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// What the desk hears.
pub(super) struct Heard {
    pub(super) pods: mpsc::Receiver<PodNews>,
    pub(super) others: mpsc::UnboundedReceiver<News>,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) published: watch::Receiver<()>,
    /// Told to stop; the answer is sent once nothing is in hand any more.
    pub(super) stop: oneshot::Receiver<oneshot::Sender<()>>,
}

/// News beside those of pods.
pub(super) enum News {
    Nodes(Box<WatchNews<WatchedNode>>),
    Registration(Option<Registration>),
    Own(OwnDeployment),
}

/// The watcher, and what it works with.
pub(super) struct Desk {
    pub(super) watcher: Watcher,
    pub(super) hands: Hands,
    pub(super) told: Told,
    pub(super) readiness: Arc<Readiness>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    /// Asks for a list of all pods.
    pub(super) relist: Arc<Notify>,
    pub(super) state: DeskState,
}

/// What changes from turn to turn.
#[derive(Default)]
pub(super) struct DeskState {
    waiting: VecDeque<Attempt>,
    in_flight: FuturesUnordered<BoxFuture<'static, Taken>>,
    /// When pods are to be listed once more, and by when at the latest.
    relist_at: Option<(Moment, Moment)>,
    counted: Option<Moment>,
    released: Option<String>,
    synced: bool,
    is_stopping: bool,
    stopped: Option<oneshot::Sender<()>>,
}

impl Desk {
    /// Runs for ever; once told to stop it acts no more.
    pub(super) async fn run(mut self, mut heard: Heard) {
        self.read_snapshot();
        loop {
            let wait = self.turn();
            let leadership = &mut self.hands.leadership;
            tokio::select! {
                Some(taken) = self.state.in_flight.next() => self.take(taken),
                Some(news) = heard.pods.recv() => {
                    self.pod(news);
                    for _ in 0..BATCH {
                        let Ok(news) = heard.pods.try_recv() else { break };
                        self.pod(news);
                    }
                }
                Some(news) = heard.others.recv() => self.hear(news),
                Ok(()) = heard.published.changed() => self.read_snapshot(),
                Some(question) = heard.questions.recv() => self.answer(question),
                Ok(stopped) = &mut heard.stop, if !self.state.is_stopping => {
                    (self.state.is_stopping, self.state.stopped) = (true, Some(stopped));
                }
                () = leadership.changed() => {}
                () = sleep(wait) => {}
            }
        }
    }

    fn now(&self) -> Timestamp {
        (self.hands.clock)()
    }

    fn leads(&self, now: Timestamp) -> bool {
        !self.state.is_stopping && self.hands.leadership.holds(now)
    }

    /// Hands out what is due; how long nothing more will be.
    fn turn(&mut self) -> Duration {
        let now = self.now();
        let leads = self.leads(now);
        let due = self.watcher.due(now, leads);
        self.told.events(due.said);
        for turn in due.turns {
            self.told.turn(turn, leads);
        }
        self.state.waiting.extend(due.attempts);
        if !leads {
            // What comes up once more comes to whoever leads then.
            self.state.waiting.clear();
        }
        while self.state.in_flight.len() < AT_ONCE {
            let Some(attempt) = self.state.waiting.pop_front() else { break };
            self.state.in_flight.push(Box::pin(self.hands.clone().pod(attempt)));
        }
        if self.state.in_flight.is_empty()
            && let Some(stopped) = self.state.stopped.take()
        {
            // Whoever waits has ended where it does not hear.
            let _ = stopped.send(());
        }
        let count = self.count(now);
        let relist = self.relist_due();
        let next = self.watcher.next_at(now, leads).map(|next| next.duration_since(now));
        // A fraction of a millisecond is slept through, or the turn would come too early again and again.
        let next = next.map(|next| Duration::try_from(next).unwrap_or_default() + Duration::from_millis(1));
        [next, relist, count].into_iter().flatten().min().unwrap_or(LONGEST).min(LONGEST)
    }

    /// Brings metrics up to date; how long until it may, where they just were.
    fn count(&mut self, now: Timestamp) -> Option<Duration> {
        let left = self.state.counted.map(|counted| COUNT_EVERY.saturating_sub(counted.elapsed()));
        let fresh = left.filter(|left| !left.is_zero());
        if fresh.is_none() {
            self.told.counts(&self.watcher.counts(now));
            self.state.counted = Some(Moment::now());
        }
        fresh
    }

    /// Asks for a list where one is due; how long until it is.
    fn relist_due(&mut self) -> Option<Duration> {
        let (at, latest) = self.state.relist_at?;
        let left = at.min(latest).saturating_duration_since(Moment::now());
        if !left.is_zero() {
            return Some(left);
        }
        self.state.relist_at = None;
        self.relist.notify_one();
        None
    }

    fn read_snapshot(&mut self) {
        let now = self.now();
        if self.watcher.snapshot(self.snapshot.load_full(), now) {
            let (quiet, latest) = (Moment::now() + QUIET, Moment::now() + PATIENCE);
            let latest = self.state.relist_at.map_or(latest, |(_, latest)| latest);
            self.state.relist_at = Some((quiet, latest));
        }
    }

    fn pod(&mut self, news: PodNews) {
        let now = self.now();
        match news {
            PodNews::ListBegins => self.watcher.begin_list(),
            PodNews::Pod(pod) => self.watcher.pod(&pod, now),
            PodNews::Gone(uid) => self.watcher.gone(&uid, now),
            PodNews::ListEnds => {
                let gone = self.watcher.end_list(now);
                if !std::mem::replace(&mut self.state.synced, true) {
                    info!("all pods are known");
                    self.readiness.set("pods", ReadinessCheck::Passing);
                }
                debug!(gone, "all pods were listed");
            }
        }
    }

    fn hear(&mut self, news: News) {
        let now = self.now();
        match news {
            News::Nodes(news) => self.nodes(*news, now),
            News::Registration(registration) => self.watcher.registration(registration, now),
            News::Own(own) => {
                self.told.own = Some(own.reference);
                if let Some(value) = own.annotation.filter(|value| self.state.released.as_ref() != Some(value)) {
                    match self.watcher.release(&value, now) {
                        Ok(()) => info!(value, "the circuit breaker is released by the Deployment's annotation"),
                        Err(error) => warn!(%error, "the annotation that releases the circuit breaker"),
                    }
                    self.state.released = Some(value);
                }
            }
        }
    }

    fn nodes(&mut self, news: WatchNews<WatchedNode>, now: Timestamp) {
        match news {
            WatchNews::Applied(node) => self.watcher.node(&node, now),
            WatchNews::Deleted { name, .. } => self.watcher.node_gone(&name, now),
            WatchNews::Relisted(nodes) => {
                self.watcher.begin_nodes();
                nodes.iter().for_each(|node| self.watcher.node(node, now));
                self.watcher.end_nodes(now);
                self.readiness.set("nodes", ReadinessCheck::Passing);
            }
        }
    }

    fn take(&mut self, taken: Taken) {
        let now = self.now();
        match taken {
            Taken::Read(..) if self.state.is_stopping => {}
            Taken::Read(attempt, facts) => self.decide(attempt, facts, now),
            Taken::Acted(act, answer) => {
                let what = self.watcher.answered(&act.pod_uid, answer, now);
                self.told.answered(act.kind, answer, what);
            }
        }
    }

    fn decide(&mut self, attempt: Attempt, facts: LiveFacts, now: Timestamp) {
        match self.watcher.decide(&attempt, &facts, now) {
            NextStep::Read(reference) => {
                self.state.in_flight.push(Box::pin(self.hands.clone().owner(attempt, facts, reference)));
            }
            NextStep::Act(act) => self.state.in_flight.push(Box::pin(self.hands.clone().act(act))),
            NextStep::Report(report) => self.told.report(*report),
            NextStep::Later(at) => debug!(namespace = &*attempt.namespace, pod = attempt.name, %at, "a due pod waits"),
            NextStep::Nothing => debug!(namespace = &*attempt.namespace, pod = attempt.name, "nothing is to be done"),
        }
    }

    fn answer(&mut self, question: Question) {
        let now = self.now();
        let leads = self.leads(now);
        board::answer(&mut self.watcher, question, now, leads, self.state.synced);
    }
}

#[cfg(test)]
mod tests;
