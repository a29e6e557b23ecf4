//! Batches of items: one thread works for all that wait.

use std::sync::{PoisonError, TryLockError};

use super::sync::Mutex;

/// Items that wait for the next batch.
#[derive(Debug)]
pub(super) struct Batches<T> {
    waiting: Mutex<Vec<T>>,
    /// Locked by the thread that works.
    turn: Mutex<()>,
}

impl<T> Batches<T> {
    /// Creates an empty one.
    pub(super) fn new() -> Self {
        Self { waiting: Mutex::new(Vec::new()), turn: Mutex::new(()) }
    }

    /// Has `item` passed to `work` with all others that wait, on this thread or on the one that works now. Blocks. No two
    /// batches are worked on at the same time.
    pub(super) fn add(&self, item: T, work: impl Fn(Vec<T>)) {
        self.waiting().push(item);
        // Checked after each batch too: a thread that failed to lock `turn` during the batch has left its item here.
        while !self.waiting().is_empty() {
            let _turn = match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(TryLockError::Poisoned(died)) => died.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let batch = std::mem::take(&mut *self.waiting());
            work(batch);
        }
    }

    fn waiting(&self) -> super::sync::MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
