//! Room that all clients share, of which no address gets more than its part.
//!
//! Large bodies and their answers hold room in one pool, decisions on them take turns from another. Room is asked for in
//! steps, as bytes come, and waited for in turn: of the addresses that wait, the one that holds least is served first.
//!
//! Bodies that grow can wait for each other, and a client can stop sending in the middle. So room is also taken away:
//! where the pool is full and another address holds more, from the oldest unfinished body there, else from the oldest
//! answer that is not read; where all of an address wait for each other, from the youngest.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::IntGauge;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::connections::{ConnectionEntry, RequestStage};

/// What is shared.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    total: usize,
    per_address: usize,
    held: Option<IntGauge>,
    tenancy: Mutex<Tenancy>,
}

#[derive(Default)]
struct Tenancy {
    used: usize,
    next: u64,
    served: u64,
    tenants: HashMap<u64, Tenant>,
    shares: HashMap<IpAddr, AddressShare>,
}

/// One request.
struct Tenant {
    address: IpAddr,
    holds: usize,
    /// How much more it waits for.
    wants: usize,
    stage: RequestStage,
    evicted: bool,
    told: Arc<Notify>,
    entry: Option<Arc<ConnectionEntry>>,
}

/// What one address holds.
#[derive(Default)]
struct AddressShare {
    holds: usize,
    waiting: VecDeque<u64>,
    /// When it was last given something, for turns between those that hold the same.
    served: u64,
}

/// What one request holds; dropping it gives it back.
pub(super) struct Room {
    pool: Pool,
    address: IpAddr,
    entry: Option<Arc<ConnectionEntry>>,
    /// Where it holds or wants anything.
    tenant: Option<(u64, Arc<Notify>)>,
}

/// There was no room in time, or others had a better claim to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Pool {
    pub(super) fn new(total: usize, per_address: usize) -> Self {
        Self(Arc::new(Shared { total, per_address, held: None, tenancy: Mutex::default() }))
    }

    /// The same, and what is held in all is seen in a gauge.
    pub(super) fn seen(total: usize, per_address: usize, held: IntGauge) -> Self {
        Self(Arc::new(Shared { total, per_address, held: Some(held), tenancy: Mutex::default() }))
    }

    /// Room for a request of this connection; none yet.
    pub(super) fn room(&self, entry: &Arc<ConnectionEntry>) -> Room {
        Room { pool: self.clone(), address: entry.address(), entry: Some(Arc::clone(entry)), tenant: None }
    }

    fn lock(&self) -> MutexGuard<'_, Tenancy> {
        // No panic can leave the tenancy half changed.
        self.0.tenancy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, tenancy: &Tenancy, tenant: &Tenant) -> bool {
        let address = tenancy.shares.get(&tenant.address).map_or(0, |share| share.holds);
        // What is larger than the bounds still passes, alone.
        (tenancy.used + tenant.wants <= self.0.total || tenancy.used == tenant.holds)
            && (address + tenant.wants <= self.0.per_address || address == tenant.holds)
    }

    /// Gives what is free to those who wait; to be called after every change.
    fn serve(&self, tenancy: &mut Tenancy) {
        loop {
            let next = tenancy
                .shares
                .values()
                .filter_map(|share| {
                    let id = *share.waiting.front()?;
                    let fits = tenancy.tenants.get(&id).is_some_and(|tenant| self.fits(tenancy, tenant));
                    fits.then_some((share.holds, share.served, id))
                })
                .min();
            let Some((.., id)) = next else { break };
            tenancy.grant(id);
        }
        if let Some(held) = &self.0.held {
            held.set(tenancy.used.try_into().unwrap_or(i64::MAX));
        }
    }

    /// Where somebody waits who could not be served: takes room from who has the lesser claim.
    fn make_way(&self, tenancy: &mut Tenancy, address: IpAddr, more: usize) {
        let mine = tenancy.shares.get(&address).map_or(0, |share| share.holds);
        let is_full = tenancy.used + more > self.0.total;
        let most = tenancy.shares.iter().max_by_key(|(_, share)| share.holds).map(|(most, share)| (*most, share.holds));
        if let Some((most, holds)) = most
            && is_full
            && most != address
            && holds > mine
        {
            let gone = tenancy.tenants.values().filter(|tenant| tenant.evicted);
            let mut coming: usize = gone.map(|tenant| tenant.holds).sum();
            while coming < more {
                let oldest = tenancy
                    .oldest(most, RequestStage::Receiving)
                    .or_else(|| tenancy.oldest(most, RequestStage::Sending));
                let Some(oldest) = oldest else { break };
                coming += tenancy.evict(oldest);
            }
            return;
        }
        let mut stuck = tenancy.tenants.iter().filter(|(_, tenant)| tenant.address == address && !tenant.evicted);
        if stuck.all(|(_, tenant)| tenant.stage == RequestStage::Receiving && tenant.wants > 0) {
            let youngest = tenancy.tenants.iter().filter(|(_, tenant)| tenant.address == address && !tenant.evicted);
            if let Some(youngest) = youngest.map(|(id, _)| *id).max() {
                tenancy.evict(youngest);
            }
        }
    }
}

impl Tenancy {
    fn grant(&mut self, id: u64) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let more = std::mem::take(&mut tenant.wants);
        tenant.holds += more;
        tenant.told.notify_one();
        let share = self.shares.entry(tenant.address).or_default();
        share.holds += more;
        share.waiting.retain(|waiting| *waiting != id);
        self.served += 1;
        share.served = self.served;
        self.used += more;
    }

    fn oldest(&self, address: IpAddr, stage: RequestStage) -> Option<u64> {
        let of_address = self.tenants.iter().filter(|(_, tenant)| tenant.address == address && !tenant.evicted);
        of_address.filter(|(_, tenant)| tenant.stage == stage && tenant.holds > 0).map(|(id, _)| *id).min()
    }

    /// How much will come free.
    fn evict(&mut self, id: u64) -> usize {
        let Some(tenant) = self.tenants.get_mut(&id) else { return 0 };
        tenant.evicted = true;
        tenant.told.notify_one();
        if let (RequestStage::Sending, Some(entry)) = (tenant.stage, &tenant.entry) {
            entry.abort();
        }
        tenant.holds
    }

    fn remove(&mut self, id: u64) {
        let Some(tenant) = self.tenants.remove(&id) else { return };
        self.used -= tenant.holds;
        if let Some(share) = self.shares.get_mut(&tenant.address) {
            share.holds -= tenant.holds;
            share.waiting.retain(|waiting| *waiting != id);
            if share.holds == 0 && share.waiting.is_empty() {
                self.shares.remove(&tenant.address);
            }
        }
    }
}

impl Room {
    /// Waits until this much is held, in all.
    pub(super) async fn grow(&mut self, to: usize, deadline: Instant) -> Result<(), NoRoom> {
        self.ask(to, RequestStage::Receiving, deadline).await
    }

    /// Waits for one turn to decide.
    pub(super) async fn turn(&mut self, deadline: Instant) -> Result<(), NoRoom> {
        self.ask(1, RequestStage::Deciding, deadline).await
    }

    async fn ask(&mut self, to: usize, stage: RequestStage, deadline: Instant) -> Result<(), NoRoom> {
        let (id, told) = self.tenant(stage);
        {
            let pool = &self.pool;
            let mut tenancy = pool.lock();
            let Some(tenant) = tenancy.tenants.get_mut(&id) else { return Err(NoRoom) };
            let more = to.saturating_sub(tenant.holds);
            if more == 0 || tenant.evicted {
                return if tenant.evicted { Err(NoRoom) } else { Ok(()) };
            }
            tenant.wants = more;
            let share = tenancy.shares.entry(self.address).or_default();
            share.waiting.push_back(id);
            pool.serve(&mut tenancy);
            if tenancy.tenants.get(&id).is_some_and(|tenant| tenant.wants > 0) {
                pool.make_way(&mut tenancy, self.address, more);
            }
        }
        loop {
            let told = told.notified();
            if let Some(tenant) = self.pool.lock().tenants.get(&id) {
                if tenant.evicted {
                    return Err(NoRoom);
                }
                if tenant.wants == 0 {
                    return Ok(());
                }
            }
            if timeout_at(deadline, told).await.is_err() {
                return Err(NoRoom);
            }
        }
    }

    /// Whether more was asked for than could be given yet.
    pub(super) fn waits(&self) -> bool {
        let Some((id, _)) = &self.tenant else { return false };
        self.pool.lock().tenants.get(id).is_some_and(|tenant| tenant.wants > 0)
    }

    /// Waits until the room is taken away; for ever where none is held.
    pub(super) async fn taken(&self) {
        let Some((id, told)) = &self.tenant else { return std::future::pending().await };
        loop {
            let told = told.notified();
            if self.pool.lock().tenants.get(id).is_some_and(|tenant| tenant.evicted) {
                return;
            }
            told.await;
        }
    }

    /// The body is whole.
    pub(super) fn deciding(&self) {
        if let Some((id, _)) = &self.tenant
            && let Some(tenant) = self.pool.lock().tenants.get_mut(id)
        {
            tenant.stage = RequestStage::Deciding;
        }
    }

    /// From now on it is an answer of this length that is held. It is there already, so nothing is waited for.
    pub(super) fn sending(&mut self, length: usize) {
        if length == 0 {
            if let Some((id, _)) = self.tenant.take() {
                let mut tenancy = self.pool.lock();
                tenancy.remove(id);
                self.pool.serve(&mut tenancy);
            }
            return;
        }
        let (id, _) = self.tenant(RequestStage::Sending);
        let mut tenancy = self.pool.lock();
        let Some(tenant) = tenancy.tenants.get_mut(&id) else { return };
        tenant.stage = RequestStage::Sending;
        tenant.evicted = false;
        let before = std::mem::replace(&mut tenant.holds, length);
        tenancy.used = tenancy.used - before + length;
        let share = tenancy.shares.entry(self.address).or_default();
        share.holds = share.holds - before + length;
        self.pool.serve(&mut tenancy);
    }

    fn tenant(&mut self, stage: RequestStage) -> (u64, Arc<Notify>) {
        if let Some(tenant) = &self.tenant {
            return tenant.clone();
        }
        let told = Arc::new(Notify::new());
        let mut tenancy = self.pool.lock();
        let id = tenancy.next;
        tenancy.next += 1;
        let (address, entry) = (self.address, self.entry.clone());
        let tenant = Tenant { address, holds: 0, wants: 0, stage, evicted: false, told: Arc::clone(&told), entry };
        tenancy.tenants.insert(id, tenant);
        drop(tenancy);
        self.tenant.insert((id, told)).clone()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((id, _)) = self.tenant.take() {
            let mut tenancy = self.pool.lock();
            tenancy.remove(id);
            self.pool.serve(&mut tenancy);
        }
    }
}

#[cfg(test)]
mod tests;
