use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::outbound::{AddressError, Resolve};

/// Answers each lookup with the next list, and with the last one for ever.
#[derive(Default)]
struct Fickle {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    lookups: AtomicUsize,
}

#[async_trait]
impl Resolve for Fickle {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers.first().cloned().unwrap_or_default() })
    }
}

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// In these tests 127.0.0.2 is on the public internet.
fn is_public(address: IpAddr) -> bool {
    address == loopback(2)
}

fn network(resolver: Arc<dyn Resolve>) -> Network {
    let tls = TlsConnector::from(Arc::new(tls::client().unwrap()));
    Network { resolver, is_public, tls, connect_timeout: Duration::from_secs(5) }
}

/// A server at one port of 127.0.0.1 and 127.0.0.2. Counts the connections to each.
struct Servers {
    port: u16,
    private: Arc<AtomicUsize>,
    public: Arc<AtomicUsize>,
}

impl Servers {
    async fn start(answer: &'static [u8]) -> Self {
        // A port that is free on one address may be in use on the other.
        let (port, public, private) = loop {
            let public = TcpListener::bind(SocketAddr::from((loopback(2), 0))).await.unwrap();
            let port = public.local_addr().unwrap().port();
            match TcpListener::bind(SocketAddr::from((loopback(1), port))).await {
                Ok(private) => break (port, public, private),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse),
            }
        };
        Self { port, private: serve(private, answer), public: serve(public, answer) }
    }

    fn counts(&self) -> (usize, usize) {
        (self.private.load(Ordering::Relaxed), self.public.load(Ordering::Relaxed))
    }

    fn url(&self, host: &str) -> Url {
        Url::parse(&format!("http://{host}:{}/photo.jpg", self.port)).unwrap()
    }
}

/// Answers each connection, and leaves it open. Returns the number of connections.
fn serve(listener: TcpListener, answer: &'static [u8]) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::Relaxed);
            let mut head = [0; 4096];
            let _read = socket.read(&mut head).await;
            let _written = socket.write_all(answer).await;
            open.push(socket);
        }
    });
    count
}

const PHOTO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nphoto";

#[tokio::test]
async fn name_that_is_rebound_is_resolved_once_and_its_judged_address_is_connected_to() {
    let servers = Servers::start(PHOTO).await;
    let resolver = Arc::new(Fickle::default());
    *resolver.answers.lock().unwrap() = vec![vec![loopback(2)], vec![loopback(1)]];
    let network = network(Arc::clone(&resolver) as _);
    let url = servers.url("rebind.test");
    let answer = network.get(&url, Trust::Public).await.unwrap();
    assert_eq!(answer.response.status(), 200);
    assert_eq!((servers.counts(), resolver.lookups.load(Ordering::Relaxed)), ((0, 1), 1));
    for _ in 0..5 {
        let refused = network.get(&url, Trust::Public).await.err();
        assert!(matches!(refused, Some(Cause::Address(AddressError::NotAllowed))), "{refused:?}");
    }
    assert_eq!((servers.counts(), resolver.lookups.load(Ordering::Relaxed)), ((0, 1), 6));
}

#[tokio::test]
async fn private_addresses_of_a_name_with_public_ones_are_never_connected_to() {
    let servers = Servers::start(PHOTO).await;
    let mixed = [vec![loopback(1), loopback(2)], vec![loopback(2), loopback(1)], vec![loopback(1); 20]];
    for (round, addresses) in mixed.into_iter().enumerate() {
        let resolver = Arc::new(Fickle::default());
        *resolver.answers.lock().unwrap() = vec![addresses];
        let got = network(resolver).get(&servers.url("mixed.test"), Trust::Public).await;
        assert_eq!(got.is_ok(), round < 2);
        assert_eq!(servers.counts(), (0, (round + 1).min(2)));
    }
}

#[tokio::test]
async fn private_address_is_connected_to_if_the_origin_is_named() {
    let servers = Servers::start(PHOTO).await;
    let resolver = Arc::new(Fickle::default());
    *resolver.answers.lock().unwrap() = vec![vec![loopback(1)]];
    let network = network(resolver);
    for host in ["photos.test", "127.0.0.1", "0x7f.1"] {
        network.get(&servers.url(host), Trust::Named).await.unwrap();
    }
    assert!(network.get(&servers.url("127.1"), Trust::Public).await.is_err());
    assert_eq!(servers.counts(), (3, 0));
}

/// A fetcher that may fetch from these servers and nothing else.
fn fetcher(servers: &Servers, timeout: Duration) -> Fetcher {
    let origin = format!("http://127.0.0.1:{}", servers.port);
    Fetcher {
        allowed: AllowedOrigins::parse(&[origin]).unwrap(),
        network: network(Arc::new(Fickle::default())),
        timeout,
        fetches: Family::default(),
    }
}

impl Fetcher {
    async fn whole(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let mut fetched = self.fetch(url).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = fetched.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn count(&self, outcome: &'static str) -> u64 {
        self.fetches.get_or_create(&OutcomeLabels { outcome }).get()
    }
}

#[tokio::test]
async fn answer_is_fetched_and_counted_and_one_that_stops_or_is_silent_is_slow() {
    let whole = Servers::start(PHOTO).await;
    let good = fetcher(&whole, Duration::from_secs(20));
    let url = |servers: &Servers| servers.url("127.0.0.1").to_string();
    assert_eq!(good.whole(&url(&whole)).await.as_deref(), Ok(b"photo".as_slice()));
    drop(good.fetch(&url(&whole)).await.unwrap());
    assert_eq!((good.count("fetched"), good.count("abandoned")), (1, 1));
    for silent in
        [b"".as_slice(), b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nphoto"]
    {
        let servers = Servers::start(silent).await;
        let hasty = fetcher(&servers, Duration::from_millis(300));
        assert_eq!(hasty.whole(&url(&servers)).await, Err(FetchError::Failed));
        assert_eq!(hasty.count("slow"), 1);
    }
}

#[tokio::test]
async fn answers_that_are_no_photo_as_it_is_fail_with_their_outcome() {
    let long = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(20_000)).into_boxed_str());
    for (answer, outcome) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "status"),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", "status"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", "status"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "encoded"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n\r\n", "encoded"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "encoded"),
        ("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "redirect"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "redirect"),
        ("HTTP/1.1 302 Found\r\nLocation: https://photos.example/\r\n\r\n", "redirect"),
        ("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "redirect"),
        ("HTTP/1.1 302 Found\r\nLocation: //me@127.0.0.1/\r\n\r\n", "redirect"),
        // To itself, for ever.
        ("HTTP/1.1 302 Found\r\nLocation: /photo.jpg#again\r\n\r\n", "redirect"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "broken"),
        (long, "broken"),
    ] {
        let servers = Servers::start(answer.as_bytes()).await;
        let fetcher = fetcher(&servers, Duration::from_secs(20));
        let got = fetcher.whole(servers.url("127.0.0.1").as_str()).await;
        assert_eq!((got, fetcher.count(outcome)), (Err(FetchError::Failed), 1), "{answer}");
        let expected = if answer.contains("#again") { 1 + MAX_REDIRECTS } else { 1 };
        assert_eq!(servers.counts(), (expected, 0), "{answer}");
    }
}

#[tokio::test]
async fn text_that_is_refused_costs_no_lookup() {
    let servers = Servers::start(PHOTO).await;
    let resolver = Arc::new(Fickle::default());
    let fetcher = Fetcher { network: network(Arc::clone(&resolver) as _), ..fetcher(&servers, TIMEOUT) };
    for (url, error) in [
        ("", FetchError::NotAUrl),
        ("photo.jpg", FetchError::NotAUrl),
        ("//127.0.0.1/", FetchError::NotAUrl),
        ("http://[fe80::1%25lo]/", FetchError::NotAUrl),
        ("http://127.0.0.256/", FetchError::NotAUrl),
        ("http://me@127.0.0.1/", FetchError::Credentials),
        ("http://:secret@127.0.0.1/", FetchError::Credentials),
        ("http://127.0.0.1/", FetchError::Origin),
        ("https://photos.example/", FetchError::Origin),
        ("data:image/png;base64,AAAA", FetchError::Origin),
    ] {
        assert_eq!(fetcher.fetch(url).await.err(), Some(error), "{url}");
    }
    let long = format!("{}?{}", servers.url("127.0.0.1"), "a".repeat(MAX_URL_BYTES));
    assert_eq!(fetcher.fetch(&long).await.err(), Some(FetchError::NotAUrl));
    assert_eq!((resolver.lookups.load(Ordering::Relaxed), servers.counts()), (0, (0, 0)));
    assert_eq!(fetcher.count("refused"), 11);
}
