//! State of one connection, shared by hyper's service, the socket and the idle timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::sendfile::FileQueue;
use super::shares::Slot;
use crate::web::interim::InterimQueue;

/// How far the shutdown of the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// There is none.
    Serving,
    /// Requests are answered as before, but each response closes its connection.
    Draining,
    /// Idle connections are closed.
    Closing,
}

/// Tracks whether a connection is active, has unanswered input, or timed out.
#[derive(Debug)]
pub(super) struct ConnectionState {
    slot: Slot,
    /// Requests whose response hyper has not received completely.
    open: AtomicUsize,
    /// True if the last write is blocked because the client does not read.
    is_write_blocked: AtomicBool,
    /// True if bytes were received since the last response began.
    has_unanswered_input: AtomicBool,
    is_timed_out: AtomicBool,
    created: Instant,
    /// When the connection changed last, in milliseconds since `created`.
    changed: AtomicU64,
    interim: Arc<InterimQueue>,
    files: FileQueue,
    phases: watch::Receiver<Phase>,
}

impl ConnectionState {
    pub(super) fn new(slot: Slot, phases: watch::Receiver<Phase>) -> Self {
        Self {
            slot,
            open: AtomicUsize::new(0),
            is_write_blocked: AtomicBool::new(false),
            has_unanswered_input: AtomicBool::new(false),
            is_timed_out: AtomicBool::new(false),
            created: Instant::now(),
            changed: AtomicU64::new(0),
            interim: Arc::default(),
            files: FileQueue::default(),
            phases,
        }
    }

    /// Counts a request as open until the returned guard is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.open.fetch_add(1, Ordering::Relaxed);
        let has_share = self.slot.update(|| self.is_active());
        self.set_changed();
        RequestGuard { state: Arc::clone(self), has_share }
    }

    /// Returns true if a request is open or its response has not been read yet.
    fn is_active(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.is_write_blocked.load(Ordering::Relaxed)
    }

    /// Returns the interim responses that the connection still has to send.
    pub(super) fn interim(&self) -> &Arc<InterimQueue> {
        &self.interim
    }

    /// Returns the parts of files that the socket still has to send.
    pub(super) fn files(&self) -> &FileQueue {
        &self.files
    }

    /// Completes when the connection is evicted to make room for another one.
    pub(super) async fn evicted(&self) {
        self.slot.evicted().await;
    }

    /// Records whether a write is blocked because the client does not read.
    pub(super) fn set_write_blocked(&self, is_write_blocked: bool) {
        if self.is_write_blocked.swap(is_write_blocked, Ordering::Relaxed) != is_write_blocked {
            self.slot.update(|| self.is_active());
            self.set_changed();
        }
    }

    /// Records whether bytes were received that no response followed yet.
    pub(super) fn set_unanswered_input(&self, has_unanswered_input: bool) {
        self.has_unanswered_input.store(has_unanswered_input, Ordering::Relaxed);
    }

    pub(super) fn has_unanswered_input(&self) -> bool {
        self.has_unanswered_input.load(Ordering::Relaxed)
    }

    /// Returns true if a part of a request was received, and no request is open.
    pub(super) fn has_partial_request(&self) -> bool {
        self.has_unanswered_input() && !self.is_active()
    }

    /// Records that the connection ends because a request head did not arrive in time.
    pub(super) fn set_timed_out(&self) {
        self.is_timed_out.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_timed_out(&self) -> bool {
        self.is_timed_out.load(Ordering::Relaxed)
    }

    /// Records that a request began or ended, or that a write blocked or went on.
    fn set_changed(&self) {
        let since = self.created.elapsed().as_millis();
        self.changed.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns when the connection changed last, rounded down to a millisecond.
    fn changed(&self) -> Instant {
        self.created + Duration::from_millis(self.changed.load(Ordering::Relaxed))
    }

    /// Completes when the connection has been idle for long enough.
    ///
    /// Returns [`Idle::CanRest`] after `rest` if no part of a request was received, otherwise [`Idle::TimedOut`] after `limit`.
    /// Bytes of an unfinished head do not reset the timer, so a client cannot extend it by sending slowly.
    ///
    /// A request does not wake this task: it looks after each `rest` whether there were any. A timer for each request and the
    /// switches of tasks for it took a third of the processor time of a small photo.
    pub(super) async fn wait_until_idle(&self, rest: Duration, limit: Duration) -> Idle {
        let rest = rest.min(limit);
        self.set_changed();
        let timer = sleep_until(Instant::now() + rest);
        tokio::pin!(timer);
        loop {
            timer.as_mut().await;
            let now = Instant::now();
            let next = if self.is_active() {
                now + rest
            } else {
                let since = self.changed();
                let idle = now.saturating_duration_since(since);
                if idle >= limit {
                    return Idle::TimedOut;
                }
                if idle >= rest && !self.has_unanswered_input() {
                    return Idle::CanRest;
                }
                if idle < rest { since + rest } else { (now + rest).min(since + limit) }
            };
            timer.as_mut().reset(next);
        }
    }
}

/// How long a connection has been idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// Idle for the short time, without any part of a request.
    CanRest,
    /// Idle for the maximum time.
    TimedOut,
}

/// Counts one open request until dropped.
#[derive(Debug)]
pub(super) struct RequestGuard {
    state: Arc<ConnectionState>,
    has_share: bool,
}

impl RequestGuard {
    /// Returns false if this request exceeds the client's share of active connections.
    pub(super) fn has_share(&self) -> bool {
        self.has_share
    }

    /// Returns true if the server shuts down, so that no further request of this connection should follow.
    pub(super) fn is_last(&self) -> bool {
        *self.state.phases.borrow() != Phase::Serving
    }

    /// Returns the parts of files that the socket of the connection still has to send.
    pub(super) fn files(&self) -> &FileQueue {
        &self.state.files
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.state.open.fetch_sub(1, Ordering::Relaxed);
        self.state.slot.update(|| self.state.is_active());
        self.state.set_changed();
    }
}
