//! The watcher in a cluster: what it watches, who acts, and where it is seen.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use anyhow::Context as _;
use clap::{ArgAction, Args, error::ErrorKind};
use tokio::{
    net::TcpListener,
    runtime::Builder,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{info, warn};

use super::{
    ReapArgs,
    desk::{Desk, DeskState},
    hands::Hands,
    told::Told,
    watches::Watches,
};
use crate::{
    cli::{Failure, admin::AdminThread, now, policies::PolicySource, serve::seconds},
    cluster::{
        REGISTRATION, client,
        events::{self, Pace},
        lease::Elector,
        removals::Removals,
    },
    metrics::Metrics,
    reaper::{
        options::{BreakerRule, OrOff, Rate, WatcherOptions, notice},
        watcher::Watcher,
    },
    server::{
        board::{self, BoardAddress},
        readiness::{Readiness, ReadinessCheck},
    },
    shutdown::Signals,
    tasks::Tasks,
    telemetry::{self, LogFormat},
};

/// How the watcher watches.
#[derive(Args, Debug)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct LiveArgs {
    /// Remove nothing: go the same way and only report
    #[arg(long, conflicts_with = "file")]
    dry_run: bool,
    /// How long a pod that was due already when it was first seen is announced before it is acted on
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = notice, conflicts_with = "file")]
    overdue_notice: Duration,
    /// From which share of the pods on, coming due in one state within this time, that state is held; or off
    #[arg(long, value_name = "SHARE/TIME", default_value = "20%/10m", conflicts_with = "file")]
    breaker: OrOff<BreakerRule>,
    /// Removals in a second, a minute or an hour, over all; or off
    #[arg(long, value_name = "N/s", default_value = "5/s", conflicts_with = "file")]
    rate: OrOff<Rate>,
    /// The same in one namespace
    #[arg(long, value_name = "N/s", default_value = "1/s", conflicts_with = "file")]
    namespace_rate: OrOff<Rate>,
    /// Where the board listens, in plain HTTP; or off. It names pods of every namespace
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090", conflicts_with = "file")]
    board_listen: BoardAddress,
    /// Where /livez, /readyz and /metrics listen, in plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080", conflicts_with = "file")]
    admin_listen: SocketAddr,
    /// Whether one of several replicas acts, by a Lease, while the others watch
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, conflicts_with = "file")]
    pub(super) leader_election: bool,
    /// Name of the Lease in Stowage's own namespace
    #[arg(long, value_name = "NAME", default_value = "stowage-watcher", conflicts_with = "file")]
    pub(super) lease: String,
    /// Name of the watcher's own Deployment there: Events about the circuit breaker are on it, and an annotation of it
    /// releases the breaker
    #[arg(long, value_name = "NAME", default_value = "stowage-watcher", conflicts_with = "file")]
    pub(super) deployment: String,
    /// Name of the webhook's MutatingWebhookConfiguration: which pods it should have seen
    #[arg(long, value_name = "NAME", default_value = REGISTRATION, conflicts_with = "file")]
    pub(super) registration: String,
    /// Stowage's own namespace, which is never touched
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    own_namespace: Option<String>,
    /// Name of the pod that this runs in, for events and the Lease
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(super) pod_name: Option<String>,
    /// How often policy files are read again
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = seconds, conflicts_with = "file")]
    reload_interval: Duration,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t, conflicts_with = "file")]
    log_format: LogFormat,
}

/// How long what is in hand may take to end once a signal came.
const DRAIN: Duration = Duration::from_secs(6);
/// And giving the Lease up after it.
const RELEASING: Duration = Duration::from_secs(8);

pub(super) fn run(args: &ReapArgs) -> Result<(), Failure> {
    if args.live.own_namespace.is_none() && !args.live.dry_run {
        // Whoever left out -f by mistake has a kubeconfig too.
        let missing = "in a cluster --own-namespace (or POD_NAMESPACE) says where Stowage runs and its Lease is; --dry-run \
                       removes nothing, and -f judges a dump";
        crate::cli::command().error(ErrorKind::MissingRequiredArgument, missing).exit();
    }
    let filter = std::env::var("RUST_LOG").ok();
    // The last to go, so that it has the last word.
    let log = telemetry::init(args.live.log_format, filter.as_deref()).context("setting up the log")?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")).context("registering metrics")?);
    metrics.count_dropped_lines(log.lost());
    let workers = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let mut tasks = Tasks::new();
    let (admin, signals) = {
        let _tasks_are_spawned_on = runtime.enter();
        let checks = ["policies", "nodes", "pods", "shutdown"];
        AdminThread::start(args.live.admin_listen, &checks, DRAIN + RELEASING, &metrics, &mut tasks)?
    };
    let ended = runtime.block_on(watch(args, &admin, signals, &metrics, &mut tasks));
    runtime.shutdown_background();
    Ok(ended?)
}

async fn watch(
    args: &ReapArgs,
    admin: &AdminThread,
    mut signals: Signals,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let starting = start(args, &admin.readiness, metrics, tasks);
    let started = tokio::select! {
        started = starting => started?,
        () = signals.next() => {
            info!("told to stop before anything was watched");
            return Ok(());
        }
    };
    info!(admin = %admin.address, board = started.board.map(tracing::field::display), dry_run = args.live.dry_run, "watching");
    tokio::select! {
        gone = tasks.first_gone() => return Err(gone.into()),
        () = signals.next() => {}
    }
    info!("told to stop: nothing new is begun");
    admin.readiness.set("shutdown", ReadinessCheck::Failing("told to stop".to_owned()));
    tokio::select! {
        () = started.stop() => {}
        () = signals.next() => warn!("a second signal came: stopping without finishing what is in hand"),
    }
    info!("stopped");
    Ok(())
}

/// What runs, as far as it has to be told to stop.
struct RunningWatcher {
    board: Option<SocketAddr>,
    stop: oneshot::Sender<oneshot::Sender<()>>,
    elector: Option<Arc<Elector>>,
}

impl RunningWatcher {
    /// Nothing is removed after it, and another replica may begin at once.
    async fn stop(self) {
        let (stopped, has_stopped) = oneshot::channel();
        // Where the desk is gone there is nothing to wait for.
        let _ = self.stop.send(stopped);
        if timeout(DRAIN, has_stopped).await.is_err() {
            warn!("calls that were begun are not waited for any longer");
        }
        if let Some(elector) = self.elector {
            let _ = timeout(RELEASING, elector.release()).await;
        }
    }
}

async fn start(
    args: &ReapArgs,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> anyhow::Result<RunningWatcher> {
    let live = &args.live;
    let watcher_metrics = Arc::new(metrics.watcher().context("registering the watcher's metrics")?);
    let client = client::connect().await?;
    let namespace = live.own_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let files = PolicySource { paths: &args.policies, reload_interval: live.reload_interval };
    let (mut writer, snapshot) = files.begin(live.own_namespace.clone(), metrics, tasks).await?;
    let watches = Watches { client: client.clone(), metrics: Arc::clone(metrics), namespace: namespace.clone() };
    let synced = watches.policies(&mut writer, tasks);
    let published = writer.published();
    tasks.spawn("world", writer.run());
    let (elector, leadership) = watches.election(live, &watcher_metrics, tasks);
    let (notices, waiting) = events::queue(Arc::clone(metrics), pace(live.rate.0));
    let deliver = events::deliver(client.clone(), live.pod_name.clone(), waiting, Arc::clone(metrics));
    tasks.spawn("events", deliver);
    let (heard, ends) = watches.world(live, published, synced, readiness, tasks);
    let board = board(live.board_listen, ends.questions, tasks).await?;
    let desk = Desk {
        watcher: Watcher::new(options(args, namespace)),
        hands: Hands { removals: Removals::new(client), leadership, clock: now },
        told: Told { notices, metrics: watcher_metrics, own: None },
        readiness: Arc::clone(readiness),
        snapshot,
        relist: ends.relist,
        state: DeskState::default(),
    };
    tasks.spawn("watcher", desk.run(heard));
    readiness.set("shutdown", ReadinessCheck::Passing);
    Ok(RunningWatcher { board, stop: ends.stop, elector })
}

fn options(args: &ReapArgs, own_namespace: String) -> WatcherOptions {
    WatcherOptions {
        dry_run: args.live.dry_run,
        overdue_notice: args.live.overdue_notice,
        breaker: args.live.breaker.0,
        rate: args.live.rate.0,
        namespace_rate: args.live.namespace_rate.0,
        owners: args.owners.clone(),
        own_namespace,
    }
}

/// Events for every removal: one on the pod and one on its owner, and as many again for what is reported.
fn pace(rate: Option<Rate>) -> Pace {
    let per_second = rate.map_or(50, |rate| u64::from(rate.count) / rate.per.as_secs().max(1));
    let per_second = (per_second * 4).clamp(20, 200);
    Pace { queue: 4096, burst: 200, interval: Duration::from_millis(1000 / per_second) }
}

async fn board(
    address: BoardAddress,
    questions: mpsc::Sender<board::Question>,
    tasks: &mut Tasks,
) -> anyhow::Result<Option<SocketAddr>> {
    let BoardAddress(Some(address)) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    let address = listener.local_addr().context("reading the board's address")?;
    if !address.ip().is_loopback() {
        warn!(%address, "the board names pods of every namespace to whoever reaches this address");
    }
    tasks.spawn("board", board::serve(listener, questions));
    Ok(Some(address))
}
