//! Rate limits that several processes share through Redis (5 or later, or a compatible server).
//!
//! One script counts units atomically, so that two processes cannot take the same unit. If Redis does not answer in time, no
//! request fails: this process then counts by itself, starting from what it has allowed so far.

mod link;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use tokio::runtime::Handle;
use tokio::time::timeout;

pub(crate) use self::link::{RedisError, RedisLink};
use super::gcra::Rate;
use super::{ClientKey, Decision, MemoryLimiter, Quota, RateLimiter};

const SCRIPT: &str = include_str!("gcra.lua");
/// Time limit for a call to Redis, which requests wait for only when Redis fails. A busy machine must stay below it.
const DEADLINE: Duration = Duration::from_millis(250);

/// A rate limiter that counts in Redis.
pub(crate) struct RedisLimiter {
    link: Arc<RedisLink>,
    script: Script,
    /// Prefix of the Redis keys. Limits with another name or quota are counted separately.
    prefix: String,
    rate: Rate,
    fallback: MemoryLimiter,
    fallbacks: AtomicU64,
}

impl RedisLimiter {
    /// Creates a limiter called `name` over `link`, which other limiters may share.
    pub(crate) fn new(link: Arc<RedisLink>, name: &str, quota: Quota) -> Self {
        let prefix = format!("vintedbot:limit:{name}:{}/{}:", quota.burst, quota.window.as_secs());
        let fallback = MemoryLimiter::new(quota);
        Self {
            link,
            script: Script::new(SCRIPT),
            prefix,
            rate: quota.into(),
            fallback,
            fallbacks: AtomicU64::new(0),
        }
    }

    fn cost(&self, units: u32) -> i64 {
        i64::try_from(self.rate.cost(units)).unwrap_or(i64::MAX)
    }

    /// Returns the Redis key of a client. Addresses are hashed, so that Redis and its backups do not reveal them.
    fn key(&self, client: ClientKey) -> String {
        let hash = blake3::derive_key("vintedbot-ingest 2026 client of a rate limit", &client.to_bytes());
        format!("{}{}", self.prefix, &blake3::Hash::from(hash).to_hex()[..32])
    }

    /// Adds `cost` to the debt of a client if that is allowed. Returns the earlier debt, or `None` if Redis does not answer.
    async fn take_shared(&self, client: ClientKey, cost: i64) -> Option<u64> {
        let (mut connection, epoch) = self.link.connection()?;
        let mut call = self.script.key(self.key(client));
        call.arg(self.rate.window).arg(cost);
        match timeout(DEADLINE, call.invoke_async(&mut connection)).await {
            Ok(Ok(debt)) => Some(debt),
            Ok(Err(error)) => {
                self.link.lost(epoch, &error);
                None
            }
            Err(late) => {
                self.link.lost(epoch, &late);
                None
            }
        }
    }
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn take(&self, client: ClientKey, units: u32) -> Decision {
        let Some(debt) = self.take_shared(client, self.cost(units)).await else {
            self.fallbacks.fetch_add(1, Ordering::Relaxed);
            return self.fallback.take(client, units).await;
        };
        let (decision, _) = self.rate.decide(debt, units);
        if decision.allowed {
            // This process counts, too, so that the client does not get a full burst if Redis fails.
            self.fallback.take(client, units).await;
        }
        decision
    }

    fn give_back(self: Arc<Self>, client: ClientKey, units: u32) {
        self.fallback.return_units(client, units);
        // During shutdown there may be no runtime. The units then become available again with time.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { self.take_shared(client, -self.cost(units)).await });
        }
    }

    fn quota(&self) -> Quota {
        self.fallback.quota()
    }

    fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }
}
