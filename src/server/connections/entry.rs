//! One connection: what it is doing, and what its task is told to do.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock;
use crate::metrics::ConnectionRefusal;
use crate::server::limits::Limits;

/// One open connection, as its own task and the accept loop both see it.
pub(in crate::server) struct ConnectionEntry {
    pub(super) id: u64,
    pub(super) address: IpAddr,
    pub(super) state: Mutex<EntryState>,
    told: Notify,
}

pub(super) struct EntryState {
    stage: ConnectionStage,
    /// The requests in flight, oldest first.
    calls: Vec<RequestProgress>,
    next_call: u64,
    /// Whether one of them has the small body that is free.
    free_taken: bool,
    /// When the present stage, or the present idleness, began.
    since: Instant,
    /// When the first byte came of a request whose head is not complete.
    head_since: Option<Instant>,
    pub(super) answered_once: bool,
    pub(super) order: Option<Order>,
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
pub(in crate::server) enum RequestStage {
    /// Its body is coming.
    Receiving,
    /// It is decided on.
    Deciding,
    /// Its answer is on the way.
    Sending,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionStage {
    Handshake,
    Open,
    /// Told to finish; what is in flight may end.
    Finishing,
    /// Our side is closed.
    Lingering,
}

/// What gives way to a newcomer, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GivesWay {
    Handshake,
    Idle,
    Body,
}

/// What a connection's task is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Order {
    /// Finish what is in flight, then close.
    Finish,
    /// Close now.
    Abort,
}

/// A request in flight; dropping it ends it.
pub(in crate::server) struct InFlight {
    entry: Arc<ConnectionEntry>,
    id: u64,
    last: bool,
    free: bool,
}

impl ConnectionEntry {
    pub(super) fn new(id: u64, address: IpAddr) -> Self {
        let state = EntryState {
            stage: ConnectionStage::Handshake,
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
    pub(in crate::server) fn address(&self) -> IpAddr {
        self.address
    }

    /// The handshake is over.
    pub(in crate::server) fn opened(&self) {
        let mut state = lock(&self.state);
        state.stage = if state.order.is_some() { ConnectionStage::Finishing } else { ConnectionStage::Open };
        state.since = Instant::now();
    }

    /// Bytes came; outside a request they begin the next one's head.
    pub(in crate::server) fn heard(&self) {
        let mut state = lock(&self.state);
        if state.calls.is_empty() && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// A request's head is complete.
    pub(in crate::server) fn begin(self: &Arc<Self>) -> InFlight {
        let mut state = lock(&self.state);
        let id = state.next_call;
        state.next_call += 1;
        state.head_since = None;
        let free = !std::mem::replace(&mut state.free_taken, true);
        state.calls.push(RequestProgress { id, step: RequestStage::Receiving, since: Instant::now() });
        InFlight { entry: Arc::clone(self), id, last: state.stage == ConnectionStage::Finishing, free }
    }

    /// Our side is closed; the client may still be sending.
    pub(in crate::server) fn lingers(&self) {
        let mut state = lock(&self.state);
        if state.stage != ConnectionStage::Lingering {
            state.stage = ConnectionStage::Lingering;
            state.since = Instant::now();
        }
    }

    /// Waits for an order. Cancel-safe: an order stays until it is taken.
    pub(in crate::server) async fn order(&self) -> Order {
        loop {
            let told = self.told.notified();
            if let Some(order) = lock(&self.state).order.take() {
                return order;
            }
            told.await;
        }
    }

    /// Waits for the order to close now, and leaves any other to be taken.
    pub(in crate::server) async fn aborted(&self) {
        loop {
            let told = self.told.notified();
            if self.is_aborted() {
                return;
            }
            told.await;
        }
    }

    /// Whether it was told to close now.
    pub(in crate::server) fn is_aborted(&self) -> bool {
        lock(&self.state).aborted
    }

    /// Closes it now.
    pub(in crate::server) fn abort(&self) {
        self.tell(Order::Abort);
    }

    /// Whether no request has come yet: the client is owed the answer to the
    /// one that may be on its way.
    pub(in crate::server) fn is_fresh(&self) -> bool {
        let state = lock(&self.state);
        !state.answered_once && state.calls.is_empty()
    }

    /// What it would give up for another, and since when that stands. Nobody
    /// gives up a decision, which ends by itself, or an answer.
    pub(super) fn gives_way(&self) -> Option<(GivesWay, Instant)> {
        let state = lock(&self.state);
        match (state.stage, state.calls.first()) {
            (ConnectionStage::Handshake, _) => Some((GivesWay::Handshake, state.since)),
            (ConnectionStage::Open, None) => Some((GivesWay::Idle, state.since)),
            (ConnectionStage::Open, Some(oldest)) => {
                let unfinished = state.calls.iter().all(|call| call.step == RequestStage::Receiving);
                unfinished.then_some((GivesWay::Body, oldest.since))
            }
            (ConnectionStage::Finishing | ConnectionStage::Lingering, _) => None,
        }
    }

    /// A client that never got an answer is owed none; another one gets a
    /// proper close.
    pub(super) fn evict(&self, politely: bool) {
        if politely && self.is_idle() && !self.is_fresh() {
            self.finish();
        } else {
            self.abort();
        }
    }

    fn is_idle(&self) -> bool {
        lock(&self.state).calls.is_empty()
    }

    pub(super) fn finish(&self) {
        {
            let mut state = lock(&self.state);
            if state.stage == ConnectionStage::Lingering {
                return;
            }
            if state.stage == ConnectionStage::Open {
                state.stage = ConnectionStage::Finishing;
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
    pub(super) fn sweep(&self, now: Instant, limits: &Limits) -> Option<ConnectionRefusal> {
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
            ConnectionStage::Handshake => {}
            _ if unread => {
                self.abort();
                return Some(ConnectionRefusal::SlowReader);
            }
            ConnectionStage::Open | ConnectionStage::Finishing if slow_head => {
                self.abort();
                return Some(ConnectionRefusal::SlowHeader);
            }
            ConnectionStage::Open if idle && quiet > limits.idle => self.finish(),
            ConnectionStage::Finishing if idle && quiet > limits.linger => self.abort(),
            ConnectionStage::Lingering if quiet > limits.linger => self.abort(),
            ConnectionStage::Open | ConnectionStage::Finishing | ConnectionStage::Lingering => {}
        }
        None
    }
}

impl InFlight {
    /// The connection that it came on.
    pub(in crate::server) fn entry(&self) -> &Arc<ConnectionEntry> {
        &self.entry
    }

    /// Whether the connection closes after this answer.
    pub(in crate::server) fn is_last(&self) -> bool {
        self.last
    }

    /// Whether a small body costs nothing: it is the only request in flight on
    /// its connection that has this.
    pub(in crate::server) fn has_free_body(&self) -> bool {
        self.free
    }

    /// The body is whole.
    pub(in crate::server) fn deciding(&self) {
        self.step(RequestStage::Deciding);
    }

    /// The answer is on its way.
    pub(in crate::server) fn sending(&self) {
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
