use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn ip(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// The address of a trusted proxy.
const PROXY: u8 = 99;

fn shares(connections: usize) -> Arc<Shares> {
    Shares::new(connections, vec![ip(PROXY).into()], Connections::default())
}

/// So many connections from an address, as far as there is room.
fn open(shares: &Arc<Shares>, n: u8, count: usize) -> Vec<Place> {
    (0..count).filter_map(|_| shares.admit(ip(n))).collect()
}

fn begin(place: &Place) -> bool {
    place.update(|| true)
}

fn is_evicted(place: &Place) -> bool {
    place.connection.state() == State::Evicted
}

fn evicted(places: &[Place]) -> usize {
    places.iter().filter(|place| is_evicted(place)).count()
}

#[test]
fn idle_connections_of_the_client_with_most_make_room_oldest_first() {
    let shares = shares(160);
    let many = open(&shares, 1, 100);
    let few = open(&shares, 2, 50);
    assert_eq!(evicted(&many), 0, "there is room for all");
    let late = open(&shares, 3, 20);
    assert_eq!((evicted(&many), evicted(&few), evicted(&late)), (20, 0, 0));
    assert!(many[..20].iter().all(is_evicted), "the oldest make room");
}

#[test]
fn of_clients_with_equally_many_the_longest_idle_makes_room() {
    let shares = shares(160);
    let mut places: Vec<Place> = (1..=75).rev().map(|n| shares.admit(ip(n)).unwrap()).collect();
    places.extend((100..175).map(|n| shares.admit(ip(n)).unwrap()));
    let _late: Vec<Place> = (200..220).map(|n| shares.admit(ip(n)).unwrap()).collect();
    assert_eq!(evicted(&places), 20);
    assert!(places[..20].iter().all(is_evicted));
}

#[test]
fn client_that_holds_most_replaces_its_own_oldest() {
    let shares = shares(160);
    let places = open(&shares, 1, 500);
    assert_eq!(places.len(), 500);
    assert_eq!(evicted(&places), 500 - 150);
    assert!(!is_evicted(&places[499]));
}

#[test]
fn new_client_gets_in_whatever_number_of_others_there_is() {
    let shares = Shares::new(160, Vec::new(), Connections::default());
    let places: Vec<Place> =
        (0..4000u32).map(|n| shares.admit(Ipv4Addr::from(n << 8).into()).unwrap()).collect();
    for place in &places {
        let _shared = begin(place);
    }
    let newcomer = shares.admit(ip(1)).expect("there is always an idle one");
    assert!(!is_evicted(&newcomer));
    assert_eq!(shares.counts.refused(), 0);
}

#[test]
fn client_is_held_to_half_of_the_work_and_others_have_shares_of_the_rest() {
    let shares = shares(160);
    let started = |n| {
        let places = open(&shares, n, 140);
        let started = places.iter().filter(|place| begin(place)).count();
        (places, started)
    };
    let (first, started_first) = started(1);
    assert_eq!(started_first, 70, "half of 140");
    assert!(started(2).1 >= 35 - 1, "half of what is left");
    assert_eq!(evicted(&first[..70]), 0, "no connection in work makes room");
    first[0].update(|| false);
    assert!(!begin(&first[100]), "it is over its share of what is left");
    drop(first);
    assert_eq!(started(1).1, 70, "what ends is free again");
}

#[test]
fn busy_client_without_idle_connections_is_refused_once_it_holds_most() {
    let shares = shares(160);
    let busy = open(&shares, 1, 60);
    assert!(busy.iter().all(begin));
    let others: Vec<Vec<Place>> = (2..=10).map(|n| open(&shares, n, 10)).collect();
    assert!(shares.admit(ip(1)).is_none());
    assert_eq!(shares.counts.refused(), 1);
    assert_eq!(others.iter().map(|places| evicted(places)).sum::<usize>(), 0);
}

#[test]
fn trusted_proxy_may_use_all_but_a_reserve_and_makes_room_last() {
    let shares = shares(160);
    let proxy = open(&shares, PROXY, 150);
    let started = proxy.iter().filter(|place| begin(place)).count();
    assert_eq!(started, 140 - 10);
    for place in &proxy[..20] {
        place.update(|| false);
    }
    let strangers: Vec<Place> = (0..15)
        .map(|n| {
            let place = shares.admit(ip(1)).expect("idle ones of the proxy make room");
            assert!(begin(&place), "{n}: the reserve is for strangers");
            place
        })
        .collect();
    let more = open(&shares, PROXY, 5);
    assert_eq!((more.len(), evicted(&more)), (5, 0));
    assert_eq!(evicted(&strangers), 0, "those are in work");
    let idle = open(&shares, 2, 2);
    let _replaced = open(&shares, PROXY, 2);
    assert_eq!(evicted(&idle), 2, "the proxy makes room last");
}

#[test]
fn few_connections_are_all_of_use() {
    for connections in 1..16 {
        let shares = shares(connections);
        let places = open(&shares, 1, connections);
        assert_eq!((places.len(), evicted(&places)), (connections, 0));
        let started = places.iter().filter(|place| begin(place)).count();
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
    /// The counts agree with the connections, nothing in work is evicted, and a client without connections always gets in.
    #[test]
    fn counts_hold_after_any_steps(steps in prop::collection::vec(
        prop_oneof![
            3 => (prop::sample::select(vec![1, 2, 3, 4, PROXY])).prop_map(Step::Open),
            1 => any::<usize>().prop_map(Step::Close),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(at, is_in_work)| Step::Work(at, is_in_work)),
        ],
        0..400,
    )) {
        let shares = shares(32);
        let mut places: Vec<Place> = Vec::new();
        for step in steps {
            match step {
                Step::Open(n) => {
                    let in_work = places.iter().filter(|place| place.connection.state() == State::InWork).count();
                    let holds = places.iter().any(|place| !is_evicted(place) && place.peer.client == ip(n).into());
                    let place = shares.admit(ip(n));
                    prop_assert!(place.is_some() || holds);
                    places.extend(place);
                    let still = places.iter().filter(|place| place.connection.state() == State::InWork).count();
                    prop_assert_eq!(in_work, still);
                }
                Step::Close(at) if !places.is_empty() => drop(places.swap_remove(at % places.len())),
                Step::Work(at, is_in_work) if !places.is_empty() => {
                    places[at % places.len()].update(|| is_in_work);
                }
                _ => {}
            }
            let table = shares.lock();
            let open = places.iter().filter(|place| !is_evicted(place)).count();
            let in_work = places.iter().filter(|place| place.connection.state() == State::InWork).count();
            prop_assert_eq!((table.open, table.in_work), (open, in_work));
            prop_assert!(open <= shares.places && in_work <= shares.work_places);
            prop_assert_eq!(table.peers.values().map(|held| held.open).sum::<usize>(), open);
            prop_assert_eq!(table.peers.values().map(|held| held.idle.len() + held.in_work).sum::<usize>(), open);
            prop_assert_eq!(table.ranked.len(), table.peers.values().filter(|held| !held.idle.is_empty()).count());
        }
        drop(places);
        let table = shares.lock();
        prop_assert!(table.peers.is_empty() && table.ranked.is_empty() && table.open == 0 && table.in_work == 0);
    }
}
