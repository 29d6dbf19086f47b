//! Which connections are open, what each is doing, and which one goes when
//! another wants in.
//!
//! At the cap the place is taken from the address that holds most, less some
//! that an address keeps which has had answers: from its oldest handshake, else
//! its connection idle longest, else its oldest unfinished body. An address at
//! its own cap gives up its oldest idle one. Where nothing of the kind is
//! there the newcomer is refused. Every bound that is not of one request is
//! kept by [`Connections::sweep`], called a few times a second, so that a
//! request sets no timer.

mod entry;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::entry::GivesWay;
pub(super) use self::entry::{ConnectionEntry, InFlight, Order, RequestStage};
use super::limits::Limits;
use crate::metrics::{ConnectionRefusal, Metrics};

/// All open connections.
pub(super) struct Connections {
    limits: Limits,
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    entries: HashMap<u64, Arc<ConnectionEntry>>,
    by_address: HashMap<IpAddr, AddressCount>,
    /// Told to go to make room, not gone yet, and no longer counted.
    evicted: HashMap<u64, Arc<ConnectionEntry>>,
}

/// What one address has.
#[derive(Default)]
struct AddressCount {
    count: usize,
    /// Whether one of its connections was seen to have had an answer.
    answered: bool,
}

/// A place among the open connections; dropping it gives it back.
pub(super) struct ConnectionPlace {
    connections: Arc<Connections>,
    entry: Arc<ConnectionEntry>,
}

/// Evicted connections that may take leave in their own time; more are cut off.
const POLITE: usize = 64;

impl Connections {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limits, metrics, open: Mutex::default() })
    }

    /// A place for a connection from this address, or `None` where it must be
    /// closed. May tell another one to close.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPlace> {
        // An IPv4 client of a dual-stack socket is the same client.
        let address = address.to_canonical();
        let mut open = lock(&self.open);
        let from_address = open.by_address.get(&address).map_or(0, |held| held.count);
        let (gives_way, refusal) = if from_address >= self.limits.connections_per_address() {
            let idle = open.first_to_go(|entry, kind| entry.address == address && kind == GivesWay::Idle);
            (idle, ConnectionRefusal::Address)
        } else if open.entries.len() >= self.limits.connections {
            (open.of_largest(address, from_address, self.limits.kept_places()), ConnectionRefusal::Total)
        } else {
            return Some(self.place(&mut open, address));
        };
        // Those on their way out are bounded as well.
        let gives_way = gives_way.filter(|_| open.evicted.len() < self.limits.connections.max(POLITE));
        let counted = if gives_way.is_some() { ConnectionRefusal::Evicted } else { refusal };
        self.metrics.connections_refused.count(counted);
        open.evict(gives_way?);
        Some(self.place(&mut open, address))
    }

    /// Closes a connection, to free what it holds.
    pub(super) fn evict_one(&self) {
        let mut open = lock(&self.open);
        if let Some(entry) = open.first_to_go_of_largest(self.limits.kept_places(), |_| true) {
            open.evict(entry);
            self.metrics.connections_refused.count(ConnectionRefusal::Evicted);
        }
    }

    /// Closes what is over its time.
    pub(super) fn sweep(&self, now: Instant) {
        let open = lock(&self.open);
        for entry in open.entries.values().chain(open.evicted.values()) {
            if let Some(reason) = entry.sweep(now, &self.limits) {
                self.metrics.connections_refused.count(reason);
            }
        }
    }

    /// How often [`Connections::sweep`] must be called to be late by a quarter
    /// of the shortest bound at most.
    pub(super) fn sweep_interval(&self) -> Duration {
        let limits = &self.limits;
        let shortest = limits.header.min(limits.linger).min(limits.idle).min(limits.answer);
        (shortest / 4).max(Duration::from_millis(1))
    }

    /// Tells every connection to finish.
    pub(super) fn finish(&self) {
        for entry in lock(&self.open).entries.values() {
            entry.finish();
        }
    }

    fn place(self: &Arc<Self>, open: &mut Open, address: IpAddr) -> ConnectionPlace {
        let entry = Arc::new(ConnectionEntry::new(open.next, address));
        open.next += 1;
        open.entries.insert(entry.id, Arc::clone(&entry));
        open.by_address.entry(address).or_default().count += 1;
        self.metrics.connections.inc();
        ConnectionPlace { connections: Arc::clone(self), entry }
    }
}

impl Open {
    /// Of the address that holds most, if that is more than the newcomer's.
    fn of_largest(&mut self, newcomer: IpAddr, its: usize, kept: usize) -> Option<Arc<ConnectionEntry>> {
        // So that no address can gain by pushing: afterwards it holds no more than the other.
        self.first_to_go_of_largest(kept, |(address, count)| address != newcomer && count > its)
    }

    /// What gives way first, of the largest address that `may` give; ties are between all of them.
    fn first_to_go_of_largest(
        &mut self,
        kept: usize,
        may: impl Fn((IpAddr, usize)) -> bool,
    ) -> Option<Arc<ConnectionEntry>> {
        for entry in self.entries.values() {
            if let Some(held) = self.by_address.get_mut(&entry.address)
                && !held.answered
            {
                held.answered = lock(&entry.state).answered_once;
            }
        }
        let beyond = |held: &AddressCount| if held.answered { held.count.saturating_sub(kept) } else { held.count };
        let mut sizes: Vec<_> = self
            .by_address
            .iter()
            .filter(|(address, held)| may((**address, held.count)))
            .map(|(address, held)| ((beyond(held), held.count), *address))
            .collect();
        sizes.sort_unstable();
        while let Some(largest) = sizes.last().map(|(size, _)| *size) {
            let tied: Vec<IpAddr> = sizes.iter().filter(|(size, _)| *size == largest).map(|(_, at)| *at).collect();
            let found = self.first_to_go(|entry, _| tied.contains(&entry.address));
            if found.is_some() {
                return found;
            }
            sizes.retain(|(size, _)| *size != largest);
        }
        None
    }

    fn first_to_go(&self, may: impl Fn(&ConnectionEntry, GivesWay) -> bool) -> Option<Arc<ConnectionEntry>> {
        self.entries
            .values()
            .filter_map(|entry| Some((entry.gives_way()?, entry)))
            .filter(|((kind, _), entry)| may(entry, *kind))
            .min_by_key(|(kind_and_since, entry)| (*kind_and_since, entry.id))
            .map(|(_, entry)| Arc::clone(entry))
    }

    fn evict(&mut self, entry: Arc<ConnectionEntry>) {
        entry.evict(self.evicted.len() < POLITE);
        self.remove(&entry);
        self.evicted.insert(entry.id, entry);
    }

    fn remove(&mut self, entry: &ConnectionEntry) {
        self.evicted.remove(&entry.id);
        if self.entries.remove(&entry.id).is_none() {
            return;
        }
        if let Some(held) = self.by_address.get_mut(&entry.address) {
            held.count -= 1;
            if held.count == 0 {
                self.by_address.remove(&entry.address);
            }
        }
    }
}

impl ConnectionPlace {
    pub(super) fn entry(&self) -> &Arc<ConnectionEntry> {
        &self.entry
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.entry);
        self.connections.metrics.connections.dec();
    }
}

/// No panic can leave these maps and counters half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
