//! A circuit breaker. While a service does not answer, calls fail immediately, and no requests pile up here or there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After this many calls in a row without an answer the breaker opens.
const FAILURES: u32 = 5;
/// How long the breaker stays open. Then one call probes the service.
const REST: Duration = Duration::from_secs(3);

/// Counts failures, and lets calls pass or not.
#[derive(Debug)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls pass. This many in a row had no answer.
    Closed(u32),
    /// No calls pass until this time.
    Open(Instant),
    /// One call probes the service.
    Probing,
}

/// Permission for one call. Dropping it without a result counts as no answer and as no failure.
#[derive(Debug)]
#[must_use]
pub(super) struct Pass<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State::Closed(0)))
    }

    /// Returns permission for a call, or `None` while the breaker is open.
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        let mut state = self.lock();
        match *state {
            State::Closed(_) => Some(Pass { breaker: self, is_probe: false }),
            State::Open(until) if Instant::now() >= until => {
                *state = State::Probing;
                Some(Pass { breaker: self, is_probe: true })
            }
            State::Open(_) | State::Probing => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Reports that the call was answered, if only with a refusal.
    pub(super) fn answered(self) {
        let mut state = self.breaker.lock();
        if !matches!(*state, State::Closed(_)) {
            tracing::info!("the media store answers again");
        }
        *state = State::Closed(0);
    }

    /// Reports that the call was not answered.
    pub(super) fn failed(self) {
        let mut state = self.breaker.lock();
        let open = State::Open(Instant::now() + REST);
        match *state {
            State::Closed(failures) if failures + 1 < FAILURES => *state = State::Closed(failures + 1),
            State::Closed(_) => {
                tracing::error!(rest = ?REST, "the media store does not answer: no requests are sent for a while");
                *state = open;
            }
            State::Probing if self.is_probe => *state = open,
            // The call began before the breaker opened.
            State::Open(_) | State::Probing => {}
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.lock();
        if self.is_probe && *state == State::Probing {
            *state = State::Open(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn breaker_opens_after_failures_in_a_row_and_one_probe_closes_it() {
        let breaker = Breaker::new();
        for _ in 1..FAILURES {
            breaker.enter().unwrap().failed();
        }
        breaker.enter().unwrap().answered();
        let late = breaker.enter().unwrap();
        for _ in 0..FAILURES {
            breaker.enter().unwrap().failed();
        }
        assert!(breaker.enter().is_none(), "open");
        tokio::time::advance(REST).await;
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_none(), "one probe");
        late.failed();
        assert!(breaker.enter().is_none(), "a call that began earlier decides nothing");
        probe.failed();
        tokio::time::advance(REST / 2).await;
        assert!(breaker.enter().is_none(), "open again");
        tokio::time::advance(REST).await;
        breaker.enter().unwrap().answered();
        assert!(breaker.enter().is_some() && breaker.enter().is_some(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_probe_lets_another_one_pass() {
        let breaker = Breaker::new();
        for _ in 0..FAILURES {
            breaker.enter().unwrap().failed();
        }
        tokio::time::advance(REST).await;
        drop(breaker.enter().unwrap());
        assert!(breaker.enter().is_some());
    }
}
