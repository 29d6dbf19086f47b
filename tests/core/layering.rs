//! Dependencies point down only: the core knows no async, clock, I/O, logging or Kubernetes client.

use std::{
    fs,
    path::{Path, PathBuf},
};

const CORE: [&str; 9] = ["admission", "duration", "threshold", "deadline", "inject", "json", "patch", "pod", "policy"];

const FORBIDDEN: [&str; 14] = [
    "tokio",
    "hyper",
    "rustls",
    "kube::Client",
    "::now(",
    "tracing",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "println!",
    "eprintln!",
    "crate::cli",
    "crate::server",
];

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| sources(&entry.unwrap().path(), found));
    } else if path.extension().is_some_and(|end| end == "rs") {
        found.push(path.to_owned());
    }
}

fn core() -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for module in CORE {
        let file = src.join(format!("{module}.rs"));
        assert!(file.is_file(), "{}", file.display());
        sources(&file, &mut files);
        if src.join(module).is_dir() {
            sources(&src.join(module), &mut files);
        }
    }
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(file).unwrap())).collect()
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn the_core_knows_no_async_clock_io_logging_or_client() {
    let files = core();
    assert!(files.len() > 40, "{} files", files.len());
    let mut wrong = Vec::new();
    for (file, text) in &files {
        for line in code(text) {
            for word in FORBIDDEN.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}: {word}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_kube_the_core_uses_the_derive_only() {
    for (file, text) in core() {
        for line in code(&text).filter(|line| line.contains("kube::") && !line.contains("k8s_openapi")) {
            let derives = line.contains("kube::CustomResource;") || line.contains("kube::CustomResourceExt;");
            assert!(derives, "{}: {line}", file.display());
        }
    }
}
