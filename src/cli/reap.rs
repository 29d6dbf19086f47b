//! `stowage reap -f`: verdicts on the pods of a dump, touching nothing.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::{Args as ClapArgs, ValueEnum};
use jiff::Timestamp;

use crate::{
    cli::{Failure, files, say},
    labels::Labels,
    policy::{Policy, index::PolicyIndex, snapshot::Snapshot},
    reaper::{
        input::{InputError, read_pods},
        report::{JsonReport, Summary, TableReport},
    },
    threshold::{
        ActionRules, Judgement, WatchedPod,
        action::OwnerKind,
        judge,
        resolve::{PolicyThresholds, resolve},
    },
};

/// Judges which pods are past their state thresholds.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Pods, as `kubectl get pods -A -o json` prints them; - is stdin
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    /// Policy file or folder; may be given again
    #[arg(long, value_name = "PATH", required = true)]
    policies: Vec<PathBuf>,
    /// The time to judge at, as RFC 3339 [default: now]
    #[arg(long, value_name = "RFC3339")]
    now: Option<Timestamp>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Exit with status 1 where a pod is due
    #[arg(long)]
    exit_code: bool,
    /// A controller whose pods are removed by removing it, beside the known kinds; may be given again
    #[arg(long = "owner", value_name = "GROUP/KIND")]
    owners: Vec<OwnerKind>,
    /// When to colour the table
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
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

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let loaded = files::load_all(&args.policies)?;
    let judge = Judge::new(loaded.snapshot(), args);
    let input: Box<dyn BufRead> = if args.file == Path::new("-") {
        Box::new(BufReader::with_capacity(BUFFER, io::stdin()))
    } else {
        let file = File::open(&args.file).with_context(|| format!("reading {}", args.file.display()))?;
        Box::new(BufReader::with_capacity(BUFFER, file))
    };
    let summary = match judge.report(input, args) {
        Ok(summary) => summary,
        Err(InputError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(error) => return Err(anyhow!(error).context(format!("reading {}", args.file.display())).into()),
    };
    for warning in judge.warnings.borrow().iter() {
        say(&format!("stowage: {warning}"));
    }
    if args.exit_code && summary.due > 0 { Err(Failure::Said) } else { Ok(()) }
}

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;
/// Most warnings that are kept; a dump of 100,000 pods may have one each.
const WARNINGS: usize = 50;

struct Judge {
    snapshot: Snapshot,
    rules: ActionRules,
    now: Timestamp,
    warnings: RefCell<BTreeSet<String>>,
}

impl Judge {
    fn new(snapshot: Snapshot, args: &Args) -> Self {
        let rules = ActionRules { owners: args.owners.clone(), ..ActionRules::default() };
        let now = args.now.unwrap_or_else(super::now);
        Self { snapshot, rules, now, warnings: RefCell::default() }
    }

    fn report(&self, input: impl BufRead, args: &Args) -> Result<Summary, InputError> {
        let out = BufWriter::new(io::stdout().lock());
        let (contents, summary) = match args.output {
            Output::Json => {
                let mut report = JsonReport::new(out);
                let contents = read_pods(input, &mut |pod| self.judge(pod, |judgement| report.push(pod, judgement)))?;
                (contents, report.finish().map_err(InputError::Write)?)
            }
            Output::Table => {
                let mut report = TableReport::new();
                let contents = read_pods(input, &mut |pod| {
                    self.judge(pod, |judgement| report.push(pod, judgement));
                    Ok(())
                })?;
                let color = match args.color {
                    Color::Always => true,
                    Color::Never => false,
                    Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
                };
                (contents, report.write(out, self.now, color).map_err(InputError::Write)?)
            }
        };
        if !contents.skipped.is_empty() {
            say(&format!("stowage: {}", contents.skipped_words()));
        }
        Ok(summary)
    }

    /// Resolves a pod's thresholds and hands the verdict on.
    fn judge<T>(&self, pod: &WatchedPod, tell: impl FnOnce(&Judgement<'_>) -> T) -> T {
        let index: &PolicyIndex = &self.snapshot.policies;
        let namespace = pod.metadata.namespace.as_str();
        let labels = self.snapshot.namespace(namespace);
        let matching = index.matching(namespace, &labels, &PodLabels(pod));
        let policies: Vec<PolicyThresholds<'_>> =
            matching.into_iter().filter_map(|policy| thresholds(policy)).collect();
        let resolved = resolve(pod, &policies);
        let mut warnings = self.warnings.borrow_mut();
        for warning in resolved.warnings {
            if warnings.len() < WARNINGS {
                warnings.insert(format!("{namespace}/{}: {warning}", pod.metadata.name));
            }
        }
        tell(&judge(pod, &resolved.thresholds, &self.rules, self.now))
    }
}

fn thresholds(policy: &Policy) -> Option<PolicyThresholds<'_>> {
    Some(PolicyThresholds {
        name: &policy.id.name,
        cluster: policy.is_cluster(),
        thresholds: policy.thresholds.as_ref()?,
        on_exceeded: policy.on_exceeded,
    })
}

/// The labels of a pod of a dump.
#[derive(Debug)]
struct PodLabels<'a>(&'a WatchedPod);

impl Labels for PodLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.metadata.labels.get(key).map(String::as_str)
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        self.0.metadata.labels.iter().for_each(|(key, value)| visit(key, value));
    }
}
