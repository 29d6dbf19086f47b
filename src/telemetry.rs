//! The log: events on stderr, as text for people or JSON for collectors.
//!
//! Lines are handed to a thread that writes them in batches: a write to stderr for every patched pod costs the webhook
//! about a third of what the whole request costs otherwise. Where nobody reads stderr lines are lost, counted and told
//! of, and nobody waits: neither a request nor the end of the process.

use std::{
    fmt,
    io::{self, BufWriter, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use thiserror::Error;
use tracing::{error, warn};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Layer, Registry,
    filter::{ParseError, Targets},
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

/// Lines that wait to be written, at most; what a client says in one is cut, so that they are short.
const LINES: usize = 4096;
/// How long lines are gathered: short enough that nobody who watches the log notices.
const GATHER: Duration = Duration::from_millis(20);

/// The log of this process. Its last lines are written when it is dropped, for which a second is enough or they are lost:
/// it must live as long as `main`.
#[must_use = "dropping it ends the log"]
#[derive(Debug)]
pub struct Log {
    lost: ErrorCounter,
    _writer: WorkerGuard,
}

/// Writes in batches, and tells of lines that were lost before.
struct Gathering<W: Write> {
    out: BufWriter<W>,
    lost: Arc<OnceLock<ErrorCounter>>,
    told: usize,
    /// Says how many were lost, in a line that may be lost too.
    tell: fn(usize),
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object on a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// `RUST_LOG` is not a filter.
    #[error("reading the log filter {filter:?}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A log was set up before.
    #[error("setting up the log")]
    Init(#[source] TryInitError),
}

/// Sets the log up for the whole process, panics included. `filter` is what `RUST_LOG` says, and `info` where it says
/// nothing.
///
/// # Errors
/// The filter is not one, or there is a log already.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<Log, TelemetryError> {
    let filter = parse(filter)?;
    let (lines, log) = gather(io::stderr(), LINES, |lost| {
        warn!(lines = lost, "log lines were lost: they came faster than stderr was read");
    });
    let layer = tracing_subscriber::fmt::layer().with_target(false).with_writer(lines);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(filter).try_init().map_err(TelemetryError::Init)?;
    panic::set_hook(Box::new(log_panic));
    Ok(log)
}

fn gather<W: Write + Send + 'static>(out: W, most: usize, tell: fn(usize)) -> (NonBlocking, Log) {
    let counter = Arc::new(OnceLock::new());
    let out = Gathering { out: BufWriter::with_capacity(64 << 10, out), lost: Arc::clone(&counter), told: 0, tell };
    let (lines, writer) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(most).thread_name("log").finish(out);
    let lost = counter.get_or_init(|| lines.error_counter()).clone();
    (lines, Log { lost, _writer: writer })
}

/// The standard hook writes to stderr, which may hang, and prints what was formatted into the message, which may be a
/// part of somebody's pod. The place is enough to find the fault.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let text = panic.payload().downcast_ref::<&'static str>().copied();
    let thread = thread::current();
    error!(place, text, thread = thread.name(), "panicked");
}

impl Log {
    /// Lines lost so far, because they came faster than they were read.
    pub fn lost(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let counter = self.lost.clone();
        move || counter.dropped_lines().try_into().unwrap_or(u64::MAX)
    }
}

impl<W: Write> Write for Gathering<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.out.write(line)
    }

    /// Called whenever no line is left to write.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.told {
            (self.tell)(lost - self.told);
            self.told = lost;
        }
        thread::sleep(GATHER);
        Ok(())
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Levels by target are all that `RUST_LOG` is asked here: there are no spans to filter by, and `EnvFilter`, which
/// can, brings an engine of regular expressions along.
fn parse(filter: Option<&str>) -> Result<Targets, TelemetryError> {
    // kube says every failure of a watch once more, with the whole answer; `cluster::watch` says it once.
    let usual = "info,kube_runtime=error";
    let filter = filter.map(str::trim).filter(|filter| !filter.is_empty()).unwrap_or(usual);
    filter.parse().map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Where lines go, and how many writes brought them; opened by the test.
    #[derive(Clone, Default)]
    struct HeldWriter(Arc<(Mutex<Written>, Condvar)>);

    #[derive(Default)]
    struct Written {
        bytes: Vec<u8>,
        writes: usize,
        open: bool,
    }

    impl HeldWriter {
        fn open() -> Self {
            let sink = Self::default();
            sink.let_through();
            sink
        }

        fn let_through(&self) {
            self.0.0.lock().unwrap().open = true;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
        }
    }

    impl Write for HeldWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.0.0.lock().unwrap();
            let mut written = self.0.1.wait_while(written, |written| !written.open).unwrap();
            written.bytes.extend_from_slice(bytes);
            written.writes += 1;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_arrives_in_order_and_few_writes_carry_them() {
        let sink = HeldWriter::open();
        let (mut lines, log) = gather(sink.clone(), 30_000, |_| {});
        let mut expected = String::new();
        for number in 0..30_000 {
            let line = format!("line {number}\n");
            lines.write_all(line.as_bytes()).unwrap();
            expected.push_str(&line);
        }
        drop(log);
        assert!(sink.text() == expected, "lines are lost or mixed");
        let writes = sink.0.0.lock().unwrap().writes;
        assert!(writes < 1000, "{writes} writes");
    }

    #[test]
    fn lines_that_nobody_reads_are_lost_and_counted_and_hold_nobody() {
        let sink = HeldWriter::default();
        let (mut lines, log) = gather(sink.clone(), 10, |_| {});
        let lost = log.lost();
        // More than the buffer of the writer holds, too.
        let line = [b'x'; 9 << 10];
        while lost() < 50 {
            lines.write_all(&line).unwrap();
        }
        let started = std::time::Instant::now();
        drop(log);
        assert!(started.elapsed() < Duration::from_secs(3));
        assert_eq!(sink.text(), "");
        sink.let_through();
    }

    #[test]
    fn lost_lines_are_told_of_once_when_lines_are_read_again() {
        static TOLD: Mutex<Vec<usize>> = Mutex::new(Vec::new());
        let sink = HeldWriter::default();
        let (mut lines, log) = gather(sink.clone(), 10, |lost| TOLD.lock().unwrap().push(lost));
        let lost = log.lost();
        while lost() < 7 {
            lines.write_all(&[b'x'; 9 << 10]).unwrap();
        }
        sink.let_through();
        while TOLD.lock().unwrap().is_empty() {
            thread::yield_now();
        }
        lines.write_all(b"another").unwrap();
        drop(log);
        assert_eq!(*TOLD.lock().unwrap(), [7]);
    }

    #[test]
    fn says_info_where_nothing_is_said_and_refuses_what_is_no_filter() {
        for (given, meant) in [
            (None, "kube_runtime=error,info"),
            (Some(" "), "kube_runtime=error,info"),
            (Some("debug"), "debug"),
            (Some("warn,stowage=trace"), "stowage=trace,warn"),
        ] {
            assert_eq!(parse(given).unwrap().to_string(), meant);
        }
        let error = parse(Some("stowage=loud")).unwrap_err();
        assert_eq!(error.to_string(), "reading the log filter \"stowage=loud\"");
    }
}
