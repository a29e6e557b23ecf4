//! Spaces the requests of maintenance to a service that counts or charges for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Requests that were not made in this time may be made at once later.
const BURST: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Allows at most a number of requests in any hour. Tasks that wait take turns.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Time between two requests; zero: no bound.
    interval: Duration,
    /// When all requests so far would be over if they were made one at a time. `None` before the first one.
    over: Mutex<Option<Instant>>,
    made: AtomicU64,
}

impl Pacer {
    /// Allows `per_hour` requests in any hour; 0: any number.
    pub(super) fn new(per_hour: u32) -> Self {
        let interval = match per_hour {
            0 => Duration::ZERO,
            // Beside the first request, those of the hour and of the burst.
            many => (HOUR + BURST) / (many - 1).max(1),
        };
        Self { interval, over: Mutex::new(None), made: AtomicU64::new(0) }
    }

    /// Returns how many requests were allowed.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Waits until `count` requests may be made. Returns false if `stop` was cancelled first.
    pub(super) async fn take(&self, count: u32, stop: &CancellationToken) -> bool {
        if count == 0 {
            return !stop.is_cancelled();
        }
        let from = self.reserve(count, |_| true);
        let waited = stop.run_until_cancelled(async {
            if let Some(from) = from {
                sleep_until(from).await;
            }
        });
        waited.await.is_some()
    }

    /// Returns whether `count` requests may be made now.
    pub(super) fn try_take(&self, count: u32) -> bool {
        count == 0 || self.reserve(count, |from| from <= Instant::now()).is_some()
    }

    /// Reserves `count` requests if `accepts` the time from which they may be made, and returns that time.
    fn reserve(&self, count: u32, accepts: impl FnOnce(Instant) -> bool) -> Option<Instant> {
        let (mut over, now) = (self.over.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let new = over.map_or(now, |over| over.max(now)) + self.interval * count;
        let from = new.checked_sub(BURST + self.interval).unwrap_or(now);
        if !accepts(from) {
            return None;
        }
        *over = Some(new);
        self.made.fetch_add(count.into(), Ordering::Relaxed);
        Some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `count` requests at a time for the time, and returns when.
    async fn times(pacer: &Pacer, count: u32, time: Duration) -> Vec<Duration> {
        let (begun, stop, mut times) = (Instant::now(), CancellationToken::new(), Vec::new());
        while begun.elapsed() < time {
            assert!(pacer.take(count, &stop).await);
            times.extend(std::iter::repeat_n(begun.elapsed(), count as usize));
        }
        times
    }

    fn most_in_an_hour(times: &[Duration]) -> usize {
        // Times ascend.
        let until = |end: Duration| times.partition_point(|time| *time < end);
        times.iter().enumerate().map(|(at, from)| until(*from + HOUR) - at).max().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn no_hour_has_more_requests_than_allowed() {
        for (per_hour, count) in [(1, 1), (60, 1), (100, 1), (1000, 1), (1000, 3), (3600, 1)] {
            let pacer = Pacer::new(per_hour);
            let made = times(&pacer, count, 3 * HOUR).await;
            let most = most_in_an_hour(&made);
            assert!(most <= per_hour as usize, "{per_hour}, {count}: {most}");
            assert!(made.len() >= 2 * per_hour as usize, "{per_hour}, {count}: {}", made.len());
            assert_eq!(pacer.made(), made.len() as u64);
            // After a rest, too.
            tokio::time::advance(5 * HOUR).await;
            assert!(most_in_an_hour(&times(&pacer, count, 2 * HOUR).await) <= per_hour as usize);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_requests_need_not_wait_and_free_calls_never() {
        let pacer = Pacer::new(3600);
        let begun = Instant::now();
        for _ in 0..59 {
            assert!(pacer.try_take(1));
        }
        for _ in 0..100_000 {
            assert!(pacer.try_take(0) && pacer.take(0, &CancellationToken::new()).await);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        while pacer.try_take(1) {}
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(pacer.try_take(1));
        let unbounded = Pacer::new(0);
        assert!((0..100_000).all(|_| unbounded.try_take(3)));
        assert_eq!(unbounded.made(), 300_000);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_wait_take_turns_and_a_stop_ends_the_wait() {
        let pacer = Pacer::new(60);
        let (one, other) = tokio::join!(times(&pacer, 1, HOUR), times(&pacer, 1, HOUR));
        assert!(one.len().abs_diff(other.len()) <= 2, "{} {}", one.len(), other.len());
        let stop = CancellationToken::new();
        let (is_made, ()) = tokio::join!(pacer.take(1000, &stop), async { stop.cancel() });
        assert!(!is_made);
        assert!(!pacer.take(0, &stop).await);
    }
}
