//! Reading the same again and again, while reading may hang.

use std::{panic, sync::Arc, time::Duration};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Interval, MissedTickBehavior, interval, timeout},
};

/// How long reading may take: ten times what a slow network folder needs.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Threads that hang in reading, at most; no new one is begun beside them.
const HANGING: usize = 3;

/// What became of one try to read.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// It was read.
    Read(T),
    /// It took too long, and goes on without anybody who waits; told once, until something is read again.
    Hangs,
}

/// Reads every so often, for ever, on a thread where it holds nobody up.
pub struct Looks<T, R> {
    ticks: Interval,
    patience: Duration,
    read: Arc<R>,
    hanging: Vec<JoinHandle<T>>,
    told: bool,
}

impl<T: Send + 'static, R: Fn() -> T + Send + Sync + 'static> Looks<T, R> {
    /// Begins with a look at once.
    pub fn new(every: Duration, patience: Duration, read: R) -> Self {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, patience, read: Arc::new(read), hanging: Vec::new(), told: false }
    }

    /// What the next look gives.
    ///
    /// # Panics
    ///
    /// Where reading does.
    pub async fn next(&mut self) -> Look<T> {
        loop {
            self.ticks.tick().await;
            // What comes late is older than what a new look finds.
            self.hanging.retain(|reading| !reading.is_finished());
            if self.hanging.len() == HANGING {
                continue;
            }
            let read = Arc::clone(&self.read);
            let mut reading = spawn_blocking(move || read());
            match timeout(self.patience, &mut reading).await {
                Ok(Ok(value)) => {
                    self.told = false;
                    return Look::Read(value);
                }
                Ok(Err(error)) => {
                    if let Ok(payload) = error.try_into_panic() {
                        panic::resume_unwind(payload);
                    }
                    // The runtime is going, and takes this with it.
                }
                Err(_) => {
                    self.hanging.push(reading);
                    if !self.told {
                        self.told = true;
                        return Look::Hangs;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_look_that_hangs_is_told_of_once_and_the_next_ones_go_on() {
        #[derive(Default)]
        struct Folder {
            looks: usize,
            hangs: bool,
        }
        let folder = Arc::new((Mutex::new(Folder::default()), Condvar::new()));
        let read = {
            let folder = Arc::clone(&folder);
            move || {
                let mut inside = folder.0.lock().unwrap();
                inside.looks += 1;
                let look = inside.looks;
                // Every one of the first five hangs until it is let go.
                inside.hangs |= look == 1;
                if look <= 5 {
                    drop(folder.1.wait_while(inside, |inside| inside.hangs).unwrap());
                }
                look
            }
        };
        let mut looks = Looks::new(Duration::from_millis(1), Duration::from_millis(20), read);
        assert_eq!(looks.next().await, Look::Hangs);
        // No more than three hang at once, and nothing is said twice.
        assert!(timeout(Duration::from_millis(150), looks.next()).await.is_err());
        assert_eq!(folder.0.lock().unwrap().looks, HANGING);
        folder.0.lock().unwrap().hangs = false;
        folder.1.notify_all();
        // What hung is not taken any more: the next look is.
        assert_eq!(looks.next().await, Look::Read(HANGING + 1));
    }
}
