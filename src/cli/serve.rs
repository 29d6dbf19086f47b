//! `stowage serve`: the admission webhook.

mod cluster;
mod decider;
mod descriptors;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, error::ErrorKind};
use tokio::{net::TcpListener, runtime::Builder};
use tracing::{info, warn};

use crate::{
    certs::{
        files::{CertificateChange, PairFiles},
        output,
    },
    cli::{
        Failure,
        admin::AdminThread,
        now,
        policies::{PolicySource, in_time},
        print,
        serve::{
            cluster::{ClusterArgs, InCluster},
            decider::Decider,
        },
    },
    metrics::Metrics,
    server::{
        self, Limits,
        readiness::{Readiness, ReadinessCheck},
        reload::{self, Audience},
        tls::{self, ServingCertificate},
    },
    shutdown::{Signals, until_signalled},
    standalone::{SAMPLE_REVIEW, Standalone},
    tasks::Tasks,
    telemetry::{self, LogFormat},
};

/// Serves the admission webhook.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// Where the webhook listens, with TLS; its path is /mutate
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where /livez, /readyz and /metrics listen, in plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    admin_listen: SocketAddr,
    /// Policy file or folder, read again when its content changes; may be given again. Without any, policies come from
    /// the cluster
    #[arg(long, value_name = "PATH", required_if_eq("standalone", "true"))]
    policies: Vec<PathBuf>,
    /// Make a CA and a serving certificate in memory, and print a curl line that works
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key", "cluster"])]
    standalone: bool,
    /// Where the CA of --standalone is written
    #[arg(long, value_name = "FILE", requires = "standalone")]
    ca_out: Option<PathBuf>,
    /// Serving certificate with its chain, PEM, read again when its content changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Stowage's own namespace, which is never touched
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    own_namespace: Option<String>,
    /// How long to keep serving after SIGTERM, so that API servers learn of it first
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = seconds)]
    shutdown_delay: Duration,
    /// Connections open at once; a quarter of them from one source address
    #[arg(long, value_name = "NUMBER", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(4..))]
    max_connections: u16,
    /// How often files are read again
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = seconds)]
    reload_interval: Duration,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl ServeArgs {
    /// Whether the cluster has a say: asked for, or because no file has.
    fn is_in_cluster(&self) -> bool {
        !self.standalone && (self.cluster.cluster || self.policies.is_empty())
    }
}

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    if !args.is_in_cluster() && !args.standalone && args.tls_cert.is_none() {
        let missing = "policies from files need --tls-cert and --tls-key, --standalone, or --cluster";
        super::command().error(ErrorKind::MissingRequiredArgument, missing).exit();
    }
    let filter = std::env::var("RUST_LOG").ok();
    // The last to go, so that it has the last word.
    let log = telemetry::init(args.log_format, filter.as_deref()).context("setting up the log")?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")).context("registering metrics")?);
    metrics.count_dropped_lines(log.lost());
    let runtime = Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let mut tasks = Tasks::new();
    let (admin, signals) = {
        let _tasks_are_spawned_on = runtime.enter();
        let checks = ["policies", reload::CHECK, "shutdown"];
        let patience = args.shutdown_delay + Limits::default().drain;
        AdminThread::start(args.admin_listen, &checks, patience, &metrics, &mut tasks)?
    };
    let ended = runtime.block_on(serve(&args, &admin, signals, &metrics, &mut tasks));
    // Whatever hangs in reading or deciding is not waited for.
    runtime.shutdown_background();
    Ok(ended?)
}

async fn serve(
    args: &ServeArgs,
    admin: &AdminThread,
    mut signals: Signals,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let starting = start(args, &admin.readiness, metrics, tasks);
    let started = tokio::select! {
        started = starting => started?,
        () = signals.next() => {
            info!("told to stop before all was read");
            return Ok(());
        }
    };
    info!(listen = %started.address, admin = %admin.address, "serving");
    let tls = tls::server_config(started.certificate).context("setting up TLS")?;
    let limits = limits(args);
    let leave = || admin.readiness.set("shutdown", ReadinessCheck::Failing("told to stop".to_owned()));
    let serving = until_signalled(signals, args.shutdown_delay, leave, |phase| {
        server::serve(started.listener, tls, started.decider, limits, Arc::clone(metrics), phase)
    });
    let cut_off = tokio::select! {
        cut_off = serving => cut_off?,
        gone = tasks.first_gone() => return Err(gone.into()),
    };
    if cut_off > 0 {
        warn!(connections = cut_off, "stopped before all requests were answered");
    }
    info!("stopped");
    Ok(())
}

fn limits(args: &ServeArgs) -> Limits {
    let descriptors = descriptors::raise();
    let wanted = args.max_connections.into();
    let connections = descriptors::connections(wanted, descriptors);
    if connections < wanted {
        warn!(descriptors, wanted, connections, "the limit on descriptors allows fewer connections");
    }
    // As many as there are workers, which they leave free for everything else.
    Limits { connections, decisions: workers().max(2), ..Limits::default() }
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
}

/// What serving needs.
struct ServerParts {
    decider: Arc<Decider>,
    certificate: Arc<ServingCertificate>,
    listener: TcpListener,
    address: SocketAddr,
}

async fn start(
    args: &ServeArgs,
    readiness: &Arc<Readiness>,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> anyhow::Result<ServerParts> {
    let files = PolicySource { paths: &args.policies, reload_interval: args.reload_interval };
    let (mut writer, snapshot) = files.begin(args.own_namespace.clone(), metrics, tasks).await?;
    let audience = Audience { metrics: Arc::clone(metrics), readiness: Arc::clone(readiness) };
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
    let address = listener.local_addr().context("reading the address listened on")?;
    let mut decider = Decider::new(Arc::clone(&snapshot));
    let certificate = if args.is_in_cluster() {
        let cluster = InCluster::connect(args, &audience).await?;
        let synced = cluster.watch(&mut writer, &mut decider, args.cluster.pod_name.clone(), tasks);
        tasks.spawn("world", writer.run());
        let certificate = cluster.certificate(args, tasks).await?;
        synced.await.context("waiting for the policies of the cluster")?;
        certificate
    } else {
        tasks.spawn("world", writer.run());
        certificate(args, address, &audience, tasks).await?
    };
    readiness.set("policies", ReadinessCheck::Passing);
    audience.tell(certificate.validity());
    readiness.set("shutdown", ReadinessCheck::Passing);
    Ok(ServerParts { decider: Arc::new(decider), certificate, listener, address })
}

/// The certificate to serve: made for this run, or from files that are followed.
async fn certificate(
    args: &ServeArgs,
    address: SocketAddr,
    audience: &Audience,
    tasks: &mut Tasks,
) -> anyhow::Result<Arc<ServingCertificate>> {
    if args.tls_cert.is_some() {
        return certificate_files(args, audience, tasks).await;
    }
    let standalone = Standalone::new(address, now())?;
    if let Some(path) = &args.ca_out {
        output::to_file(path, standalone.ca_pem(), 0o644, true)?;
    }
    let curl = standalone.curl(address, args.ca_out.as_deref(), SAMPLE_REVIEW);
    print(curl.as_bytes()).map_err(|failure| anyhow!("{failure}"))?;
    Ok(ServingCertificate::new(standalone.served().clone()))
}

/// The pair in the files that the arguments name, which are followed.
async fn certificate_files(
    args: &ServeArgs,
    audience: &Audience,
    tasks: &mut Tasks,
) -> anyhow::Result<Arc<ServingCertificate>> {
    let (Some(chain), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return Err(anyhow!("no certificate was named"));
    };
    let mut pair = PairFiles::new(chain.clone(), key.clone());
    let unseen = pair.unseen();
    let served = match pair.take(in_time("the certificate", move || unseen.read()).await?, now()) {
        CertificateChange::Served(served) => served,
        CertificateChange::Refused(error) => return Err(error.into()),
        CertificateChange::None => return Err(anyhow!("reading {}: nothing there", chain.display())),
    };
    let certificate = ServingCertificate::new(served);
    let follow = reload::follow(pair, Arc::clone(&certificate), args.reload_interval, now, audience.clone());
    tasks.spawn("certificate files", follow);
    Ok(certificate)
}

/// `10s`, `1m 30s`, or a number of seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let duration: jiff::SignedDuration = text.parse().map_err(|_| format!("{text:?} is not a duration such as 10s"))?;
    Duration::try_from(duration).map_err(|_| format!("{text:?} is less than nothing"))
}
