//! The image pool: a fixed number of worker threads and a fair queue of jobs.
//!
//! The pool has its own threads instead of the runtime's blocking pool, because a started job cannot be cancelled: the number
//! of running jobs must not depend on how many callers still wait. Clients share the workers by the time that their jobs take
//! (see [`fair_queue`](super::fair_queue)), so twenty expensive photos of one client do not delay another client.
//!
//! The pool also lends the memory for images. A job that needs more than is free returns to the queue and frees its worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

pub(crate) use super::fair_queue::Cost;
use super::fair_queue::FairQueue;
use super::workspace::Workspace;
use crate::allocator;
use crate::model::ClientKey;
use crate::telemetry::metrics::{Counter, Metrics, Reading, Unit};

/// After a job that held at least this many bytes, the allocator returns the freed memory to the system before other jobs may
/// borrow it. Phone photos hold less, and the next one reuses their memory: with a limit of 32 MiB a progressive JPEG of 12
/// megapixels took 15,000 page faults instead of 2 (2026-11-27).
const LARGE_JOB: u64 = 96 << 20;

/// The resources of a job while it runs.
pub(crate) struct Turn<'a> {
    /// The worker's buffers.
    pub workspace: &'a mut Workspace,
    /// Returns whether the caller has stopped waiting for the result.
    pub is_abandoned: &'a dyn Fn() -> bool,
    lend: &'a dyn Fn(u64) -> bool,
}

impl Turn<'_> {
    /// Sets the memory of this job to `bytes` in all. If it returns false, the job must end with [`Step::Postponed`].
    pub(crate) fn lend(&self, bytes: u64) -> bool {
        (self.lend)(bytes)
    }
}

/// How a turn of a job ended.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// The job has ended with this result.
    Done(T),
    /// The job needs `memory` bytes, which are not free. It holds none now, and runs again from its start when they are.
    Postponed {
        /// Bytes that the job needs in all; at most what the pool has.
        memory: u64,
    },
}

/// A job with any type of result.
trait Job: Send {
    /// Runs the job. Returns the memory that it needs if it was postponed.
    fn run(&mut self, workspace: &mut Workspace, shared: &Shared, number: u64) -> Option<u64>;

    /// Returns whether the caller has stopped waiting.
    fn is_abandoned(&self) -> bool;
}

struct Task<T, F> {
    job: F,
    /// The sender, until the result is sent.
    sender: Option<oneshot::Sender<Result<T, PoolError>>>,
}

impl<T: Send, F: FnMut(&mut Turn<'_>) -> Step<T> + Send> Job for Task<T, F> {
    fn run(&mut self, workspace: &mut Workspace, shared: &Shared, number: u64) -> Option<u64> {
        let is_abandoned = || is_abandoned(self.sender.as_ref());
        let lend = |bytes| shared.lock().jobs.lend(number, bytes);
        let mut turn = Turn { workspace, is_abandoned: &is_abandoned, lend: &lend };
        // After a panic only the buffers are reused, and their content is undefined anyway.
        let result = match catch_unwind(AssertUnwindSafe(|| (self.job)(&mut turn))) {
            Ok(Step::Postponed { memory }) => return Some(memory),
            Ok(Step::Done(result)) => Ok(result),
            Err(_) => {
                shared.panics.inc();
                Err(PoolError::Panicked)
            }
        };
        if let Some(sender) = self.sender.take() {
            let _caller_left = sender.send(result);
        }
        None
    }

    fn is_abandoned(&self) -> bool {
        is_abandoned(self.sender.as_ref())
    }
}

/// Returns whether the receiver is closed, or the result is sent already.
fn is_abandoned<T>(sender: Option<&oneshot::Sender<T>>) -> bool {
    sender.is_none_or(oneshot::Sender::is_closed)
}

/// Why a job gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    /// The job did not begin within the longest wait, or too many jobs waited.
    #[error("the image pool is busy")]
    Busy,
    /// The job panicked. Its worker continues.
    #[error("an image job panicked")]
    Panicked,
}

/// Runs blocking jobs on its workers. A bounded number of further jobs wait, for a bounded time.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    wait: Duration,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    busy: AtomicUsize,
    panics: Counter,
}

struct Queue {
    jobs: FairQueue<Box<dyn Job>>,
    is_closed: bool,
}

impl Pool {
    /// Starts `workers` threads that share `memory` bytes for images. At most `queue` jobs wait, each for at most `wait`. The
    /// threads end when the pool is dropped and no job waits.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(workers: usize, memory: u64, queue: usize, wait: Duration) -> std::io::Result<Self> {
        let jobs = FairQueue::new(workers, memory, queue, Instant::now());
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { jobs, is_closed: false }),
            work: Condvar::new(),
            busy: AtomicUsize::new(0),
            panics: Counter::default(),
        });
        let pool = Self { shared, wait };
        for n in 0..workers {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new().name(format!("image-{n}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Registers the metrics of the pool.
    pub(crate) fn register(self: &Arc<Self>, metrics: &mut Metrics) {
        let read = |value: fn(&Self) -> u64| {
            let pool = Arc::clone(self);
            Reading::gauge(move || value(&pool))
        };
        let photos = Unit::Of("photos");
        let help = "Photos waiting for an image worker";
        metrics.register("pool_queue_depth", photos, help, read(|pool| pool.queued() as u64));
        let help = "Image workers that have a photo";
        metrics.register("pool_busy_workers", Unit::Of("workers"), help, read(|pool| pool.busy() as u64));
        let help = "Budget held by photos in work";
        metrics.register("memory_budget_images", Unit::Bytes, help, read(Self::lent));
        let help = "Photos on which a decoder panicked";
        metrics.register("image_panics", photos, help, self.shared.panics.clone());
    }

    /// Runs `job` of `client` on a worker, again after each postponement, and never if the future is dropped before it begins.
    ///
    /// # Errors
    /// The job did not begin within the wait, or was postponed and did not get its memory within the wait; too many jobs wait and
    /// this client has most of them; or the job panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        client: ClientKey,
        cost: Cost,
        job: impl FnMut(&mut Turn<'_>) -> Step<T> + Send + 'static,
    ) -> Result<T, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(Task { job, sender: Some(sender) });
        let place = self.shared.enter(client, cost, job)?;
        // `receiver` is declared after `place`, so it is dropped before: a worker that postpones the job sees the closed
        // channel, or `place` finds the job in the queue.
        let mut receiver = receiver;
        loop {
            match tokio::time::timeout(self.wait, &mut receiver).await {
                Ok(result) => return result.unwrap_or(Err(PoolError::Busy)),
                Err(_) if place.leave() => return Err(PoolError::Busy),
                // The job runs. It ends with a result, or is postponed and may wait for the same time again.
                Err(_) => {}
            }
        }
    }

    /// Returns how long a job of `client` would wait now, by the costs of the jobs that would run before it.
    pub(crate) fn expected_wait(&self, client: ClientKey) -> Duration {
        self.shared.lock().jobs.expected_wait(Instant::now(), client)
    }

    /// Returns the longest time that a job waits before it is refused.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Returns the number of jobs that wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.shared.lock().jobs.waiting()
    }

    /// Returns the bytes of memory that jobs hold.
    pub(crate) fn lent(&self) -> u64 {
        self.shared.lock().jobs.lent()
    }

    /// Returns the number of jobs that panicked since the start.
    #[cfg(test)]
    pub(crate) fn panics(&self) -> u64 {
        self.shared.panics.get()
    }

    /// Returns the number of workers that run a job.
    pub(crate) fn busy(&self) -> usize {
        self.shared.busy.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job to the queue. If too many wait, a job of the client with most of them is removed.
    fn enter(
        self: &Arc<Self>,
        client: ClientKey,
        cost: Cost,
        job: Box<dyn Job>,
    ) -> Result<QueuePlace, PoolError> {
        let entered = self.lock().jobs.enter(Instant::now(), client, cost, job);
        // A refused or removed job is dropped outside the lock, because it may hold megabytes.
        let (number, _pushed_out) = entered.map_err(|_job| PoolError::Busy)?;
        self.work.notify_one();
        Ok(QueuePlace { shared: Arc::clone(self), client, number })
    }

    /// Runs jobs until the pool is closed and none waits.
    fn work(&self) {
        let mut workspace = Workspace::default();
        while let Some((number, mut job)) = self.next() {
            self.busy.fetch_add(1, Ordering::Relaxed);
            let needed = job.run(&mut workspace, self, number);
            self.busy.fetch_sub(1, Ordering::Relaxed);
            self.end(number, job, needed);
        }
    }

    /// Puts a job that needs memory back into the queue, or records the end of the job.
    fn end(&self, number: u64, job: Box<dyn Job>, needed: Option<u64>) {
        let mut queue = self.lock();
        // Under the queue's lock: a caller that leaves first closes the channel, then looks for the job in the queue.
        if let Some(memory) = needed.filter(|_| !job.is_abandoned()) {
            return queue.jobs.postpone(Instant::now(), number, memory, job);
        }
        let is_large = queue.jobs.held_by(number) >= LARGE_JOB;
        drop(queue);
        drop(job);
        if is_large {
            allocator::return_freed();
        }
        self.lock().jobs.finish(Instant::now(), number);
    }

    /// Returns the next job, or `None` when the pool is closed and no job waits.
    fn next(&self) -> Option<(u64, Box<dyn Job>)> {
        let mut queue = self.lock();
        loop {
            if let Some(next) = queue.jobs.take(Instant::now()) {
                // The end of a long job may make more than one job ready.
                if queue.jobs.is_ready() {
                    self.work.notify_one();
                }
                return Some(next);
            }
            if queue.is_closed && queue.jobs.waiting() == 0 {
                // Other workers may sleep because no waiting job could begin.
                self.work.notify_all();
                return None;
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A place in the queue. Dropping it removes the job if it still waits.
struct QueuePlace {
    shared: Arc<Shared>,
    client: ClientKey,
    number: u64,
}

impl QueuePlace {
    /// Removes the job from the queue, and returns whether it still waited.
    fn leave(&self) -> bool {
        let mut queue = self.shared.lock();
        let job = queue.jobs.leave(Instant::now(), self.client, self.number);
        // The queue may have held back jobs that would have delayed this one.
        if job.is_some() && queue.jobs.is_ready() {
            self.shared.work.notify_one();
        }
        drop(queue);
        job.is_some()
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fair_queue::SHORT_JOB;
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

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

    /// Enqueues a job that records its name when it runs.
    async fn line_up(
        pool: &Arc<Pool>,
        of: u8,
        name: u32,
        ran: &Arc<Mutex<Vec<u32>>>,
    ) -> tokio::task::JoinHandle<Result<(), PoolError>> {
        let before = pool.shared.lock().jobs.next_number();
        let (waiting, ran) = (Arc::clone(pool), Arc::clone(ran));
        let job = tokio::spawn(async move {
            waiting
                .run(client(of), COST, move |_| {
                    ran.lock().unwrap().push(name);
                    Step::Done(())
                })
                .await
        });
        while pool.shared.lock().jobs.next_number() == before && !job.is_finished() {
            tokio::task::yield_now().await;
        }
        job
    }

    #[tokio::test]
    async fn panic_ends_the_job_and_not_its_worker() {
        let pool = pool(4, Duration::from_secs(5));
        let panicked = pool.run(client(1), COST, |_| panic!("on purpose")).await;
        assert_eq!(panicked.map(|()| 0), Err(PoolError::Panicked));
        assert_eq!(pool.run(client(1), COST, |_| Step::Done(7)).await, Ok(7));
        assert_eq!(pool.panics(), 1);
    }

    #[tokio::test]
    async fn clients_with_waiting_jobs_take_turns() {
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
        // The exact order depends on microseconds. The tests of the queue check it.
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
    async fn full_queue_drops_a_job_of_the_client_with_most() {
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
    async fn job_that_waits_for_memory_frees_its_worker() {
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
            // The result arrives a moment before its memory is free.
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
    async fn job_begins_when_the_job_that_it_may_not_delay_leaves() {
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
    async fn postponed_job_without_a_caller_is_dropped() {
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
    async fn job_that_waits_too_long_or_is_abandoned_never_begins() {
        let pool = pool(8, Duration::from_millis(50));
        let ran = Arc::default();
        let release = occupy(&pool).await;
        let gone = line_up(&pool, 1, 1, &ran).await;
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!(pool.queued(), 0, "it has left its line at once");
        assert_eq!(line_up(&pool, 1, 2, &ran).await.await.unwrap(), Err(PoolError::Busy));
        assert_eq!(pool.queued(), 0);
        drop(release);
        while pool.busy() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(client(1), COST, |_| Step::Done(())).await, Ok(()));
        assert!(ran.lock().unwrap().is_empty());
    }
}
