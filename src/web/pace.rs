//! How slow a peer may be.
//!
//! A limit on silence alone lets a peer hold a connection for ever with a byte now and then. Here time is an account: waiting
//! for the peer takes out of it, every byte pays in what it may have taken at the slowest rate, and there is never more in
//! it than the longest silence that is forgiven. So a phone that goes through a tunnel lives, and a dripper does not,
//! however it spreads its bytes. Only time spent waiting for the peer counts, never time in which we are busy.

use std::time::Duration;

use tokio::time::Instant;

/// The slowest that a peer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second that must move on average while the peer is waited for. At 0 a byte now and then is enough.
    pub bytes_per_second: u64,
    /// Longest silence, and how far a peer may fall behind the rate.
    pub grace: Duration,
}

/// The time that a peer has left.
#[derive(Debug)]
pub struct Credit {
    pace: Pace,
    left: Duration,
    waiting_since: Option<Instant>,
}

impl Credit {
    /// A full account.
    pub fn new(pace: Pace) -> Self {
        Self { pace, left: pace.grace, waiting_since: None }
    }

    /// The peer is being waited for, if it was not already: until when, at most.
    pub fn wait(&mut self) -> Instant {
        *self.waiting_since.get_or_insert_with(Instant::now) + self.left
    }

    /// Until when the peer may be waited for, if it is.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting_since.map(|since| since + self.left)
    }

    /// The peer moved so many bytes, and is not waited for any more.
    pub fn moved(&mut self, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let earned = match (bytes, self.pace.bytes_per_second) {
            (0, _) => Duration::ZERO,
            (_, 0) => self.pace.grace,
            (bytes, rate) => Duration::from_micros(bytes.saturating_mul(1_000_000) / rate),
        };
        self.left = self.left.saturating_add(earned).min(self.pace.grace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The first second in which the peer is cut that sends `bytes` after every `gap` seconds.
    async fn cut_after(bytes: u64, gap: u32, rate: u64) -> Option<u64> {
        let mut credit = Credit::new(Pace { bytes_per_second: rate, grace: 30 * SECOND });
        let begun = Instant::now();
        while begun.elapsed() < 3600 * SECOND {
            let deadline = credit.wait();
            if deadline <= Instant::now() + gap * SECOND {
                return Some((deadline - begun).as_secs());
            }
            tokio::time::advance(gap * SECOND).await;
            credit.moved(bytes);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn drippers_are_cut_and_slow_phones_live() {
        assert_eq!(cut_after(1, 5, 1024).await, Some(30), "a byte every five seconds");
        assert_eq!(cut_after(512, 1, 1024).await, Some(59), "half the rate lasts twice as long");
        assert_eq!(cut_after(1024, 1, 1024).await, None, "exactly the rate");
        assert_eq!(cut_after(20 * 1024, 20, 1024).await, None, "long pauses at the rate");
        assert_eq!(cut_after(1 << 30, 31, 1024).await, Some(30), "wealth is not kept for later");
        assert_eq!(cut_after(1, 29, 0).await, None, "without a rate only silence counts");
        assert_eq!(cut_after(0, 1, 0).await, Some(30), "and nothing is no byte");
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_is_free() {
        let mut credit = Credit::new(Pace { bytes_per_second: 1024, grace: 30 * SECOND });
        credit.wait();
        tokio::time::advance(20 * SECOND).await;
        credit.moved(0);
        tokio::time::advance(3600 * SECOND).await;
        assert_eq!(credit.deadline(), None);
        assert_eq!(credit.wait() - Instant::now(), 10 * SECOND);
    }
}
