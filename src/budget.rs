//! The memory budget: one accountant for what uploads and images hold.
//!
//! Three shares, and no circle among them. Sources (bytes of uploads in flight) never wait at all: what does not fit goes to
//! disk. Outputs wait only for the disk that earlier outputs are written to. Images (decoded pixels) wait for other images and
//! for outputs, and each of those finishes by itself. So no request can wait for memory that only it or its equals hold.
//! The image pool lends the images' share, because a job that waits for memory must not keep a worker.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::metrics::{Metrics, Reading, Unit};

/// The shares of the budget.
#[derive(Debug, Clone)]
pub struct Budget {
    /// For source bytes while they arrive and wait; an eighth of the whole.
    pub sources: Arc<Share>,
    /// For encoded photos that are not on disk yet; a thirty-second. When the disk is slower than the workers, these wait.
    pub outputs: Arc<Share>,
    /// For decoding, in bytes; the rest.
    pub images: u64,
}

impl Budget {
    /// Divides `bytes` into the shares.
    pub fn new(bytes: u64) -> Self {
        let (outputs, sources) = (bytes / 32, bytes / 8);
        let images = bytes - sources - outputs;
        Self { sources: Share::new(sources), outputs: Share::new(outputs), images }
    }

    /// Registers the metrics of the shares that are lent here.
    pub fn register(&self, metrics: &mut Metrics) {
        let used = |share: &Arc<Share>| {
            let share = Arc::clone(share);
            Reading::gauge(move || share.used())
        };
        let help = "Budget held by photos as they came";
        metrics.register("memory_budget_sources", Unit::Bytes, help, used(&self.sources));
        let help = "Budget held by encoded photos on their way to disk";
        metrics.register("memory_budget_outputs", Unit::Bytes, help, used(&self.outputs));
    }
}

/// Why memory was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More than the share holds when it is empty.
    #[error("the amount can never be granted")]
    TooLarge,
    /// Others held it for as long as one may wait.
    #[error("no memory became free in time")]
    TimedOut,
}

/// An amount of memory of which parts are lent out.
#[derive(Debug)]
pub struct Share {
    limit: u64,
    used: Mutex<u64>,
    returned: Condvar,
}

impl Share {
    /// A share of `limit` bytes, none of them lent.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), returned: Condvar::new() })
    }

    /// Bytes that may be lent out.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that are lent out.
    pub fn used(&self) -> u64 {
        *self.lock()
    }

    /// An empty reservation, to be grown.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { share: Arc::clone(self), bytes: 0 }
    }

    /// Lends `bytes`; blocks the thread for at most `wait` until others return enough.
    ///
    /// # Errors
    /// More than the whole share, or the wait ended.
    pub fn reserve(self: &Arc<Self>, bytes: u64, wait: Duration) -> Result<Reservation, Refused> {
        if bytes > self.limit {
            return Err(Refused::TooLarge);
        }
        let deadline = Instant::now() + wait;
        let mut used = self.lock();
        while *used + bytes > self.limit {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refused::TimedOut);
            }
            used = self.returned.wait_timeout(used, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *used += bytes;
        Ok(Reservation { share: Arc::clone(self), bytes })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory on loan; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    share: Arc<Share>,
    bytes: u64,
}

impl Reservation {
    /// Bytes on loan.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes `more` bytes on top if they are free this moment, and says whether it did.
    pub fn try_grow(&mut self, more: u64) -> bool {
        self.resize(self.bytes + more)
    }

    /// Makes it `bytes`, if what is missing is free this moment, and says whether it did. Less is always granted.
    pub fn resize(&mut self, bytes: u64) -> bool {
        let mut used = self.share.lock();
        let would_be = *used - self.bytes + bytes;
        if bytes > self.bytes && would_be > self.share.limit {
            return false;
        }
        if bytes < self.bytes {
            self.share.returned.notify_all();
        }
        *used = would_be;
        self.bytes = bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.share.lock() -= self.bytes;
        self.share.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_lent_again() {
        let share = Share::new(100);
        let mut first = share.reservation();
        assert!(first.try_grow(60) && !first.try_grow(41) && first.try_grow(40));
        assert!(first.resize(30) && share.used() == 30 && !first.resize(101) && first.resize(100));
        assert_eq!(share.reserve(1, Duration::ZERO).err(), Some(Refused::TimedOut));
        assert_eq!(share.reserve(101, Duration::MAX / 4).err(), Some(Refused::TooLarge));
        let waiting = std::thread::spawn({
            let share = Arc::clone(&share);
            move || share.reserve(100, Duration::from_secs(30)).map(|_| ())
        });
        drop(first);
        assert_eq!(waiting.join().unwrap(), Ok(()));
        assert_eq!(share.used(), 0);
    }
}
