//! Runs HTTP/2 streams as tasks, each with a time budget for sending its response.
//!
//! A socket write timeout does not cover a single stream: a peer can give flow-control window to some streams, or to none, and
//! make the server keep the other responses for ever. So each stream has its own [`TimeBudget`], which its response body
//! updates. A stream that uses up its budget is dropped, which resets it and frees its memory. Other streams of the connection
//! continue.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::Executor;
use tokio::time::{Sleep, sleep_until};

use crate::web::min_rate::{MinRate, TimeBudget};

pub(super) type SharedTimeBudget = Arc<Mutex<TimeBudget>>;

tokio::task_local! {
    static TIME_BUDGET: SharedTimeBudget;
}

/// Returns the time budget of the stream whose task calls this, or `None` in HTTP/1.1, where the socket has the budget.
pub(super) fn current_time_budget() -> Option<SharedTimeBudget> {
    TIME_BUDGET.try_with(Arc::clone).ok()
}

pub(super) fn update<T>(time_budget: &SharedTimeBudget, change: impl FnOnce(&mut TimeBudget) -> T) -> T {
    change(&mut time_budget.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Debug, Clone)]
pub(super) struct H2Executor {
    min_rate: MinRate,
}

impl H2Executor {
    /// Creates an executor whose streams must be read at least at `min_rate`.
    pub(super) fn new(min_rate: MinRate) -> Self {
        Self { min_rate }
    }
}

impl<F> Executor<F> for H2Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let time_budget = Arc::new(Mutex::new(TimeBudget::new(self.min_rate)));
        let timed =
            TimedStream { stream: Box::pin(stream), time_budget: Arc::clone(&time_budget), clock: None };
        tokio::spawn(TIME_BUDGET.scope(time_budget, timed));
    }
}

/// Polls a stream until it completes or its time budget is used up.
struct TimedStream<F> {
    stream: Pin<Box<F>>,
    time_budget: SharedTimeBudget,
    clock: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for TimedStream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(deadline) = update(&self.time_budget, |time_budget| time_budget.deadline()) else {
            self.clock = None;
            return Poll::Pending;
        };
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if clock.deadline() != deadline {
            clock.as_mut().reset(deadline);
        }
        let is_expired = clock.as_mut().poll(cx).is_ready();
        if is_expired {
            tracing::debug!("HTTP/2 stream reset: the peer reads its response too slowly");
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
