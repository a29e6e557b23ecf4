//! Counts open connections, and those that were closed for lack of slots.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::metrics::{Counter, Metrics, ReasonLabels, Unit};

/// Counts connections. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    open: Gauge<u64, AtomicU64>,
    closed: Family<ReasonLabels, Counter>,
    /// Two members of `closed`.
    evicted: Counter,
    refused: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        let closed = Family::<ReasonLabels, Counter>::default();
        let [evicted, refused] =
            ["evicted", "refused"].map(|reason| closed.get_or_create_owned(&ReasonLabels { reason }));
        Self { open: Gauge::default(), closed, evicted, refused }
    }
}

impl Connections {
    /// Registers the metrics of connections.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let Counts { open, closed, .. } = &*self.0;
        metrics.register("connections", Unit::Of("connections"), "Open connections", open.clone());
        let help = "Connections closed because all places were taken, by reason: evicted ones were idle, refused ones were new";
        metrics.register("connections_closed", Unit::Of("connections"), help, closed.clone());
    }

    /// Returns how many connections were closed as soon as they were accepted, since the start.
    #[cfg(test)]
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    /// Counts one more connection until the result is dropped.
    pub(crate) fn count(&self) -> Counted {
        self.0.open.inc();
        Counted(self.clone())
    }

    /// Counts a connection that is closed to make room.
    pub(crate) fn evict(&self) {
        self.0.evicted.inc();
    }

    /// Counts a connection that is closed as soon as it was accepted.
    pub(crate) fn refuse(&self) {
        self.0.refused.inc();
    }
}

/// One open connection in the count, until dropped.
#[derive(Debug)]
pub(crate) struct Counted(Connections);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.open.dec();
    }
}
