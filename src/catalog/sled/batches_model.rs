//! Checks the batches of the group commit under all kinds of schedules.

#[path = "batches.rs"]
#[allow(clippy::duplicate_mod, reason = "compiled for shuttle")]
mod batches;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use self::batches::Batches;
use crate::sync::model as sync;

/// Four threads add an item each, and wait until it was worked on.
fn four_items() {
    let batches = Arc::new(Batches::new());
    let is_working = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (batches, is_working) = (Arc::clone(&batches), Arc::clone(&is_working));
            sync::thread::spawn(move || {
                let (sender, done) = oneshot::channel();
                batches.add(sender, |batch: Vec<oneshot::Sender<()>>| {
                    assert!(!is_working.swap(true, Ordering::SeqCst), "two batches at a time");
                    sync::thread::yield_now();
                    is_working.store(false, Ordering::SeqCst);
                    batch.into_iter().for_each(|sender| sender.send(()).unwrap());
                });
                sync::block_on(done).unwrap();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn every_item_is_worked_on_in_one_batch_at_a_time() {
    sync::check(four_items);
}
