//! A TCP proxy that breaks every connection after a while, as the network of a phone does.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::model::Random;

/// The proxy. It ends on drop.
pub(crate) struct CuttingProxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct Counts {
    passed: AtomicU64,
    cuts: AtomicU64,
}

impl CuttingProxy {
    /// Starts a proxy before `server`. It cuts each connection after a random number of bytes of requests in `range`.
    /// `VINTEDBOT_CUT_SEED` repeats the numbers of an earlier run.
    pub(crate) fn start(server: SocketAddr, range: Range<usize>) -> Self {
        let seed = std::env::var("VINTEDBOT_CUT_SEED").ok();
        let seed = seed.map_or_else(|| u64::from(std::process::id()), |seed| seed.parse().expect("a number"));
        // The test harness shows it only if the test fails.
        println!("VINTEDBOT_CUT_SEED={seed}");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let of_connections = Arc::clone(&counts);
        runtime.spawn(async move {
            let mut random = Random::new(seed);
            while let Ok((client, _)) = listener.accept().await {
                let budget = range.start + random.below(range.len());
                let is_reset = random.chance(50);
                tokio::spawn(pass(client, server, budget, is_reset, Arc::clone(&of_connections)));
            }
        });
        Self { address, counts, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns how many bytes of requests, heads included, the proxy passed on to the server.
    pub(crate) fn passed(&self) -> u64 {
        self.counts.passed.load(Ordering::SeqCst)
    }

    /// Returns how many connections the proxy cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.counts.cuts.load(Ordering::SeqCst)
    }
}

/// Passes bytes between a client and the server until one of them ends, or until the budget of the requests is spent.
async fn pass(mut client: TcpStream, server: SocketAddr, budget: usize, is_reset: bool, counts: Arc<Counts>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let is_cut = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let requests = async {
            let (mut left, mut buffer) = (budget, vec![0; 16 << 10]);
            while left > 0 {
                let most = left.min(buffer.len());
                let Ok(read @ 1..) = from_client.read(&mut buffer[..most]).await else { return false };
                if to_server.write_all(&buffer[..read]).await.is_err() {
                    return false;
                }
                counts.passed.fetch_add(read as u64, Ordering::SeqCst);
                left -= read;
            }
            true
        };
        tokio::select! {
            is_cut = requests => is_cut,
            _ = tokio::io::copy(&mut from_server, &mut to_client) => false,
        }
    };
    if is_cut {
        counts.cuts.fetch_add(1, Ordering::SeqCst);
        if is_reset {
            // With this option, closing the socket sends RST instead of FIN.
            for socket in [&client, &server] {
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            }
        }
    }
}
