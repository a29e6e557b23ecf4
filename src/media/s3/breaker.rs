//! A circuit breaker: a service that does not answer is let alone for a while, so that clients hear of it at once and
//! nothing piles up, here or there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many calls in a row without an answer, and no more are made.
const FAILURES: u32 = 5;
/// For how long. Then one call finds out.
const REST: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Calls are made; so many in a row had no answer.
    Closed(u32),
    /// No calls are made until then.
    Open(Instant),
    /// One call finds out.
    Probing,
}

/// A call that may be made. Whoever drops it without a verdict has not waited for one.
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

    /// Whether a call may be made; if not, nothing was sent.
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
    /// The call was answered, be it with a refusal.
    pub(super) fn answered(self) {
        let mut state = self.breaker.lock();
        if !matches!(*state, State::Closed(_)) {
            tracing::info!("the media store answers again");
        }
        *state = State::Closed(0);
    }

    /// The call was not answered.
    pub(super) fn failed(self) {
        let mut state = self.breaker.lock();
        let open = State::Open(Instant::now() + REST);
        match *state {
            State::Closed(failures) if failures + 1 < FAILURES => *state = State::Closed(failures + 1),
            State::Closed(_) => {
                tracing::error!(rest = ?REST, "the media store does not answer: it is left alone for a while");
                *state = open;
            }
            State::Probing if self.is_probe => *state = open,
            // A call that began before.
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
    async fn after_failures_in_a_row_calls_are_held_back_and_one_finds_out() {
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
        assert!(breaker.enter().is_none(), "a call of before decides nothing");
        probe.failed();
        tokio::time::advance(REST / 2).await;
        assert!(breaker.enter().is_none(), "open again");
        tokio::time::advance(REST).await;
        breaker.enter().unwrap().answered();
        assert!(breaker.enter().is_some() && breaker.enter().is_some(), "closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_makes_way_for_another() {
        let breaker = Breaker::new();
        for _ in 0..FAILURES {
            breaker.enter().unwrap().failed();
        }
        tokio::time::advance(REST).await;
        drop(breaker.enter().unwrap());
        assert!(breaker.enter().is_some());
    }
}
