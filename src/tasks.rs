//! Tasks that never end while the program runs.
//!
//! Whatever follows, renews or serves something for ever runs here, under a name. One that ends or panics has left its
//! work undone, and nobody would notice until a certificate expires: so the first one ends the process, with its name in
//! the log, and the kubelet starts it again.

use std::{collections::HashMap, future::pending, io, panic, thread};

use thiserror::Error;
use tokio::{
    sync::oneshot,
    task::{Id, JoinSet},
};

/// The tasks that run, by name.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task is gone that should be there as long as the process.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TaskError {
    /// It returned.
    #[error("the task {0:?} ended, and the process cannot do without it")]
    Ended(&'static str),
    /// It panicked.
    #[error("the task {0:?} panicked, and the process cannot do without it")]
    Panicked(&'static str),
}

impl Tasks {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` on the runtime that this is called on.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.running.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Runs `work` on a thread of its own, which bears the name too.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn spawn_thread(&mut self, name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let (alive, gone) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped when the work is over, however it ends.
            let _alive = alive;
            work();
        })?;
        self.spawn(name, async move {
            let _ = gone.await;
            if let Err(payload) = thread.join() {
                panic::resume_unwind(payload);
            }
        });
        Ok(())
    }

    /// Waits for the first that is gone; for ever where there are none.
    ///
    /// Cancel-safe: one that was not told of is told of at the next call.
    pub async fn first_gone(&mut self) -> TaskError {
        let Some(joined) = self.running.join_next_with_id().await else { return pending().await };
        let (id, error): (_, fn(&'static str) -> TaskError) = match joined {
            Ok((id, ())) => (id, TaskError::Ended),
            Err(error) if error.is_panic() => (error.id(), TaskError::Panicked),
            Err(error) => (error.id(), TaskError::Ended),
        };
        error(self.names.remove(&id).unwrap_or("unnamed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_the_first_that_ends_or_panics_and_leaves_the_others_alone() {
        let mut tasks = Tasks::new();
        let (end, ended) = oneshot::channel::<()>();
        tasks.spawn("patient", pending());
        tasks.spawn("brief", async move {
            let _ = ended.await;
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(10), tasks.first_gone()).await.is_err());
        drop(end);
        assert_eq!(tasks.first_gone().await, TaskError::Ended("brief"));
        tasks.spawn("clumsy", async { panic!("of the test") });
        assert_eq!(tasks.first_gone().await, TaskError::Panicked("clumsy"));
    }

    #[tokio::test]
    async fn a_thread_is_watched_like_a_task() {
        let mut tasks = Tasks::new();
        tasks.spawn_thread("brief", || {}).unwrap();
        assert_eq!(tasks.first_gone().await, TaskError::Ended("brief"));
        tasks.spawn_thread("clumsy", || panic!("of the test")).unwrap();
        assert_eq!(
            tasks.first_gone().await.to_string(),
            "the task \"clumsy\" panicked, and the process cannot do without it"
        );
    }
}
