//! The log: events on stderr, as text for people or JSON for collectors.

mod batched;

use std::fmt;
use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use self::batched::Batched;
pub use self::batched::Flush;

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
    /// The thread that writes could not be made.
    #[error("starting the log's thread")]
    Thread(#[source] io::Error),
    /// A log was set up before.
    #[error("setting up the log")]
    Init(#[source] TryInitError),
}

/// Sets the log up for the whole process. `filter` is what `RUST_LOG` says,
/// and `info` where it says nothing. Lines are written in batches, the last
/// when [`Flush`] is dropped: before `std::process::exit`, drop it.
///
/// # Errors
/// The filter is not one, or there is a log already.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<Flush, TelemetryError> {
    let filter = parse(filter)?;
    let (batched, flush) = Batched::new(io::stderr()).map_err(TelemetryError::Thread)?;
    let layer = tracing_subscriber::fmt::layer().with_target(false).with_writer(batched);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(layer).with(filter).try_init().map_err(TelemetryError::Init)?;
    Ok(flush)
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
    let filter = filter.map(str::trim).filter(|filter| !filter.is_empty()).unwrap_or("info");
    filter.parse().map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_info_where_nothing_is_said_and_refuses_what_is_no_filter() {
        for (given, meant) in [
            (None, "info"),
            (Some(" "), "info"),
            (Some("debug"), "debug"),
            (Some("warn,stowage=trace"), "stowage=trace,warn"),
        ] {
            assert_eq!(parse(given).unwrap().to_string(), meant);
        }
        let error = parse(Some("stowage=loud")).unwrap_err();
        assert_eq!(error.to_string(), "reading the log filter \"stowage=loud\"");
    }
}
