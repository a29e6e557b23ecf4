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

    /// The connection ends because a request head did not arrive in time.
    pub(super) fn time_out(&self) {
        self.is_timed_out.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(super) fn is_timed_out(&self) -> bool {
        self.is_timed_out.load(Ordering::Relaxed)
    }

    /// Completes once nothing was asked and nothing under way for so long. Bytes of an unfinished head count as nothing, so
    /// that they cannot be drawn out.
    pub(super) async fn quiet_for(&self, time: Duration) {
        loop {
            let is_unchanged = tokio::time::timeout(time, self.changed.notified()).await.is_err();
            let is_busy = self.open.load(Ordering::Relaxed) > 0 || self.is_stalled.load(Ordering::Relaxed);
            if is_unchanged && !is_busy {
                return;
            }
        }
    }
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
