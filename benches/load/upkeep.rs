//! What maintenance asks of a bucket with many photos, and the memory it takes: `cargo bench --bench load -- upkeep`.
//!
//! The bucket is a service in this process that lists photos without having their bytes, and counts requests. The catalog is on
//! PostgreSQL, filled by one statement with the rows of the same photos. A hundredth of a percent of the photos has no row, and as
//! many rows have no photo. Two instances share both. The scrub is off: it reads photos, which this bucket does not have.
//!
//! Figures: the requests of a whole pass of both instances, its time, and the peak of memory. With
//! `VINTEDBOT_LOAD_BINARY` another version is measured. `VINTEDBOT_LOAD_MEDIA` is the number of photos, `VINTEDBOT_LOAD_PER_HOUR`
//! the bound (0: none), `VINTEDBOT_LOAD_SECONDS` the longest time, `VINTEDBOT_LOAD_INSTANCES` their number.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::cluster::Cluster;
use crate::listed_bucket::{BUCKET, Counts, LENGTH, ListOrder, ListedBucket};
use crate::server::Server;
use crate::{Outcome, number};

/// How often the figures are read.
const STEP: Duration = Duration::from_secs(5);

/// Returns the hash of a photo, as PostgreSQL computes it with `sha256(int8send(number))`.
fn key(number: u64) -> [u8; 32] {
    Sha256::digest(number.to_be_bytes()).into()
}

pub(crate) fn run() -> Outcome<()> {
    let (media, instances) = (number("MEDIA", 1_000_000)?, number("INSTANCES", 2)?);
    let (per_hour, seconds) = (number("PER_HOUR", 0)?, number("SECONDS", 900)?);
    let odd = (media / 10_000).max(1);
    // Photos 1 to `media`, of which the last have no row; the rows go on as far beyond.
    let bucket = ListedBucket::start((1..=media).map(key).collect(), ListOrder::Names);
    let cluster = Cluster::start(&[]).ok_or("there is no PostgreSQL: see tools/postgres.sh")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let database = runtime.block_on(cluster.database());
    let endpoint = bucket.endpoint();
    let shared = [
        ("DATABASE_URL", database.as_str()),
        ("MEDIA_STORAGE", "s3"),
        ("S3_BUCKET", BUCKET),
        ("S3_ENDPOINT_URL", &endpoint),
        ("S3_ACCESS_KEY", "key"),
        ("S3_SECRET_KEY", "secret"),
        ("SCRUB_HOURS", "0"),
    ];
    // Creates the tables.
    drop(Server::start(&[&shared[..], &[("JOBS_ENABLED", "false")]].concat())?);
    let (first, last) = (odd + 1, media + odd);
    let fill = format!(
        "INSERT INTO media (id, key, width, height, size_bytes)
             SELECT n, sha256(int8send(n)), 1600, 1200, {LENGTH} FROM generate_series({first}::bigint, {last}) n;
         INSERT INTO source SELECT sha256(int8send(-n)), n FROM generate_series({first}::bigint, {last}) n;
         UPDATE catalog_state SET created = '2026-01-01';
         ANALYZE media; ANALYZE source"
    );
    runtime.block_on(async { cluster.client(&database).await.batch_execute(&fill).await })?;
    println!(
        "{media} photos, {odd} without a row, {odd} rows without a photo; {instances} instances; bound {per_hour}"
    );

    let per_hour = per_hour.to_string();
    let settings = [&shared[..], &[("MAINTENANCE_REQUESTS_PER_HOUR", per_hour.as_str())]].concat();
    let before = bucket.counts();
    let begun = Instant::now();
    let servers = (0..instances).map(|_| Server::start(&settings)).collect::<Outcome<Vec<_>>>()?;
    let starts = servers.iter().map(Server::memory).collect::<Outcome<Vec<_>>>()?;
    let (mut last, mut is_over) = (before, false);
    let mut minute = (Duration::ZERO, before);
    while begun.elapsed() < Duration::from_secs(seconds) && !is_over {
        sleep(STEP);
        let now = bucket.counts();
        if begun.elapsed() >= minute.0 + Duration::from_secs(60) {
            println!("after {:4} s: {:?}", begun.elapsed().as_secs(), now.since(minute.1));
            minute = (begun.elapsed(), now);
        }
        // A pass is over when it is noted and no more requests come.
        let ends = servers.iter().map(|server| metric(server, "vintedbot_collector_last_run"));
        let are_ended = ends.collect::<Outcome<Vec<_>>>()?.iter().all(|end| *end > 0);
        is_over = are_ended && now == last;
        last = now;
    }
    let (took, counts) = (begun.elapsed(), bucket.counts().since(before));
    println!("{} after {:.0} s: {counts:?}", if is_over { "over" } else { "not over" }, took.as_secs_f64());
    println!("requests a second: {:.1}", counts.all_per_second(took));
    for (server, start) in servers.iter().zip(starts) {
        let end = server.memory()?;
        let figures =
            ["maintenance_leads", "media_missing", "media_collected_total", "maintenance_requests_total"];
        let figures: BTreeMap<_, _> = figures
            .into_iter()
            .filter_map(|name| Some((name, metric(server, &format!("vintedbot_{name}")).ok()?)))
            .collect();
        println!(
            "an instance: {end}; peak {} KiB above the start's; {figures:?}",
            end.peak.saturating_sub(start.peak)
        );
    }
    Ok(())
}

impl Counts {
    fn all_per_second(self, time: Duration) -> f64 {
        // Far below the precision of the type.
        #[allow(clippy::cast_precision_loss)]
        let all = self.all() as f64;
        all / time.as_secs_f64()
    }
}

/// Reads a metric of a server.
fn metric(server: &Server, name: &str) -> Outcome<u64> {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(server.address)?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.ok_or_else(|| format!("there is no metric {name}"))?.trim().parse()?)
}
