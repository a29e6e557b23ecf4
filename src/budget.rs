//! The memory budget for uploads and images.
//!
//! It has three shares, and no deadlock is possible between them. Sources (bytes of uploads in progress) never wait: what does
//! not fit is written to disk. Outputs wait only for the disk to which earlier outputs are written. Images (decoded pixels)
//! wait for other images and for outputs, which all finish by themselves. So no request can wait for memory that only waiting
//! requests hold. The image pool manages the images' share, because a job that waits for memory must not occupy a worker.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::metrics::{Metrics, Reading, Unit};

/// The shares of the budget.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Source bytes of uploads in progress: an eighth of the budget.
    pub sources: Arc<Share>,
    /// Encoded photos that are not on disk yet: 1/32 of the budget, for disks that are slower than the workers.
    pub outputs: Arc<Share>,
    /// Bytes for decoding: the rest.
    pub images: u64,
}

impl Budget {
    /// Divides `bytes` into the shares.
    pub fn new(bytes: u64) -> Self {
        let (outputs, sources) = (bytes / 32, bytes / 8);
        let images = bytes - sources - outputs;
        Self { sources: Share::new(sources), outputs: Share::new(outputs), images }
    }

    /// Registers the metrics of sources and outputs.
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
    /// More than the whole share.
    #[error("the amount can never be granted")]
    TooLarge,
    /// It did not become free within the allowed time.
    #[error("no memory became free in time")]
    TimedOut,
}

/// An amount of memory from which parts are reserved.
#[derive(Debug)]
pub struct Share {
    limit: u64,
    used: Mutex<u64>,
    returned: Condvar,
}

impl Share {
    /// Creates a share of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), returned: Condvar::new() })
    }

    /// Returns the size of the share in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the number of reserved bytes.
    pub fn used(&self) -> u64 {
        *self.lock()
    }

    /// Returns an empty reservation, to be grown later.
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { share: Arc::clone(self), bytes: 0 }
    }

    /// Reserves `bytes`. Blocks the thread for at most `wait` until enough is free.
    ///
    /// # Errors
    /// `bytes` exceeds the share, or the wait timed out.
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

/// Reserved memory, released on drop.
#[derive(Debug)]
pub struct Reservation {
    share: Arc<Share>,
    bytes: u64,
}

impl Reservation {
    /// Returns the number of reserved bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reserves `more` additional bytes if they are free now. Returns true if it did.
    pub fn try_grow(&mut self, more: u64) -> bool {
        self.resize(self.bytes + more)
    }

    /// Changes the reservation to `bytes` if the difference is free now. Returns true if it did. Shrinking always succeeds.
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
    fn dropped_reservation_can_be_reserved_again() {
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
