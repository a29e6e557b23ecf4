//! Conformance suite of [`RateLimiter`]. `limiter` must return a limiter with its own counters for each quota.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{ClientKey, Quota, RateLimiter};

const HOUR: Duration = Duration::from_secs(3600);

fn client(n: u8) -> ClientKey {
    ClientKey::from(IpAddr::from([10, 0, 0, n]))
}

pub(super) async fn run(limiter: impl Fn(Quota) -> Arc<dyn RateLimiter>) {
    let made = [
        exactly_one_burst_is_allowed(&*limiter(Quota { burst: 10, window: HOUR })).await,
        exactly_one_burst_of_concurrent_requests_is_allowed(&*limiter(Quota { burst: 20, window: HOUR }))
            .await,
        refused_client_is_allowed_after_retry_after(&*limiter(Quota { burst: 1, window: HOUR / 1200 })).await,
        largest_and_smallest_quota_are_counted(&limiter).await,
        units_are_taken_all_or_none(&*limiter(Quota { burst: 11, window: HOUR })).await,
        concurrent_takers_never_exceed_the_burst(&*limiter(Quota { burst: 50, window: HOUR })).await,
        returned_units_can_be_taken_again(limiter(Quota { burst: 12, window: HOUR })).await,
    ];
    assert_eq!(made, [0; 7], "no fallback was used");
}

async fn units_are_taken_all_or_none(limiter: &dyn RateLimiter) -> u64 {
    let first = limiter.take(client(1), 7).await;
    assert_eq!((first.allowed, first.remaining), (true, 4));
    let refused = limiter.take(client(1), 6).await;
    assert_eq!((refused.allowed, refused.remaining), (false, 4));
    assert!(
        refused.retry_after <= HOUR / 11 * 2 && refused.retry_after > HOUR / 11,
        "two more units must become available"
    );
    assert!(limiter.take(client(1), 4).await.allowed, "refusals cost nothing");
    let hopeless = limiter.take(client(2), 12).await;
    assert_eq!((hopeless.allowed, hopeless.retry_after), (false, HOUR));
    assert!(limiter.take(client(2), 11).await.allowed);
    limiter.fallbacks()
}

async fn concurrent_takers_never_exceed_the_burst(limiter: &dyn RateLimiter) -> u64 {
    let decisions = join_all((0..40).map(|_| limiter.take(client(1), 7))).await;
    assert_eq!(decisions.iter().filter(|decision| decision.allowed).count(), 7, "7 of 40 fit");
    limiter.fallbacks()
}

async fn returned_units_can_be_taken_again(limiter: Arc<dyn RateLimiter>) -> u64 {
    assert!(limiter.take(client(1), 12).await.allowed);
    assert!(!limiter.take(client(1), 1).await.allowed);
    Arc::clone(&limiter).give_back(client(1), 5);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !limiter.take(client(1), 5).await.allowed {
        assert!(Instant::now() < deadline, "returned units must become available");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!limiter.take(client(1), 1).await.allowed, "only the returned units are available");
    // Returning units that were never taken has no effect.
    Arc::clone(&limiter).give_back(client(2), 9);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(limiter.take(client(2), 12).await.allowed);
    assert!(!limiter.take(client(2), 1).await.allowed);
    limiter.fallbacks()
}

async fn exactly_one_burst_is_allowed(limiter: &dyn RateLimiter) -> u64 {
    for left in (0..10).rev() {
        let decision = limiter.check(client(1)).await;
        assert_eq!((decision.allowed, decision.remaining), (true, left));
        let spent = HOUR / 10 * (10 - left);
        assert!(decision.reset_after <= spent && decision.reset_after + HOUR / 20 > spent);
    }
    for _ in 0..3 {
        let refused = limiter.check(client(1)).await;
        assert_eq!((refused.allowed, refused.remaining), (false, 0));
        assert!(refused.retry_after <= HOUR / 10 && refused.retry_after > HOUR / 20, "refusals cost nothing");
    }
    assert_eq!(limiter.check(client(2)).await.remaining, 9, "clients do not share a quota");
    limiter.fallbacks()
}

async fn exactly_one_burst_of_concurrent_requests_is_allowed(limiter: &dyn RateLimiter) -> u64 {
    let decisions = join_all((0..60).map(|_| limiter.check(client(1)))).await;
    assert_eq!(decisions.iter().filter(|decision| decision.allowed).count(), 20);
    limiter.fallbacks()
}

async fn refused_client_is_allowed_after_retry_after(limiter: &dyn RateLimiter) -> u64 {
    assert!(limiter.check(client(1)).await.allowed);
    let refused = limiter.check(client(1)).await;
    assert!(!refused.allowed);
    tokio::time::sleep(refused.retry_after + Duration::from_millis(2)).await;
    assert!(limiter.check(client(1)).await.allowed);
    limiter.fallbacks()
}

async fn largest_and_smallest_quota_are_counted(limiter: impl Fn(Quota) -> Arc<dyn RateLimiter>) -> u64 {
    let day = HOUR * 24;
    let largest = limiter(Quota { burst: 1_000_000, window: day * 1000 });
    for _ in 0..3 {
        assert!(largest.check(client(1)).await.allowed);
    }
    let decision = largest.check(client(1)).await;
    assert_eq!((decision.allowed, decision.remaining), (true, 999_996));
    let smallest = limiter(Quota { burst: 1, window: day * 1000 });
    assert!(smallest.check(client(1)).await.allowed);
    let refused = smallest.check(client(1)).await;
    assert!(!refused.allowed && refused.retry_after > day * 999 && refused.retry_after <= day * 1000);
    largest.fallbacks() + smallest.fallbacks()
}
