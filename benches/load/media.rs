//! `GET /media` beside nginx with sendfile: requests a second and processor time, each server on the first core with wrk on the
//! second one, in rounds that alternate. Needs the programs `nginx` and `wrk`.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use crate::server::Server;
use crate::{Outcome, number};

/// Sizes of photos in bytes: a thumbnail, and what a phone's photo becomes.
const SIZES: [usize; 2] = [20_000, 300_000];

/// A server, and what it did for one size in each round.
struct Participant {
    name: &'static str,
    pid: u32,
    /// What precedes the name of a photo.
    base: String,
    /// Requests a second, and processor microseconds of a request.
    rounds: [Vec<(f64, f64)>; SIZES.len()],
}

/// Killed on drop, with its worker.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).map(Pid::from_raw);
        let _already_gone = pid.map(|pid| nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM));
        let _already_gone = self.0.wait();
    }
}

pub(crate) fn run() -> Outcome<()> {
    let (rounds, seconds) = (number("ROUNDS", 5)?, number("SECONDS", 3)?);
    // Servers are started on the first core, which they take for all there is.
    run_on(0)?;
    let server = Server::start(&[])?;
    let root = server.dir().join("data/uploads");
    let mut names = Vec::new();
    for size in SIZES {
        let photo: Vec<u8> = (0..size).map(|at| (at * at % 251).to_le_bytes()[0]).collect();
        let digest: String = Sha256::digest(&photo).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(root.join(format!("{digest}.jpg")), photo)?;
        names.push(format!("{digest}.jpg"));
    }
    let nginx = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let ports = [free_port()?, free_port()?];
    let mut peers = Vec::new();
    for (cache, port) in ["open_file_cache max=1000;", ""].into_iter().zip(ports) {
        peers.push(start_nginx(nginx.path(), &root, cache, port)?);
    }
    run_on(1)?;
    for port in ports {
        wait_for(port)?;
    }
    let own = ("ours", server.id(), format!("http://{}/media", server.address));
    let peer = |at: usize, name| -> Outcome<_> {
        Ok((name, worker(peers[at].0.id())?, format!("http://127.0.0.1:{}", ports[at])))
    };
    let all = [own, peer(0, "nginx")?, peer(1, "nginx without open_file_cache")?];
    let mut all = all.map(|(name, pid, base)| Participant { name, pid, base, rounds: Default::default() });
    for _ in 0..rounds {
        for participant in &mut all {
            for (name, results) in names.iter().zip(&mut participant.rounds) {
                let url = format!("{}/{name}", participant.base);
                results.push(wrk(&url, seconds, participant.pid)?);
            }
        }
    }
    println!("| bytes | server | requests a second | of nginx's | processor µs a request | of nginx's |");
    println!("|---|---|---|---|---|---|");
    for (at, size) in SIZES.into_iter().enumerate() {
        let (rate, time) = medians(&all[1].rounds[at]);
        for participant in &all {
            let (own_rate, own_time) = medians(&participant.rounds[at]);
            let (part, more) = (own_rate / rate, own_time / time);
            println!(
                "| {size} | {} | {own_rate:.0} | {part:.2} | {own_time:.1} | {more:.2} |",
                participant.name
            );
        }
    }
    println!("\nours: {}", server.memory()?);
    Ok(())
}

/// Binds this thread, and what it starts from now on, to a core.
fn run_on(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)
        .map_err(|error| format!("core {core} cannot be used: {error}").into())
}

fn free_port() -> Outcome<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn start_nginx(dir: &Path, root: &Path, cache: &str, port: u16) -> Outcome<Nginx> {
    let (dir, root) = (dir.display(), root.display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path {dir}/{name};")).collect();
    let config = format!(
        "user root; daemon off; worker_processes 1; pid {dir}/{port}.pid; error_log {dir}/errors;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000000; {cache} {temporary}\n\
         types {{ image/jpeg jpg; }} server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    );
    let path = format!("{dir}/{port}.conf");
    fs::write(&path, config)?;
    let nginx = Command::new("nginx").args(["-c", &path, "-e", "stderr"]).spawn();
    Ok(Nginx(nginx.map_err(|error| format!("nginx cannot be started: {error}"))?))
}

/// Waits until a server listens.
fn wait_for(port: u16) -> Outcome<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            return Err("nginx does not listen: see its messages".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Returns the process that answers for the nginx of this number.
fn worker(master: u32) -> Outcome<u32> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
    Ok(children.split_whitespace().next().ok_or("nginx has no worker: see its messages")?.parse()?)
}

/// Loads a server over 16 connections. Returns requests a second, and processor microseconds of a request.
fn wrk(url: &str, seconds: u64, pid: u32) -> Outcome<(f64, f64)> {
    let before = processor_microseconds(pid)?;
    let output = Command::new("wrk").args(["-t1", "-c16", &format!("-d{seconds}"), url]).output();
    let output =
        String::from_utf8(output.map_err(|error| format!("wrk cannot be started: {error}"))?.stdout)?;
    let used = processor_microseconds(pid)? - before;
    let of = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let rate = output.split("Requests/sec:").nth(1).and_then(of);
    let requests = output.lines().find(|line| line.contains(" requests in ")).and_then(of);
    match (rate, requests) {
        (Some(rate), Some(requests)) if !output.contains("Non-2xx") => Ok((rate, used / requests)),
        _ => Err(format!("wrk failed: {output}").into()),
    }
}

/// Returns the processor time of a process, user and system.
fn processor_microseconds(pid: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no process")?;
    let fields = fields.split_whitespace().skip(11).take(2);
    // Ticks of a hundredth of a second.
    Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10_000.0)
}

fn medians(rounds: &[(f64, f64)]) -> (f64, f64) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (
        median(rounds.iter().map(|round| round.0).collect()),
        median(rounds.iter().map(|round| round.1).collect()),
    )
}
