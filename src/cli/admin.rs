//! The thread of the admin port and of signals, which every verb that runs for long has.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use anyhow::Context as _;
use tokio::{net::TcpListener, runtime::Builder};
use tracing::error;

use crate::{
    cli::now,
    metrics::Metrics,
    server::{
        admin::{self, Admin},
        readiness::Readiness,
    },
    shutdown::{self, Signals},
    tasks::Tasks,
};

/// How much longer than its own bounds the process may take to end before it is ended.
const GRACE: Duration = Duration::from_secs(5);

/// The thread that answers probes and hears signals, whatever the rest of the process is at.
pub(super) struct AdminThread {
    pub(super) address: SocketAddr,
    pub(super) readiness: Arc<Readiness>,
}

impl AdminThread {
    /// Listens there; not ready until all `checks` pass. `patience` is how long the work may take to end once a signal
    /// came, by its own bounds.
    pub(super) fn start(
        listen: SocketAddr,
        checks: &[&'static str],
        patience: Duration,
        metrics: &Arc<Metrics>,
        tasks: &mut Tasks,
    ) -> anyhow::Result<(Self, Signals)> {
        let readiness = Arc::new(Readiness::awaiting(checks));
        let admin = Admin { readiness: Arc::clone(&readiness), metrics: Arc::clone(metrics), clock: now };
        let runtime = Builder::new_current_thread().enable_all().build().context("starting the admin runtime")?;
        let (listener, hears, signals) = {
            let _listens_on = runtime.enter();
            let listener = std::net::TcpListener::bind(listen).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            let listener = listener.with_context(|| format!("listening on {listen}"))?;
            let (hears, signals) = shutdown::Listener::new().context("listening for signals")?;
            (listener, hears, signals)
        };
        let address = listener.local_addr().context("reading the admin address listened on")?;
        let patience = patience + GRACE;
        let work = move || {
            runtime.block_on(async {
                tokio::join!(admin::serve(listener, admin), hears.run(patience, end_overdue));
            });
        };
        tasks.spawn_thread("admin", work).context("starting the admin thread")?;
        Ok((Self { address, readiness }, signals))
    }
}

/// Ends a process that does not end by itself.
fn end_overdue() {
    error!("something hangs: ending without waiting for it");
    // The log's own thread writes the line, where anybody reads it.
    thread::sleep(Duration::from_millis(100));
    std::process::exit(1);
}
