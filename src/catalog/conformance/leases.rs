//! What a catalog must do with leases on tasks. `one` and `other` are the same catalog, as two instances have it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalog::{Holder, TaskLease, TaskLeases};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(50);

pub(in crate::catalog) async fn run(one: Arc<dyn TaskLeases>, other: Arc<dyn TaskLeases>) {
    lease_has_one_holder_until_it_gives_it_up(&*one, &*other).await;
    lease_that_ended_is_taken_with_its_notes(&*one, &*other).await;
    tasks_have_leases_of_their_own(&*one, &*other).await;
    one_of_many_gets_the_lease(one, other).await;
}

async fn lease_has_one_holder_until_it_gives_it_up(one: &dyn TaskLeases, other: &dyn TaskLeases) {
    assert_eq!(one.task_lease("sweep").await.unwrap(), None);
    assert!(!one.renew_lease(Holder::new("sweep", 1), LONG, "never taken").await.unwrap());
    assert_eq!(one.take_lease(Holder::new("sweep", 1), LONG).await.unwrap().as_deref(), Some(""));
    assert_eq!(other.take_lease(Holder::new("sweep", 2), LONG).await.unwrap(), None);
    assert!(!other.renew_lease(Holder::new("sweep", 2), LONG, "of another").await.unwrap());
    assert!(one.renew_lease(Holder::new("sweep", 1), LONG, "half \u{1f45f}").await.unwrap());
    let held = TaskLease { is_held: true, notes: "half \u{1f45f}".into() };
    assert_eq!(other.task_lease("sweep").await.unwrap(), Some(held.clone()));
    assert_eq!(
        one.take_lease(Holder::new("sweep", 1), LONG).await.unwrap(),
        Some(held.notes.clone()),
        "it is its own"
    );
    assert!(one.renew_lease(Holder::new("sweep", 1), Duration::ZERO, "all").await.unwrap());
    let free = TaskLease { is_held: false, notes: "all".into() };
    assert_eq!(other.task_lease("sweep").await.unwrap(), Some(free));
    assert_eq!(other.take_lease(Holder::new("sweep", u64::MAX), LONG).await.unwrap().as_deref(), Some("all"));
    assert!(!one.renew_lease(Holder::new("sweep", 1), LONG, "too late").await.unwrap());
    assert_eq!(one.take_lease(Holder::new("sweep", 1), LONG).await.unwrap(), None);
    assert!(other.renew_lease(Holder::new("sweep", u64::MAX), Duration::ZERO, "").await.unwrap());
}

async fn lease_that_ended_is_taken_with_its_notes(one: &dyn TaskLeases, other: &dyn TaskLeases) {
    one.take_lease(Holder::new("scrub", 1), LONG).await.unwrap();
    assert!(one.renew_lease(Holder::new("scrub", 1), SHORT, "at 7").await.unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    let notes = loop {
        if let Some(notes) = other.take_lease(Holder::new("scrub", 2), LONG).await.unwrap() {
            break notes;
        }
        assert!(Instant::now() < deadline, "the lease never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(notes, "at 7");
    assert!(
        !one.renew_lease(Holder::new("scrub", 1), LONG, "at 9").await.unwrap(),
        "the holder that was late notices"
    );
    assert_eq!(other.take_lease(Holder::new("scrub", 2), SHORT).await.unwrap().as_deref(), Some("at 7"));
    while other.task_lease("scrub").await.unwrap().unwrap().is_held {
        assert!(Instant::now() < deadline, "the lease never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        other.renew_lease(Holder::new("scrub", 2), LONG, "at 8").await.unwrap(),
        "nobody took it meanwhile"
    );
    assert_eq!(one.take_lease(Holder::new("scrub", 1), LONG).await.unwrap(), None);
}

async fn tasks_have_leases_of_their_own(one: &dyn TaskLeases, other: &dyn TaskLeases) {
    assert!(one.take_lease(Holder::new("this", 1), LONG).await.unwrap().is_some());
    assert!(other.take_lease(Holder::new("that", 2), LONG).await.unwrap().is_some());
    assert!(one.take_lease(Holder::new("that", 1), LONG).await.unwrap().is_none());
}

async fn one_of_many_gets_the_lease(one: Arc<dyn TaskLeases>, other: Arc<dyn TaskLeases>) {
    for round in 0..5 {
        let task = format!("round {round}");
        let takers = (0..16).map(|holder: u64| {
            let (catalog, task) =
                (Arc::clone(if holder.is_multiple_of(2) { &one } else { &other }), task.clone());
            tokio::spawn(async move { catalog.take_lease(Holder::new(&task, holder), LONG).await.unwrap() })
        });
        let taken = futures_util::future::join_all(takers.collect::<Vec<_>>()).await;
        assert_eq!(taken.into_iter().filter_map(Result::unwrap).count(), 1);
    }
}
