//! Which connections stay when more want in than there is room for.
//!
//! A connection is *in work* while a request on it is not answered to its end, else it is *idle*: silent, in the middle of
//! a head, or with a request that was only answered because it needs no share. Two rules hold at all times:
//!
//! - **Idle connections make room.** When all places are taken, a new connection gets the place of an idle one. The client
//!   that holds most connections loses the one that has been idle for longest. A new connection is refused if nobody who
//!   holds more than its own client, nor that client itself, nor a trusted proxy has an idle one.
//! - **Connections in work have shares.** Up to half of the places are free for all. Beyond that a client may have no more
//!   connections in work than there are places left, so one client has half of them at most, and some stay free for others
//!   (the dynamic thresholds of Choudhury and Hahne, as in the buffers of network switches). A request beyond the share is
//!   only answered if it is a monitor's.
//!
//! Some places are never given to connections in work. Whatever clients do, they hold idle connections, so there is always
//! room for a client that holds none, and its health check is answered.
//!
//! A client is an IPv4 address or an IPv6 /64. A trusted proxy speaks for many clients and is held to no share: it may use
//! all places but a reserve, and its idle connections make room after all others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::sync::Notify;

use crate::model::ClientKey;
use crate::telemetry::connections::Connections;

/// This part of all connections is kept back three times over: from those that are open, so that one that was asked to close
/// may take a moment; from those in work, so that some are idle; and from the work of trusted proxies.
const RESERVE_PART: usize = 16;
/// As much is enough for each, however many connections there may be.
const MAX_RESERVE: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Shares {
    /// Places for connections.
    places: usize,
    /// Places for connections in work.
    work_places: usize,
    reserve: usize,
    trusted_proxies: Vec<IpNet>,
    counts: Connections,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    peers: HashMap<Peer, Held>,
    /// Those of the peers that have an idle connection, by their rank.
    ranked: BTreeSet<Rank>,
    open: usize,
    in_work: usize,
    /// Numbers the moments at which connections became idle.
    moments: u64,
}

/// Whom a connection counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Peer {
    is_trusted: bool,
    client: ClientKey,
}

/// How soon an idle connection of a peer makes room, the highest first: by the number of its connections, then by the moment
/// at which one became idle.
type Rank = (usize, Reverse<u64>, Peer);

/// The connections of one peer.
#[derive(Debug, Default)]
struct Held {
    open: usize,
    in_work: usize,
    /// By the moment at which they became idle.
    idle: BTreeMap<u64, Arc<Connection>>,
}

#[derive(Debug)]
struct Connection {
    evicted: Notify,
    /// Changes under the lock of the table alone.
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    IdleSince(u64),
    InWork,
    /// It was asked to close and does not count any more.
    Evicted,
}

/// The place of one connection, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    shares: Arc<Shares>,
    peer: Peer,
    connection: Arc<Connection>,
}

impl Shares {
    /// Shares of `connections` places.
    pub(super) fn new(connections: usize, trusted_proxies: Vec<IpNet>, counts: Connections) -> Arc<Self> {
        let reserve = (connections / RESERVE_PART).min(MAX_RESERVE);
        let places = connections - reserve;
        let work_places = places - reserve;
        Arc::new(Self { places, work_places, reserve, trusted_proxies, counts, table: Mutex::default() })
    }

    /// Returns a place for a new connection from `ip`, if need be that of an idle connection, which is asked to close.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        let is_trusted = self.trusted_proxies.iter().any(|network| network.contains(&ip));
        let peer = Peer { is_trusted, client: ip.into() };
        let mut table = self.lock();
        if table.open >= self.places {
            let Some(victim) = table.victim_for(peer) else {
                self.counts.refuse();
                return None;
            };
            table.evict(victim);
            self.counts.evict();
        }
        let since = table.next_moment();
        let connection =
            Arc::new(Connection { evicted: Notify::new(), state: Mutex::new(State::IdleSince(since)) });
        table.open += 1;
        table.change(peer, |held| {
            held.open += 1;
            held.idle.insert(since, Arc::clone(&connection));
        });
        Some(Place { shares: Arc::clone(self), peer, connection })
    }

    /// Whether `peer` may have one more connection in work.
    fn has_share(&self, table: &Table, peer: Peer) -> bool {
        let left = self.work_places.saturating_sub(table.in_work);
        if peer.is_trusted {
            return left > self.reserve;
        }
        let own = table.peers.get(&peer).map_or(0, |held| held.in_work);
        table.in_work < self.work_places / 2 || own < left
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The rank of `peer`, if it has an idle connection. Trusted proxies are lowest.
    fn rank(&self, peer: Peer) -> Option<Rank> {
        let connections = if peer.is_trusted { 0 } else { self.open };
        self.idle.keys().next().map(|oldest| (connections, Reverse(*oldest), peer))
    }
}

impl Table {
    /// Changes what a peer holds, and its rank with it.
    fn change(&mut self, peer: Peer, change: impl FnOnce(&mut Held)) {
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

    /// The peer whose oldest idle connection makes room for one more of `newcomer`.
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

    /// Asks the oldest idle connection of `peer` to close.
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

    fn next_moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
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

impl Place {
    /// Completes once the connection must make room.
    pub(super) async fn evicted(&self) {
        self.connection.evicted.notified().await;
    }

    /// Notes whether there is a request in work, and returns false if there is one beyond the client's share. `is_in_work`
    /// is asked under a lock, so that of several changes the last one stands.
    pub(super) fn update(&self, is_in_work: impl FnOnce() -> bool) -> bool {
        let mut table = self.shares.lock();
        match (self.connection.state(), is_in_work()) {
            (State::IdleSince(since), true) => {
                if !self.shares.has_share(&table, self.peer) {
                    return false;
                }
                table.in_work += 1;
                table.change(self.peer, |held| {
                    held.idle.remove(&since);
                    held.in_work += 1;
                });
                self.connection.set(State::InWork);
                true
            }
            (State::InWork, false) => {
                let since = table.next_moment();
                table.in_work -= 1;
                table.change(self.peer, |held| {
                    held.in_work -= 1;
                    held.idle.insert(since, Arc::clone(&self.connection));
                });
                self.connection.set(State::IdleSince(since));
                true
            }
            (State::InWork, true) | (State::IdleSince(_), false) => true,
            (State::Evicted, is_in_work) => !is_in_work,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.shares.lock();
        let state = self.connection.state();
        if state == State::Evicted {
            return;
        }
        let was_in_work = usize::from(state == State::InWork);
        table.open -= 1;
        table.in_work -= was_in_work;
        table.change(self.peer, |held| {
            held.open -= 1;
            held.in_work -= was_in_work;
            if let State::IdleSince(since) = state {
                held.idle.remove(&since);
            }
        });
    }
}

#[cfg(test)]
mod tests;
