//! Checks of stores that cost as much as a small request, so that each is made at most once in a moment.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a successful check is valid. The floors of free space are far above what arrives in that time.
const VALID_FOR: Duration = Duration::from_millis(100);

/// Remembers when a check last succeeded.
#[derive(Debug, Default)]
pub(crate) struct RecentCheck(Mutex<Option<Instant>>);

impl RecentCheck {
    /// Runs `check`, unless it succeeded a moment ago.
    ///
    /// # Errors
    /// Those of `check`.
    pub(crate) async fn run<E>(&self, check: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let begun = Instant::now();
        let last = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last().is_some_and(|last| begun.duration_since(last) < VALID_FOR) {
            return Ok(());
        }
        check.await?;
        *last() = Some(begun);
        Ok(())
    }
}
