//! The tasks of HTTP/2 streams, each with a clock on the peer that takes its answer.
//!
//! On a connection of many streams the socket below tells nothing about one of them: a peer can give window for some, or
//! for none, and ask to have its answers kept for ever. So each stream has an account of its own, which its body keeps, and
//! a stream that used it up is dropped, which resets it and frees what it holds. The others go on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::Executor;
use tokio::time::{Sleep, sleep_until};

use crate::web::min_rate::{MinRate, TimeBudget};

/// The account of one stream's answer.
pub(super) type SharedTimeBudget = Arc<Mutex<TimeBudget>>;

tokio::task_local! {
    static TIME_BUDGET: SharedTimeBudget;
}

/// The account of the stream in whose task this is called; none in HTTP/1.1, where the socket has it.
pub(super) fn time_budget() -> Option<SharedTimeBudget> {
    TIME_BUDGET.try_with(Arc::clone).ok()
}

/// Changes an account.
pub(super) fn with<T>(time_budget: &SharedTimeBudget, change: impl FnOnce(&mut TimeBudget) -> T) -> T {
    change(&mut time_budget.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Starts the tasks of streams.
#[derive(Debug, Clone)]
pub(super) struct H2Streams {
    min_rate: MinRate,
}

impl H2Streams {
    /// H2Streams whose peers may be as slow as `min_rate`.
    pub(super) fn new(min_rate: MinRate) -> Self {
        Self { min_rate }
    }
}

impl<F> Executor<F> for H2Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let time_budget = Arc::new(Mutex::new(TimeBudget::new(self.min_rate)));
        let paced = Paced { stream: Box::pin(stream), time_budget: Arc::clone(&time_budget), clock: None };
        tokio::spawn(TIME_BUDGET.scope(time_budget, paced));
    }
}

/// A stream until it ends or its account is used up.
struct Paced<F> {
    stream: Pin<Box<F>>,
    time_budget: SharedTimeBudget,
    clock: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Paced<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(deadline) = with(&self.time_budget, |time_budget| time_budget.deadline()) else {
            self.clock = None;
            return Poll::Pending;
        };
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if clock.deadline() != deadline {
            clock.as_mut().reset(deadline);
        }
        let is_over = clock.as_mut().poll(cx).is_ready();
        if is_over {
            tracing::debug!("a stream whose answer is not taken is reset");
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
