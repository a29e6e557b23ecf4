//! The image pool: a fixed number of worker threads and a fair queue of jobs.
//!
//! The pool has its own threads instead of the runtime's blocking pool, because a started job cannot be cancelled: the number
//! of running jobs must not depend on how many callers still wait. Clients share the workers by the time that their jobs take
//! (see [`fair_queue`](super::fair_queue)), so twenty expensive photos of one client do not delay another client.
//!
//! The pool also lends the memory for images. A job that needs more than is free returns to the queue and frees its worker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::family::Family;

pub(crate) use super::fair_queue::Cost;
use super::fair_queue::FairQueue;
use super::sync::{self, Condvar, Mutex, MutexGuard, oneshot, thread};
use super::workspace::Workspace;
use crate::model::ClientKey;
use crate::telemetry::metrics::{Counter, Metrics, Reading, ReasonLabels, Unit};

/// The resources of a job while it runs.
pub(crate) struct Turn<'a> {
    /// The worker's buffers.
    pub workspace: &'a mut Workspace,
    /// Returns whether the caller has stopped waiting for the result.
    pub is_abandoned: &'a dyn Fn() -> bool,
    lend: &'a dyn Fn(u64) -> bool,
    fallbacks: &'a Family<ReasonLabels, Counter>,
}

impl Turn<'_> {
    /// Sets the memory of this job to `bytes` in all. If it returns false, the job must end with [`Step::Postponed`].
    pub(crate) fn lend(&self, bytes: u64) -> bool {
        (self.lend)(bytes)
    }

    /// Counts a photo that is decoded again, from its start, because the fast decoder left it for `reason`.
    pub(crate) fn count_fallback(&self, reason: &'static str) {
        self.fallbacks.get_or_create(&ReasonLabels { reason }).inc();
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
        let mut turn =
            Turn { workspace, is_abandoned: &is_abandoned, lend: &lend, fallbacks: &shared.fallbacks };
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
    created: Instant,
    /// For each worker, when its turn began: milliseconds since `created` and one, or 0 if it has no job.
    turns: Vec<AtomicU64>,
    panics: Counter,
    fallbacks: Family<ReasonLabels, Counter>,
}

struct Queue {
    jobs: FairQueue<Box<dyn Job>>,
    is_closed: bool,
}

impl Pool {
    /// Starts `workers` threads that share `memory` bytes for images. At most `queue` jobs wait, each for at most `wait`. The
    /// threads end when the pool is dropped.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(workers: usize, memory: u64, queue: usize, wait: Duration) -> std::io::Result<Self> {
        let jobs = FairQueue::new(workers, memory, queue, sync::now());
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { jobs, is_closed: false }),
            work: Condvar::new(),
            busy: AtomicUsize::new(0),
            created: sync::now(),
            turns: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            panics: Counter::default(),
            fallbacks: Family::default(),
        });
        let pool = Self { shared, wait };
        for n in 0..workers {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name(format!("image-{n}")).spawn(move || shared.work(n))?;
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
        let help = "Budget held by photos in progress";
        metrics.register("memory_budget_images", Unit::Bytes, help, read(Self::lent));
        let help = "Photos on which a decoder panicked";
        metrics.register("image_panics", photos, help, self.shared.panics.clone());
        let help = "Photos that were decoded again by a slower decoder, by what the fast one found irregular";
        metrics.register("image_fallbacks", photos, help, self.shared.fallbacks.clone());
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
            match sync::timeout(self.wait, &mut receiver).await {
                Ok(result) => return result.unwrap_or(Err(PoolError::Busy)),
                Err(_) if place.leave() => return Err(PoolError::Busy),
                // The job runs. It ends with a result, or is postponed and may wait for the same time again.
                Err(_) => {}
            }
        }
    }

    /// Returns how long a job of `client` would wait now, by the costs of the jobs that would run before it.
    pub(crate) fn expected_wait(&self, client: ClientKey) -> Duration {
        self.shared.lock().jobs.expected_wait(sync::now(), client)
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

    /// Returns the number that the next job gets.
    #[cfg(test)]
    pub(crate) fn next_number(&self) -> u64 {
        self.shared.lock().jobs.next_number()
    }

    /// Returns for how long the worker with the longest turn has had its present job, or `None` if no worker has one.
    pub(crate) fn longest_turn(&self) -> Option<Duration> {
        let first =
            self.shared.turns.iter().filter_map(|turn| turn.load(Ordering::Relaxed).checked_sub(1)).min()?;
        let begun = self.shared.created + Duration::from_millis(first);
        Some(sync::now().saturating_duration_since(begun))
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
        let entered = self.lock().jobs.enter(sync::now(), client, cost, job);
        // A refused or removed job is dropped outside the lock, because it may hold megabytes.
        let (number, _pushed_out) = entered.map_err(|_job| PoolError::Busy)?;
        self.work.notify_one();
        Ok(QueuePlace { shared: Arc::clone(self), client, number })
    }

    /// Runs jobs on worker `n` until the pool is closed.
    fn work(&self, n: usize) {
        let mut workspace = Workspace::default();
        while let Some((number, mut job)) = self.next() {
            self.busy.fetch_add(1, Ordering::Relaxed);
            let begun = sync::now().saturating_duration_since(self.created).as_millis();
            self.turns[n].store(u64::try_from(begun).unwrap_or(u64::MAX - 1) + 1, Ordering::Relaxed);
            let needed = job.run(&mut workspace, self, number);
            self.turns[n].store(0, Ordering::Relaxed);
            self.busy.fetch_sub(1, Ordering::Relaxed);
            self.end(number, job, needed);
        }
    }

    /// Puts a job that needs memory back into the queue, or records the end of the job.
    fn end(&self, number: u64, job: Box<dyn Job>, needed: Option<u64>) {
        let mut queue = self.lock();
        // Under the queue's lock: a caller that leaves first closes the channel, then looks for the job in the queue.
        if let Some(memory) = needed.filter(|_| !job.is_abandoned()) {
            return queue.jobs.postpone(sync::now(), number, memory, job);
        }
        drop(queue);
        // Its memory is free before other jobs may borrow it.
        drop(job);
        self.lock().jobs.finish(sync::now(), number);
    }

    /// Returns the next job, or `None` when the pool is closed.
    fn next(&self) -> Option<(u64, Box<dyn Job>)> {
        let mut queue = self.lock();
        loop {
            if let Some(next) = queue.jobs.take(sync::now()) {
                // The end of a long job may make more than one job ready.
                if queue.jobs.is_ready() {
                    self.work.notify_one();
                }
                return Some(next);
            }
            // No caller is left, so no job waits.
            if queue.is_closed {
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
        let job = queue.jobs.leave(sync::now(), self.client, self.number);
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
