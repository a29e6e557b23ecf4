//! The image pool: a fixed number of threads, and fair lines in front of them.
//!
//! Threads of its own rather than the runtime's blocking pool: a job that was started cannot be cancelled, so the number
//! that run must not depend on who still waits for them. Each client has a line of its own and the lines take turns, so that
//! one client's twenty photos do not stand before another one's single one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::workspace::Workspace;
use crate::model::ClientKey;

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
    /// It was not begun within the time that one may wait, or too many waited.
    #[error("the image pool is busy")]
    Busy,
    /// The job panicked. Its worker lives on.
    #[error("an image job panicked")]
    Panicked,
}

/// Runs blocking jobs on its workers; a bounded number more wait, for a bounded time.
pub struct Pool {
    shared: Arc<Shared>,
    wait: Duration,
    workers: usize,
}

struct Shared {
    lines: Mutex<Lines>,
    work: Condvar,
    busy: AtomicUsize,
    panics: AtomicU64,
    /// What a job took on average of late, in nanoseconds.
    usual: AtomicU64,
}

/// Jobs that wait.
#[derive(Default)]
struct Lines {
    /// No line is empty. Numbers within a line ascend.
    by_client: HashMap<ClientKey, BTreeMap<u64, Job>>,
    /// The clients that have a line, the next one to be served first.
    turns: VecDeque<ClientKey>,
    waiting: usize,
    most: usize,
    next_number: u64,
    is_closed: bool,
}

impl Pool {
    /// Starts `workers` threads, before which at most `queue` jobs wait for at most `wait`. The threads end when the pool is
    /// dropped and no job waits.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(workers: usize, queue: usize, wait: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            lines: Mutex::new(Lines { most: queue, ..Lines::default() }),
            work: Condvar::new(),
            busy: AtomicUsize::new(0),
            panics: AtomicU64::new(0),
            usual: AtomicU64::new(0),
        });
        let pool = Self { shared, wait, workers };
        for n in 0..workers {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new().name(format!("image-{n}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Runs `job` of `client` on a worker. If the caller goes away first, a job that has not begun never will.
    ///
    /// # Errors
    /// It was not begun within the wait; too many wait, and this client has most of them; or it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        client: ClientKey,
        job: impl FnOnce(&mut Turn<'_>) -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (sender, mut receiver) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let job: Job = Box::new(move |workspace| {
            let mut turn = Turn { workspace, is_abandoned: &|| sender.is_closed() };
            // Only the result crosses this line, and buffers, whose content is of no meaning.
            let result = catch_unwind(AssertUnwindSafe(|| job(&mut turn))).map_err(|_| {
                shared.panics.fetch_add(1, Ordering::Relaxed);
                PoolError::Panicked
            });
            let _caller_left = sender.send(result);
        });
        let place = self.shared.enter(client, job)?;
        if let Ok(result) = tokio::time::timeout(self.wait, &mut receiver).await {
            return result.unwrap_or(Err(PoolError::Busy));
        }
        if place.leave() {
            return Err(PoolError::Busy);
        }
        // Begun in time, or pushed out by another client.
        receiver.await.unwrap_or(Err(PoolError::Busy))
    }

    /// How long a job of `client` would wait now, by what jobs took of late.
    pub fn expected_wait(&self, client: ClientKey) -> Duration {
        let lines = self.shared.lock();
        let own = lines.by_client.get(&client).map_or(0, BTreeMap::len);
        // Of each line as many are served before it as stand before it in its own.
        let ahead: usize = lines.by_client.values().map(|line| line.len().min(own + 1)).sum();
        drop(lines);
        let usual = Duration::from_nanos(self.shared.usual.load(Ordering::Relaxed));
        usual.saturating_mul(u32::try_from(ahead / self.workers.max(1)).unwrap_or(u32::MAX))
    }

    /// The longest time that a job waits before it is given up.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Jobs that wait for a worker.
    pub fn queued(&self) -> usize {
        self.shared.lock().waiting
    }

    /// Jobs that panicked since the start, whether anybody still waited for them or not.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    /// Workers that have a job.
    pub fn busy(&self) -> usize {
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
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job at the end of its client's line. When too many wait, the last of the longest line has to go.
    fn enter(self: &Arc<Self>, client: ClientKey, job: Job) -> Result<Place, PoolError> {
        let mut lines = self.lock();
        let mut pushed_out = None;
        if lines.waiting >= lines.most {
            pushed_out = Some(lines.make_room_for(client).ok_or(PoolError::Busy)?);
        }
        let number = lines.push(client, job);
        drop(lines);
        // Outside the lock: it may hold megabytes.
        drop(pushed_out);
        self.work.notify_one();
        Ok(Place { shared: Arc::clone(self), client, number })
    }

    /// What a worker does.
    fn work(&self) {
        let mut workspace = Workspace::default();
        while let Some(job) = self.next() {
            self.busy.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            job(&mut workspace);
            self.busy.fetch_sub(1, Ordering::Relaxed);
            let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let usual = self.usual.load(Ordering::Relaxed);
            // Two workers may overwrite each other's share of an average.
            self.usual.store(usual - usual / 8 + took / 8, Ordering::Relaxed);
        }
    }

    /// The next job; `None` when there will be none any more.
    fn next(&self) -> Option<Job> {
        let mut lines = self.lock();
        loop {
            if let Some(job) = lines.take() {
                return Some(job);
            }
            if lines.is_closed {
                return None;
            }
            lines = self.work.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Lines {
    fn push(&mut self, client: ClientKey, job: Job) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        let line = self.by_client.entry(client).or_default();
        if line.is_empty() {
            self.turns.push_back(client);
        }
        line.insert(number, job);
        number
    }

    /// The first job of the line whose turn it is.
    fn take(&mut self) -> Option<Job> {
        let client = self.turns.pop_front()?;
        let line = self.by_client.get_mut(&client)?;
        let (_, job) = line.pop_first()?;
        if line.is_empty() {
            self.by_client.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        self.waiting -= 1;
        Some(job)
    }

    fn remove(&mut self, client: ClientKey, number: u64) -> Option<Job> {
        let line = self.by_client.get_mut(&client)?;
        let job = line.remove(&number)?;
        if line.is_empty() {
            self.by_client.remove(&client);
            self.turns.retain(|other| *other != client);
        }
        self.waiting -= 1;
        Some(job)
    }

    /// Takes the last job out of the longest line, if that is longer than the line of `client` is about to be.
    fn make_room_for(&mut self, client: ClientKey) -> Option<Job> {
        let own = self.by_client.get(&client).map_or(0, BTreeMap::len);
        let (longest, line) = self.by_client.iter().max_by_key(|(_, line)| line.len())?;
        if line.len() <= own + 1 {
            return None;
        }
        let (longest, last) = (*longest, *line.last_key_value()?.0);
        self.remove(longest, last)
    }
}

/// A place in a line, given up when dropped.
struct Place {
    shared: Arc<Shared>,
    client: ClientKey,
    number: u64,
}

impl Place {
    /// Gives the place up, and says whether the job still stood there.
    fn leave(&self) -> bool {
        let job = self.shared.lock().remove(self.client, self.number);
        job.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(n: u8) -> ClientKey {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, n)).into()
    }

    fn pool(queue: usize, wait: Duration) -> Arc<Pool> {
        Arc::new(Pool::start(1, queue, wait).unwrap())
    }

    /// Keeps the only worker busy until the sender is used or dropped.
    async fn occupy(pool: &Arc<Pool>) -> std::sync::mpsc::Sender<()> {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let occupied = Arc::clone(pool);
        tokio::spawn(async move {
            occupied.run(client(0), move |_| (started.send(()), blocked.recv().ok())).await
        });
        running.await.unwrap();
        assert_eq!(pool.busy(), 1);
        release
    }

    /// Lets a job wait that notes its name when it runs.
    async fn line_up(
        pool: &Arc<Pool>,
        of: u8,
        name: u32,
        ran: &Arc<Mutex<Vec<u32>>>,
    ) -> tokio::task::JoinHandle<Result<(), PoolError>> {
        let before = pool.shared.lock().next_number;
        let (waiting, ran) = (Arc::clone(pool), Arc::clone(ran));
        let job =
            tokio::spawn(
                async move { waiting.run(client(of), move |_| ran.lock().unwrap().push(name)).await },
            );
        while pool.shared.lock().next_number == before && !job.is_finished() {
            tokio::task::yield_now().await;
        }
        job
    }

    #[tokio::test]
    async fn a_panic_ends_its_job_and_not_its_worker() {
        let pool = pool(4, Duration::from_secs(5));
        let panicked = pool.run(client(1), |_| panic!("on purpose")).await;
        assert_eq!(panicked.map(|()| 0), Err(PoolError::Panicked));
        assert_eq!(pool.run(client(1), |_| 7).await, Ok(7));
        assert_eq!(pool.panics(), 1);
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
        assert_eq!(*ran.lock().unwrap(), [10, 20, 30, 11, 31, 12, 13]);
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
    async fn who_waits_too_long_or_goes_away_is_not_begun() {
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
        assert_eq!(pool.run(client(1), |_| ()).await, Ok(()));
        assert!(ran.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_expected_wait_counts_what_will_be_served_before() {
        let pool = pool(64, Duration::from_secs(30));
        let ran = Arc::default();
        assert_eq!(pool.expected_wait(client(1)), Duration::ZERO);
        let release = occupy(&pool).await;
        pool.shared.usual.store(1_000_000_000, Ordering::Relaxed);
        let mut jobs = Vec::new();
        for (of, name) in [(1, 10), (1, 11), (1, 12), (2, 20)] {
            jobs.push(line_up(&pool, of, name, &ran).await);
        }
        let wait = |of| pool.expected_wait(client(of)).as_secs();
        assert_eq!((wait(1), wait(2), wait(3)), (4, 3, 2));
        drop(release);
        for job in jobs {
            assert_eq!(job.await.unwrap(), Ok(()));
        }
    }
}
