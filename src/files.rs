//! Policies in files and folders, read again when their content changes.
//!
//! Content is compared, not times or names: a mounted ConfigMap changes by the swap of a symlink, which file events miss
//! from the second time on. A bad edit keeps the last good set in force and says so, once per content.

pub mod follow;
pub mod read;

use std::{future::pending, panic, path::PathBuf, sync::Arc, time::Duration};

use tokio::task::spawn_blocking;
use tracing::{info, warn};

pub use self::read::ReadError;
use self::{
    follow::{Look, Looks, PATIENCE},
    read::{Named, texts},
};
use crate::{
    metrics::{Metrics, Reload},
    policy::loaded::Loaded,
};

/// Names and texts of files.
pub type Texts = Vec<(String, String)>;

/// Files and folders of policies, and what they held when they were last read.
#[derive(Debug)]
pub struct PolicyFiles {
    paths: Vec<PathBuf>,
    texts: Texts,
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
        let texts = texts(&self.paths, Named::Regular)?;
        Ok(self.is_new(texts).then(|| load(&self.texts)))
    }

    /// Compiling thousands takes seconds, and no connection waits for it.
    async fn load(&mut self) -> Loaded {
        let texts = std::mem::take(&mut self.texts);
        match spawn_blocking(move || (load(&texts), texts)).await {
            Ok((loaded, texts)) => {
                self.texts = texts;
                loaded
            }
            Err(error) => match error.try_into_panic() {
                Ok(payload) => panic::resume_unwind(payload),
                // The runtime is going, and takes this with it.
                Err(_) => pending().await,
            },
        }
    }

    fn is_new(&mut self, texts: Texts) -> bool {
        let new = texts != self.texts;
        self.texts = texts;
        new
    }
}

/// The texts of all files, with their names, for a command that somebody waits for: a path that is named may be a pipe.
///
/// # Errors
///
/// Where a path cannot be read.
pub fn read(paths: &[PathBuf]) -> Result<Texts, ReadError> {
    texts(paths, Named::Pipe)
}

/// Loads policies from texts with their names.
#[must_use]
pub fn load(texts: &[(String, String)]) -> Loaded {
    let mut loaded = Loaded::default();
    for (file, text) in texts {
        loaded.add(file, text);
    }
    loaded.finish();
    loaded
}

/// Looks at the files every so often, for ever, and gives what is new: all that they hold, or how much of it is wrong.
pub async fn follow(
    mut files: PolicyFiles,
    every: Duration,
    metrics: Arc<Metrics>,
    mut give: impl FnMut(Result<Loaded, usize>),
) {
    let paths = files.paths.clone();
    let mut looks = Looks::new(every, PATIENCE, move || texts(&paths, Named::Regular));
    let mut said = String::new();
    loop {
        match looks.next().await {
            Look::Hangs => {
                metrics.policy_reloads.count(Reload::TimedOut);
                let paths = &files.paths;
                warn!(?paths, patience = ?PATIENCE, "reading policy files hangs; the last good set stays in force");
            }
            Look::Read(Err(error)) => {
                let text = format!("{error}: {}", error.source);
                if text != said {
                    metrics.policy_reloads.count(Reload::Refused);
                    warn!(error = text, "policy files cannot be read; the last good set stays in force");
                    said = text;
                }
            }
            Look::Read(Ok(texts)) => {
                said.clear();
                if files.is_new(texts) {
                    give(judged(files.load().await, &metrics));
                }
            }
        }
    }
}

/// A set of policies, where all of it is right; else how many errors it has.
fn judged(loaded: Loaded, metrics: &Metrics) -> Result<Loaded, usize> {
    if loaded.errors.is_empty() {
        metrics.policy_reloads.count(Reload::Accepted);
        if loaded.policies.is_empty() {
            warn!("no policy is left in the files");
        } else {
            info!(policies = loaded.policies.len(), "policies reloaded");
        }
        return Ok(loaded);
    }
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
    Err(loaded.errors.len())
}
