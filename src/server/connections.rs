//! Which connections are open, what each is doing, and which one goes when
//! another wants in.
//!
//! A connection is idle when no request is in flight on it. At the cap the one
//! idle longest goes first; where none is idle the newcomer is refused. Every
//! bound that is not of one request is kept by [`Connections::sweep`], called a
//! few times a second, so that a request sets no timer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

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
    entries: HashMap<u64, Arc<Entry>>,
    by_address: HashMap<IpAddr, usize>,
    /// Told to go to make room, not gone yet, and no longer counted.
    evicted: HashMap<u64, Arc<Entry>>,
}

/// One open connection, as its own task and the accept loop both see it.
pub(super) struct Entry {
    id: u64,
    address: IpAddr,
    state: Mutex<State>,
    told: Notify,
}

struct State {
    stage: Stage,
    in_flight: u32,
    /// When the present stage, or the present idleness, began.
    since: Instant,
    /// When the first byte came of a request whose head is not complete.
    head_since: Option<Instant>,
    answered_once: bool,
    order: Option<Order>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    /// Told to finish; what is in flight may end.
    Finishing,
    /// Our side is closed.
    Lingering,
}

/// What a connection's task is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Finish what is in flight, then close.
    Finish,
    /// Close now.
    Abort,
}

/// A place among the open connections; dropping it gives it back.
pub(super) struct Place {
    connections: Arc<Connections>,
    entry: Arc<Entry>,
}

/// A request in flight; dropping it ends it.
pub(super) struct InFlight<'a> {
    entry: &'a Entry,
    last: bool,
}

impl Connections {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limits, metrics, open: Mutex::default() })
    }

    /// A place for a connection from this address, or `None` where it must be
    /// closed. May tell an idle one to close.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // An IPv4 client of a dual-stack socket is the same client.
        let address = address.to_canonical();
        let mut open = lock(&self.open);
        let from_address = open.by_address.get(&address).copied().unwrap_or(0);
        let (only, refusal) = if from_address >= self.limits.connections_per_address() {
            (Some(address), ConnectionRefusal::Address)
        } else if open.entries.len() >= self.limits.connections {
            (None, ConnectionRefusal::Total)
        } else {
            return Some(self.place(&mut open, address));
        };
        // Those on their way out are bounded as well.
        let room = open.evicted.len() < self.limits.connections;
        let counted = if room && open.evict_longest_idle(only) { ConnectionRefusal::Evicted } else { refusal };
        self.metrics.connections_refused.count(counted);
        (counted == ConnectionRefusal::Evicted).then(|| self.place(&mut open, address))
    }

    /// Closes the connection idle longest, to free what it holds.
    pub(super) fn evict_one(&self) {
        if lock(&self.open).evict_longest_idle(None) {
            self.metrics.connections_refused.count(ConnectionRefusal::Evicted);
        }
    }

    /// Closes what is over its time.
    pub(super) fn sweep(&self, now: Instant) {
        let open = lock(&self.open);
        for entry in open.entries.values().chain(open.evicted.values()) {
            if entry.sweep(now, &self.limits) {
                self.metrics.connections_refused.count(ConnectionRefusal::SlowHeader);
            }
        }
    }

    /// How often [`Connections::sweep`] must be called to be late by a quarter
    /// of the shortest bound at most.
    pub(super) fn sweep_interval(&self) -> Duration {
        let limits = &self.limits;
        let shortest = limits.header.min(limits.linger).min(limits.idle);
        (shortest / 4).max(Duration::from_millis(1))
    }

    /// Tells every connection to finish.
    pub(super) fn finish(&self) {
        for entry in lock(&self.open).entries.values() {
            entry.finish();
        }
    }

    fn place(self: &Arc<Self>, open: &mut Open, address: IpAddr) -> Place {
        let entry = Arc::new(Entry {
            id: open.next,
            address,
            state: Mutex::new(State {
                stage: Stage::Handshake,
                in_flight: 0,
                since: Instant::now(),
                head_since: None,
                answered_once: false,
                order: None,
            }),
            told: Notify::new(),
        });
        open.next += 1;
        open.entries.insert(entry.id, Arc::clone(&entry));
        *open.by_address.entry(address).or_insert(0) += 1;
        self.metrics.connections.inc();
        Place { connections: Arc::clone(self), entry }
    }
}

impl Open {
    fn longest_idle(&self, address: Option<IpAddr>) -> Option<Arc<Entry>> {
        self.entries
            .values()
            .filter(|entry| address.is_none_or(|address| address == entry.address))
            .filter_map(|entry| Some((entry.idle_since()?, entry)))
            .min_by_key(|(since, entry)| (*since, entry.id))
            .map(|(_, entry)| Arc::clone(entry))
    }

    fn evict_longest_idle(&mut self, address: Option<IpAddr>) -> bool {
        let Some(idle) = self.longest_idle(address) else {
            return false;
        };
        idle.evict();
        self.remove(&idle);
        self.evicted.insert(idle.id, idle);
        true
    }

    fn remove(&mut self, entry: &Entry) {
        self.evicted.remove(&entry.id);
        if self.entries.remove(&entry.id).is_none() {
            return;
        }
        if let Some(count) = self.by_address.get_mut(&entry.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&entry.address);
            }
        }
    }
}

impl Place {
    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.entry);
        self.connections.metrics.connections.dec();
    }
}

impl Entry {
    /// The handshake is over.
    pub(super) fn opened(&self) {
        let mut state = lock(&self.state);
        state.stage = if state.order.is_some() { Stage::Finishing } else { Stage::Open };
        state.since = Instant::now();
    }

    /// Bytes came; outside a request they begin the next one's head.
    pub(super) fn heard(&self) {
        let mut state = lock(&self.state);
        if state.in_flight == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// A request's head is complete.
    pub(super) fn begin(&self) -> InFlight<'_> {
        let mut state = lock(&self.state);
        state.in_flight += 1;
        state.head_since = None;
        InFlight { entry: self, last: state.stage == Stage::Finishing }
    }

    /// Our side is closed; the client may still be sending.
    pub(super) fn lingers(&self) {
        let mut state = lock(&self.state);
        if state.stage != Stage::Lingering {
            state.stage = Stage::Lingering;
            state.since = Instant::now();
        }
    }

    /// Waits for an order. Cancel-safe: an order stays until it is taken.
    pub(super) async fn order(&self) -> Order {
        loop {
            let told = self.told.notified();
            if let Some(order) = lock(&self.state).order.take() {
                return order;
            }
            told.await;
        }
    }

    /// Whether no request has come yet: the client is owed the answer to the
    /// one that may be on its way.
    pub(super) fn is_fresh(&self) -> bool {
        let state = lock(&self.state);
        !state.answered_once && state.in_flight == 0
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        (state.stage == Stage::Open && state.in_flight == 0).then_some(state.since)
    }

    /// A client that never got an answer is owed none; another one gets a
    /// proper close.
    fn evict(&self) {
        if self.is_fresh() {
            self.tell(Order::Abort);
        } else {
            self.finish();
        }
    }

    fn finish(&self) {
        {
            let mut state = lock(&self.state);
            if state.stage == Stage::Lingering {
                return;
            }
            if state.stage == Stage::Open {
                state.stage = Stage::Finishing;
                state.since = Instant::now();
            }
        }
        self.tell(Order::Finish);
    }

    fn tell(&self, order: Order) {
        lock(&self.state).order = Some(order);
        self.told.notify_one();
    }

    /// True where the head of a request came too slowly.
    fn sweep(&self, now: Instant, limits: &Limits) -> bool {
        let state = lock(&self.state);
        let quiet = now.saturating_duration_since(state.since);
        let slow_head = state.head_since.is_some_and(|since| now.saturating_duration_since(since) > limits.header);
        let idle = state.in_flight == 0;
        let stage = state.stage;
        drop(state);
        match stage {
            Stage::Handshake => {}
            Stage::Open | Stage::Finishing if slow_head => {
                self.tell(Order::Abort);
                return true;
            }
            Stage::Open if idle && quiet > limits.idle => self.finish(),
            Stage::Finishing if idle && quiet > limits.linger => self.tell(Order::Abort),
            Stage::Lingering if quiet > limits.linger => self.tell(Order::Abort),
            Stage::Open | Stage::Finishing | Stage::Lingering => {}
        }
        false
    }
}

impl InFlight<'_> {
    /// Whether the connection closes after this answer.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.entry.state);
        state.in_flight -= 1;
        state.answered_once = true;
        if state.in_flight == 0 {
            state.since = Instant::now();
        }
    }
}

/// No panic can leave these maps and counters half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
