//! `stowage check`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, files, print, say};
use crate::{cluster::removals::resource, threshold::owner::OwnerKind};

/// Validates policy files.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Files, or folders of .yaml, .yml and .json files
    #[arg(required_unless_present = "owners", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A kind that `stowage reap --owner` is to know: prints the rules that the watcher's roles need for it; may be given
    /// again
    #[arg(long = "owner", value_name = "GROUP/KIND")]
    owners: Vec<OwnerKind>,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    if !args.owners.is_empty() {
        print(rules(&args.owners).as_bytes())?;
    }
    if args.paths.is_empty() {
        return Ok(());
    }
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

/// The rules of the two roles, one line for each kind. The resource is what the kind's plural is as a rule, and as the
/// watcher asks for it.
fn rules(owners: &[OwnerKind]) -> String {
    let mut text = String::new();
    for (role, verb) in [("stowage-watcher", "get"), ("stowage-watcher-delete", "delete")] {
        text.push_str(&format!("# ClusterRole {role}\n"));
        for owner in owners {
            let (group, resource) = (owner.group(), resource(owner.kind()));
            text.push_str(&format!("- {{apiGroups: [{group}], resources: [{resource}], verbs: [{verb}]}}\n"));
        }
    }
    text
}

fn place(located: &crate::policy::loaded::Located) -> String {
    format!("{}:{}", located.file, located.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_for_a_kind_are_one_line_for_each_role() {
        let owners = ["argoproj.io/Workflow", "example.com/Policy"].map(|owner| owner.parse().unwrap());
        let wanted = "# ClusterRole stowage-watcher\n\
                      - {apiGroups: [argoproj.io], resources: [workflows], verbs: [get]}\n\
                      - {apiGroups: [example.com], resources: [policies], verbs: [get]}\n\
                      # ClusterRole stowage-watcher-delete\n\
                      - {apiGroups: [argoproj.io], resources: [workflows], verbs: [delete]}\n\
                      - {apiGroups: [example.com], resources: [policies], verbs: [delete]}\n";
        assert_eq!(rules(&owners), wanted);
    }
}
