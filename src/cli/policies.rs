//! Policies of files, for the verbs that run for long.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use crate::{
    cli::world::{WorldNews, Writer},
    files::{self, PolicyFiles, follow::PATIENCE},
    metrics::Metrics,
    policy::{loaded::Loaded, snapshot::Snapshot},
    tasks::Tasks,
};

/// Reads what may hang, within bounds.
pub(super) async fn in_time<T: Send + 'static>(
    what: &str,
    read: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    let reading = timeout(PATIENCE, spawn_blocking(read)).await;
    let read = reading.map_err(|_| anyhow!("reading {what} takes longer than {PATIENCE:?}"))?;
    read.with_context(|| format!("reading {what}"))
}

/// The policy files that the command line names; none is none.
pub(super) struct PolicySource<'a> {
    pub(super) paths: &'a [PathBuf],
    /// How often they are read again.
    pub(super) reload_interval: Duration,
}

impl PolicySource<'_> {
    /// Loads them and follows them from then on; a bad file at start is a failed start. `untouched` is Stowage's own
    /// namespace.
    pub(super) async fn begin(
        &self,
        untouched: Option<String>,
        metrics: &Arc<Metrics>,
        tasks: &mut Tasks,
    ) -> anyhow::Result<(Writer, Arc<ArcSwap<Snapshot>>)> {
        let (mut writer, snapshot) = Writer::new(untouched, Arc::clone(metrics));
        if self.paths.is_empty() {
            return Ok((writer, snapshot));
        }
        let mut policy_files = PolicyFiles::new(self.paths.to_vec());
        let (policy_files, loaded) = in_time("the policies", move || {
            let loaded = policy_files.look();
            (policy_files, loaded)
        })
        .await?;
        let loaded = loaded?.unwrap_or_default();
        report(&loaded);
        if !loaded.errors.is_empty() {
            return Err(anyhow!("{} errors in policy files; stowage check names them too", loaded.errors.len()));
        }
        info!(policies = loaded.policies.len(), "policies loaded");
        writer.take(WorldNews::Files(loaded));
        writer.publish();
        let news = writer.sender();
        let give =
            move |read: Result<Loaded, usize>| news.send(read.map_or_else(WorldNews::FilesRefused, WorldNews::Files));
        tasks.spawn("policy files", files::follow(policy_files, self.reload_interval, Arc::clone(metrics), give));
        Ok((writer, snapshot))
    }
}

fn report(loaded: &Loaded) {
    for note in &loaded.notes {
        warn!(file = note.file, line = note.line, field = note.error.path, note = note.error.message, "policy note");
    }
    for error in &loaded.errors {
        let (field, error_text) = (&error.error.path, &error.error.message);
        error!(file = error.file, line = error.line, field, error = error_text, "policy refused");
    }
    for policy in loaded.policies.iter().filter(|policy| policy.namespaces.is_some()) {
        if loaded.namespaces.is_empty() {
            let why =
                "only kubernetes.io/metadata.name is known of a namespace; put Namespace documents beside the policies";
            warn!(policy = %policy.id, why, "a policy with a namespaceSelector");
        }
    }
}
