//! Load test: thousands of slow phones and idle connections against one server: `make load`.
//!
//! Every phone has its own address in 127.0.0.0/8 and its own photo, so that limits per client and the recognition of
//! known photos behave as in production, with default settings. All phones run on one thread and write from prepared
//! bodies, because the generator shares its cores with the server. Meanwhile a monitor requests `/api/v1/health`
//! twenty times a second, each time on a new connection. Figures go to stdout; the server's log is discarded.
//! The last of them is a table of each second, from which `make chart` draws `docs/load.svg`.
//!
//! A second run measures the memory of unfinished resumable uploads: see `uploads`. `cargo bench --bench load -- media` compares
//! `GET /media` with nginx: see `media`. `-- upkeep` counts what maintenance asks of a bucket: see `upkeep`.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use self::clients::{Answer, Phone};
use self::monitor::Progress;
use self::server::Server;

mod clients;
mod media;
mod monitor;
mod photos;
mod server;
mod upkeep;
mod uploads;

// They are tests' parts: a failure ends the run.
#[path = "../../tests/cluster/mod.rs"]
#[allow(clippy::unwrap_used)]
mod cluster;
#[path = "../../tests/common/mod.rs"]
#[allow(clippy::unwrap_used, dead_code)]
mod common;
#[path = "../../tests/listed_bucket/mod.rs"]
#[allow(clippy::unwrap_used)]
mod listed_bucket;

/// An error that stops the run, as a sentence.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// New connections per second while the idle ones are opened.
const OPEN_PER_SECOND: u32 = 2000;

/// The size of the load. Each field has an environment variable: `VINTEDBOT_LOAD_PHONES` and so on.
struct Plan {
    phones: u64,
    /// Approximate bytes of each photo.
    bytes: u64,
    /// Seconds over which each phone sends its photo.
    seconds: u64,
    /// Seconds over which the phones start.
    spread: u64,
    /// Number of idle connections; every other one first sends one request.
    idle: u64,
}

fn main() -> ExitCode {
    // cargo adds an argument, and a plain `cargo bench` starts this program too.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Into::into);
    let ended = match std::env::args().nth(1).as_deref() {
        Some("run") => runtime.and_then(|runtime| runtime.block_on(run())),
        Some("uploads") => runtime.and_then(|runtime| runtime.block_on(uploads::run())),
        Some("media") => media::run(),
        Some("upkeep") => upkeep::run(),
        _ => {
            println!("load: run `make load`");
            return ExitCode::SUCCESS;
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome<()> {
    let plan = Plan {
        phones: number("PHONES", 2000)?,
        bytes: number("BYTES", 300_000)?,
        seconds: number("SECONDS", 15)?,
        spread: number("SPREAD", 0)?,
        idle: number("IDLE", 10_000)?,
    };
    enough_files(plan.phones + plan.idle + 200)?;
    eprintln!("load: making {} photos", plan.phones);
    let bodies = photos::bodies(plan.phones, plan.bytes)?;
    let server = Server::start(&[])?;
    let start = server.memory()?;
    println!("start: {start}");

    let progress = Arc::new(Progress::default());
    let monitor = monitor::watch(&server, Arc::clone(&progress))?;
    let cut = Arc::new(AtomicU64::new(0));
    let mut idle = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / OPEN_PER_SECOND);
    for number in 0..plan.idle {
        pace.tick().await;
        idle.spawn(clients::idle(server.address, number, Arc::clone(&cut)));
        progress.idle.fetch_add(1, Ordering::Relaxed);
    }
    println!("with {} idle connections: {}", plan.idle, server.memory()?);

    let mut phones = JoinSet::new();
    let spread = Duration::from_secs(plan.spread);
    for (number, body) in (0..).zip(bodies) {
        let wait = spread * u32::try_from(number).unwrap_or(u32::MAX) / u32::try_from(plan.phones.max(1))?;
        let phone = Phone { number, body, over: Duration::from_secs(plan.seconds) };
        let address = server.address;
        phones.spawn(async move {
            tokio::time::sleep(wait).await;
            phone.send(address).await
        });
    }
    let mut statuses = BTreeMap::<String, u64>::new();
    let mut waits = Vec::new();
    let mut half_way = Box::pin(tokio::time::sleep(spread + Duration::from_secs(plan.seconds) * 4 / 5));
    let mut is_reported = false;
    loop {
        tokio::select! {
            () = &mut half_way, if !is_reported => {
                is_reported = true;
                println!("late in the uploads: {}; {} open files", server.memory()?, server.files());
            }
            answer = phones.join_next() => {
                let Some(answer) = answer else { break };
                let Answer { status, wait } = answer?;
                progress.answered.fetch_add(1, Ordering::Relaxed);
                *statuses.entry(status).or_default() += 1;
                waits.push(wait);
            }
        }
    }
    let end = server.memory()?;
    println!("end: {end}; peak {} KiB above the start's", end.peak.saturating_sub(start.peak));
    println!("answers: {statuses:?}");
    println!("from a photo's last byte to its answer: {}", spans(waits));
    progress.is_over.store(true, Ordering::Relaxed);
    let report = monitor.join().map_err(|_| "the monitor panicked")??;
    println!(
        "health, {} answered, {} failed: {}",
        report.health().len(),
        report.failures(),
        spans(report.health())
    );
    println!("idle connections that the server closed and that came back: {}", cut.load(Ordering::Relaxed));
    println!("\n{}", report.table());
    idle.shutdown().await;
    Ok(())
}

/// Formats the median, 99th percentile and maximum.
fn spans(mut spans: Vec<Duration>) -> String {
    spans.sort_unstable();
    let at = |percent: usize| spans.get((spans.len() * percent / 100).min(spans.len().saturating_sub(1)));
    match (at(50), at(99), spans.last()) {
        (Some(half), Some(most), Some(all)) => format!("p50 {half:.1?}, p99 {most:.1?}, max {all:.1?}"),
        _ => "none".to_owned(),
    }
}

fn number(name: &str, default: u64) -> Outcome<u64> {
    let name = format!("VINTEDBOT_LOAD_{name}");
    match std::env::var(&name) {
        Ok(text) => Ok(text.parse().map_err(|_| format!("{name} takes a number"))?),
        Err(_) => Ok(default),
    }
}

fn enough_files(needed: u64) -> Outcome<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < needed {
        return Err(format!("{needed} open files are needed, and the limit is {hard}").into());
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
