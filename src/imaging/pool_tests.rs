//! Tests of the pool with real threads. They are no submodule of `pool.rs`: `pool_model.rs` compiles that file a second time,
//! for a model checker, and would compile these tests too.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use super::fair_queue::SHORT_JOB;
use super::pool::{Cost, Pool, PoolError, Step, Turn};
use crate::model::ClientKey;

const COST: Cost = Cost { time: Duration::from_millis(10), memory: 0 };
const MEMORY: u64 = 1000;

fn client(n: u8) -> ClientKey {
    IpAddr::from(Ipv4Addr::new(10, 0, 0, n)).into()
}

fn pool(queue: usize, wait: Duration) -> Arc<Pool> {
    Arc::new(Pool::start(1, MEMORY, queue, wait).unwrap())
}

/// Keeps the only worker busy until the sender is used or dropped.
async fn occupy(pool: &Arc<Pool>) -> std::sync::mpsc::Sender<()> {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let (started, running) = oneshot::channel();
    let occupied = Arc::clone(pool);
    let mut started = Some(started);
    tokio::spawn(async move {
        let job = move |_: &mut Turn<'_>| {
            started.take().map(|started| started.send(()));
            Step::Done(blocked.recv().ok())
        };
        occupied.run(client(0), COST, job).await
    });
    running.await.unwrap();
    assert_eq!(pool.busy(), 1);
    release
}

/// Adds a job that appends `name` to `ran` when it runs. Returns when the job waits in the queue, or was refused.
async fn line_up(
    pool: &Arc<Pool>,
    of: u8,
    name: u32,
    ran: &Arc<Mutex<Vec<u32>>>,
) -> tokio::task::JoinHandle<Result<(), PoolError>> {
    let before = pool.next_number();
    let (waiting, ran) = (Arc::clone(pool), Arc::clone(ran));
    let job = tokio::spawn(async move {
        waiting
            .run(client(of), COST, move |_| {
                ran.lock().unwrap().push(name);
                Step::Done(())
            })
            .await
    });
    while pool.next_number() == before && !job.is_finished() {
        tokio::task::yield_now().await;
    }
    job
}

#[tokio::test]
async fn a_panic_ends_its_job_and_not_its_worker() {
    let pool = pool(4, Duration::from_secs(5));
    let panicked = pool.run(client(1), COST, |_| panic!("on purpose")).await;
    assert_eq!(panicked.map(|()| 0), Err(PoolError::Panicked));
    assert_eq!(pool.run(client(1), COST, |_| Step::Done(7)).await, Ok(7));
    assert_eq!(pool.panics(), 1);
}

#[tokio::test]
async fn turn_that_does_not_end_is_visible_until_it_ends() {
    let pool = Arc::new(Pool::start(2, MEMORY, 4, Duration::from_secs(5)).unwrap());
    assert_eq!(pool.longest_turn(), None);
    let release = occupy(&pool).await;
    let first = pool.longest_turn().unwrap();
    while pool.longest_turn() <= Some(first + Duration::from_millis(5)) {
        // Jobs of the other worker do not hide it.
        assert_eq!(pool.run(client(1), COST, |_| Step::Done(7)).await, Ok(7));
    }
    drop(release);
    while pool.longest_turn().is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lines_take_turns() {
    let pool = pool(64, Duration::from_secs(30));
    let ran = Arc::default();
    let release = occupy(&pool).await;
    let mut jobs = Vec::new();
    for (of, name) in [(1, 10), (1, 11), (1, 12), (1, 13), (2, 20), (3, 30), (3, 31)] {
        jobs.push(line_up(&pool, of, name, &ran).await);
    }
    assert_eq!(pool.queued(), 7);
    drop(release);
    for job in jobs {
        assert_eq!(job.await.unwrap(), Ok(()));
    }
    // The exact order depends on how long each job took. `fair_queue` has tests of it.
    let ran = ran.lock().unwrap().clone();
    let place = |name: u32| ran.iter().position(|ran| *ran == name).unwrap();
    assert_eq!((ran.len(), ran[0]), (7, 10));
    assert!([11, 12, 13].is_sorted_by_key(|name| place(*name)) && place(30) < place(31), "{ran:?}");
    assert!(place(20) < place(13) && place(30) < place(13), "{ran:?}");
}

#[tokio::test]
async fn pool_with_two_workers_keeps_one_from_long_jobs() {
    let pool = Arc::new(Pool::start(2, MEMORY, 64, Duration::from_secs(30)).unwrap());
    let long = Cost { time: SHORT_JOB * 2, memory: 0 };
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let mut jobs = vec![tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.run(client(1), long, move |_| Step::Done(blocked.recv().is_ok())).await }
    })];
    let second_ran = Arc::new(AtomicUsize::new(0));
    for of in [2, 3] {
        let (pool, ran) = (Arc::clone(&pool), Arc::clone(&second_ran));
        let job = move |_: &mut Turn<'_>| {
            ran.fetch_add(1, Ordering::Relaxed);
            Step::Done(true)
        };
        jobs.push(tokio::spawn(async move { pool.run(client(of), long, job).await }));
    }
    while (pool.busy(), pool.queued()) != (1, 2) {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert_eq!(pool.run(client(4), COST, |_| Step::Done(7)).await, Ok(7));
    }
    assert_eq!((pool.queued(), second_ran.load(Ordering::Relaxed)), (2, 0), "they wait for the first");
    drop(release);
    for job in jobs {
        assert!(job.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn when_too_many_wait_the_longest_line_gives_way() {
    let pool = pool(3, Duration::from_secs(30));
    let ran = Arc::default();
    let release = occupy(&pool).await;
    let mut greedy = Vec::new();
    for name in 0..3 {
        greedy.push(line_up(&pool, 1, name, &ran).await);
    }
    assert_eq!(
        line_up(&pool, 1, 3, &ran).await.await.unwrap(),
        Err(PoolError::Busy),
        "its own line is the longest"
    );
    let other = line_up(&pool, 2, 20, &ran).await;
    assert_eq!(greedy.pop().unwrap().await.unwrap(), Err(PoolError::Busy), "pushed out");
    assert_eq!(
        line_up(&pool, 2, 21, &ran).await.await.unwrap(),
        Err(PoolError::Busy),
        "no longer than the other's"
    );
    drop(release);
    assert_eq!(other.await.unwrap(), Ok(()));
    for job in greedy {
        assert_eq!(job.await.unwrap(), Ok(()));
    }
    assert_eq!(*ran.lock().unwrap(), [0, 20, 1]);
}

#[tokio::test]
async fn job_that_waits_for_memory_leaves_its_worker_to_others() {
    let pool = Arc::new(Pool::start(2, MEMORY, 64, Duration::from_secs(30)).unwrap());
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let large =
        |pool: &Arc<Pool>, of, wait: Option<std::sync::mpsc::Receiver<()>>, turns: &Arc<AtomicUsize>| {
            let (pool, turns) = (Arc::clone(pool), Arc::clone(turns));
            let job = move |turn: &mut Turn<'_>| {
                turns.fetch_add(1, Ordering::Relaxed);
                if !turn.lend(800) {
                    return Step::Postponed { memory: 800 };
                }
                Step::Done(wait.as_ref().map(|wait| wait.recv().ok()))
            };
            tokio::spawn(async move { pool.run(client(of), COST, job).await.map(|_| ()) })
        };
    let (first_turns, second_turns) = (Arc::default(), Arc::default());
    let first = large(&pool, 1, Some(blocked), &first_turns);
    while pool.lent() < 800 {
        tokio::task::yield_now().await;
    }
    let second = large(&pool, 2, None, &second_turns);
    while second_turns.load(Ordering::Relaxed) == 0 || pool.queued() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let small = |turn: &mut Turn<'_>| Step::Done(turn.lend(200));
        assert_eq!(pool.run(client(3), COST, small).await, Ok(true));
        // A job gives its memory back a moment after its result.
        while pool.lent() > 800 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(pool.queued(), 1);
    drop(release);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));
    assert_eq!((first_turns.load(Ordering::Relaxed), second_turns.load(Ordering::Relaxed)), (1, 2));
    while pool.busy() > 0 || pool.lent() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn job_begins_when_the_one_that_it_may_not_delay_leaves() {
    let pool = Arc::new(Pool::start(2, MEMORY, 64, Duration::from_secs(30)).unwrap());
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let needs = |of: u8, time: u64, memory: u64, wait: Option<std::sync::mpsc::Receiver<()>>| {
        let pool = Arc::clone(&pool);
        let job = move |turn: &mut Turn<'_>| {
            if !turn.lend(memory) {
                return Step::Postponed { memory };
            }
            Step::Done(wait.as_ref().map(|wait| wait.recv().ok()).is_some())
        };
        let cost = Cost { time: Duration::from_millis(time), memory: 0 };
        tokio::spawn(async move { pool.run(client(of), cost, job).await })
    };
    let running = needs(1, 10, 500, Some(blocked));
    while pool.lent() != 500 {
        tokio::task::yield_now().await;
    }
    let large = needs(2, 10, 800, None);
    while (pool.busy(), pool.queued()) != (1, 1) {
        tokio::task::yield_now().await;
    }
    let mut small = needs(3, 1000, 300, None);
    while (pool.busy(), pool.queued()) != (1, 2) {
        tokio::task::yield_now().await;
    }
    large.abort();
    let begun = tokio::time::timeout(Duration::from_secs(10), &mut small).await;
    assert!(begun.is_ok(), "it waits for the end of a job that does not hinder it");
    drop(release);
    assert_eq!(running.await.unwrap(), Ok(true));
}

#[tokio::test]
async fn postponed_job_whose_caller_has_gone_is_not_kept() {
    let pool = pool(8, Duration::from_millis(20));
    let postponed = |_: &mut Turn<'_>| Step::<()>::Postponed { memory: MEMORY + 1 };
    assert_eq!(pool.run(client(1), COST, postponed).await, Err(PoolError::Busy), "it cannot begin again");
    assert_eq!((pool.queued(), pool.lent()), (0, 0));
    let pool = self::pool(8, Duration::from_secs(30));
    let (started, running) = oneshot::channel();
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let mut started = Some(started);
    let leaving = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move {
            let job = move |_: &mut Turn<'_>| {
                started.take().map(|started| started.send(()));
                let _released = blocked.recv();
                Step::<()>::Postponed { memory: 1 }
            };
            pool.run(client(1), COST, job).await
        }
    });
    running.await.unwrap();
    leaving.abort();
    assert!(leaving.await.is_err());
    drop(release);
    while pool.busy() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.run(client(2), COST, |_| Step::Done(())).await, Ok(()));
    assert_eq!(pool.queued(), 0);
}

#[tokio::test]
async fn who_waits_too_long_or_goes_away_is_not_begun() {
    let pool = pool(8, Duration::from_millis(50));
    let ran = Arc::default();
    let release = occupy(&pool).await;
    let gone = line_up(&pool, 1, 1, &ran).await;
    gone.abort();
    assert!(gone.await.is_err());
    assert_eq!(pool.queued(), 0, "it has left its line immediately");
    assert_eq!(line_up(&pool, 1, 2, &ran).await.await.unwrap(), Err(PoolError::Busy));
    assert_eq!(pool.queued(), 0);
    drop(release);
    while pool.busy() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.run(client(1), COST, |_| Step::Done(())).await, Ok(()));
    assert!(ran.lock().unwrap().is_empty());
}
