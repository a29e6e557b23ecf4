//! Rate limits: how often one client may call, and how much it may store. The trait is the seam between one process and
//! several that share limits.
//!
//! This room knows clients only as opaque keys. It refuses to hold an unbounded number of them.

#[cfg(test)]
mod conformance;
mod gcra;
mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::memory::MemoryLimiter;
pub use self::redis::{RedisError, RedisLimiter, RedisLink};

use crate::model::ClientKey;
use crate::telemetry::metrics::{Metrics, Reading, Unit};

/// Registers the metric of the limiters of requests.
pub fn register(metrics: &mut Metrics, limiters: impl IntoIterator<Item = Arc<dyn RateLimiter>>) {
    let limiters: Vec<_> = limiters.into_iter().collect();
    let fallbacks = Reading::counter(move || limiters.iter().map(|limiter| limiter.fallbacks()).sum());
    let help = "Requests counted against a limit by this process alone because Redis did not answer";
    metrics.register("ratelimit_fallback", Unit::Of("requests"), help, fallbacks);
}

/// So many units in so much time: `burst` at once, then one each `window / burst`. A unit is one request, or a KiB of photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Units that a rested client may take at once; at least 1.
    pub burst: u32,
    /// The time in which a spent burst grows back whole.
    pub window: Duration,
}

/// The answer to a client that takes units of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the units were taken.
    pub allowed: bool,
    /// Units that are left.
    pub remaining: u32,
    /// Until the same number of units is left; zero if it is. The whole window for more units than the burst has.
    pub retry_after: Duration,
    /// Until the whole burst has grown back.
    pub reset_after: Duration,
}

/// Counts what clients take against one [`Quota`].
///
/// An implementation is atomic: concurrent calls for one key never take more than `burst` units together from rest.
/// It never fails: one that depends on another service falls back to counting by itself.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Takes `units` of the quota of `client`: all of them, or none if so many are not left.
    async fn take(&self, client: ClientKey, units: u32) -> Decision;

    /// Counts one request of `client` and says whether it may go on. A refused request costs nothing.
    async fn check(&self, client: ClientKey) -> Decision {
        self.take(client, 1).await
    }

    /// Gives back `units` that were taken and not used. It may take effect a moment later. Where limits are shared and the
    /// other service does not answer, the client gets them back in this process alone.
    fn give_back(self: Arc<Self>, client: ClientKey, units: u32);

    /// The quota in force.
    fn quota(&self) -> Quota;

    /// Calls of [`take`](Self::take) that were counted in this process alone although limits are shared, since the start.
    fn fallbacks(&self) -> u64 {
        0
    }
}
