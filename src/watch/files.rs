//! Policies in files and folders, read again when their content changes.
//!
//! Content is compared, not times or names: a mounted ConfigMap changes by the swap of a symlink, which file events miss
//! from the second time on. A bad edit keeps the last good set in force and says so, once per content.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::{
    metrics::{Metrics, Reload},
    policy::snapshot::{Loaded, Snapshot},
};

/// A file or folder cannot be read.
#[derive(Debug, Error)]
#[error("reading {}", path.display())]
pub struct ReadError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Files and folders of policies, and what they held when they were last read.
#[derive(Debug)]
pub struct PolicyFiles {
    paths: Vec<PathBuf>,
    texts: Vec<(String, String)>,
}

impl PolicyFiles {
    /// These files and folders.
    #[must_use]
    pub const fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, texts: Vec::new() }
    }

    /// Reads everything, and loads it where the content is not what it was; `None` where it is.
    ///
    /// # Errors
    ///
    /// Where a path cannot be read. What is wrong inside is in the result.
    pub fn look(&mut self) -> Result<Option<Loaded>, ReadError> {
        let texts = read(&self.paths)?;
        if texts == self.texts {
            return Ok(None);
        }
        self.texts = texts;
        Ok(Some(load(&self.texts)))
    }
}

/// Loads policies from texts with their names.
#[must_use]
pub fn load(texts: &[(String, String)]) -> Loaded {
    let mut loaded = Loaded::default();
    for (file, text) in texts {
        loaded.add(file, text);
    }
    loaded
}

/// The texts of all files, with their names. Of a folder, and the folders in it, the YAML and JSON files in the order of
/// their names; hidden ones are left out, since kubelet keeps other versions of a mounted ConfigMap there.
///
/// # Errors
///
/// Where a path cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Vec<(String, String)>, ReadError> {
    let mut texts = Vec::new();
    for path in paths {
        for file in files(path)? {
            let text = fs::read_to_string(&file).map_err(failed(&file))?;
            texts.push((file.display().to_string(), text));
        }
    }
    Ok(texts)
}

/// Looks at the files every so often, for ever, and puts what is new and right into `snapshot`.
pub async fn follow(
    mut files: PolicyFiles,
    every: Duration,
    snapshot: Arc<ArcSwap<Snapshot>>,
    metrics: Arc<Metrics>,
    give_back: fn(),
) {
    let mut look = interval(every);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        look.tick().await;
        // A folder may lie on a network; no connection waits for it.
        let looked = tokio::task::spawn_blocking(move || {
            let looked = files.look();
            (files, looked)
        });
        let Ok((back, looked)) = looked.await else {
            error!("reading policy files panicked; they are not followed any more");
            return;
        };
        files = back;
        match looked {
            Ok(None) => {}
            Ok(Some(loaded)) => {
                said.clear();
                take(&loaded, &snapshot, &metrics);
                drop(loaded);
                give_back();
            }
            Err(error) => {
                let text = format!("{error}: {}", error.source);
                if text != said {
                    metrics.policy_reloads.count(Reload::Refused);
                    warn!(error = text, "policy files cannot be read; the last good set stays in force");
                    said = text;
                }
            }
        }
    }
}

/// Puts a set of policies into force, where all of it is right.
fn take(loaded: &Loaded, snapshot: &ArcSwap<Snapshot>, metrics: &Metrics) {
    metrics.policies_refused.set(count(loaded.errors.len()));
    if !loaded.errors.is_empty() {
        metrics.policy_reloads.count(Reload::Refused);
        for error in &loaded.errors {
            warn!(
                file = error.file,
                line = error.line,
                field = error.error.path,
                error = error.error.message,
                "policy refused"
            );
        }
        warn!(errors = loaded.errors.len(), "policy files are wrong; the last good set stays in force");
        return;
    }
    let untouched = snapshot.load().untouched.clone();
    snapshot.store(Arc::new(Snapshot { untouched, ..loaded.snapshot() }));
    metrics.policies_loaded.set(count(loaded.policies.len()));
    metrics.policy_reloads.count(Reload::Accepted);
    info!(policies = loaded.policies.len(), "policies reloaded");
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    if !fs::metadata(path).map_err(failed(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed(path))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let path = path.to_owned();
    move |source| ReadError { path, source }
}
