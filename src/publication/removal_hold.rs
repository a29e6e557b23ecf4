//! Postpones the removal of photos that no draft has any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Publisher;

/// The number of holds.
#[derive(Debug, Default)]
pub(super) struct RemovalHolds(Arc<AtomicUsize>);

/// While it exists, this process removes no media row.
#[derive(Debug)]
pub(crate) struct RemovalHold(Arc<AtomicUsize>);

impl Drop for RemovalHold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl RemovalHolds {
    fn add(&self) -> RemovalHold {
        self.0.fetch_add(1, Ordering::AcqRel);
        RemovalHold(Arc::clone(&self.0))
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Publisher {
    /// Keeps all media rows and their files from now on, as a backup needs it that copies the photos of drafts as they were.
    ///
    /// A removal that has begun may end. Its photo has had no draft for the grace time, so nobody has read a draft with it.
    pub(crate) fn hold_removals(&self) -> RemovalHold {
        self.removal_holds.add()
    }
}
