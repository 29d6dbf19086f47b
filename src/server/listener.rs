//! The accept loop: takes connections in until told to stop, then sees those
//! that are open to their end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::connection;
use super::connections::{ConnectionPlace, Connections};
use super::decide::Decide;
use super::limits::Limits;
use super::route::Webhook;
use crate::metrics::Metrics;
use crate::shutdown::ShutdownPhase;

/// How long accepting rests after an error of our own, such as no file
/// descriptor left: trying again at once would only burn the processor.
const REST: Duration = Duration::from_millis(100);

/// Serves the webhook on a socket until `phase` says [`ShutdownPhase::Stopped`], then
/// closes the socket, finishes what is in flight and returns. No error of a
/// connection, and none of accepting, ends it.
///
/// In [`ShutdownPhase::Leaving`] it goes on, and asks HTTP/1.1 clients to connect anew
/// for each request. Returns how many connections had to be cut off because
/// they did not end within `limits.drain`.
pub async fn serve<D: Decide>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    decide: Arc<D>,
    limits: Limits,
    metrics: Arc<Metrics>,
    mut phase: watch::Receiver<ShutdownPhase>,
) -> usize {
    let drain = limits.drain;
    let connections = Connections::new(limits.clone(), Arc::clone(&metrics));
    let webhook = Arc::new(Webhook::new(decide, limits, metrics));
    let tls = TlsAcceptor::from(tls);
    let mut tasks = JoinSet::new();
    let mut sweep = interval(connections.sweep_interval());
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut now_phase = *phase.borrow_and_update();
    while now_phase != ShutdownPhase::Stopped {
        if now_phase == ShutdownPhase::Leaving {
            webhook.leave();
        }
        tokio::select! {
            accepted = accept(&listener, &connections) => {
                if let Some((stream, place)) = accepted {
                    let (tls, webhook) = (tls.clone(), Arc::clone(&webhook));
                    tasks.spawn(connection::run(stream, tls, webhook, place));
                }
            }
            Some(_) = tasks.join_next() => {}
            _ = sweep.tick() => connections.sweep(Instant::now()),
            changed = phase.changed() => {
                now_phase = match changed {
                    Ok(()) => *phase.borrow_and_update(),
                    // Whoever could have told us to stop is gone.
                    Err(_) => ShutdownPhase::Stopped,
                };
            }
        }
    }
    drop(listener);
    webhook.leave();
    connections.finish();
    info!(connections = tasks.len(), "finishing what is in flight");
    let ended = timeout_at(Instant::now() + drain, async {
        loop {
            tokio::select! {
                joined = tasks.join_next() => if joined.is_none() { return },
                _ = sweep.tick() => connections.sweep(Instant::now()),
            }
        }
    });
    if ended.await.is_err() {
        warn!(connections = tasks.len(), ?drain, "cutting off what did not end in time");
    }
    tasks.len()
}

async fn accept(listener: &TcpListener, connections: &Arc<Connections>) -> Option<(TcpStream, ConnectionPlace)> {
    match listener.accept().await {
        Ok((stream, address)) => {
            let place = connections.admit(address.ip())?;
            Some((stream, place))
        }
        Err(error) if is_the_clients(&error) => None,
        Err(error) => {
            warn!(%error, "accepting connections");
            connections.evict_one();
            sleep(REST).await;
            None
        }
    }
}

/// Whether an error of `accept` is about the one connection that was to be
/// accepted (accept(2)), so that the next one may well be good.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_clients_fault_from_our_own() {
        const EMFILE: i32 = 24;
        const ECONNABORTED: i32 = 103;
        assert!(is_the_clients(&io::Error::from_raw_os_error(ECONNABORTED)));
        assert!(!is_the_clients(&io::Error::from_raw_os_error(EMFILE)));
    }
}
