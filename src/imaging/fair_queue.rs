//! The order in which waiting jobs get a worker: weighted fair queueing by worker time, with equal weights.
//!
//! A virtual clock runs at the rate at which each active client gets worker time. A client pays for its jobs in virtual time:
//! its next job starts (virtually) when the earlier ones are paid off, and the waiting job with the earliest virtual finish
//! (start plus estimated cost) runs next. When a job ends, its measured time replaces the estimate.
//!
//! So a cheap job of a client without debt is next, regardless of other clients' queues. Clients that keep the queue full get
//! equal worker time, not equal numbers of jobs. No job starves, because the clock passes every finish. Deficit round robin
//! would need a quantum as large as the largest job, and a client that sends one job at a time would lose its deficit whenever
//! its queue is empty. Here a debt is one number, which outlives the client's queue.
//!
//! A running job cannot be stopped, so long jobs may not occupy every worker if there are several.
//!
//! Jobs share memory, and each declares how much it needs to begin. A job that needs more than is free waits in the queue, not
//! on a worker. Later jobs may pass it only if it could still begin when the jobs that were before it have ended. So small jobs
//! use the memory that a large one leaves free, and do not starve it. A job that learns its need while it runs asks for more
//! ([`FairQueue::lend`]). If that is not free, it returns to the queue ([`FairQueue::postpone`]).
//!
//! The queue knows neither threads nor clocks: the caller passes the time, so that tests can set it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::model::ClientKey;

/// Jobs with a higher expected cost are long jobs.
pub(super) const SHORT_JOB: Duration = Duration::from_millis(1500);
/// How long the account of a client without jobs is kept.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most accounts of clients without jobs that are kept.
const MAX_REMEMBERED: usize = 16_384;
/// Bounds of the factor that corrects estimates by the average of measured times.
const CORRECTION: (f64, f64) = (0.25, 4.0);

/// The worker time and the memory of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Estimated time on a worker.
    pub time: Duration,
    /// Bytes of memory that must be free when the job begins.
    pub memory: u64,
}

/// The waiting jobs of type `J`, and the accounts of the clients that sent them.
#[derive(Debug)]
pub(super) struct FairQueue<J> {
    workers: usize,
    /// Bytes that running jobs may hold together.
    memory: u64,
    lent: u64,
    /// Workers that long jobs may occupy together.
    for_long: usize,
    capacity: usize,
    accounts: HashMap<ClientKey, Account<J>>,
    /// The first waiting job of each client, in order. The index is `is_long`.
    order: [BTreeSet<Position>; 2],
    /// Clients with waiting jobs, by the number of those jobs.
    by_length: BTreeSet<(usize, ClientKey)>,
    /// Clients by the time at which their last job ended, oldest first. Entries of clients that have jobs again are ignored.
    idle: VecDeque<(Instant, ClientKey)>,
    running: BTreeMap<u64, Running>,
    running_long: usize,
    waiting: usize,
    /// Estimated cost of all waiting jobs.
    backlog: Duration,
    /// Clients with jobs that wait or run.
    active: u32,
    clock: Duration,
    clock_read: Instant,
    next_number: u64,
    /// Moving averages over finished jobs.
    usual_spent: Duration,
    usual_estimate: Duration,
    /// Moving average of the estimates of short jobs.
    usual_short: Duration,
}

/// Virtual finish and number of a client's first job.
type Position = (Duration, u64, ClientKey);

#[derive(Debug)]
struct Account<J> {
    /// Waiting jobs by number, which is the order of arrival.
    jobs: BTreeMap<u64, (Cost, J)>,
    running: u32,
    /// Estimated cost of `jobs`.
    backlog: Duration,
    /// Virtual time at which all charges are paid off.
    paid_off: Duration,
    /// Virtual start of the first of `jobs`.
    start: Duration,
    /// By how much the client's recent jobs exceeded their estimates.
    overrun: Duration,
    last_estimate: Duration,
    /// The position of the first of `jobs` in `order`, and whether it is long.
    position: Option<(Position, bool)>,
    idle_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    place: (Duration, u64),
    memory: u64,
}

#[derive(Debug)]
struct Running {
    client: ClientKey,
    /// Virtual finish and number, which order the jobs.
    place: (Duration, u64),
    memory: u64,
    began: Instant,
    estimate: Duration,
    charged: Duration,
    is_long: bool,
}

impl<J> FairQueue<J> {
    /// Returns an empty queue of at most `capacity` jobs for `workers` workers that share `memory` bytes.
    pub(super) fn new(workers: usize, memory: u64, capacity: usize, now: Instant) -> Self {
        let reserved = if workers > 1 { workers.div_ceil(4) } else { 0 };
        Self {
            workers: workers.max(1),
            memory,
            lent: 0,
            for_long: workers - reserved,
            capacity,
            accounts: HashMap::new(),
            order: [BTreeSet::new(), BTreeSet::new()],
            by_length: BTreeSet::new(),
            idle: VecDeque::new(),
            running: BTreeMap::new(),
            running_long: 0,
            waiting: 0,
            backlog: Duration::ZERO,
            active: 0,
            clock: Duration::ZERO,
            clock_read: now,
            next_number: 0,
            usual_spent: Duration::ZERO,
            usual_estimate: Duration::ZERO,
            usual_short: Duration::ZERO,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn lent(&self) -> u64 {
        self.lent
    }

    #[cfg(test)]
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Adds a job of `client` and returns its number. If too many jobs wait, this removes and returns the last job of the
    /// client with most of them. If no client has more jobs than this one would have, the job is the error. A job that needs
    /// more memory than the queue has never begins.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        client: ClientKey,
        cost: Cost,
        job: J,
    ) -> Result<(u64, Option<J>), J> {
        self.advance(now);
        let mut pushed_out = None;
        if self.waiting >= self.capacity {
            match self.make_room_for(now, client) {
                Some(other) => pushed_out = Some(other),
                None => return Err(job),
            }
        }
        let number = self.next_number;
        self.next_number += 1;
        self.insert(client, number, cost, job);
        Ok((number, pushed_out))
    }

    fn insert(&mut self, client: ClientKey, number: u64, cost: Cost, job: J) {
        let account = self.accounts.entry(client).or_insert_with(Account::new);
        if account.is_idle() {
            self.active += 1;
            account.idle_since = None;
        }
        let is_first = account.jobs.first_key_value().is_none_or(|(first, _)| number < *first);
        account.jobs.insert(number, (cost, job));
        account.backlog += cost.time;
        account.last_estimate = cost.time;
        self.waiting += 1;
        self.backlog += cost.time;
        self.count_jobs(client, |length| length - 1);
        if is_first {
            self.place(client, Duration::ZERO, Duration::MAX);
        }
    }

    /// Removes a waiting job. Returns `None` if it does not wait.
    pub(super) fn leave(&mut self, now: Instant, client: ClientKey, number: u64) -> Option<J> {
        self.advance(now);
        let account = self.accounts.get_mut(&client)?;
        let was_first = account.jobs.first_key_value().is_some_and(|(first, _)| *first == number);
        let (cost, job) = account.jobs.remove(&number)?;
        self.forget_waiting(client, cost.time);
        if was_first {
            self.place(client, Duration::ZERO, Duration::MAX);
        }
        self.rest(now, client);
        Some(job)
    }

    /// Returns whether [`take`](Self::take) would return a job.
    pub(super) fn is_ready(&self) -> bool {
        self.next_position().is_some()
    }

    /// Removes the next job, with its number. Requires a later [`finish`](Self::finish) or [`postpone`](Self::postpone).
    pub(super) fn take(&mut self, now: Instant) -> Option<(u64, J)> {
        self.advance(now);
        self.charge_running(now);
        let ((finish, number, client), is_long) = self.next_position()?;
        let account = self.accounts.get_mut(&client)?;
        let (Cost { time: estimate, memory }, job) = account.jobs.remove(&number)?;
        account.running += 1;
        account.paid_off = account.start + estimate;
        self.running_long += usize::from(is_long);
        self.lent += memory;
        let place = (finish, number);
        let running = Running { client, place, memory, began: now, estimate, charged: estimate, is_long };
        self.running.insert(number, running);
        self.forget_waiting(client, estimate);
        self.place(client, Duration::ZERO, Duration::MAX);
        Some((number, job))
    }

    /// Sets the memory of a running job to `bytes` in all, and returns whether it did: only if so much is free, and if that
    /// does not delay a waiting job that this job has passed.
    pub(super) fn lend(&mut self, number: u64, bytes: u64) -> bool {
        let Some(job) = self.running.get(&number) else { return false };
        let more = bytes.saturating_sub(job.memory);
        if more > 0 && !self.is_free(more, job.place, self.first_without_memory(job.place)) {
            return false;
        }
        if let Some(job) = self.running.get_mut(&number) {
            self.lent = self.lent - job.memory + bytes;
            job.memory = bytes;
        }
        true
    }

    /// Returns a running job to the queue, to begin again when `memory` bytes are free. The time that it took is charged.
    pub(super) fn postpone(&mut self, now: Instant, number: u64, memory: u64, job: J) {
        self.advance(now);
        let Some(running) = self.running.remove(&number) else { return };
        self.running_long -= usize::from(running.is_long);
        self.lent -= running.memory;
        // The job is inserted before its turn is recorded as ended, so that its client stays active.
        self.insert(running.client, number, Cost { time: running.estimate, memory }, job);
        if let Some(account) = self.accounts.get_mut(&running.client) {
            let spent = now.saturating_duration_since(running.began);
            account.running -= 1;
            account.paid_off = (account.paid_off + spent).saturating_sub(running.charged);
        }
        self.place(running.client, Duration::ZERO, Duration::MAX);
    }

    /// Records the end of a job and replaces its estimate with the measured time.
    pub(super) fn finish(&mut self, now: Instant, number: u64) {
        self.advance(now);
        let Some(job) = self.running.remove(&number) else { return };
        self.running_long -= usize::from(job.is_long);
        self.lent -= job.memory;
        let spent = now.saturating_duration_since(job.began);
        self.usual_spent = average(self.usual_spent, spent);
        self.usual_estimate = average(self.usual_estimate, job.estimate);
        if job.estimate <= SHORT_JOB {
            self.usual_short = average(self.usual_short, job.estimate);
        }
        let Some(account) = self.accounts.get_mut(&job.client) else { return };
        account.running -= 1;
        account.overrun = spent.saturating_sub(job.estimate).max(account.overrun / 2);
        account.paid_off = (account.paid_off + spent).saturating_sub(job.charged);
        // A refund moves the next job forward, and a charge moves it back.
        let (least, most) = if spent < job.charged {
            (Duration::ZERO, account.start)
        } else {
            (account.start, Duration::MAX)
        };
        self.place(job.client, least, most);
        self.rest(now, job.client);
    }

    /// Estimates how long a job of `client` would wait now, by the costs of the jobs that would run before it. It uses totals,
    /// so its cost does not depend on the number of clients.
    pub(super) fn expected_wait(&mut self, now: Instant, client: ClientKey) -> Duration {
        self.advance(now);
        let (mut own, mut debt, mut cost, mut others) =
            (Duration::ZERO, Duration::ZERO, self.usual_short, self.by_length.len());
        if let Some(account) = self.accounts.get(&client) {
            own = account.backlog;
            debt = account.paid_off.saturating_sub(self.clock);
            cost = cost.max(account.last_estimate + account.overrun);
            others -= usize::from(!account.jobs.is_empty());
        }
        // Each other client's jobs run first for at most the time that this client owes, has waiting and is about to add.
        let theirs = (own + debt + cost).saturating_mul(u32::try_from(others).unwrap_or(u32::MAX));
        let ahead = own + theirs.min(self.backlog.saturating_sub(own));
        let workers = if cost > SHORT_JOB { self.for_long } else { self.workers };
        let expected = ahead / count(workers);
        if self.usual_estimate.is_zero() {
            return expected;
        }
        let correction = self.usual_spent.as_secs_f64() / self.usual_estimate.as_secs_f64();
        expected.mul_f64(correction.clamp(CORRECTION.0, CORRECTION.1))
    }

    /// Advances the virtual clock to `now`.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.clock_read);
        self.clock_read = self.clock_read.max(now);
        self.clock += match self.active {
            0 => passed.saturating_mul(count(self.workers)),
            active => passed.saturating_mul(u32::try_from(self.running.len()).unwrap_or(u32::MAX)) / active,
        };
        while let Some((since, client)) = self.idle.front().copied() {
            if since + REMEMBERED > now && self.idle.len() <= MAX_REMEMBERED {
                break;
            }
            self.idle.pop_front();
            if self.accounts.get(&client).is_some_and(|account| account.idle_since == Some(since)) {
                self.accounts.remove(&client);
            }
        }
    }

    /// Charges running jobs for the time that exceeds their estimates.
    fn charge_running(&mut self, now: Instant) {
        let mut late = Vec::new();
        for job in self.running.values_mut() {
            let spent = now.saturating_duration_since(job.began);
            if spent > job.charged {
                late.push((job.client, spent - job.charged));
                job.charged = spent;
            }
        }
        for (client, more) in late {
            if let Some(account) = self.accounts.get_mut(&client) {
                account.paid_off += more;
                let start = account.start;
                self.place(client, start, Duration::MAX);
            }
        }
    }

    /// Returns the position of the next job, and whether it is long.
    fn next_position(&self) -> Option<(Position, bool)> {
        let mut passed = None;
        self.candidates().find(|((finish, number, client), _)| {
            let memory = self.need_of(*client);
            let fits = self.is_free(memory, (*finish, *number), passed);
            passed = passed.or(Some(Waiting { place: (*finish, *number), memory }));
            fits
        })
    }

    /// Returns the first job before `place` if it cannot begin because too little memory is free.
    fn first_without_memory(&self, place: (Duration, u64)) -> Option<Waiting> {
        let ((finish, number, client), _) = self.candidates().next()?;
        let first = Waiting { place: (finish, number), memory: self.need_of(client) };
        (first.place < place && self.lent + first.memory > self.memory).then_some(first)
    }

    /// Returns the first job of each client that a worker could take if memory were free, in order.
    fn candidates(&self) -> impl Iterator<Item = (Position, bool)> {
        let may_be_long = self.running_long < self.for_long;
        let mut short = self.order[0].iter().peekable();
        let mut long = self.order[1].iter().filter(move |_| may_be_long).peekable();
        std::iter::from_fn(move || match (short.peek(), long.peek()) {
            (Some(first), Some(other)) if other < first => long.next().map(|position| (*position, true)),
            (Some(_), _) => short.next().map(|position| (*position, false)),
            (None, _) => long.next().map(|position| (*position, true)),
        })
    }

    fn need_of(&self, client: ClientKey) -> u64 {
        let first = self.accounts.get(&client).and_then(|account| account.jobs.first_key_value());
        first.map_or(0, |(_, (cost, _))| cost.memory)
    }

    /// Returns whether a job at `place` that passes the waiting job `passed` may get `bytes` more: they are free, and `passed`
    /// can still begin when the jobs before it have ended.
    fn is_free(&self, bytes: u64, place: (Duration, u64), passed: Option<Waiting>) -> bool {
        let is_delayed = |passed: Waiting| {
            let that_passed = self.running.values().filter(|job| job.place > passed.place);
            let held: u64 = that_passed.map(|job| job.memory).sum();
            place > passed.place && held + bytes + passed.memory > self.memory
        };
        self.lent + bytes <= self.memory && !passed.is_some_and(is_delayed)
    }

    /// Inserts the first job of `client` into the order, with a virtual start of at least `least` and at most `most`.
    fn place(&mut self, client: ClientKey, least: Duration, most: Duration) {
        let clock = self.clock;
        let Some(account) = self.accounts.get_mut(&client) else { return };
        if let Some((position, is_long)) = account.position.take() {
            self.order[usize::from(is_long)].remove(&position);
        }
        let Some((number, (cost, _))) = account.jobs.first_key_value() else { return };
        account.start = account.paid_off.max(clock).max(least).min(most);
        let cost = cost.time + account.overrun;
        let position = (account.start + cost, *number, client);
        let is_long = cost > SHORT_JOB;
        account.position = Some((position, is_long));
        self.order[usize::from(is_long)].insert(position);
    }

    /// Records that a job with this estimate no longer waits.
    fn forget_waiting(&mut self, client: ClientKey, estimate: Duration) {
        if let Some(account) = self.accounts.get_mut(&client) {
            account.backlog = account.backlog.saturating_sub(estimate);
        }
        self.backlog = self.backlog.saturating_sub(estimate);
        self.waiting -= 1;
        self.count_jobs(client, |length| length + 1);
    }

    /// Updates `by_length` after a change. `before` computes the earlier number of jobs from the present one.
    fn count_jobs(&mut self, client: ClientKey, before: impl Fn(usize) -> usize) {
        let length = self.accounts.get(&client).map_or(0, |account| account.jobs.len());
        self.by_length.remove(&(before(length), client));
        if length > 0 {
            self.by_length.insert((length, client));
        }
    }

    /// Marks `client` as idle if it has no more jobs.
    fn rest(&mut self, now: Instant, client: ClientKey) {
        if let Some(account) = self.accounts.get_mut(&client)
            && account.is_idle()
            && account.idle_since.is_none()
        {
            account.idle_since = Some(now);
            self.active -= 1;
            self.idle.push_back((now, client));
        }
    }

    /// Removes the last job of the client with most of them, if it has more than `client` is about to have.
    fn make_room_for(&mut self, now: Instant, client: ClientKey) -> Option<J> {
        let own = self.accounts.get(&client).map_or(0, |account| account.jobs.len());
        let (length, longest) = *self.by_length.last()?;
        if length <= own + 1 {
            return None;
        }
        let last = *self.accounts.get(&longest)?.jobs.last_key_value()?.0;
        self.leave(now, longest, last)
    }
}

impl<J> Account<J> {
    fn new() -> Self {
        Self {
            jobs: BTreeMap::new(),
            running: 0,
            backlog: Duration::ZERO,
            paid_off: Duration::ZERO,
            start: Duration::ZERO,
            overrun: Duration::ZERO,
            last_estimate: Duration::ZERO,
            position: None,
            idle_since: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.running == 0
    }
}

/// Returns a moving average after one more value. It is zero before the first.
fn average(before: Duration, value: Duration) -> Duration {
    if before.is_zero() { value } else { before - before / 8 + value / 8 }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use proptest::prelude::*;

    const CHEAP: Duration = Duration::from_millis(40);
    const EXPENSIVE: Duration = Duration::from_secs(3);

    fn client(n: u8) -> ClientKey {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, n)).into()
    }

    const MEMORY: u64 = 100;

    /// A job: its client, the time that it takes, and the memory that it finds to need when it runs.
    type Job = (u8, Duration, u64);

    struct Simulation {
        queue: FairQueue<Job>,
        now: Instant,
        workers: usize,
        /// Number, client and end of each running job.
        running: Vec<(u64, u8, Instant)>,
        spent: HashMap<u8, Duration>,
        /// Clients in the order in which their jobs began.
        began: Vec<u8>,
    }

    impl Simulation {
        fn new(workers: usize) -> Self {
            let now = Instant::now();
            let queue = FairQueue::new(workers, MEMORY, 1000, now);
            Self { queue, now, workers, running: Vec::new(), spent: HashMap::new(), began: Vec::new() }
        }

        fn enter(&mut self, of: u8, estimate: Duration, cost: Duration) {
            self.enter_large(of, estimate, cost, 0);
        }

        /// Enters a job that finds to need `memory` only when it runs.
        fn enter_large(&mut self, of: u8, time: Duration, spent: Duration, memory: u64) {
            let cost = Cost { time, memory: 0 };
            assert!(matches!(
                self.queue.enter(self.now, client(of), cost, (of, spent, memory)),
                Ok((_, None))
            ));
            self.begin();
        }

        fn begin(&mut self) {
            while self.running.len() < self.workers
                && let Some((number, job)) = self.queue.take(self.now)
            {
                let (of, cost, memory) = job;
                if !self.queue.lend(number, memory) {
                    self.queue.postpone(self.now, number, memory, job);
                    continue;
                }
                assert!(self.queue.lent() <= MEMORY);
                self.running.push((number, of, self.now + cost));
                *self.spent.entry(of).or_default() += cost;
                self.began.push(of);
            }
        }

        /// Advances to the end of the job that ends next, and returns its client.
        fn step(&mut self) -> Option<u8> {
            let next = (0..self.running.len()).min_by_key(|at| self.running[*at].2)?;
            let (number, of, end) = self.running.swap_remove(next);
            self.now = self.now.max(end);
            self.queue.finish(self.now, number);
            self.begin();
            Some(of)
        }

        fn waits_of(&self, of: u8) -> usize {
            self.queue.accounts.get(&client(of)).map_or(0, |account| account.jobs.len())
        }
    }

    #[test]
    fn cheap_job_beside_expensive_ones_is_next() {
        for workers in [1, 2, 4] {
            let mut pool = Simulation::new(workers);
            for of in 1..=4 {
                for _ in 0..20 {
                    pool.enter(of, EXPENSIVE, EXPENSIVE);
                }
            }
            for honest in 10..40 {
                pool.enter(honest, CHEAP, CHEAP);
                while *pool.began.last().unwrap() != honest {
                    let expensive = pool.began.len();
                    pool.step();
                    assert!(pool.began.len() == expensive || pool.began[expensive] == honest, "{workers}");
                }
                pool.step();
            }
        }
    }

    #[test]
    fn long_jobs_leave_a_worker_free() {
        for (workers, most) in [(1, 1), (2, 1), (4, 3), (8, 6)] {
            let mut pool = Simulation::new(workers);
            for of in 0..20 {
                pool.enter(of, EXPENSIVE, EXPENSIVE);
            }
            assert_eq!(pool.running.len(), most);
            pool.enter(30, CHEAP, CHEAP);
            assert_eq!(pool.began.last() == Some(&30), workers > 1);
        }
    }

    #[test]
    fn small_jobs_beside_large_ones_are_next() {
        const LARGE: Duration = Duration::from_millis(400);
        let mut pool = Simulation::new(2);
        for of in 1..=4 {
            for _ in 0..20 {
                pool.enter_large(of, LARGE, LARGE, 80);
            }
        }
        for honest in 10..40 {
            assert_eq!(pool.running.len(), 1, "one that waits for memory occupies no worker");
            pool.enter_large(honest, CHEAP, CHEAP, 15);
            assert_eq!(pool.began.last(), Some(&honest));
            assert_eq!(pool.step(), Some(honest));
            let before = pool.began.len();
            pool.enter_large(100 + honest, CHEAP, CHEAP, 30);
            assert_eq!(pool.began.len(), before, "it does not fit while a large one runs");
            pool.step();
            assert_eq!(pool.began[before..], [100 + honest], "it is in front of the other large ones");
            pool.step();
        }
    }

    #[test]
    fn large_job_is_not_starved_by_small_ones_that_follow() {
        for workers in [2, 4, 8] {
            let mut pool = Simulation::new(workers);
            for of in 10..20 {
                pool.enter_large(of, CHEAP, CHEAP, 40);
            }
            pool.enter_large(1, CHEAP, CHEAP, 90);
            let mut number = 0;
            for of in (20..=250).cycle() {
                while pool.queue.waiting() < workers + 2 {
                    pool.enter_large(of, CHEAP, CHEAP, 40);
                }
                pool.step();
                number += 1;
                if pool.spent.contains_key(&1) {
                    break;
                }
            }
            assert!(number < 100, "{workers} workers: after {number} others");
        }
    }

    #[test]
    fn job_passes_a_larger_one_only_if_it_fits_beside_it() {
        let mut pool = Simulation::new(4);
        pool.enter_large(1, CHEAP, EXPENSIVE, 50);
        pool.enter_large(2, CHEAP, CHEAP, 80);
        pool.enter_large(3, CHEAP * 2, CHEAP, 30);
        assert_eq!(pool.began, [1], "that of 30 is free, but would not be when that of 80 can begin");
        pool.enter_large(4, CHEAP * 2, CHEAP, 20);
        assert_eq!(pool.began, [1, 4]);
        pool.enter_large(5, CHEAP / 2, CHEAP, 30);
        assert_eq!(pool.began, [1, 4, 5], "its turn is before that of 80");
        while pool.step().is_some() {}
        assert_eq!(pool.began, [1, 4, 5, 2, 3]);
    }

    #[test]
    fn job_that_took_longer_than_estimated_makes_the_next_one_long() {
        let mut pool = Simulation::new(2);
        for _ in 0..5 {
            pool.enter(1, CHEAP, EXPENSIVE);
        }
        assert_eq!(pool.running.len(), 2, "they look short");
        pool.step();
        pool.step();
        assert_eq!(pool.running.len(), 1, "they no longer do");
        pool.enter(2, CHEAP, CHEAP);
        assert_eq!(pool.running.len(), 2);
    }

    #[test]
    fn client_with_one_job_at_a_time_pays_for_the_last_one() {
        let mut pool = Simulation::new(1);
        for _ in 0..500 {
            // Client 1 has no waiting job while one of its jobs runs.
            if pool.waits_of(1) == 0 && pool.running.iter().all(|(_, running, _)| *running != 1) {
                pool.enter(1, CHEAP, EXPENSIVE);
            }
            while pool.waits_of(2) < 2 {
                pool.enter(2, CHEAP, CHEAP);
            }
            pool.step();
        }
        let jobs = |of| pool.began.iter().filter(|began| **began == of).count();
        assert!(jobs(2) > 10 * jobs(1), "{} of the cheap, {} of the expensive", jobs(2), jobs(1));
    }

    #[test]
    fn long_job_beside_endless_cheap_ones_of_new_clients_is_served() {
        let mut pool = Simulation::new(1);
        pool.enter(0, CHEAP, CHEAP);
        pool.enter(1, EXPENSIVE, EXPENSIVE);
        let mut number = 0;
        for of in (2..=250).cycle() {
            // Three of them wait at any time.
            while pool.queue.waiting() < 4 {
                pool.enter(of, CHEAP, CHEAP);
            }
            pool.step();
            number += 1;
            if pool.spent.contains_key(&1) {
                break;
            }
        }
        assert!(number < 500, "after {number} others");
    }

    #[test]
    fn idle_client_is_forgotten_after_a_minute() {
        let mut pool = Simulation::new(1);
        pool.enter(1, CHEAP, EXPENSIVE);
        pool.step();
        pool.now += REMEMBERED / 2;
        pool.enter(2, CHEAP, CHEAP);
        pool.step();
        assert_eq!(pool.queue.accounts.len(), 2);
        assert!(pool.queue.accounts[&client(1)].overrun > CHEAP);
        pool.now += REMEMBERED / 2;
        pool.queue.expected_wait(pool.now, client(3));
        assert_eq!(pool.queue.accounts.len(), 1);
        pool.now += REMEMBERED;
        pool.queue.expected_wait(pool.now, client(3));
        assert!(pool.queue.accounts.is_empty() && pool.queue.idle.is_empty());
    }

    #[test]
    fn expected_wait_counts_the_cost_of_what_runs_before() {
        let second = Duration::from_secs(1);
        let mut pool = Simulation::new(1);
        pool.enter(0, second, second);
        assert_eq!(pool.queue.expected_wait(pool.now, client(1)), Duration::ZERO);
        pool.step();
        pool.enter(0, second, second);
        for of in [1, 1, 1, 2] {
            pool.enter(of, second, second);
        }
        let now = pool.now;
        let mut wait = |of| pool.queue.expected_wait(now, client(of)).as_secs();
        assert_eq!((wait(1), wait(2), wait(3)), (4, 3, 2));
    }

    #[test]
    fn expected_wait_is_long_only_for_clients_that_fill_the_queue() {
        let mut pool = Simulation::new(2);
        for _ in 0..20 {
            pool.enter(9, CHEAP, CHEAP);
            pool.step();
        }
        for of in 1..=4 {
            for _ in 0..20 {
                pool.enter(of, EXPENSIVE, EXPENSIVE);
            }
        }
        let now = pool.now;
        assert!(pool.queue.expected_wait(now, client(1)) > Duration::from_secs(100));
        assert!(pool.queue.expected_wait(now, client(9)) < Duration::from_secs(1));
        assert!(pool.queue.expected_wait(now, client(50)) < Duration::from_secs(1));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Enter { of: u8, estimate: u64, cost: u64, memory: u64 },
        Leave { at: usize },
        Step,
        Pass { millis: u64 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0u8..6, 0u64..4000, 0u64..4000, 0..=MEMORY)
                .prop_map(|(of, estimate, cost, memory)| Event::Enter { of, estimate, cost, memory }),
            1 => any::<usize>().prop_map(|at| Event::Leave { at }),
            3 => Just(Event::Step),
            1 => (0u64..90_000).prop_map(|millis| Event::Pass { millis }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Every job ends once: it runs, leaves or is removed. The totals are those of the jobs.
        #[test]
        fn random_events_lose_no_job(events in prop::collection::vec(event(), 0..200), workers in 1usize..5) {
            const CAPACITY: usize = 12;
            let mut pool = Simulation::new(workers);
            pool.queue.capacity = CAPACITY;
            let (mut entered, mut left, mut waiting) = (0, 0, Vec::new());
            for event in events {
                match event {
                    Event::Enter { of, estimate, cost, memory } => {
                        let estimate = Cost { time: Duration::from_millis(estimate), memory: memory / 2 };
                        let job = (of, Duration::from_millis(cost), memory);
                        let longest = (0..6).map(|of| pool.waits_of(of)).max().unwrap();
                        let (own, was_full) = (pool.waits_of(of), pool.queue.waiting() >= CAPACITY);
                        match pool.queue.enter(pool.now, client(of), estimate, job) {
                            Ok((number, pushed_out)) => {
                                prop_assert_eq!(pushed_out.is_some(), was_full);
                                prop_assert!(!was_full || longest > own + 1);
                                entered += 1;
                                left += usize::from(was_full);
                                waiting.push((of, number));
                            }
                            Err(_) => prop_assert!(was_full && longest <= own + 1),
                        }
                        pool.begin();
                    }
                    Event::Leave { at } if !waiting.is_empty() => {
                        let (of, number) = waiting.swap_remove(at % waiting.len());
                        left += usize::from(pool.queue.leave(pool.now, client(of), number).is_some());
                        pool.begin();
                    }
                    Event::Leave { .. } => {}
                    Event::Step => drop(pool.step()),
                    Event::Pass { millis } => pool.now += Duration::from_millis(millis),
                }
                let queue = &pool.queue;
                let jobs = queue.accounts.values().map(|account| account.jobs.len()).sum::<usize>();
                let firsts = queue.accounts.values().filter(|account| !account.jobs.is_empty()).count();
                // Jobs that were postponed were accepted before.
                prop_assert!(queue.waiting <= CAPACITY + workers && queue.waiting == jobs);
                prop_assert_eq!(queue.lent, queue.running.values().map(|job| job.memory).sum::<u64>());
                prop_assert!(queue.lent <= MEMORY);
                prop_assert_eq!(queue.order.iter().map(BTreeSet::len).sum::<usize>(), firsts);
                prop_assert_eq!(queue.by_length.iter().map(|(length, _)| length).sum::<usize>(), jobs);
                prop_assert_eq!(queue.backlog, queue.accounts.values().map(|account| account.backlog).sum::<Duration>());
            }
            while pool.step().is_some() {}
            prop_assert_eq!(pool.began.len() + left, entered);
            let queue = &pool.queue;
            prop_assert_eq!((queue.waiting, queue.active, queue.running_long, queue.lent), (0, 0, 0, 0));
            prop_assert_eq!(queue.backlog, Duration::ZERO);
        }

        /// Clients that always have jobs get equal time, regardless of the costs and estimates of their jobs.
        #[test]
        fn busy_clients_get_equal_worker_time(costs in prop::collection::vec((50u64..700, 1u64..1400), 2..5), workers in 1usize..3) {
            let mut pool = Simulation::new(workers);
            let costs: Vec<(Duration, Duration)> = costs
                .into_iter()
                .map(|(cost, estimate)| (Duration::from_millis(cost), Duration::from_millis(estimate)))
                .collect();
            let until = pool.now + Duration::from_secs(200);
            while pool.now < until {
                for (of, (cost, estimate)) in (0..).zip(&costs) {
                    while pool.waits_of(of) < 3 {
                        pool.enter(of, *estimate, *cost);
                    }
                }
                pool.step();
            }
            let spent: Vec<Duration> = pool.spent.values().copied().collect();
            let (least, most) = (spent.iter().min().unwrap(), spent.iter().max().unwrap());
            prop_assert_eq!(spent.len(), costs.len());
            prop_assert!(*most - *least < Duration::from_secs(8), "{:?} of {:?}", spent, costs);
        }
    }
}
