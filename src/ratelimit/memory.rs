//! Rate limits of one process, in a bounded map in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use super::gcra::{Rate, micros};
use super::{ClientKey, Decision, Quota, RateLimiter};

/// Maximum number of clients in memory, which take about 5 MB.
const MAX_CLIENTS: usize = 65_536;

/// A rate limiter that counts in this process only.
///
/// Holds at most 65,536 clients. When full, it removes clients without debt, which loses nothing, and then those with the least
/// debt, which forgives it. So a flood of addresses can weaken limits, but neither exhaust memory nor lock out other clients.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    quota: Quota,
    epoch: Instant,
    max_clients: usize,
    /// Client → theoretical arrival time: microseconds since `epoch` at which its debt is zero.
    arrivals: Mutex<HashMap<ClientKey, u64>>,
}

impl MemoryLimiter {
    /// Creates a limiter in which no client has taken units.
    pub(crate) fn new(quota: Quota) -> Self {
        Self::with_capacity(quota, MAX_CLIENTS)
    }

    fn with_capacity(quota: Quota, max_clients: usize) -> Self {
        Self { quota, epoch: Instant::now(), max_clients, arrivals: Mutex::default() }
    }

    fn take_at(&self, client: ClientKey, units: u32, now: u64) -> Decision {
        let mut arrivals = self.arrivals();
        let debt = arrivals.get(&client).copied().unwrap_or(0).saturating_sub(now);
        let (decision, debt) = Rate::from(self.quota).decide(debt, units);
        if decision.allowed {
            if arrivals.len() >= self.max_clients && !arrivals.contains_key(&client) {
                make_room(&mut arrivals, now);
            }
            arrivals.insert(client, now + debt);
        }
        decision
    }

    pub(super) fn return_units(&self, client: ClientKey, units: u32) {
        let cost = Rate::from(self.quota).cost(units);
        if let Some(arrival) = self.arrivals().get_mut(&client) {
            // An arrival time in the past means no debt.
            *arrival = arrival.saturating_sub(cost);
        }
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<ClientKey, u64>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RateLimiter for MemoryLimiter {
    async fn take(&self, client: ClientKey, units: u32) -> Decision {
        self.take_at(client, units, micros(self.epoch.elapsed()))
    }

    fn give_back(self: Arc<Self>, client: ClientKey, units: u32) {
        self.return_units(client, units);
    }

    fn quota(&self) -> Quota {
        self.quota
    }
}

/// Reduces a full map to at most seven eighths, so that the cost is spread over many insertions.
fn make_room(arrivals: &mut HashMap<ClientKey, u64>, now: u64) {
    let keep = arrivals.len() / 8 * 7;
    arrivals.retain(|_, arrival| *arrival > now);
    if arrivals.len() > keep {
        let mut times: Vec<u64> = arrivals.values().copied().collect();
        let nearest = times.len() - keep;
        let (_, cut, _) = times.select_nth_unstable(nearest - 1);
        let cut = *cut;
        arrivals.retain(|_, arrival| *arrival > cut);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ratelimit::conformance;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000;

    fn limiter(burst: u32, seconds: u64) -> MemoryLimiter {
        MemoryLimiter::with_capacity(Quota { burst, window: Duration::from_secs(seconds) }, 64)
    }

    fn client(n: u8) -> ClientKey {
        ClientKey::from(std::net::IpAddr::from([10, 0, 0, n]))
    }

    #[tokio::test]
    async fn memory_limiter_passes_conformance_suite() {
        conformance::run(|quota| Arc::new(MemoryLimiter::new(quota))).await;
    }

    #[test]
    fn burst_is_allowed_then_one_unit_per_interval() {
        let limiter = limiter(10, 60);
        for left in (0..10).rev() {
            let decision = limiter.take_at(client(1), 1, 0);
            assert_eq!((decision.allowed, decision.remaining), (true, left));
        }
        let refused = limiter.take_at(client(1), 1, SECOND);
        assert!(!refused.allowed);
        assert_eq!(refused.retry_after, Duration::from_secs(5));
        assert!(limiter.take_at(client(1), 1, 6 * SECOND).allowed);
        assert!(!limiter.take_at(client(1), 1, 6 * SECOND).allowed);
        assert!(limiter.take_at(client(2), 1, 6 * SECOND).allowed, "clients do not share a quota");
    }

    #[test]
    fn full_map_keeps_the_clients_with_most_debt() {
        let limiter = limiter(2, 60);
        limiter.take_at(client(0), 1, 0);
        limiter.take_at(client(0), 1, 0);
        for n in 1..=255 {
            limiter.take_at(client(n), 1, 1);
        }
        assert!(limiter.arrivals().len() <= 64);
        assert!(
            !limiter.take_at(client(0), 1, 2).allowed,
            "a flood of addresses must not reset a client above its limit"
        );
    }

    /// Each new client costs an attacker at least one unit. The client that took the most is removed last.
    #[test]
    fn flood_of_small_clients_does_not_reset_a_spent_quota() {
        let limiter = limiter(1_000_000, 86_400);
        assert!(limiter.take_at(client(0), 1_000_000, 0).allowed);
        for round in 0..20 {
            for n in 1..=255 {
                limiter.take_at(client(n), 1000, round);
            }
        }
        assert!(limiter.arrivals().len() <= 64);
        assert!(!limiter.take_at(client(0), 1000, 20).allowed);
    }

    #[test]
    fn ipv6_network_of_64_bits_is_one_client() {
        let key = |text: &str| ClientKey::from(text.parse::<std::net::IpAddr>().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }

    proptest! {
        /// For any arrival times, no more requests are allowed than the burst and what became available since.
        #[test]
        fn allowed_requests_never_exceed_the_quota(burst in 1u32..20, gaps in prop::collection::vec(0u64..5 * SECOND, 1..200)) {
            let limiter = limiter(burst, 10);
            let (mut now, mut allowed) = (0, 0u64);
            for gap in gaps {
                now += gap;
                let decision = limiter.take_at(client(1), 1, now);
                allowed += u64::from(decision.allowed);
                if !decision.allowed {
                    let later = now + micros(decision.retry_after);
                    let debt = limiter.arrivals()[&client(1)].saturating_sub(later);
                    prop_assert!(Rate::from(limiter.quota).decide(debt, 1).0.allowed);
                }
            }
            prop_assert!(allowed <= u64::from(burst) + now * u64::from(burst) / (10 * SECOND) + 1);
        }

        /// For any sequence of taken and returned units, the units kept never exceed the burst and what became available since.
        #[test]
        fn kept_units_never_exceed_the_quota(
            burst in 1u32..2000,
            steps in prop::collection::vec((0u64..5 * SECOND, 1u32..400, any::<bool>()), 1..200),
        ) {
            let limiter = limiter(burst, 10);
            let (mut now, mut kept) = (0, 0u64);
            for (gap, units, is_kept) in steps {
                now += gap;
                if !limiter.take_at(client(1), units, now).allowed {
                    continue;
                }
                if is_kept {
                    kept += u64::from(units);
                } else {
                    limiter.return_units(client(1), units);
                }
            }
            // Costs are rounded down by less than a microsecond each.
            let rounding = 200 * u64::from(burst) / (10 * SECOND) + 1;
            prop_assert!(kept <= u64::from(burst) + now * u64::from(burst) / (10 * SECOND) + rounding);
        }
    }
}
