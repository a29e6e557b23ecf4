//! The image pool: a fixed number of threads and a bounded queue in front of them.
//!
//! Threads of its own rather than the runtime's blocking pool: a job that was started cannot be cancelled, so the number
//! that run must not depend on who still waits for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::workspace::Workspace;

type Job = Box<dyn FnOnce(&mut Workspace) + Send>;

/// What a job has while it runs.
pub struct Turn<'a> {
    /// The worker's buffers.
    pub workspace: &'a mut Workspace,
    /// Whether the caller has gone away, so that nobody will see the result.
    pub is_abandoned: &'a dyn Fn() -> bool,
}

/// Why a job gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue stayed full for as long as one may wait.
    #[error("the queue of the image pool is full")]
    Busy,
    /// The job panicked. Its worker lives on.
    #[error("an image job panicked")]
    Panicked,
}

/// Runs blocking jobs on `workers` threads; at most `queue` more wait.
#[derive(Debug)]
pub struct Pool {
    jobs: mpsc::Sender<Job>,
    wait: Duration,
    busy: Arc<AtomicUsize>,
    panics: Arc<AtomicU64>,
}

impl Pool {
    /// Starts the threads. They end when the pool is dropped and its queue is empty.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(workers: usize, queue: usize, wait: Duration) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::channel(queue);
        let receiver: Arc<Mutex<mpsc::Receiver<Job>>> = Arc::new(Mutex::new(receiver));
        let busy = Arc::new(AtomicUsize::new(0));
        for n in 0..workers {
            let receiver = Arc::clone(&receiver);
            let busy = Arc::clone(&busy);
            std::thread::Builder::new().name(format!("image-{n}")).spawn(move || work(&receiver, &busy))?;
        }
        Ok(Self { jobs, wait, busy, panics: Arc::default() })
    }

    /// Runs `job` on a worker. If the caller goes away first, a job that has not begun never will.
    ///
    /// # Errors
    /// No place in the queue within the wait, or the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Turn<'_>) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let place = tokio::time::timeout(self.wait, self.jobs.reserve()).await;
        let place = place.map_err(|_| PoolError::Busy)?.map_err(|_| PoolError::Panicked)?;
        let (sender, receiver) = oneshot::channel();
        let panics = Arc::clone(&self.panics);
        place.send(Box::new(move |workspace| {
            if !sender.is_closed() {
                let mut turn = Turn { workspace, is_abandoned: &|| sender.is_closed() };
                // Only the result crosses this line, and buffers, whose content is of no meaning.
                let result = catch_unwind(AssertUnwindSafe(|| job(&mut turn))).map_err(|_| {
                    panics.fetch_add(1, Ordering::Relaxed);
                    PoolError::Panicked
                });
                let _caller_left = sender.send(result);
            }
        }));
        receiver.await.unwrap_or(Err(PoolError::Panicked))
    }

    /// Jobs that wait for a worker.
    pub fn queued(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Jobs that panicked since the start, whether anybody still waited for them or not.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Workers that have a job.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }
}

fn work(receiver: &Mutex<mpsc::Receiver<Job>>, busy: &AtomicUsize) {
    let mut workspace = Workspace::default();
    loop {
        // One idle worker waits inside the lock, the others for the lock: each job wakes exactly one.
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return };
        busy.fetch_add(1, Ordering::Relaxed);
        job(&mut workspace);
        busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_job_and_not_its_worker() {
        let pool = Pool::start(1, 4, Duration::from_secs(5)).unwrap();
        assert_eq!(pool.run(|_| panic!("on purpose")).await.map(|()| 0), Err(PoolError::Panicked));
        assert_eq!(pool.run(|_| 7).await, Ok(7));
        assert_eq!(pool.panics(), 1);
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_a_job_nobody_waits_for_is_not_begun() {
        let pool = Arc::new(Pool::start(1, 1, Duration::from_millis(20)).unwrap());
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(move |_| (started.send(()), blocked.recv().ok())).await.map(|_| ()) }
        });
        running.await.unwrap();
        assert_eq!(pool.busy(), 1);
        let ran = Arc::new(AtomicUsize::new(0));
        let second = tokio::spawn({
            let (pool, ran) = (Arc::clone(&pool), Arc::clone(&ran));
            async move { pool.run(move |_| ran.fetch_add(1, Ordering::SeqCst)).await }
        });
        while pool.queued() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|_| ()).await, Err(PoolError::Busy));
        second.abort();
        assert!(second.await.is_err());
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        while pool.run(|_| ()).await.is_err() {}
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
}
