//! `stowage check`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Failure, files, print, say};

/// Validates policy files.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Files, or folders of .yaml, .yml and .json files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let loaded = files::load_some(&args.paths)?;
    for note in &loaded.notes {
        say(&format!("{}: note: {}", place(note), note.error));
    }
    for error in &loaded.errors {
        say(&error.to_string());
    }
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let passed = match loaded.others.len() {
        0 => String::new(),
        others => format!(", {} of other kinds passed over", counted(others, "document")),
    };
    let (policies, errors) = (counted(loaded.policies.len(), "policy"), counted(loaded.errors.len(), "error"));
    let policies = policies.replace("policys", "policies");
    print(format!("{policies} accepted, {errors}{passed}\n").as_bytes())?;
    if loaded.errors.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

fn place(located: &crate::policy::loaded::Located) -> String {
    format!("{}:{}", located.file, located.line)
}
