use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// Last byte of the trusted proxy's address.
const PROXY: u8 = 99;

fn shares(connections: usize) -> Arc<Shares> {
    Shares::new(connections, vec![ip(PROXY).into()], Connections::default())
}

/// Opens up to `count` connections from one address and returns the admitted ones.
fn open(shares: &Arc<Shares>, n: u8, count: usize) -> Vec<Slot> {
    (0..count).filter_map(|_| shares.admit(ip(n))).collect()
}

fn begin(slot: &Slot) -> bool {
    slot.update(|| true)
}

fn is_evicted(slot: &Slot) -> bool {
    slot.connection.state() == State::Evicted
}

fn evicted(slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| is_evicted(slot)).count()
}

#[test]
fn full_server_evicts_oldest_idle_connections_of_client_with_most() {
    let shares = shares(160);
    let many = open(&shares, 1, 100);
    let few = open(&shares, 2, 50);
    assert_eq!(evicted(&many), 0, "all fit");
    let late = open(&shares, 3, 20);
    assert_eq!((evicted(&many), evicted(&few), evicted(&late)), (20, 0, 0));
    assert!(many[..20].iter().all(is_evicted), "the oldest are evicted");
}

#[test]
fn clients_with_equal_counts_lose_the_longest_idle_connection() {
    let shares = shares(160);
    let mut slots: Vec<Slot> = (1..=75).rev().map(|n| shares.admit(ip(n)).unwrap()).collect();
    slots.extend((100..175).map(|n| shares.admit(ip(n)).unwrap()));
    let _late: Vec<Slot> = (200..220).map(|n| shares.admit(ip(n)).unwrap()).collect();
    assert_eq!(evicted(&slots), 20);
    assert!(slots[..20].iter().all(is_evicted));
}

#[test]
fn client_with_most_connections_evicts_its_own_oldest() {
    let shares = shares(160);
    let slots = open(&shares, 1, 500);
    assert_eq!(slots.len(), 500);
    assert_eq!(evicted(&slots), 500 - 150);
    assert!(!is_evicted(&slots[499]));
}

#[test]
fn new_client_is_admitted_with_any_number_of_others() {
    let shares = Shares::new(160, Vec::new(), Connections::default());
    let slots: Vec<Slot> =
        (0..4000u32).map(|n| shares.admit(Ipv4Addr::from(n << 8).into()).unwrap()).collect();
    for slot in &slots {
        let _shared = begin(slot);
    }
    let newcomer = shares.admit(ip(1)).expect("one connection is always idle");
    assert!(!is_evicted(&newcomer));
    assert_eq!(shares.counts.refused(), 0);
}

#[test]
fn one_client_gets_half_of_the_active_slots_and_others_share_the_rest() {
    let shares = shares(160);
    let started = |n| {
        let slots = open(&shares, n, 140);
        let started = slots.iter().filter(|slot| begin(slot)).count();
        (slots, started)
    };
    let (first, started_first) = started(1);
    assert_eq!(started_first, 70, "half of 140");
    assert!(started(2).1 >= 35 - 1, "half of the rest");
    assert_eq!(evicted(&first[..70]), 0, "no active connection is evicted");
    first[0].update(|| false);
    assert!(!begin(&first[100]), "the client is above its share");
    drop(first);
    assert_eq!(started(1).1, 70, "closed connections free their slots");
}

#[test]
fn client_with_most_connections_and_none_idle_is_refused() {
    let shares = shares(160);
    let busy = open(&shares, 1, 60);
    assert!(busy.iter().all(begin));
    let others: Vec<Vec<Slot>> = (2..=10).map(|n| open(&shares, n, 10)).collect();
    assert!(shares.admit(ip(1)).is_none());
    assert_eq!(shares.counts.refused(), 1);
    assert_eq!(others.iter().map(|slots| evicted(slots)).sum::<usize>(), 0);
}

#[test]
fn trusted_proxy_may_use_all_but_the_reserve_and_is_evicted_last() {
    let shares = shares(160);
    let proxy = open(&shares, PROXY, 150);
    let started = proxy.iter().filter(|slot| begin(slot)).count();
    assert_eq!(started, 140 - 10);
    for slot in &proxy[..20] {
        slot.update(|| false);
    }
    let others: Vec<Slot> = (0..15)
        .map(|n| {
            let slot = shares.admit(ip(1)).expect("an idle connection of the proxy is evicted");
            assert!(begin(&slot), "{n}: the reserve is for other clients");
            slot
        })
        .collect();
    let more = open(&shares, PROXY, 5);
    assert_eq!((more.len(), evicted(&more)), (5, 0));
    assert_eq!(evicted(&others), 0, "active connections are never evicted");
    let idle = open(&shares, 2, 2);
    let _replaced = open(&shares, PROXY, 2);
    assert_eq!(evicted(&idle), 2, "connections of the proxy are evicted last");
}

#[test]
fn small_limit_leaves_all_connections_usable() {
    for connections in 1..16 {
        let shares = shares(connections);
        let slots = open(&shares, 1, connections);
        assert_eq!((slots.len(), evicted(&slots)), (connections, 0));
        let started = slots.iter().filter(|slot| begin(slot)).count();
        assert_eq!(started, connections.div_ceil(2));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Open(u8),
    Close(usize),
    Work(usize, bool),
}

proptest! {
    /// The counts match the connections, no active connection is evicted, and a new client is always admitted.
    #[test]
    fn counts_stay_consistent_for_random_steps(steps in prop::collection::vec(
        prop_oneof![
            3 => (prop::sample::select(vec![1, 2, 3, 4, PROXY])).prop_map(Step::Open),
            1 => any::<usize>().prop_map(Step::Close),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(at, is_active)| Step::Work(at, is_active)),
        ],
        0..400,
    )) {
        let shares = shares(32);
        let mut slots: Vec<Slot> = Vec::new();
        for step in steps {
            match step {
                Step::Open(n) => {
                    let active = slots.iter().filter(|slot| slot.connection.state() == State::Active).count();
                    let holds = slots.iter().any(|slot| !is_evicted(slot) && slot.peer.client == ip(n).into());
                    let slot = shares.admit(ip(n));
                    prop_assert!(slot.is_some() || holds);
                    slots.extend(slot);
                    let still = slots.iter().filter(|slot| slot.connection.state() == State::Active).count();
                    prop_assert_eq!(active, still);
                }
                Step::Close(at) if !slots.is_empty() => drop(slots.swap_remove(at % slots.len())),
                Step::Work(at, is_active) if !slots.is_empty() => {
                    slots[at % slots.len()].update(|| is_active);
                }
                _ => {}
            }
            let table = shares.lock();
            let open = slots.iter().filter(|slot| !is_evicted(slot)).count();
            let active = slots.iter().filter(|slot| slot.connection.state() == State::Active).count();
            prop_assert_eq!((table.open, table.active), (open, active));
            prop_assert!(open <= shares.slots && active <= shares.active_slots);
            prop_assert_eq!(table.peers.values().map(|held| held.open).sum::<usize>(), open);
            prop_assert_eq!(table.peers.values().map(|held| held.idle.len() + held.active).sum::<usize>(), open);
            prop_assert_eq!(table.ranked.len(), table.peers.values().filter(|held| !held.idle.is_empty()).count());
        }
        drop(slots);
        let table = shares.lock();
        prop_assert!(table.peers.is_empty() && table.ranked.is_empty() && table.open == 0 && table.active == 0);
    }
}
