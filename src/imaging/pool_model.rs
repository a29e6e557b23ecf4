//! Checks the image pool under all kinds of schedules.

#[path = "pool.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "compiled for shuttle, which needs no metrics"
)]
mod pool;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use self::pool::{Cost, Pool, PoolError, Step, Turn};
use super::{fair_queue, workspace};
use crate::model::ClientKey;
use crate::sync::model as sync;

const MEMORY: u64 = 1000;
/// The longest wait of an impatient caller; the schedule decides when it has passed.
const IMPATIENT: Duration = Duration::ZERO;
const PATIENT: Duration = Duration::MAX;

fn client(n: u8) -> ClientKey {
    IpAddr::from(Ipv4Addr::new(10, 0, 0, n)).into()
}

/// What the jobs of a scenario share.
#[derive(Default)]
struct Ledger {
    held: AtomicU64,
}

/// A caller on its own thread.
struct Caller {
    /// Returns what the caller got, or `None` if it left.
    thread: sync::thread::JoinHandle<Option<Result<(), PoolError>>>,
    is_done: Arc<AtomicBool>,
}

/// Sends a job with any cost to `pool`. The caller leaves after `patience`.
fn send(pool: &Arc<Pool>, ledger: &Arc<Ledger>, of: u8, patience: Duration) -> Caller {
    let (pool, ledger) = (Arc::clone(pool), Arc::clone(ledger));
    let time = Duration::from_millis(sync::any_of(&[10, 2000]));
    let cost = Cost { time, memory: sync::any_of(&[0, 300, 800]) };
    let memory = sync::any_of(&[cost.memory, 500, 900]);
    let (has_left, is_done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (left, done) = (Arc::clone(&has_left), Arc::clone(&is_done));
    let job = move |turn: &mut Turn<'_>| {
        assert!(!has_left.load(Ordering::SeqCst), "a job began after its caller had left");
        if !turn.lend(memory) {
            return Step::Postponed { memory };
        }
        let held = ledger.held.fetch_add(memory, Ordering::SeqCst) + memory;
        assert!(held <= MEMORY, "jobs hold {held} bytes");
        sync::thread::yield_now();
        ledger.held.fetch_sub(memory, Ordering::SeqCst);
        done.store(true, Ordering::SeqCst);
        Step::Done(())
    };
    let thread = sync::thread::spawn(move || {
        let result = sync::block_on(sync::timeout(patience, pool.run(client(of), cost, job)));
        left.store(true, Ordering::SeqCst);
        result.ok()
    });
    Caller { thread, is_done }
}

/// Waits until no job exists. The pool's workers must end by themselves once it is dropped, or the schedule fails.
fn end(pool: Arc<Pool>, ledger: &Arc<Ledger>) {
    while Arc::strong_count(ledger) > 1 || pool.busy() > 0 || pool.lent() > 0 {
        sync::thread::yield_now();
    }
    assert_eq!((pool.queued(), pool.panics()), (0, 0));
    drop(pool);
}

/// Jobs that need memory, and callers of which some leave at any moment.
fn callers_that_leave() {
    let ledger = Arc::default();
    let pool = Arc::new(Pool::start(2, MEMORY, 8, PATIENT).unwrap());
    let callers: Vec<_> = (0..4)
        .map(|n| {
            let patience = sync::any_of(&[PATIENT, PATIENT, IMPATIENT]);
            (patience, send(&pool, &ledger, n % 3, patience))
        })
        .collect();
    for (patience, caller) in callers {
        let result = caller.thread.join().unwrap();
        assert!(result == Some(Ok(())) || (result.is_none() && patience == IMPATIENT), "{result:?}");
    }
    end(pool, &ledger);
}

/// A short queue, and a pool that refuses jobs that have waited.
fn full_queue_and_short_wait() {
    let ledger = Arc::default();
    let pool = Arc::new(Pool::start(2, MEMORY, 1, IMPATIENT).unwrap());
    let callers: Vec<_> = (0..4).map(|n| send(&pool, &ledger, n % 2, PATIENT)).collect();
    let results = callers.into_iter().map(|caller| (caller.thread.join().unwrap(), caller.is_done));
    let results: Vec<_> = results.collect();
    end(pool, &ledger);
    for (result, is_done) in results {
        let expected = if is_done.load(Ordering::SeqCst) { Ok(()) } else { Err(PoolError::Busy) };
        assert_eq!(result, Some(expected));
    }
}

/// Sends a job that needs `memory` to begin, and then runs `work`. The caller leaves after `patience`.
fn send_work(
    pool: &Arc<Pool>,
    of: u8,
    (millis, memory): (u64, u64),
    patience: Duration,
    mut work: impl FnMut() + Send + 'static,
) -> sync::thread::JoinHandle<bool> {
    let pool = Arc::clone(pool);
    let cost = Cost { time: Duration::from_millis(millis), memory };
    let job = move |_: &mut Turn<'_>| {
        work();
        Step::Done(())
    };
    sync::thread::spawn(move || {
        sync::block_on(sync::timeout(patience, pool.run(client(of), cost, job))) == Ok(Ok(()))
    })
}

/// A job holds the memory of two others until both wait. They need both workers, because each waits for the other.
fn two_jobs_become_ready_at_once() {
    let pool = Arc::new(Pool::start(2, MEMORY, 8, PATIENT).unwrap());
    let of_holder = Arc::clone(&pool);
    let holder = send_work(&pool, 1, (10, 900), PATIENT, move || {
        while of_holder.queued() < 2 {
            sync::thread::yield_now();
        }
    });
    while pool.lent() != 900 {
        sync::thread::yield_now();
    }
    let meeting = Arc::new(sync::Barrier::new(2));
    for of in [2, 3] {
        let meeting = Arc::clone(&meeting);
        send_work(&pool, of, (10, 400), PATIENT, move || _ = meeting.wait());
    }
    assert!(holder.join().unwrap());
}

/// A running job waits for a small one, which may not delay a large one before it. The caller of the large one leaves.
fn job_that_may_not_be_delayed_leaves() {
    let pool = Arc::new(Pool::start(2, MEMORY, 8, PATIENT).unwrap());
    let meeting = Arc::new(sync::Barrier::new(2));
    let (one, other) = (Arc::clone(&meeting), meeting);
    let running = send_work(&pool, 1, (10, 500), PATIENT, move || _ = one.wait());
    while pool.lent() != 500 {
        sync::thread::yield_now();
    }
    send_work(&pool, 2, (10, 800), IMPATIENT, || ());
    let small = send_work(&pool, 3, (1000, 300), PATIENT, move || _ = other.wait());
    assert!(running.join().unwrap() && small.join().unwrap());
}

#[test]
fn callers_that_stay_get_their_result_whoever_leaves() {
    sync::check(callers_that_leave);
}

#[test]
fn refused_jobs_are_never_done_and_others_are() {
    sync::check(full_queue_and_short_wait);
}

#[test]
fn jobs_that_become_ready_together_run_together() {
    sync::check(two_jobs_become_ready_at_once);
}

#[test]
fn job_begins_when_the_one_that_it_may_not_delay_leaves() {
    sync::check(job_that_may_not_be_delayed_leaves);
}
