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
async fn conforms() {
    let Some(server) = RedisServer::start() else { return };
    let link = RedisLink::open(&server.url()).await.unwrap();
    conformance::run(|quota| Arc::new(RedisLimiter::new(Arc::clone(&link), "test", quota))).await;
    let (mut connection, _) = link.connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len(), 11, "one for each client of each quota that has taken something: {keys:?}");
    for key in keys {
        let ttl: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(ttl > 0, "{key} is forgotten some day: {ttl}");
        assert!(!key.contains("10.0"), "{key}");
    }
}

#[tokio::test]
async fn without_redis_each_counts_alone_and_with_it_again_together() {
    let Some(mut server) = RedisServer::start() else { return };
    let url = server.url();
    let one = RedisLimiter::new(RedisLink::open(&url).await.unwrap(), "test", QUOTA);
    let two = RedisLimiter::new(RedisLink::open(&url).await.unwrap(), "test", QUOTA);
    assert_eq!((allowed(&one, 2).await, allowed(&two, 3).await), (2, 3));
    server.kill();
    assert_eq!(allowed(&one, 8).await, 4, "of six it had allowed two");
    assert_eq!(allowed(&two, 8).await, 3, "of six it had allowed three");
    assert_eq!((one.fallbacks(), two.fallbacks()), (8, 8));
    server.restart();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while one.link.connection().is_none() || two.link.connection().is_none() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(allowed(&one, 2).await + allowed(&two, 8).await, 6, "what Redis forgot is forgiven");
    assert_eq!((one.fallbacks(), two.fallbacks()), (8, 8));
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_keeps_nobody_waiting() {
    let Some(mut server) = RedisServer::start() else { return };
    server.kill();
    let limiter = RedisLimiter::new(RedisLink::open(&server.url()).await.unwrap(), "test", QUOTA);
    assert_eq!(allowed(&limiter, 8).await, 6);
    assert_eq!(limiter.fallbacks(), 8);
}

#[tokio::test]
async fn a_url_that_makes_no_sense_is_refused() {
    assert!(RedisLink::open("http://cache").await.is_err());
}
