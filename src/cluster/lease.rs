//! Who of several replicas acts: the holder of a Lease of coordination.k8s.io.
//!
//! A term is counted from before it was asked for and is shorter than the time that others wait from after they saw it,
//! so one that cannot renew has stopped acting before another begins, whatever the clocks of their nodes say. The end of
//! a term is measured by the monotonic clock, and by the wall clock beside it, since the first stands still while a
//! machine is suspended.
//!
//! The crates that offer this judge another's term by the wall clock's `renewTime`, and stand on older clients.

use std::error::Error as StdError;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{FIELD_MANAGER, is_conflict};

/// Where the Lease is, and who asks for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asks; no two processes may have the same.
    pub identity: String,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// How long others wait after the last change of the Lease that they saw.
const DURATION: Duration = Duration::from_secs(15);
/// How long a term is. What is sent at its end has the difference to arrive in.
const TERM: Duration = Duration::from_secs(10);
/// How often a term is asked for, or renewed.
const RETRY: Duration = Duration::from_secs(2);
/// How long one call may take.
const CALL: Duration = Duration::from_secs(3);

/// A term of office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    until: Instant,
    until_wall: Timestamp,
}

/// Whether this process may act.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// `None` for ever: there is no election.
    term: Option<watch::Receiver<Option<Term>>>,
}

/// Asks for the Lease.
pub struct Elector {
    api: Api<Lease>,
    candidate: Candidate,
    term: watch::Sender<Option<Term>>,
    sighting: Mutex<Sighting>,
}

/// The Lease as it was last seen, and since when.
struct Sighting {
    seen: Option<Lease>,
    seen_at: Instant,
    is_released: bool,
}

/// Why a turn gave no answer.
#[derive(Debug, Error)]
enum TurnError {
    #[error("no answer within {CALL:?}")]
    TimedOut,
    #[error(transparent)]
    Refused(#[from] kube::Error),
}

impl Candidate {
    /// A name that no other process has: the pod's, with a random part.
    #[must_use]
    pub fn identity(pod: &str) -> String {
        format!("{pod}_{:016x}", RandomState::new().hash_one(pod))
    }
}

impl Leadership {
    /// Without election everybody acts.
    #[must_use]
    pub const fn undisputed() -> Self {
        Self { term: None }
    }

    /// Whether this process may act at `now`, the wall clock's.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        let Some(term) = &self.term else { return true };
        term.borrow().is_some_and(|term| Instant::now() < term.until && now < term.until_wall)
    }

    /// Waits until a term begins, is renewed or given up.
    pub async fn changed(&mut self) {
        let changed = match &mut self.term {
            Some(term) => term.changed().await,
            None => std::future::pending().await,
        };
        if changed.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Elector {
    /// Asks for nothing yet.
    #[must_use]
    pub fn new(client: Client, candidate: Candidate) -> (Arc<Self>, Leadership) {
        let (term, receiver) = watch::channel(None);
        let sighting = Mutex::new(Sighting { seen: None, seen_at: Instant::now(), is_released: false });
        let api = Api::namespaced(client, &candidate.namespace);
        (Arc::new(Self { api, candidate, term, sighting }), Leadership { term: Some(receiver) })
    }

    /// Asks for the Lease, and renews it, for ever. `tell` hears after each turn whether it is held.
    pub async fn run(self: Arc<Self>, mut tell: impl FnMut(bool)) {
        let (mut held, mut failing) = (false, false);
        loop {
            match self.turn().await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(error = &error as &dyn StdError, lease = self.candidate.name, "asking for the lease");
                    }
                }
            }
            let holds = Leadership { term: Some(self.term.subscribe()) }.holds((self.candidate.clock)());
            if holds != std::mem::replace(&mut held, holds) {
                let words =
                    if holds { "leading: this replica acts" } else { "no longer leading: this replica only watches" };
                info!(lease = self.candidate.name, identity = self.candidate.identity, "{words}");
            }
            tell(holds);
            sleep(RETRY).await;
        }
    }

    /// Gives the Lease up, where it is held, so that another need not wait. Afterwards it is not asked for any more.
    pub async fn release(&self) {
        self.term.send_replace(None);
        let mut sighting = self.sighting.lock().await;
        sighting.is_released = true;
        let Some(mut lease) = sighting.seen.take().filter(|lease| self.is_mine(lease)) else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        // Where somebody does not take an empty holder for none.
        spec.lease_duration_seconds = Some(1);
        match timeout(CALL, self.api.replace(&self.candidate.name, &params(), &lease)).await {
            Ok(Ok(_)) => info!(lease = self.candidate.name, "gave the lease up"),
            Ok(Err(error)) => warn!(error = &error as &dyn StdError, "giving the lease up"),
            Err(_) => warn!("giving the lease up: no answer"),
        }
    }

    async fn turn(&self) -> Result<(), TurnError> {
        let mut sighting = self.sighting.lock().await;
        if sighting.is_released {
            return Ok(());
        }
        // Before the first byte is sent: whatever is answered took effect later.
        let begun = Instant::now();
        let wall = (self.candidate.clock)();
        let found = timeout(CALL, self.api.get_opt(&self.candidate.name)).await;
        let found = found.map_err(|_| TurnError::TimedOut)??;
        let Some(wanted) = sighting.wanted(found, &self.candidate, wall) else {
            self.term.send_if_modified(|term| term.take().is_some());
            return Ok(());
        };
        let write = async {
            match wanted.resource_version() {
                Some(_) => self.api.replace(&self.candidate.name, &params(), &wanted).await,
                None => self.api.create(&params(), &wanted).await,
            }
        };
        match timeout(CALL, write).await.map_err(|_| TurnError::TimedOut)? {
            Ok(written) => {
                sighting.see(written);
                let until_wall = wall.checked_add(TERM).unwrap_or(Timestamp::MAX);
                self.term.send_replace(Some(Term { until: begun + TERM, until_wall }));
                Ok(())
            }
            // Somebody else was first; who, the next turn tells. A term that runs still runs out by itself.
            Err(error) if is_conflict(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn is_mine(&self, lease: &Lease) -> bool {
        holder(lease) == Some(&self.candidate.identity)
    }
}

impl Sighting {
    /// The Lease as it should be written, where it may be.
    fn wanted(&mut self, found: Option<Lease>, candidate: &Candidate, wall: Timestamp) -> Option<Lease> {
        let now = MicroTime(wall);
        let Some(lease) = found else {
            self.seen = None;
            return Some(Lease {
                metadata: ObjectMeta { name: Some(candidate.name.clone()), ..ObjectMeta::default() },
                spec: Some(LeaseSpec {
                    holder_identity: Some(candidate.identity.clone()),
                    lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                    acquire_time: Some(now.clone()),
                    renew_time: Some(now),
                    lease_transitions: Some(0),
                    ..LeaseSpec::default()
                }),
            });
        };
        if self.seen.as_ref().and_then(ResourceExt::resource_version) != lease.resource_version() {
            self.see(lease.clone());
        }
        let is_mine = holder(&lease) == Some(&candidate.identity);
        let is_over = holder(&lease).is_none() || Instant::now() >= self.seen_at + duration(&lease);
        if !is_mine && !is_over {
            return None;
        }
        let mut lease = lease;
        let spec = lease.spec.get_or_insert_default();
        if !is_mine {
            spec.holder_identity = Some(candidate.identity.clone());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        Some(lease)
    }

    fn see(&mut self, lease: Lease) {
        self.seen = Some(lease);
        self.seen_at = Instant::now();
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

/// How long the holder said that others wait; never less than it may act.
fn duration(lease: &Lease) -> Duration {
    let said = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let said = said.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    said.unwrap_or(DURATION).max(DURATION)
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests;
