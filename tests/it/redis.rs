//! Rate limits that two servers share, with and without Redis.

use futures_util::future::join_all;

use crate::redis_server::RedisServer;
use crate::support::{Server, eventually, file, form, noise, photo};

fn start(redis: &RedisServer, more: &[(&str, &str)]) -> Server {
    let url = redis.url();
    let mut settings = vec![("REDIS_URL", url.as_str())];
    settings.extend(more);
    Server::start(&settings)
}

/// Sends `requests` requests to the servers in turn and returns how many were allowed.
async fn allowed(servers: &[&Server], requests: usize) -> usize {
    let answers = (0..requests).map(|n| servers[n % servers.len()].get("/api/v1/listings/1"));
    let answers = join_all(answers).await;
    answers.iter().filter(|answer| answer.status() != 429).count()
}

#[tokio::test]
async fn two_servers_share_one_rate_limit() {
    let Some(redis) = RedisServer::start() else { return };
    let limits = [("RATE_LIMIT_GLOBAL", "20/hour"), ("RATE_LIMIT_UPLOAD", "2/hour")];
    let servers = [start(&redis, &limits), start(&redis, &limits)];
    let body = form(&[file(&photo(64, 48))]);
    let mut statuses = Vec::new();
    for n in 0..4 {
        statuses.push(servers[n % 2].post(body.clone()).await.status().as_u16());
    }
    assert_eq!(statuses, [201, 201, 429, 429]);
    assert_eq!(allowed(&[&servers[0], &servers[1]], 40).await, 16, "uploads used four of twenty");
    for server in &servers {
        assert_eq!(server.metric("ratelimit_fallback_total"), 0);
    }
}

/// The servers share the quota through Redis. Without Redis each continues from what it has allowed so far.
#[tokio::test]
async fn two_servers_share_one_upload_quota_and_keep_it_without_redis() {
    let Some(mut redis) = RedisServer::start() else { return };
    let quota = [("UPLOAD_QUOTA", "1MB/day")];
    let servers = [start(&redis, &quota), start(&redis, &quota)];
    let kept = |server: &Server| {
        let files = server.files();
        files.iter().map(|name| std::fs::metadata(server.media_root().join(name)).unwrap().len()).sum::<u64>()
    };
    let (mut number, mut status) = (0, 201);
    let mut spend = async |servers: &[&Server]| {
        while status == 201 {
            number += 1;
            let photo = noise(480, 360, number);
            status = servers[number as usize % servers.len()].upload(form(&[file(&photo)])).await.0;
        }
        assert_eq!(std::mem::replace(&mut status, 201), 429);
    };
    spend(&[&servers[0], &servers[1]]).await;
    assert!(kept(&servers[0]) > 1 << 18 && kept(&servers[1]) > 1 << 18);
    assert!(kept(&servers[0]) + kept(&servers[1]) <= 1 << 20);
    redis.kill();
    spend(&[&servers[0]]).await;
    assert!(kept(&servers[0]) <= 1 << 20, "its own quota, a part of which was used");
    assert!(servers[0].metric("upload_quota_fallback_total") > 0);
    assert_eq!(servers[1].metric("upload_quota_fallback_total"), 0);
}

#[tokio::test]
async fn uploads_continue_with_local_limits_without_redis() {
    let Some(mut redis) = RedisServer::start() else { return };
    let limits = [("RATE_LIMIT_UPLOAD", "3/hour"), ("RATE_LIMIT_GLOBAL", "off")];
    let servers = [start(&redis, &limits), start(&redis, &limits)];
    let body = form(&[file(&photo(64, 48))]);
    let upload = async |server: &Server| server.post(body.clone()).await.status().as_u16();
    assert_eq!(upload(&servers[0]).await, 201);
    redis.kill();
    for server in &servers {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(upload(server).await);
        }
        // The first server has already allowed one.
        let allowed = statuses.iter().filter(|status| **status == 201).count();
        assert_eq!(allowed, if server.id() == servers[0].id() { 2 } else { 3 }, "{statuses:?}");
        assert_eq!(server.metric("ratelimit_fallback_total"), 4);
        assert_eq!(server.get("/api/v1/ready").await.status(), 200);
        let said = |text: &str| server.output().iter().filter(|line| line.contains(text)).count();
        assert_eq!((said("Redis does not answer"), said("Redis answers again")), (1, 0));
    }
    redis.restart();
    for server in &servers {
        eventually("it is found again", || {
            server.output().iter().any(|line| line.contains("Redis answers again"))
        })
        .await;
    }
    let mut statuses = Vec::new();
    for n in 0..5 {
        statuses.push(upload(&servers[n % 2]).await);
    }
    assert_eq!(statuses, [201, 201, 201, 429, 429], "counted together, from zero");
}
