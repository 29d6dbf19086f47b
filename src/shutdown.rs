//! From SIGTERM to the exit: no longer ready, still serving, then finishing.
//!
//! Endpoints take seconds to follow readiness, and API servers keep calling
//! until they have: a server that closed at once would fail those calls.
//! Whatever hangs meanwhile, the process ends in time.

use std::future::Future;
use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;

/// How far the program is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownPhase {
    /// Ready and serving.
    Serving,
    /// No longer ready, still serving.
    Leaving,
    /// Accepting nothing new.
    Stopped,
}

/// SIGTERM and SIGINT, as they come.
#[derive(Debug)]
pub struct Signals(mpsc::Receiver<()>);

/// Hears the signals, and ends the process where nobody else does in time.
#[derive(Debug)]
pub struct Listener {
    terminate: Signal,
    interrupt: Signal,
    heard: mpsc::Sender<()>,
}

/// A second signal came before the work was finished.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a second signal came: stopping without finishing what is in flight")]
pub struct Aborted;

/// After a second signal the process has this long to end by itself.
const HURRY: Duration = Duration::from_secs(1);

impl Listener {
    /// Listens for SIGTERM and SIGINT from now on. To be called on the runtime that will run [`Listener::run`], which
    /// should have nothing to do that takes long.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn new() -> io::Result<(Self, Signals)> {
        let (heard, signals) = mpsc::channel(2);
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok((Self { terminate, interrupt, heard }, Signals(signals)))
    }

    /// Passes signals on, for ever. `overdue` is called once where the process is still there `patience` after the first
    /// signal, or `HURRY` after the second: something hangs that nobody can be waited for any longer.
    pub async fn run(mut self, patience: Duration, overdue: impl FnOnce()) {
        self.next().await;
        let end = Instant::now() + patience;
        let second = tokio::time::timeout_at(end, self.next()).await;
        if second.is_ok() {
            sleep_until(end.min(Instant::now() + HURRY)).await;
        }
        overdue();
        std::future::pending().await
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        // Room for the two that mean something; whoever should take them may hang.
        let _ = self.heard.try_send(());
    }
}

impl Signals {
    /// Signals that another part of the program sends.
    #[must_use]
    pub fn from_channel(receiver: mpsc::Receiver<()>) -> Self {
        Self(receiver)
    }

    /// Waits for the next one; for ever where none can come any more. Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Runs `work` until it ends by itself or a signal tells it to.
///
/// On the first signal `leave` is called (readiness goes) and `work` sees
/// [`ShutdownPhase::Leaving`], after `delay` [`ShutdownPhase::Stopped`], and is waited for. Its
/// own bounds say how long that may take.
///
/// # Errors
/// [`Aborted`] where a second signal comes first; `work` is dropped then.
pub async fn until_signalled<F: Future>(
    mut signals: Signals,
    delay: Duration,
    leave: impl FnOnce(),
    work: impl FnOnce(watch::Receiver<ShutdownPhase>) -> F,
) -> Result<F::Output, Aborted> {
    let (phase, receiver) = watch::channel(ShutdownPhase::Serving);
    let mut work = std::pin::pin!(work(receiver));
    tokio::select! {
        done = work.as_mut() => return Ok(done),
        () = signals.next() => {}
    }
    info!(?delay, "told to stop: not ready from now on, serving on");
    leave();
    phase.send_replace(ShutdownPhase::Leaving);
    let stop = async {
        sleep(delay).await;
        phase.send_replace(ShutdownPhase::Stopped);
        std::future::pending().await
    };
    tokio::select! {
        done = work.as_mut() => Ok(done),
        () = stop => Err(Aborted),
        () = signals.next() => Err(Aborted),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const DELAY: Duration = Duration::from_secs(10);

    async fn until(receiver: &mut watch::Receiver<ShutdownPhase>, wanted: ShutdownPhase) {
        receiver.wait_for(|phase| *phase == wanted).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn leaves_at_once_stops_after_the_delay_and_waits_for_the_work() {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(()).await.unwrap();
        let left = Cell::new(false);
        let started = Instant::now();
        let result = until_signalled(
            Signals::from_channel(receiver),
            DELAY,
            || left.set(true),
            |mut phase| async move {
                until(&mut phase, ShutdownPhase::Leaving).await;
                let leaving = started.elapsed();
                until(&mut phase, ShutdownPhase::Stopped).await;
                let stopped = started.elapsed();
                sleep(Duration::from_secs(3)).await;
                (leaving, stopped)
            },
        )
        .await;
        assert_eq!(result, Ok((Duration::ZERO, DELAY)));
        assert!(left.get());
        assert_eq!(started.elapsed(), DELAY + Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_aborts_in_the_delay_and_after_it() {
        for second in [Duration::from_secs(1), DELAY * 2] {
            let (sender, receiver) = mpsc::channel(1);
            let started = Instant::now();
            let signalling = async {
                sender.send(()).await.unwrap();
                sleep(second).await;
                sender.send(()).await.unwrap();
                std::future::pending::<()>().await;
            };
            let running =
                until_signalled(Signals::from_channel(receiver), DELAY, || {}, |_| std::future::pending::<()>());
            let result = tokio::select! {
                result = running => result,
                () = signalling => unreachable!(),
            };
            assert_eq!(result, Err(Aborted));
            assert_eq!(started.elapsed(), second);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_by_itself_needs_no_signal() {
        let (_sender, receiver) = mpsc::channel(1);
        let result = until_signalled(Signals::from_channel(receiver), DELAY, || unreachable!(), |_| async { 7 }).await;
        assert_eq!(result, Ok(7));
    }
}
