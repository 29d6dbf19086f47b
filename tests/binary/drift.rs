//! What is generated, or shown as output, is what the program gives.
//!
//! Pages mark such a block: `<!-- output: stowage … -->` before a fence holds what that command writes to stdout, run in
//! the repository's root; `<!-- from: PATH -->` before a fence holds lines of that file. With `STOWAGE_BLESS=1` the
//! tests write what they expect instead.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const PAGES: [&str; 3] = ["README.md", "manifests/examples/README.md", "docs"];
const VERBS: [&str; 8] = ["serve", "inject", "explain", "reap", "check", "certs", "crd", "completion"];

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

fn stowage(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stowage")).args(arguments).current_dir(root()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Holds that the file is `wanted`, or makes it so.
fn is_up_to_date(path: &Path, wanted: &str) {
    if std::env::var_os("STOWAGE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, wanted).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date; STOWAGE_BLESS=1 cargo test --test binary drift -- --test-threads=1 writes it anew",
        path.display()
    );
}

#[test]
fn the_resource_definitions_are_those_of_the_types() {
    let text = stowage(&["crd"]);
    assert_eq!(text.matches("kind: CustomResourceDefinition").count(), 2);
    is_up_to_date(&root().join("manifests/crds/stowage.dev.yaml"), &text);
}

#[test]
fn the_page_of_the_command_line_is_the_help_of_every_verb() {
    let mut page =
        "# The command line\n\nThe help of every verb, as the program prints it. Data goes to stdout, talk to \
                    stderr. Exit status: 0 done, 1 the input or a policy was refused (with `reap --exit-code`, also: a \
                    pod is due), 2 wrong usage.\n"
            .to_owned();
    let known: Vec<String> = stowage::cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    assert_eq!(known, VERBS);
    for verb in [None].into_iter().chain(VERBS.map(Some)) {
        let arguments: Vec<&str> = verb.into_iter().chain(["--help"]).collect();
        let help = stowage(&arguments);
        let title = verb.map_or_else(|| "stowage".to_owned(), |verb| format!("stowage {verb}"));
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(page, "\n## {title}\n\n```text\n{}\n```\n", help.join("\n").trim_end()).unwrap();
    }
    is_up_to_date(&root().join("docs/cli.md"), &page);
}

#[test]
fn the_page_of_the_policy_is_what_the_schema_says() {
    let page = crate::policy_page::page();
    let fields = page.lines().filter(|line| line.starts_with("| `")).count();
    assert!(fields > 100, "{fields} fields");
    let undescribed: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
    assert_eq!(undescribed, Vec::<&str>::new(), "every field says what it means");
    is_up_to_date(&root().join("docs/policy.md"), &page);
}

#[test]
fn the_page_of_reasons_is_the_closed_set() {
    let mut page = "# Reasons\n\nEverything that Stowage says of a step, as a closed set. Each reason has a stable name for programs, \
                    which the audit annotation `skipped`, the metric `stowage_reasons_total{reason}` and the log's field \
                    `reason` carry, and a text for people, which `explain`, warnings, the marker and Events show. An *info* is \
                    shown by `explain`, a *warning* is told to the client too, and a *refusal* refuses the pod with status \
                    422. An Event carries its first reason as its own: that of the webhook on the pod's owner, and those of the \
                    watcher, whose reasons are the ones from `StateThresholdExceeded` on.\n\n| \
                    reason | severity | meaning | text |\n|---|---|---|---|\n"
        .to_owned();
    for reason in stowage::reason::Reason::ALL {
        let (name, severity) = (reason.name(), reason.severity().word());
        let text = reason.text().replace('|', "\\|");
        writeln!(page, "| `{name}` | {severity} | {} | {text} |", reason.meaning().trim()).unwrap();
    }
    is_up_to_date(&root().join("docs/reasons.md"), &page);
}

#[test]
fn the_blocks_of_the_pages_are_what_the_program_gives() {
    let mut blocks = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let (wanted, found) = renewed(&text);
        blocks += found;
        is_up_to_date(&page, &wanted);
    }
    assert!(blocks >= 8, "{blocks} marked blocks");
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let mut links = 0;
    for page in pages().into_iter().chain(["ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| root().join(page))) {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            assert!(page.parent().unwrap().join(target).exists(), "{}: {target}", page.display());
        }
    }
    assert!(links > 5);
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for page in PAGES.map(|page| root().join(page)) {
        if page.is_dir() {
            let entries = fs::read_dir(page).unwrap().map(|entry| entry.unwrap().path());
            pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
        } else {
            pages.push(page);
        }
    }
    pages.sort();
    pages
}

/// The page with its marked blocks made anew, and how many there are.
fn renewed(text: &str) -> (String, usize) {
    let (mut page, mut blocks) = (String::new(), 0);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        page.push_str(line);
        page.push('\n');
        let Some(mark) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let fence = lines.next().expect("a fence after the mark");
        assert!(fence.starts_with("```"), "after {line} stands {fence}");
        let found: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        let found = format!("{}\n", found.join("\n"));
        let wanted = match mark.split_once(": ") {
            Some(("output", command)) => {
                let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
                stowage(&arguments)
            }
            Some(("from", path)) => {
                let file = fs::read_to_string(root().join(path)).unwrap();
                assert!(file.contains(&found), "{path} does not hold these lines:\n{found}");
                found
            }
            _ => panic!("{line} is no mark"),
        };
        blocks += 1;
        write!(page, "{fence}\n{}\n```\n", wanted.trim_end()).unwrap();
    }
    (page, blocks)
}
