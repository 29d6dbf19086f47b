//! The command line, and the only place where the core and its edges are wired together.
//!
//! Data goes to stdout, talk to stderr. Exit status: 0 done, 1 the input or a policy was refused, 2 wrong usage.

mod admin;
mod certs;
mod check;
mod crd;
mod explain;
mod files;
mod inject;
mod policies;
mod reap;
mod serve;
mod world;

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

/// Puts storage, credentials and placement into machine-learning pods at admission, and removes those that are stuck.
#[derive(Debug, Parser)]
#[command(name = "stowage", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the admission webhook
    Serve(Box<serve::ServeArgs>),
    /// Shows what the webhook would do to pods and workloads, offline
    Inject(inject::InjectArgs),
    /// Says why a pod of the cluster was or was not injected, and what would be done now
    Explain(explain::ExplainArgs),
    /// Removes pods of the cluster that are past their state thresholds; with -f judges those of a dump, touching nothing
    Reap(Box<reap::ReapArgs>),
    /// Validates policy files
    Check(check::CheckArgs),
    /// Issues a CA and a serving certificate to files, or as a Secret
    Certs(certs::CertsArgs),
    /// Prints the CustomResourceDefinitions
    Crd,
    /// Prints a completion script
    Completion {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// Why a command did not do what it was asked; the text has been said, or is said now.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The input or a policy was refused, and stderr has said why.
    #[error("")]
    Said,
    /// Something else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Runs the command that the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(*args),
        Command::Certs(args) => certs::run(&args),
        Command::Inject(args) => inject::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Reap(args) => reap::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Crd => crd::run(),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stowage", &mut script);
            print(&script)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Said) => ExitCode::FAILURE,
        Err(Failure::Other(error)) => {
            say(&format!("stowage: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The command line, for documentation and its drift check.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The time; the one place that asks for it on behalf of the core.
#[expect(clippy::disallowed_methods, reason = "this is where `now` comes from")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Writes data to stdout. A reader that has gone away (`| head`) is no failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("writing to stdout").into())
        }
        _ => Ok(()),
    }
}

/// Says a line on stderr.
fn say(line: &str) {
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
