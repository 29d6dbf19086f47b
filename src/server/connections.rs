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
    by_address: HashMap<IpAddr, AddressCount>,
    /// Told to go to make room, not gone yet, and no longer counted.
    evicted: HashMap<u64, Arc<Entry>>,
}

/// What one address has.
#[derive(Default)]
struct AddressCount {
    count: usize,
    /// Whether one of its connections was seen to have had an answer.
    answered: bool,
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
    /// The requests in flight, oldest first.
    calls: Vec<RequestProgress>,
    next_call: u64,
    /// Whether one of them has the small body that is free.
    free_taken: bool,
    /// When the present stage, or the present idleness, began.
    since: Instant,
    /// When the first byte came of a request whose head is not complete.
    head_since: Option<Instant>,
    answered_once: bool,
    order: Option<Order>,
    aborted: bool,
}

/// How far one request is.
struct RequestProgress {
    id: u64,
    step: RequestStage,
    since: Instant,
}

/// What a request in flight is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestStage {
    /// Its body is coming.
    Receiving,
    /// It is decided on.
    Deciding,
    /// Its answer is on the way.
    Sending,
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

/// What gives way to a newcomer, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GivesWay {
    Handshake,
    Idle,
    Body,
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
pub(super) struct InFlight {
    entry: Arc<Entry>,
    id: u64,
    last: bool,
    free: bool,
}

/// Evicted connections that may take leave in their own time; more are cut off.
const POLITE: usize = 64;

impl Connections {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { limits, metrics, open: Mutex::default() })
    }

    /// A place for a connection from this address, or `None` where it must be
    /// closed. May tell another one to close.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
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

    fn place(self: &Arc<Self>, open: &mut Open, address: IpAddr) -> Place {
        let entry = Arc::new(Entry::new(open.next, address));
        open.next += 1;
        open.entries.insert(entry.id, Arc::clone(&entry));
        open.by_address.entry(address).or_default().count += 1;
        self.metrics.connections.inc();
        Place { connections: Arc::clone(self), entry }
    }
}

impl Open {
    /// Of the address that holds most, if that is more than the newcomer's.
    fn of_largest(&mut self, newcomer: IpAddr, its: usize, kept: usize) -> Option<Arc<Entry>> {
        // So that no address can gain by pushing: afterwards it holds no more than the other.
        self.first_to_go_of_largest(kept, |(address, count)| address != newcomer && count > its)
    }

    /// What gives way first, of the largest address that `may` give; ties are between all of them.
    fn first_to_go_of_largest(&mut self, kept: usize, may: impl Fn((IpAddr, usize)) -> bool) -> Option<Arc<Entry>> {
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

    fn first_to_go(&self, may: impl Fn(&Entry, GivesWay) -> bool) -> Option<Arc<Entry>> {
        self.entries
            .values()
            .filter_map(|entry| Some((entry.gives_way()?, entry)))
            .filter(|((kind, _), entry)| may(entry, *kind))
            .min_by_key(|(kind_and_since, entry)| (*kind_and_since, entry.id))
            .map(|(_, entry)| Arc::clone(entry))
    }

    fn evict(&mut self, entry: Arc<Entry>) {
        entry.evict(self.evicted.len() < POLITE);
        self.remove(&entry);
        self.evicted.insert(entry.id, entry);
    }

    fn remove(&mut self, entry: &Entry) {
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
    fn new(id: u64, address: IpAddr) -> Self {
        let state = State {
            stage: Stage::Handshake,
            calls: Vec::new(),
            next_call: 0,
            free_taken: false,
            since: Instant::now(),
            head_since: None,
            answered_once: false,
            order: None,
            aborted: false,
        };
        Self { id, address, state: Mutex::new(state), told: Notify::new() }
    }

    /// Where the client is.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// The handshake is over.
    pub(super) fn opened(&self) {
        let mut state = lock(&self.state);
        state.stage = if state.order.is_some() { Stage::Finishing } else { Stage::Open };
        state.since = Instant::now();
    }

    /// Bytes came; outside a request they begin the next one's head.
    pub(super) fn heard(&self) {
        let mut state = lock(&self.state);
        if state.calls.is_empty() && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// A request's head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        let mut state = lock(&self.state);
        let id = state.next_call;
        state.next_call += 1;
        state.head_since = None;
        let free = !std::mem::replace(&mut state.free_taken, true);
        state.calls.push(RequestProgress { id, step: RequestStage::Receiving, since: Instant::now() });
        InFlight { entry: Arc::clone(self), id, last: state.stage == Stage::Finishing, free }
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

    /// Waits for the order to close now, and leaves any other to be taken.
    pub(super) async fn aborted(&self) {
        loop {
            let told = self.told.notified();
            if self.is_aborted() {
                return;
            }
            told.await;
        }
    }

    /// Whether it was told to close now.
    pub(super) fn is_aborted(&self) -> bool {
        lock(&self.state).aborted
    }

    /// Closes it now.
    pub(super) fn abort(&self) {
        self.tell(Order::Abort);
    }

    /// Whether no request has come yet: the client is owed the answer to the
    /// one that may be on its way.
    pub(super) fn is_fresh(&self) -> bool {
        let state = lock(&self.state);
        !state.answered_once && state.calls.is_empty()
    }

    /// What it would give up for another, and since when that stands. Nobody
    /// gives up a decision, which ends by itself, or an answer.
    fn gives_way(&self) -> Option<(GivesWay, Instant)> {
        let state = lock(&self.state);
        match (state.stage, state.calls.first()) {
            (Stage::Handshake, _) => Some((GivesWay::Handshake, state.since)),
            (Stage::Open, None) => Some((GivesWay::Idle, state.since)),
            (Stage::Open, Some(oldest)) => {
                let unfinished = state.calls.iter().all(|call| call.step == RequestStage::Receiving);
                unfinished.then_some((GivesWay::Body, oldest.since))
            }
            (Stage::Finishing | Stage::Lingering, _) => None,
        }
    }

    /// A client that never got an answer is owed none; another one gets a
    /// proper close.
    fn evict(&self, politely: bool) {
        if politely && self.is_idle() && !self.is_fresh() {
            self.finish();
        } else {
            self.abort();
        }
    }

    fn is_idle(&self) -> bool {
        lock(&self.state).calls.is_empty()
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
        let mut state = lock(&self.state);
        if !state.aborted {
            state.aborted = order == Order::Abort;
            state.order = Some(order);
        }
        drop(state);
        self.told.notify_one();
    }

    /// Why it was closed, where a client was too slow.
    fn sweep(&self, now: Instant, limits: &Limits) -> Option<ConnectionRefusal> {
        let state = lock(&self.state);
        let since = |then: Instant| now.saturating_duration_since(then);
        let quiet = since(state.since);
        let slow_head = state.head_since.is_some_and(|head| since(head) > limits.header);
        let unread = |call: &RequestProgress| call.step == RequestStage::Sending && since(call.since) > limits.answer;
        let unread = state.calls.iter().any(unread);
        let idle = state.calls.is_empty();
        let (stage, aborted) = (state.stage, state.aborted);
        drop(state);
        match stage {
            _ if aborted => {}
            Stage::Handshake => {}
            _ if unread => {
                self.abort();
                return Some(ConnectionRefusal::SlowReader);
            }
            Stage::Open | Stage::Finishing if slow_head => {
                self.abort();
                return Some(ConnectionRefusal::SlowHeader);
            }
            Stage::Open if idle && quiet > limits.idle => self.finish(),
            Stage::Finishing if idle && quiet > limits.linger => self.abort(),
            Stage::Lingering if quiet > limits.linger => self.abort(),
            Stage::Open | Stage::Finishing | Stage::Lingering => {}
        }
        None
    }
}

impl InFlight {
    /// The connection that it came on.
    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Whether the connection closes after this answer.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// Whether a small body costs nothing: it is the only request in flight on
    /// its connection that has this.
    pub(super) fn has_free_body(&self) -> bool {
        self.free
    }

    /// The body is whole.
    pub(super) fn deciding(&self) {
        self.step(RequestStage::Deciding);
    }

    /// The answer is on its way.
    pub(super) fn sending(&self) {
        self.step(RequestStage::Sending);
    }

    fn step(&self, step: RequestStage) {
        let mut state = lock(&self.entry.state);
        if let Some(call) = state.calls.iter_mut().find(|call| call.id == self.id) {
            call.step = step;
            call.since = Instant::now();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = lock(&self.entry.state);
        state.calls.retain(|call| call.id != self.id);
        state.free_taken &= !self.free;
        state.answered_once = true;
        if state.calls.is_empty() {
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
