//! Decides which connections stay open when all slots are taken.
//!
//! A connection is *active* while a request on it is not completely answered, otherwise it is *idle*. So a connection is idle
//! if it sends nothing, if it is in the middle of a request head, or if it only has answered monitoring requests, which need no
//! share. Two rules always hold:
//!
//! - **Idle connections are evicted.** When all slots are taken, a new connection gets the slot of an idle one. The client with
//!   the most connections loses the one that has been idle the longest. The new connection is refused if no idle connection
//!   belongs to a client with more connections than its own, to its own client, or to a trusted proxy.
//! - **Active connections have shares.** Up to half of the slots are free for all. Above that, a client may have no more
//!   active connections than there are free slots. So one client gets at most half of them, and some stay free for others (the
//!   dynamic thresholds of Choudhury and Hahne, as in the buffers of network switches). A request beyond the share is answered
//!   only if it is a monitoring request.
//!
//! Some slots are never used for active connections. The connections that hold them are idle, so a client without any
//! connection can always connect, and its health check is answered.
//!
//! A client is an IPv4 address or an IPv6 /64 network. A trusted proxy forwards many clients, so it has no share: it may use
//! all slots except a reserve, and its idle connections are evicted last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::sync::Notify;

use crate::model::ClientKey;
use crate::telemetry::connections::Connections;

/// Divisor for the reserve: 1/16 of all connections. The reserve is set aside three times: from open connections, so that an
/// evicted one has time to close; from active ones, so that some are idle; and from the active ones of trusted proxies.
const RESERVE_PART: usize = 16;
/// Maximum reserve for any number of connections.
const MAX_RESERVE: usize = 64;

#[derive(Debug)]
pub(super) struct Shares {
    /// Maximum number of open connections.
    slots: usize,
    /// Maximum number of active connections.
    active_slots: usize,
    reserve: usize,
    trusted_proxies: Vec<IpNet>,
    counts: Connections,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<Peer, PeerConnections>,
    /// Peers with an idle connection, by rank.
    ranked: BTreeSet<Rank>,
    open: usize,
    active: usize,
    /// Logical clock that orders the moments at which connections became idle.
    ticks: u64,
}

/// The client or trusted proxy to which a connection is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Peer {
    is_trusted: bool,
    client: ClientKey,
}

/// Eviction order of peers, the highest first: by number of connections, then by the age of the oldest idle connection.
type Rank = (usize, Reverse<u64>, Peer);

#[derive(Debug, Default)]
struct PeerConnections {
    open: usize,
    active: usize,
    /// Idle connections by the tick at which they became idle.
    idle: BTreeMap<u64, Arc<Connection>>,
}

#[derive(Debug)]
struct Connection {
    evicted: Notify,
    /// Changed only while the table is locked.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    IdleSince(u64),
    Active,
    /// Asked to close, and no longer counted.
    Evicted,
}

/// The slot of one connection, released on drop.
#[derive(Debug)]
pub(super) struct Slot {
    shares: Arc<Shares>,
    peer: Peer,
    connection: Arc<Connection>,
}

impl Shares {
    /// Divides `connections` slots.
    pub(super) fn new(connections: usize, trusted_proxies: Vec<IpNet>, counts: Connections) -> Arc<Self> {
        let reserve = (connections / RESERVE_PART).min(MAX_RESERVE);
        let slots = connections - reserve;
        let active_slots = slots - reserve;
        Arc::new(Self { slots, active_slots, reserve, trusted_proxies, counts, table: Mutex::default() })
    }

    /// Returns a slot for a new connection from `ip`, or `None` if it must be refused. May evict an idle connection.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Slot> {
        let ip = ip.to_canonical();
        let is_trusted = self.trusted_proxies.iter().any(|network| network.contains(&ip));
        let peer = Peer { is_trusted, client: ip.into() };
        let mut table = self.lock();
        if table.open >= self.slots {
            let Some(victim) = table.victim_for(peer) else {
                self.counts.refuse();
                return None;
            };
            table.evict(victim);
            self.counts.evict();
        }
        let since = table.next_tick();
        let connection =
            Arc::new(Connection { evicted: Notify::new(), state: Mutex::new(State::IdleSince(since)) });
        table.open += 1;
        table.change(peer, |held| {
            held.open += 1;
            held.idle.insert(since, Arc::clone(&connection));
        });
        Some(Slot { shares: Arc::clone(self), peer, connection })
    }

    /// Returns true if `peer` may have one more active connection.
    fn has_share(&self, table: &Table, peer: Peer) -> bool {
        let left = self.active_slots.saturating_sub(table.active);
        if peer.is_trusted {
            return left > self.reserve;
        }
        let own = table.peers.get(&peer).map_or(0, |held| held.active);
        table.active < self.active_slots / 2 || own < left
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeerConnections {
    /// Returns the rank of `peer`, or `None` if it has no idle connection. Trusted proxies rank lowest.
    fn rank(&self, peer: Peer) -> Option<Rank> {
        let connections = if peer.is_trusted { 0 } else { self.open };
        self.idle.keys().next().map(|oldest| (connections, Reverse(*oldest), peer))
    }
}

impl Table {
    /// Changes the connections of a peer and updates its rank.
    fn change(&mut self, peer: Peer, change: impl FnOnce(&mut PeerConnections)) {
        let held = self.peers.entry(peer).or_default();
        let before = held.rank(peer);
        change(held);
        let after = held.rank(peer);
        if held.open == 0 {
            self.peers.remove(&peer);
        }
        if before != after {
            before.map(|rank| self.ranked.remove(&rank));
            after.map(|rank| self.ranked.insert(rank));
        }
    }

    /// Returns the peer whose oldest idle connection is to be evicted for one more of `newcomer`, or `None`.
    fn victim_for(&self, newcomer: Peer) -> Option<Peer> {
        let own = self.peers.get(&newcomer);
        let own_connections = own.filter(|_| !newcomer.is_trusted).map_or(0, |held| held.open);
        match self.ranked.last() {
            Some((connections, _, peer)) if *connections > own_connections => Some(*peer),
            _ if own.is_some_and(|held| !held.idle.is_empty()) => Some(newcomer),
            _ => {
                let others = (1, Reverse(u64::MAX), newcomer);
                self.ranked.range(..others).next_back().map(|(.., trusted)| *trusted)
            }
        }
    }

    fn evict(&mut self, peer: Peer) {
        let mut oldest = None;
        self.change(peer, |held| {
            oldest = held.idle.pop_first();
            held.open -= usize::from(oldest.is_some());
        });
        if let Some((_, connection)) = oldest {
            self.open -= 1;
            connection.set(State::Evicted);
            connection.evicted.notify_one();
        }
    }

    fn next_tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }
}

impl Connection {
    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl Slot {
    pub(super) async fn evicted(&self) {
        self.connection.evicted.notified().await;
    }

    /// Records whether the connection is active. Returns false if the client's share does not allow it. `is_active` is called
    /// while the table is locked, so that concurrent updates record the latest state.
    pub(super) fn update(&self, is_active: impl FnOnce() -> bool) -> bool {
        let mut table = self.shares.lock();
        match (self.connection.state(), is_active()) {
            (State::IdleSince(since), true) => {
                if !self.shares.has_share(&table, self.peer) {
                    return false;
                }
                table.active += 1;
                table.change(self.peer, |held| {
                    held.idle.remove(&since);
                    held.active += 1;
                });
                self.connection.set(State::Active);
                true
            }
            (State::Active, false) => {
                let since = table.next_tick();
                table.active -= 1;
                table.change(self.peer, |held| {
                    held.active -= 1;
                    held.idle.insert(since, Arc::clone(&self.connection));
                });
                self.connection.set(State::IdleSince(since));
                true
            }
            (State::Active, true) | (State::IdleSince(_), false) => true,
            (State::Evicted, is_active) => !is_active,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.shares.lock();
        let state = self.connection.state();
        if state == State::Evicted {
            return;
        }
        let was_active = usize::from(state == State::Active);
        table.open -= 1;
        table.active -= was_active;
        table.change(self.peer, |held| {
            held.open -= 1;
            held.active -= was_active;
            if let State::IdleSince(since) = state {
                held.idle.remove(&since);
            }
        });
    }
}

#[cfg(test)]
mod tests;
