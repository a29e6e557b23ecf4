//! Tests of the locks within a process: on the threads of the system, and under all kinds of schedules.

#[path = "local_locks.rs"]
#[allow(clippy::duplicate_mod, reason = "compiled for shuttle")]
mod model;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::local_locks::KeyLocks;
use crate::model::MediaKey;
use crate::sync::model as sync;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_lock_the_same_keys_exclude_each_other_and_leave_no_lock() {
    let locks = KeyLocks::default();
    let keys: Vec<MediaKey> = (0..4u8).map(|n| MediaKey::of(&[n])).collect();
    let inside: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
    let tasks: Vec<_> = (0..200usize)
        .map(|n| {
            let (locks, keys, inside) = (locks.clone(), keys.clone(), Arc::clone(&inside));
            tokio::spawn(async move {
                let mine = [n % 4, (n / 4) % 4];
                let _guard = locks.lock_keys(mine.map(|at| keys[at])).await;
                for at in mine.into_iter().collect::<BTreeSet<_>>() {
                    assert_eq!(inside[at].fetch_add(1, Ordering::SeqCst), 0);
                }
                tokio::task::yield_now().await;
                for at in mine.into_iter().collect::<BTreeSet<_>>() {
                    inside[at].fetch_sub(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(locks.len(), 0);
}

/// Three tasks lock one or two of three keys each. Some give up while they wait.
fn tasks_with_common_keys() {
    let locks = model::KeyLocks::default();
    let inside: Arc<[AtomicUsize; 3]> = Arc::default();
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (locks, inside) = (locks.clone(), Arc::clone(&inside));
            let wait = sync::any_of(&[Duration::MAX, Duration::MAX, Duration::ZERO]);
            let wanted: [u8; 2] = [sync::any_of(&[0, 1, 2]), sync::any_of(&[0, 1, 2])];
            sync::thread::spawn(move || {
                let locked = locks.lock_keys(wanted.map(|n| MediaKey::of(&[n])));
                let Ok(_guard) = sync::block_on(sync::timeout(wait, locked)) else { return };
                let wanted = BTreeSet::from(wanted.map(usize::from));
                for at in &wanted {
                    assert_eq!(inside[*at].fetch_add(1, Ordering::SeqCst), 0, "two tasks have key {at}");
                }
                sync::thread::yield_now();
                for at in &wanted {
                    inside[*at].fetch_sub(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(locks.len(), 0, "a lock of a key that no task wants");
}

#[test]
fn tasks_under_any_schedule_exclude_each_other_and_leave_no_lock() {
    sync::check(tasks_with_common_keys);
}
