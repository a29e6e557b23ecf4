//! What a connection is doing, as its parts see it: hyper above, the socket below, and the clock that decides whether
//! either still has a reason to be here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Requests whose answer has not been handed to hyper to its end.
    open: AtomicUsize,
    /// The client has yet to take what was written.
    is_stalled: AtomicBool,
    /// Something was read that no answer followed yet.
    is_asked: AtomicBool,
    is_timed_out: AtomicBool,
    changed: Notify,
}

impl Line {
    /// Counts a request until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Busy(Arc::clone(self))
    }

    /// Notes whether the client has yet to take what was written.
    pub(super) fn stalled(&self, is_stalled: bool) {
        if self.is_stalled.swap(is_stalled, Ordering::Relaxed) != is_stalled {
            self.changed.notify_one();
        }
    }

    /// Notes whether something was read that no answer followed yet.
    pub(super) fn asked(&self, is_asked: bool) {
        self.is_asked.store(is_asked, Ordering::Relaxed);
    }

    /// Whether it was.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// The connection ends because a request head did not arrive in time.
    pub(super) fn time_out(&self) {
        self.is_timed_out.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(super) fn is_timed_out(&self) -> bool {
        self.is_timed_out.load(Ordering::Relaxed)
    }

    /// Completes once nothing was asked and nothing under way for so long: for `rest` if there is no unfinished head either,
    /// else for `limit`. The bytes of such a head count as nothing, so that they cannot be drawn out.
    pub(super) async fn quiet(&self, rest: Duration, limit: Duration) -> Quiet {
        let mut silent = Duration::ZERO;
        loop {
            let next = if silent < rest { rest.min(limit) } else { limit };
            let is_unchanged = tokio::time::timeout(next - silent, self.changed.notified()).await.is_err();
            let is_busy = self.open.load(Ordering::Relaxed) > 0 || self.is_stalled.load(Ordering::Relaxed);
            if !is_unchanged || is_busy {
                silent = Duration::ZERO;
                continue;
            }
            silent = next;
            if silent == limit {
                return Quiet::TooLong;
            }
            if !self.is_asked() {
                return Quiet::Resting;
            }
        }
    }
}

/// For how long nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiet {
    /// For the shorter time, and the client has not begun to ask for anything.
    Resting,
    /// For as long as it may.
    TooLong,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Line>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
