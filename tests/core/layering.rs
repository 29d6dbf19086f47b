//! Dependencies point down only: the core knows no async, clock, I/O, logging or Kubernetes client, and every module
//! uses only those that the table allows it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The modules of the core with what each may use, from the lowest to the highest.
const CORE: [(&str, &[&str]); 17] = [
    ("json", &[]),
    ("names", &[]),
    ("quantity", &[]),
    ("columns", &[]),
    ("duration", &[]),
    ("reason", &[]),
    ("field_error", &["names"]),
    ("labels", &["field_error", "names"]),
    ("pod", &["json", "labels", "names"]),
    ("patch", &["json"]),
    ("threshold", &["duration", "field_error", "json", "labels", "names"]),
    ("placement", &["field_error", "json", "labels", "names", "patch", "reason"]),
    ("defaults", &["field_error", "json", "labels", "names", "patch", "placement", "pod", "quantity", "reason"]),
    (
        "policy",
        &[
            "defaults",
            "duration",
            "field_error",
            "json",
            "labels",
            "names",
            "placement",
            "quantity",
            "reason",
            "threshold",
        ],
    ),
    (
        "inject",
        &[
            "defaults",
            "duration",
            "field_error",
            "json",
            "labels",
            "names",
            "patch",
            "placement",
            "pod",
            "policy",
            "quantity",
            "reason",
            "threshold",
        ],
    ),
    ("admission", &["inject", "json", "pod", "policy", "reason"]),
    ("reaper", &["columns", "duration", "field_error", "labels", "names", "policy", "reason", "threshold"]),
];

/// The edges with what each may use; they are thin, and only `cli` wires them.
const EDGES: [(&str, &[&str]); 11] = [
    ("certs", &["files", "metrics"]),
    ("metrics", &["admission", "reaper", "reason", "threshold"]),
    ("telemetry", &["metrics"]),
    ("shutdown", &[]),
    ("tasks", &["shutdown"]),
    ("standalone", &["certs"]),
    ("files", &["metrics", "policy"]),
    (
        "cluster",
        &["admission", "certs", "field_error", "labels", "metrics", "names", "policy", "reaper", "reason", "threshold"],
    ),
    ("server", &["admission", "certs", "files", "metrics", "reason", "shutdown"]),
    ("cli", &["*"]),
    ("main", &["*"]),
];

/// What no file of the core may name, as it stands in the code without spaces.
const FORBIDDEN: [&str; 15] = [
    "tokio",
    "hyper",
    "rustls",
    "kube::Client",
    "kube::Api",
    "kube::runtime",
    "::now(",
    "tracing",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "println!",
    "eprintln!",
    "LazyLock",
];

pub(crate) fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Adds the Rust files at and below `path` to `found`.
pub(crate) fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path(), found));
    } else if path.extension().is_some_and(|end| end == "rs") {
        found.push(path.to_owned());
    }
}

/// The files of a module, with their text.
fn files(module: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for path in [src().join(format!("{module}.rs")), src().join(module)] {
        if path.exists() {
            walk(&path, &mut found);
        }
    }
    found.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
}

/// How many modules deep a file stands: 1 for `src/pod.rs`, 2 for `src/policy/spec.rs`.
fn depth(file: &Path) -> usize {
    file.strip_prefix(src()).unwrap().components().count()
}

/// The modules at the top of the crate that `text` names, by `crate::`, or by `super::` often enough, in `use` trees and
/// in the code alike. `depth` is how many modules deep the text stands.
fn named(text: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let tokens: TokenStream = text.parse().unwrap();
    scan(tokens, depth, &mut found);
    found
}

fn scan(tokens: TokenStream, depth: usize, found: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut supers = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                // A module written out inside the file stands one deeper.
                let module = at >= 2 && tokens[at - 2].to_string() == "mod";
                scan(group.stream(), depth + usize::from(module), found);
            }
            TokenTree::Ident(word) if word == "crate" || word == "super" => {
                let colons = tokens[at + 1..].iter().take(2).all(|token| token.to_string() == ":");
                if !colons || at + 3 >= tokens.len() {
                    continue;
                }
                let chained = at >= 3 && tokens[at - 3].to_string() == "super";
                supers = if word == "crate" {
                    depth
                } else if chained {
                    supers + 1
                } else {
                    1
                };
                if supers == depth {
                    heads(&tokens[at + 3], found);
                }
            }
            _ => {}
        }
    }
}

/// The first word of a path, or of each of the paths in a group.
fn heads(token: &TokenTree, found: &mut BTreeSet<String>) {
    match token {
        TokenTree::Ident(word) => {
            found.insert(word.to_string());
        }
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            let mut is_head = true;
            for token in group.stream() {
                match &token {
                    TokenTree::Punct(comma) if comma.as_char() == ',' => is_head = true,
                    _ if is_head => {
                        heads(&token, found);
                        is_head = false;
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect()
}

#[test]
fn every_module_uses_only_what_the_table_allows_it() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (module, allowed) in CORE.iter().chain(&EDGES) {
        for (file, text) in files(module) {
            looked_at += 1;
            for name in named(&text, depth(&file)) {
                let is_module = src().join(format!("{name}.rs")).exists();
                let is_allowed = name == *module || allowed.contains(&"*") || allowed.contains(&name.as_str());
                if is_module && !is_allowed {
                    wrong.push(format!("{} uses {name}", file.display()));
                }
            }
        }
    }
    assert!(looked_at > 60, "{looked_at} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_is_in_the_table() {
    let known: BTreeSet<&str> = CORE.iter().chain(&EDGES).map(|(module, _)| *module).chain(["lib"]).collect();
    for entry in fs::read_dir(src()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(known.contains(name.as_str()), "src/{name} is in no table of tests/core/layering.rs");
    }
}

#[test]
fn the_table_has_no_way_round() {
    let order: Vec<&str> = CORE.iter().map(|(module, _)| *module).collect();
    for (at, (module, allowed)) in CORE.iter().enumerate() {
        for below in *allowed {
            assert!(order[..at].contains(below), "{module} may use {below}, which does not stand below it");
        }
    }
}

#[test]
fn the_core_knows_no_async_clock_io_logging_or_client() {
    let mut wrong = Vec::new();
    for (file, text) in CORE.iter().flat_map(|(module, _)| files(module)) {
        let code: String = without_comments(&text).split_whitespace().collect();
        wrong.extend(FORBIDDEN.iter().filter(|word| code.contains(**word)).map(|w| format!("{}: {w}", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_import_is_seen_in_whatever_way_it_is_written() {
    let seen = |text: &str, depth| named(text, depth).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(seen("use crate::{\n    server::Limits,\n};", 2), "server");
    assert_eq!(seen("use crate::{a::{b, c}, d, e::f as g};", 1), "a d e");
    assert_eq!(seen("fn f() { crate::server::serve() }", 1), "server");
    assert_eq!(seen("use super::server;", 1), "server");
    assert_eq!(seen("use super::{a, b::c};", 1), "a b");
    assert_eq!(seen("use super::server;", 2), "");
    assert_eq!(seen("use super::super::server;", 2), "server");
    assert_eq!(seen("mod tests { use super::super::server; }", 1), "server");
    assert_eq!(seen("// use crate::server;", 1), "");
}
