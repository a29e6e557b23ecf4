//! How many connections are open, and how many had to make room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts connections.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
}

impl Connections {
    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Connections without a request in work that were closed to make room, since the start.
    pub fn evicted(&self) -> u64 {
        self.0.evicted.load(Ordering::Relaxed)
    }

    /// Connections that were closed as soon as they were accepted, since the start.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Counts one more until the result is dropped.
    pub fn count(&self) -> Counted {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// Counts a connection that is closed to make room.
    pub fn evict(&self) {
        self.0.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that is closed as soon as it was accepted.
    pub fn refuse(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// One open connection in the count, until dropped.
#[derive(Debug)]
pub struct Counted(Connections);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
