//! Memory of resumable uploads: thousands that trickle, and a hundred thousand that rest.
//!
//! Each part has a server of its own, because the peak of a process never falls. Rate limits are off: all uploads come from one
//! machine. What rests is a row and a small file, as a phone leaves it that lost its connection after the first bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::clients::connect;
use crate::server::{Memory, Server};
use crate::{Outcome, enough_files, number, photos};

/// Settings without which one machine could not be many clients.
const SETTINGS: [(&str, &str); 2] = [("RATE_LIMIT_GLOBAL", "off"), ("RATE_LIMIT_UPLOAD", "off")];
/// Pause between two steps of a slow phone.
const STEP: Duration = Duration::from_millis(500);
/// New connections per second.
const CONNECTIONS_PER_SECOND: u32 = 500;
/// Bytes of an upload that rests.
const RESTING_BYTES: usize = 600;
/// A search for stray bytes after a start takes less.
const SEARCH: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> Outcome<()> {
    let (trickling, seconds) = (number("TRICKLING", 2000)?, number("TRICKLE_SECONDS", 60)?);
    let rate = usize::try_from(number("TRICKLE_RATE", 1100)?)?;
    let (resting, creators) = (number("RESTING", 100_000)?, number("CREATORS", 64)?);
    enough_files(trickling + creators + 200)?;
    let photo: Arc<[u8]> = photos::photo(1 << 20)?.into();
    trickle(trickling, Duration::from_secs(seconds), rate, &photo).await?;
    rest(resting, creators, &photo).await
}

async fn trickle(count: u64, time: Duration, rate: usize, photo: &Arc<[u8]>) -> Outcome<()> {
    if count == 0 {
        return Ok(());
    }
    let server = Server::start(&SETTINGS)?;
    let start = server.memory()?;
    println!("start: {start}");
    let mut phones = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / CONNECTIONS_PER_SECOND);
    for phone in 0..count {
        pace.tick().await;
        let (address, photo) = (server.address, Arc::clone(photo));
        phones.spawn(async move { send_slowly(address, phone, rate, &photo).await });
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(ended) = phones.try_join_next() {
            return Err(format!("an upload that trickles ended: {:?}", ended?).into());
        }
    }
    let Memory { now, peak } = server.memory()?;
    println!(
        "{count} uploads that trickle at {rate} B/s for {} s: VmRSS {now} KiB, VmHWM {peak} KiB, {} KiB above the start's; {} open files",
        time.as_secs(),
        peak.saturating_sub(start.peak),
        server.files()
    );
    phones.shutdown().await;
    Ok(())
}

/// Sends a photo at this rate, and the answer is never reached.
async fn send_slowly(server: SocketAddr, number: u64, rate: usize, photo: &[u8]) -> io::Result<()> {
    let mut socket = connect(server, 4, number).await?;
    socket.write_all(head("?1", photo.len()).as_bytes()).await?;
    let mut pace = tokio::time::interval(STEP);
    for piece in photo.chunks(rate / 2) {
        pace.tick().await;
        socket.write_all(piece).await?;
    }
    Ok(())
}

/// Creates `count` uploads over so many `connections`, then starts the server again with them.
async fn rest(count: u64, connections: u64, photo: &Arc<[u8]>) -> Outcome<()> {
    if count == 0 {
        return Ok(());
    }
    let server = Server::start(&SETTINGS)?;
    let start = server.memory()?;
    let begun = Instant::now();
    let (next, mut creators) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for creator in 0..connections {
        let (address, photo, next) = (server.address, Arc::clone(photo), Arc::clone(&next));
        creators.spawn(async move {
            let mut socket = connect(address, 5, creator).await?;
            while next.fetch_add(1, Ordering::Relaxed) < count {
                create(&mut socket, photo.get(..RESTING_BYTES).unwrap_or(&photo)).await?;
            }
            io::Result::Ok(())
        });
    }
    while let Some(ended) = creators.join_next().await {
        ended??;
    }
    let took = begun.elapsed();
    let Memory { now, peak } = server.memory()?;
    println!(
        "{count} uploads that rest, created in {took:.1?}: VmRSS {now} KiB, VmHWM {peak} KiB, {} KiB above the start's",
        peak.saturating_sub(start.peak)
    );
    let begun = Instant::now();
    let server = server.kill_and_start()?;
    println!("started after SIGKILL with them in {:.2?}: {}", begun.elapsed(), server.memory()?);
    // It searches for bytes without an upload now.
    tokio::time::sleep(SEARCH).await;
    println!("{SEARCH:?} later: {}", server.memory()?);
    let begun = Instant::now();
    let server = server.stop_and_start()?;
    println!("stopped by SIGTERM and started with them in {:.2?}: {}", begun.elapsed(), server.memory()?);
    Ok(())
}

/// Creates an upload with these bytes, and leaves it unfinished.
async fn create(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let request = [head("?0", bytes.len()).as_bytes(), bytes].concat();
    socket.write_all(&request).await?;
    let mut answer = Vec::with_capacity(1024);
    while !answer.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    match answer.starts_with(b"HTTP/1.1 201 ") {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned())),
    }
}

/// Returns the head of a request that creates an upload. It names no version, so that no interim response comes.
fn head(is_complete: &str, length: usize) -> String {
    format!(
        "POST /api/v1/uploads HTTP/1.1\r\nHost: load\r\nUpload-Complete: {is_complete}\r\nContent-Length: {length}\r\n\r\n"
    )
}
