//! `stowage reap -f`: verdicts on the pods of a dump, touching nothing.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::{
    cli::{Failure, files, inject::pair, now, reap::ReapArgs, say},
    reaper::{
        dump::Dump,
        input::read_dump,
        table::{count, write_json, write_table},
    },
    threshold::ActionRules,
};

/// What is asked of a dump.
#[derive(Args, Debug)]
#[command(next_help_heading = "Offline, touching nothing")]
pub(super) struct OfflineArgs {
    /// Pods, as `kubectl get pods -A -o json` prints them, with Namespaces, Nodes and owners where they are there; - is
    /// stdin. Without it the watcher runs in the cluster
    #[arg(short = 'f', long = "filename", value_name = "FILE", requires = "policies")]
    pub(super) file: Option<PathBuf>,
    /// Labels of the namespaces that neither the dump nor a policy file describes, as a namespaceSelector reads them
    #[arg(long, value_name = "K=V,…", value_delimiter = ',', value_parser = pair, requires = "file")]
    namespace_labels: Vec<(String, String)>,
    /// The time to judge at, as RFC 3339 [default: now]
    #[arg(long, value_name = "RFC3339", requires = "file")]
    now: Option<Timestamp>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = ReapOutput::Table, requires = "file")]
    output: ReapOutput,
    /// Exit with status 1 where something is to be done about a pod
    #[arg(long, requires = "file")]
    exit_code: bool,
    /// When to colour the table
    #[arg(long, value_enum, default_value_t = Color::Auto, requires = "file")]
    color: Color,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum ReapOutput {
    /// A table: due first, then by time left
    Table,
    /// A JSON array, in the order of the input
    Json,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

pub(super) fn run(file: &Path, ReapArgs { policies, owners, offline: args, .. }: &ReapArgs) -> Result<(), Failure> {
    let loaded = files::load_all(policies)?;
    let rules = ActionRules { owners: owners.clone(), ..ActionRules::default() };
    let mut dump = Dump::new(loaded.snapshot(), rules);
    let (contents, read) = read_dump(input(file)?, &mut |object| dump.add(object));
    dump.label_the_rest(&args.namespace_labels.iter().cloned().collect());
    let now = args.now.unwrap_or_else(now);
    let mut verdicts = dump.judge(now);
    let count = count(&verdicts.rows);
    let out = BufWriter::new(io::stdout().lock());
    let written = match args.output {
        ReapOutput::Json => write_json(&verdicts.rows, out),
        // What is refused as a whole has no table.
        ReapOutput::Table if read.is_err() && contents.pods == 0 => Ok(()),
        ReapOutput::Table => write_table(&mut verdicts.rows, out, now, args.color.is_on()),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(anyhow!(error).context("writing verdicts").into());
        }
        _ => {}
    }
    if read.is_ok() && !contents.skipped.is_empty() {
        say(&format!("stowage: {}", contents.skipped_words()));
    }
    for warning in &verdicts.warnings {
        say(&format!("stowage: {warning}"));
    }
    for why in &contents.unreadable {
        say(&format!("stowage: {why}; left out"));
    }
    let more = contents.unreadable_count - contents.unreadable.len();
    if more > 0 {
        say(&format!("stowage: {more} more objects cannot be read and are left out"));
    }
    read.with_context(|| format!("reading {}", file.display()))?;
    let failed = contents.unreadable_count > 0 || args.exit_code && count.to_do > 0;
    if failed { Err(Failure::Said) } else { Ok(()) }
}

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

fn input(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
}

impl Color {
    fn is_on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }
}
