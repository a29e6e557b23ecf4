//! Rate limits: how often a client may call, and how much it may store, in one process or in several through Redis.

#[cfg(test)]
mod conformance;
mod gcra;
mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub(crate) use self::memory::MemoryLimiter;
pub(crate) use self::redis::{RedisError, RedisLimiter, RedisLink};

use crate::model::ClientKey;
use crate::telemetry::metrics::{Metrics, Reading, Unit};

/// Registers the metric of the limiters of requests.
pub(crate) fn register(metrics: &mut Metrics, limiters: impl IntoIterator<Item = Arc<dyn RateLimiter>>) {
    let limiters: Vec<_> = limiters.into_iter().collect();
    let fallbacks = Reading::counter(move || limiters.iter().map(|limiter| limiter.fallbacks()).sum());
    let help = "Requests counted against a limit by this process alone because Redis did not answer";
    metrics.register("ratelimit_fallback", Unit::Of("requests"), help, fallbacks);
}

/// A limit: `burst` units without a wait, then one unit each `window / burst`. A unit is one request or one KiB of photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Units that a client may take without a wait when it has used none; at least 1.
    pub burst: u32,
    /// Time in which a used burst becomes available again completely.
    pub window: Duration,
}

/// The result of taking units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    /// True if the units were taken.
    pub allowed: bool,
    /// Units that the client has left.
    pub remaining: u32,
    /// Time until the same number of units is available, zero if it is, or the whole window if the request exceeds the burst.
    pub retry_after: Duration,
    /// Time until the whole burst is available.
    pub reset_after: Duration,
}

/// Counts the units that clients take against one [`Quota`].
///
/// An implementation is atomic: concurrent calls for one unused key never take more than `burst` units together. It never
/// fails: if it depends on a service that fails, it counts in this process.
#[async_trait]
pub(crate) trait RateLimiter: Send + Sync {
    /// Takes `units` from the quota of `client`: all of them, or none if not enough are left.
    async fn take(&self, client: ClientKey, units: u32) -> Decision;

    /// Takes one unit for a request of `client`. A refused request costs nothing.
    async fn check(&self, client: ClientKey) -> Decision {
        self.take(client, 1).await
    }

    /// Returns `units` that were taken and not used, possibly a moment later. If the service that shares limits does not
    /// answer, it returns them in this process only.
    fn give_back(self: Arc<Self>, client: ClientKey, units: u32);

    /// Returns the quota.
    fn quota(&self) -> Quota;

    /// Returns the number of [`take`](Self::take) calls that counted in this process although limits are shared.
    fn fallbacks(&self) -> u64 {
        0
    }
}
