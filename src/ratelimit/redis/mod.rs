//! Limits that several processes share through Redis (5 or later, or a server that speaks like it).
//!
//! One script counts what a client takes, so that no two processes can spend the same. A Redis that does not answer in time costs
//! nobody a request: this process then counts by itself, from what it allowed so far.

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

pub use self::link::{RedisError, RedisLink};
use super::gcra::Rate;
use super::{ClientKey, Decision, MemoryLimiter, Quota, RateLimiter};

const SCRIPT: &str = include_str!("gcra.lua");
/// How long one request waits for Redis. Only those feel it that are under way when Redis goes; less would take a busy
/// machine for an outage.
const DEADLINE: Duration = Duration::from_millis(250);

/// See the module.
pub struct RedisLimiter {
    link: Arc<RedisLink>,
    script: Script,
    /// In front of the client in the names of keys. Limits of another name or quota are counted apart.
    prefix: String,
    rate: Rate,
    alone: MemoryLimiter,
    fallbacks: AtomicU64,
}

impl RedisLimiter {
    /// A limiter called `name`, over a connection that it may share with others.
    pub fn new(link: Arc<RedisLink>, name: &str, quota: Quota) -> Self {
        let prefix = format!("vintedbot:limit:{name}:{}/{}:", quota.burst, quota.window.as_secs());
        let alone = MemoryLimiter::new(quota);
        Self {
            link,
            script: Script::new(SCRIPT),
            prefix,
            rate: quota.into(),
            alone,
            fallbacks: AtomicU64::new(0),
        }
    }

    fn cost(&self, units: u32) -> i64 {
        i64::try_from(self.rate.cost(units)).unwrap_or(i64::MAX)
    }

    /// Addresses are nobody's business who reads Redis, or its backups.
    fn key(&self, client: ClientKey) -> String {
        let hash = blake3::derive_key("vintedbot-ingest 2026 client of a rate limit", &client.to_bytes());
        format!("{}{}", self.prefix, &blake3::Hash::from(hash).to_hex()[..32])
    }

    /// Adds `cost` to the debt of a client if that is allowed. Returns the debt before, or `None` if Redis does not answer.
    async fn shared(&self, client: ClientKey, cost: i64) -> Option<u64> {
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
        let Some(debt) = self.shared(client, self.cost(units)).await else {
            self.fallbacks.fetch_add(1, Ordering::Relaxed);
            return self.alone.take(client, units).await;
        };
        let (decision, _) = self.rate.decide(debt, units);
        if decision.allowed {
            // So that the client does not begin anew when Redis goes.
            self.alone.take(client, units).await;
        }
        decision
    }

    fn give_back(self: Arc<Self>, client: ClientKey, units: u32) {
        self.alone.return_units(client, units);
        // At the end of the process there may be no runtime any more: the units grow back by themselves then.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { self.shared(client, -self.cost(units)).await });
        }
    }

    fn quota(&self) -> Quota {
        self.alone.quota()
    }

    fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }
}
