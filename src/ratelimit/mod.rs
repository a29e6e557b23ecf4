//! Rate limits: how often one client may call. The trait is the seam between one process and several that share limits.
//!
//! This room knows clients only as opaque keys. It refuses to hold an unbounded number of them.

#[cfg(test)]
mod conformance;
mod gcra;
mod memory;
mod redis;

use std::time::Duration;

use async_trait::async_trait;

pub use self::memory::MemoryLimiter;
pub use self::redis::{RedisError, RedisLimiter, RedisLink};

use crate::model::ClientKey;

/// So many requests in so much time: `burst` at once, then one each `window / burst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests that a rested client may send at once; at least 1.
    pub burst: u32,
    /// The time in which a spent burst grows back whole.
    pub window: Duration,
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Requests left before the next refusal.
    pub remaining: u32,
    /// Until one more request is allowed; zero while some remain.
    pub retry_after: Duration,
    /// Until the whole burst has grown back.
    pub reset_after: Duration,
}

/// Counts requests of clients against one [`Quota`].
///
/// An implementation is atomic: of several concurrent calls for one key, at most `burst` are allowed from rest.
/// It never fails: one that depends on another service falls back to counting by itself.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Counts one request of `client` and says whether it may go on. A refused request costs nothing.
    async fn check(&self, client: ClientKey) -> Decision;

    /// The quota in force.
    fn quota(&self) -> Quota;

    /// Requests that were counted in this process alone although limits are shared, since the start.
    fn fallbacks(&self) -> u64 {
        0
    }
}
