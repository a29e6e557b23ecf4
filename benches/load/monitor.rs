//! What the server looks like while it is under load, second by second: its memory, and how soon it answers health checks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::Outcome;
use crate::clients::{connect, status};
use crate::server::{Memory, Server};

/// Time between two health checks.
const PERIOD: Duration = Duration::from_millis(50);

/// How far the load is. The clients count, the monitor reads.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) idle: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) is_over: AtomicBool,
}

/// What the monitor saw in one of its periods.
struct Sample {
    second: u64,
    idle: u64,
    answered: u64,
    resident: u64,
    health: Option<Duration>,
}

/// All that a monitor saw.
pub(crate) struct Report(Vec<Sample>);

/// Watches a server on a thread of its own until the load is over: its clock must not wait while another thread writes for two
/// thousand phones.
pub(crate) fn watch(
    server: &Server,
    progress: Arc<Progress>,
) -> Outcome<std::thread::JoinHandle<Result<Report, String>>> {
    let (address, process) = (server.address, server.id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(std::thread::spawn(move || {
        runtime.block_on(samples(address, process, &progress)).map_err(|error| error.to_string())
    }))
}

async fn samples(server: SocketAddr, process: u32, progress: &Progress) -> Outcome<Report> {
    let mut pace = tokio::time::interval(PERIOD);
    let (start, mut samples) = (Instant::now(), Vec::new());
    while !progress.is_over.load(Ordering::Relaxed) {
        pace.tick().await;
        samples.push(Sample {
            second: start.elapsed().as_secs(),
            idle: progress.idle.load(Ordering::Relaxed),
            answered: progress.answered.load(Ordering::Relaxed),
            resident: Memory::of(process)?.now,
            health: health(server).await.ok(),
        });
    }
    Ok(Report(samples))
}

/// Requests `/api/v1/health` on a new connection and returns how long it took, including the connection setup.
async fn health(server: SocketAddr) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut socket = connect(server, 3, 0).await?;
    socket.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: load\r\nConnection: close\r\n\r\n").await?;
    match status(&mut socket).await?.as_str() {
        "200" => Ok(begun.elapsed()),
        other => Err(io::Error::other(other.to_owned())),
    }
}

impl Report {
    /// Returns the time of each health check that was answered with 200.
    pub(crate) fn health(&self) -> Vec<Duration> {
        self.0.iter().filter_map(|sample| sample.health).collect()
    }

    /// Returns the number of health checks that failed.
    pub(crate) fn failures(&self) -> usize {
        self.0.iter().filter(|sample| sample.health.is_none()).count()
    }

    /// Returns a Markdown table with a row for each second, from which `make chart` draws `docs/load.svg`.
    pub(crate) fn table(&self) -> String {
        let head = "| second | idle connections | photos answered | VmRSS, MiB | slowest health check, ms |\n|---|---|---|---|---|\n";
        let rows = self.0.chunk_by(|a, b| a.second == b.second).filter_map(|second| {
            let last = second.last()?;
            let resident = second.iter().map(|sample| sample.resident).max()?.div_ceil(1024);
            let slowest = second.iter().filter_map(|sample| sample.health).max()?.as_secs_f64() * 1000.0;
            Some(format!(
                "| {} | {} | {} | {resident} | {slowest:.1} |\n",
                last.second, last.idle, last.answered
            ))
        });
        std::iter::once(head.to_owned()).chain(rows).collect()
    }
}
