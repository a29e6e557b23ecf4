//! Instances that share a lease, and passes that continue.

use super::super::lead::{LEASE, TASK};
use super::super::notes::{Notes, Pass};
use super::*;
use crate::catalog::Holder;

/// Another instance with the stores of `setup`.
fn another(setup: &Setup, collects: bool) -> Arc<Maintenance> {
    let Maintenance { rules, publisher, renditions, leases, .. } = &*setup.maintenance;
    let rules = Rules { collects, ..*rules };
    let pool = Arc::new(Pool::start(1, 256 << 20, 64, Duration::from_secs(20)).unwrap());
    let measuring = Measuring::new(pool, Recipe::TEST);
    let (publisher, renditions, leases) = (Arc::clone(publisher), Arc::clone(renditions), Arc::clone(leases));
    Arc::new(Maintenance::new(rules, publisher, renditions, leases, measuring))
}

/// Lets an instance lead until the returned token is cancelled. Returns when it leads.
async fn lead(maintenance: &Arc<Maintenance>) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (stop, leader) = (CancellationToken::new(), Arc::clone(maintenance));
    let leading = tokio::spawn({
        let stop = stop.clone();
        async move { leader.try_to_lead(&stop).await.unwrap() }
    });
    eventually("it leads", async || maintenance.figures().leads).await;
    (stop, leading)
}

async fn pass_ends(maintenance: &Maintenance) {
    eventually("its pass ends", async || maintenance.figures().last_run > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_leads_and_the_others_know_what_it_found() {
    let setup = without_grace().await;
    let [gone, stray] = [setup.publish_and_record("gone").await, setup.publish("stray").await];
    setup.publish_and_record("kept").await;
    std::fs::remove_file(setup.path(gone)).unwrap();
    let (first, second, idle) =
        (Arc::clone(&setup.maintenance), another(&setup, true), another(&setup, false));
    let (stop, leading) = lead(&first).await;
    pass_ends(&first).await;
    assert!(!setup.path(stray).exists());
    assert_eq!((first.figures().missing, first.figures().collected), (1, 1));
    // Its notes are recorded with the next renewal, or when it stops.
    for follower in [&second, &idle] {
        let token = CancellationToken::new();
        if follower.rules.collects {
            follower.try_to_lead(&token).await.unwrap();
        } else {
            follower.look_alone(&token).await.unwrap();
        }
        let figures = follower.figures();
        assert_eq!((figures.leads, figures.collected), (false, 0));
    }
    stop.cancel();
    leading.await.unwrap();
    assert!(!first.figures().leads);
    let (stop, leading) = lead(&second).await;
    first.try_to_lead(&CancellationToken::new()).await.unwrap();
    let figures = first.figures();
    assert_eq!((figures.leads, figures.missing), (false, 1), "what was noted when the first one stopped");
    // The second one knows a number and no names, so that it searches at once.
    eventually("the second one knows the name", async || second.missing.names().contains(&gone)).await;
    setup.publish("gone").await;
    eventually("it is back", async || second.missing().await == 0).await;
    stop.cancel();
    leading.await.unwrap();
    assert_eq!(idle.catalog.media_page(None, 9).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_that_lost_its_lease_stops() {
    let setup = setup().await;
    let maintenance = &setup.maintenance;
    let lost = CancellationToken::new();
    assert!(
        maintenance
            .leases
            .take_lease(Holder::new(TASK, maintenance.holder + 1), LEASE)
            .await
            .unwrap()
            .is_some()
    );
    let soon = tokio::time::Instant::now() + Duration::from_millis(20);
    tokio::time::timeout(Duration::from_secs(10), maintenance.keep_lease(soon, &lost)).await.unwrap();
    assert!(lost.is_cancelled());
    // No task removes anything more.
    let key = setup.publish("garbage").await;
    setup.make_old(key, SystemTime::now() + DAY);
    assert_eq!(maintenance.compare(&lost).await.unwrap(), None);
    assert!(setup.path(key).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_leader_continues_where_the_last_one_was() {
    let setup = without_grace().await;
    let mut keys = Vec::new();
    for n in 0..40 {
        keys.push(setup.publish_and_record(&format!("photo {n}")).await);
    }
    let mut garbage = Vec::new();
    for n in 0..8 {
        garbage.push(setup.publish(&format!("garbage {n}")).await);
    }
    keys.sort();
    for missing in [keys[5], keys[30]] {
        std::fs::remove_file(setup.path(missing)).unwrap();
    }
    // The one before ended in the middle, and had found a missing photo.
    let pass = Pass { after: Some(keys[19]), known: 19, missing: 1, ..Pass::default() };
    let notes = Notes { pass: Some(pass), due: u64::MAX, scrubbed_hour: u64::MAX, ..Notes::default() };
    let leases = &setup.maintenance.leases;
    assert!(
        leases.take_lease(Holder::new(TASK, setup.maintenance.holder ^ 1), LEASE).await.unwrap().is_some()
    );
    assert!(
        leases
            .renew_lease(Holder::new(TASK, setup.maintenance.holder ^ 1), Duration::ZERO, &notes.text())
            .await
            .unwrap()
    );
    let (stop, leading) = lead(&setup.maintenance).await;
    pass_ends(&setup.maintenance).await;
    stop.cancel();
    leading.await.unwrap();
    assert_eq!(setup.maintenance.figures().missing, 2, "one of each half");
    assert_eq!(setup.maintenance.missing.names().into_iter().collect::<Vec<_>>(), [keys[30]]);
    for key in garbage {
        assert_eq!(setup.path(key).exists(), key < keys[19], "the next pass removes the rest");
    }
    let notes = Notes::parse(&leases.task_lease(TASK).await.unwrap().unwrap().notes);
    assert_eq!((notes.pass, notes.missing), (None, 2));
    assert!(notes.due > 0 && notes.due < u64::MAX);
}

/// Whatever rows and files there are: exactly the missing photos are found, and exactly the old photos without a row removed.
#[tokio::test]
async fn pass_finds_exactly_the_differences() {
    let mut random = 1_u64;
    for round in 0..4 {
        let setup = without_grace().await;
        let (mut missing, mut garbage, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..150 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = format!("{round} {n}");
            match random >> 61 {
                0 => {
                    let key = setup.publish_and_record(&name).await;
                    std::fs::remove_file(setup.path(key)).unwrap();
                    missing.push(key);
                }
                1 => {
                    let key = setup.publish_and_record(&name).await;
                    std::fs::write(setup.path(key), "ct").unwrap();
                    missing.push(key);
                }
                2 => garbage.push(setup.publish(&name).await),
                3 => {
                    let key = setup.publish(&name).await;
                    setup.make_old(key, SystemTime::now() + DAY);
                    kept.push(key);
                }
                _ => kept.push(setup.publish_and_record(&name).await),
            }
        }
        let collected = setup.collect().await;
        assert_eq!(collected.files, garbage.len() as u64);
        assert!(garbage.iter().all(|key| !setup.path(*key).exists()));
        assert!(kept.iter().all(|key| setup.path(*key).exists()));
        missing.sort();
        assert_eq!(setup.maintenance.missing.names().into_iter().collect::<Vec<_>>(), missing);
        assert_eq!(setup.maintenance.figures().missing, missing.len() as u64);
    }
}
