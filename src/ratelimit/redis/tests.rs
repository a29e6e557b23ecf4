use std::net::IpAddr;

use super::*;
use crate::ratelimit::conformance;

#[path = "../../../tests/it/redis_server.rs"]
mod redis_server;

use redis_server::RedisServer;

fn client(n: u8) -> ClientKey {
    ClientKey::from(IpAddr::from([192, 0, 2, n]))
}

const QUOTA: Quota = Quota { burst: 6, window: Duration::from_secs(3600) };

async fn allowed(limiter: &RedisLimiter, requests: usize) -> usize {
    let mut allowed = 0;
    for _ in 0..requests {
        allowed += usize::from(limiter.check(client(1)).await.allowed);
    }
    allowed
}

#[tokio::test]
async fn redis_limiter_passes_conformance_suite() {
    let Some(server) = RedisServer::start() else { return };
    let link = RedisLink::open(&server.url()).await.unwrap();
    conformance::run(|quota| Arc::new(RedisLimiter::new(Arc::clone(&link), "test", quota))).await;
    let (mut connection, _) = link.connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len(), 11, "one key per quota and client that took units: {keys:?}");
    for key in keys {
        let ttl: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(ttl > 0, "{key} must expire: {ttl}");
        assert!(!key.contains("10.0"), "{key}");
    }
}

#[tokio::test]
async fn lost_redis_is_replaced_by_local_counts_until_it_returns() {
    let Some(mut server) = RedisServer::start() else { return };
    let url = server.url();
    let one = RedisLimiter::new(RedisLink::open(&url).await.unwrap(), "test", QUOTA);
    let two = RedisLimiter::new(RedisLink::open(&url).await.unwrap(), "test", QUOTA);
    assert_eq!((allowed(&one, 2).await, allowed(&two, 3).await), (2, 3));
    server.kill();
    assert_eq!(allowed(&one, 8).await, 4, "two of six were already used");
    assert_eq!(allowed(&two, 8).await, 3, "three of six were already used");
    assert_eq!((one.fallbacks(), two.fallbacks()), (8, 8));
    server.restart();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while one.link.connection().is_none() || two.link.connection().is_none() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(allowed(&one, 2).await + allowed(&two, 8).await, 6, "a restarted Redis starts from zero");
    assert_eq!((one.fallbacks(), two.fallbacks()), (8, 8));
}

#[tokio::test]
async fn missing_redis_at_start_delays_no_request() {
    let Some(mut server) = RedisServer::start() else { return };
    server.kill();
    let limiter = RedisLimiter::new(RedisLink::open(&server.url()).await.unwrap(), "test", QUOTA);
    assert_eq!(allowed(&limiter, 8).await, 6);
    assert_eq!(limiter.fallbacks(), 8);
}

#[tokio::test]
async fn invalid_url_is_refused() {
    assert!(RedisLink::open("http://cache").await.is_err());
}
