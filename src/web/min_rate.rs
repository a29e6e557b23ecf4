//! The minimum rate at which a peer must send or read.
//!
//! A limit on pauses alone lets a peer hold a connection for ever with a byte now and then. So a peer has a time budget:
//! waiting for the peer uses it up, and each byte adds the time that it takes at the minimum rate, up to the longest allowed
//! pause. So a phone in a tunnel keeps its connection, and a client that sends a byte now and then loses it. Time in which the
//! server is busy does not count.

use std::time::Duration;

use tokio::time::Instant;

/// The minimum rate of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinRate {
    /// Bytes a second that must move on average while the server waits for the peer. At 0 a byte now and then is enough.
    pub bytes_per_second: u64,
    /// Longest pause, and how far a peer may fall behind the rate.
    pub grace: Duration,
}

/// The time that a peer has left.
#[derive(Debug)]
pub(crate) struct TimeBudget {
    min_rate: MinRate,
    left: Duration,
    waiting_since: Option<Instant>,
}

impl TimeBudget {
    /// Creates a full budget.
    pub(crate) fn new(min_rate: MinRate) -> Self {
        Self { min_rate, left: min_rate.grace, waiting_since: None }
    }

    /// Records that the server waits for the peer from `now` on, if it did not before. Returns the deadline.
    pub(crate) fn wait(&mut self, now: Instant) -> Instant {
        *self.waiting_since.get_or_insert(now) + self.left
    }

    /// Returns the deadline, if the server waits for the peer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting_since.map(|since| since + self.left)
    }

    /// Records that the peer moved `bytes`, and that the server no longer waits.
    pub(crate) fn moved(&mut self, bytes: u64, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
        let earned = match (bytes, self.min_rate.bytes_per_second) {
            (0, _) => Duration::ZERO,
            (_, 0) => self.min_rate.grace,
            (bytes, rate) => Duration::from_micros(bytes.saturating_mul(1_000_000) / rate),
        };
        self.left = self.left.saturating_add(earned).min(self.min_rate.grace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the second in which a peer is disconnected that sends `bytes` after every `gap` seconds.
    fn cut_after(bytes: u64, gap: u32, rate: u64) -> Option<u64> {
        let mut time_budget = TimeBudget::new(MinRate { bytes_per_second: rate, grace: 30 * SECOND });
        let begun = Instant::now();
        let mut now = begun;
        while now < begun + 3600 * SECOND {
            let deadline = time_budget.wait(now);
            now += gap * SECOND;
            if deadline <= now {
                return Some((deadline - begun).as_secs());
            }
            time_budget.moved(bytes, now);
        }
        None
    }

    #[test]
    fn peer_below_the_rate_is_cut_and_slow_phone_is_not() {
        assert_eq!(cut_after(1, 5, 1024), Some(30), "a byte every five seconds");
        assert_eq!(cut_after(512, 1, 1024), Some(59), "half the rate lasts twice as long");
        assert_eq!(cut_after(1024, 1, 1024), None, "exactly the rate");
        assert_eq!(cut_after(20 * 1024, 20, 1024), None, "long pauses at the rate");
        assert_eq!(cut_after(1 << 30, 31, 1024), Some(30), "wealth is not kept for later");
        assert_eq!(cut_after(1, 29, 0), None, "without a rate only silence counts");
        assert_eq!(cut_after(0, 1, 0), Some(30), "and nothing is no byte");
    }

    #[test]
    fn time_without_waiting_is_not_charged() {
        let mut time_budget = TimeBudget::new(MinRate { bytes_per_second: 1024, grace: 30 * SECOND });
        let begun = Instant::now();
        time_budget.wait(begun);
        time_budget.moved(0, begun + 20 * SECOND);
        assert_eq!(time_budget.deadline(), None);
        let later = begun + 3600 * SECOND;
        assert_eq!(time_budget.wait(later) - later, 10 * SECOND);
    }
}
