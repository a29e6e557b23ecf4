//! Thousands of slow phones and idle connections against a server of its own: `make load`.
//!
//! Every phone has an address of its own out of 127.0.0.0/8 and a photo of its own, so that limits per client and the
//! memory of known photos are met as in the field, with the default settings. All of the phones run on one thread and write
//! from prepared bodies, because the generator shares its cores with the server. Meanwhile `/api/v1/health` is asked twenty
//! times a second, each time over a fresh connection. Figures go to stdout; the server's log is dropped.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use self::clients::{Answer, Phone};
use self::server::Server;

mod clients;
mod photos;
mod server;

/// Whatever stops the run, in a sentence.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// New connections a second while the idle ones are opened.
const OPEN_PER_SECOND: u32 = 2000;

/// What is asked of the server. Each has an environment variable: `VINTEDBOT_LOAD_PHONES` and so on.
struct Plan {
    phones: u64,
    /// Bytes of each photo, about.
    bytes: u64,
    /// Over how many seconds each phone sends its photo.
    seconds: u64,
    /// Over how many seconds the phones begin.
    spread: u64,
    /// Connections that ask for nothing; every other one after one request.
    idle: u64,
}

fn main() -> ExitCode {
    // cargo adds an argument of its own, and a plain `cargo bench` starts this program too.
    if std::env::args().nth(1).as_deref() != Some("run") {
        println!("load: `make load` starts this");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run())) {
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
    let server = Server::start()?;
    let start = server.memory()?;
    println!("start: {start}");

    let stop = Arc::new(AtomicBool::new(false));
    // On a thread of its own: its clock must not stand while this one writes for two thousand phones.
    let health = std::thread::spawn({
        let (address, stop) = (server.address, Arc::clone(&stop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        move || runtime.block_on(clients::probe(address, stop))
    });
    let cut = Arc::new(AtomicU64::new(0));
    let mut idle = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / OPEN_PER_SECOND);
    for number in 0..plan.idle {
        pace.tick().await;
        idle.spawn(clients::idle(server.address, number, Arc::clone(&cut)));
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
    let mut told = false;
    loop {
        tokio::select! {
            () = &mut half_way, if !told => {
                told = true;
                println!("late in the uploads: {}; {} open files", server.memory()?, server.files());
            }
            answer = phones.join_next() => {
                let Some(answer) = answer else { break };
                let Answer { status, wait } = answer?;
                *statuses.entry(status).or_default() += 1;
                waits.push(wait);
            }
        }
    }
    let end = server.memory()?;
    println!("end: {end}; peak {} KiB above the start's", end.peak.saturating_sub(start.peak));
    println!("answers: {statuses:?}");
    println!("from a photo's last byte to its answer: {}", spans(waits));
    stop.store(true, Ordering::Relaxed);
    let (asked, failed) = health.join().map_err(|_| "the probe panicked")?;
    println!("health, {} asked, {failed} failed: {}", asked.len(), spans(asked));
    println!("idle connections that the server closed and that came back: {}", cut.load(Ordering::Relaxed));
    idle.shutdown().await;
    Ok(())
}

/// Median, 99th percentile and longest.
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
