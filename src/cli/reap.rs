//! `stowage reap`: the watcher in a cluster, or with `-f` verdicts on the pods of a dump.

mod board;
mod desk;
mod hands;
mod live;
mod offline;
mod told;
mod watches;

use std::path::PathBuf;

use clap::Args;

use crate::{cli::Failure, threshold::owner::OwnerKind};

/// Removes pods that are past their state thresholds, or judges those of a dump.
#[derive(Args, Debug)]
pub(super) struct ReapArgs {
    /// Policy file or folder; may be given again. In a cluster its policies count too, and files are read again when
    /// their content changes
    #[arg(long, value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// A controller whose pods are removed by removing it, beside the known kinds; may be given again
    #[arg(long = "owner", value_name = "GROUP/KIND")]
    owners: Vec<OwnerKind>,
    #[command(flatten)]
    offline: offline::OfflineArgs,
    #[command(flatten)]
    live: live::LiveArgs,
}

pub(super) fn run(args: &ReapArgs) -> Result<(), Failure> {
    match &args.offline.file {
        Some(file) => offline::run(file, args),
        None => live::run(args),
    }
}
