//! What a connection is doing, as its parts see it: hyper above, the socket below, and the clock that decides whether
//! either still has a reason to be here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::shares::Place;

/// See the module.
#[derive(Debug)]
pub(super) struct ConnectionState {
    place: Place,
    /// Requests whose answer has not been handed to hyper to its end.
    open: AtomicUsize,
    /// The client has yet to take what was written.
    is_stalled: AtomicBool,
    /// Something was read that no answer followed yet.
    is_asked: AtomicBool,
    is_timed_out: AtomicBool,
    changed: Notify,
}

impl ConnectionState {
    /// A new connection that has this place.
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            open: AtomicUsize::new(0),
            is_stalled: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
            is_timed_out: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Counts a request until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.open.fetch_add(1, Ordering::Relaxed);
        let has_share = self.place.update(|| self.is_in_work());
        self.changed.notify_one();
        Busy { state: Arc::clone(self), has_share }
    }

    /// Whether a request is open, or its answer not taken yet.
    fn is_in_work(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.is_stalled.load(Ordering::Relaxed)
    }

    /// Completes once the connection must make room for another one.
    pub(super) async fn evicted(&self) {
        self.place.evicted().await;
    }

    /// Notes whether the client has yet to take what was written.
    pub(super) fn stalled(&self, is_stalled: bool) {
        if self.is_stalled.swap(is_stalled, Ordering::Relaxed) != is_stalled {
            self.place.update(|| self.is_in_work());
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
            if !is_unchanged || self.is_in_work() {
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
pub(super) struct Busy {
    state: Arc<ConnectionState>,
    has_share: bool,
}

impl Busy {
    /// Returns false if the client has its share of connections in work, and this request is one more.
    pub(super) fn has_share(&self) -> bool {
        self.has_share
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.state.open.fetch_sub(1, Ordering::Relaxed);
        self.state.place.update(|| self.state.is_in_work());
        self.state.changed.notify_one();
    }
}
