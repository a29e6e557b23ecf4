//! A service with the API of S3 that has any number of photos without their bytes, and counts requests. For the unit tests of the
//! bucket and the bench of maintenance.

#![allow(dead_code, reason = "two programs have it, and each uses a part")]

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) const BUCKET: &str = "photos";
/// Bytes that every photo has.
pub(crate) const LENGTH: u64 = 300_000;
/// Most objects of one answer, as of S3.
const PAGE: usize = 1000;
const PREFIX: &str = "media/";

/// The order in which objects are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListOrder {
    /// That of S3.
    Names,
    /// One that no store relies on. `start-after` is ignored.
    Reversed,
}

/// Requests since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) list: u64,
    pub(crate) head: u64,
    pub(crate) get: u64,
    pub(crate) delete: u64,
    /// Lists of other prefixes than that of the photos.
    pub(crate) other: u64,
}

impl Counts {
    pub(crate) fn all(self) -> u64 {
        let Self { list, head, get, delete, other } = self;
        list + head + get + delete + other
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            list: self.list - earlier.list,
            head: self.head - earlier.head,
            get: self.get - earlier.get,
            delete: self.delete - earlier.delete,
            other: self.other - earlier.other,
        }
    }
}

struct State {
    /// The hashes of the photos, ascending.
    photos: Vec<[u8; 32]>,
    order: ListOrder,
    removed: Mutex<HashSet<[u8; 32]>>,
    counts: [AtomicU64; 5],
}

/// A running service on a thread of its own. Stops on drop.
pub(crate) struct ListedBucket {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

impl ListedBucket {
    pub(crate) fn start(mut photos: Vec<[u8; 32]>, order: ListOrder) -> Self {
        photos.sort_unstable();
        let state = Arc::new(State { photos, order, removed: Mutex::default(), counts: Default::default() });
        let (stop, stopped) = oneshot::channel();
        let (say, said) = std::sync::mpsc::channel();
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                say.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = serve(listener, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: said.recv().unwrap(), state, _stop: stop }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn counts(&self) -> Counts {
        let [list, head, get, delete, other] =
            self.state.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Counts { list, head, get, delete, other }
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let _ = socket.set_nodelay(true);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let answer = state.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            let _client_gone = http.serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

impl State {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let count = |at: usize| self.counts[at].fetch_add(1, Ordering::Relaxed);
        let object = request.uri().path().trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default();
        let key = parse(object.trim_start_matches('/'));
        let has = key.filter(|key| self.has(key));
        match *request.method() {
            Method::GET if key.is_none() => {
                let query = request.uri().query().unwrap_or_default();
                let value = |name: &str| {
                    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
                    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
                };
                let is_photos = value("prefix").as_deref() == Some(PREFIX);
                count(if is_photos { 0 } else { 4 });
                let most = value("max-keys").and_then(|most| most.parse().ok()).unwrap_or(PAGE).min(PAGE);
                let token = value("continuation-token").and_then(|token| token.parse().ok());
                let after = value("start-after").as_deref().and_then(parse);
                let at = token.unwrap_or_else(|| match (after, self.order) {
                    (Some(after), ListOrder::Names) => self.photos.partition_point(|photo| *photo <= after),
                    _ => 0,
                });
                let body = if is_photos { self.list(at, most) } else { document("", false, 0) };
                Response::new(Full::new(body.into()))
            }
            Method::HEAD => {
                count(1);
                let answer = Response::builder().status(if has.is_some() { 200 } else { 404 });
                let answer = answer.header("content-length", if has.is_some() { LENGTH } else { 0 });
                let answer =
                    answer.header("last-modified", "Wed, 25 Nov 2026 12:00:00 GMT").header("etag", "\"e\"");
                answer.body(Full::default()).unwrap()
            }
            Method::DELETE => {
                count(3);
                self.removed.lock().unwrap().extend(key);
                Response::builder().status(204).body(Full::default()).unwrap()
            }
            _ => {
                count(2);
                Response::builder().status(404).body(Full::default()).unwrap()
            }
        }
    }

    fn has(&self, key: &[u8; 32]) -> bool {
        self.photos.binary_search(key).is_ok() && !self.removed.lock().unwrap().contains(key)
    }

    /// Returns the answer with the objects from number `at` on.
    fn list(&self, at: usize, most: usize) -> String {
        let end = (at + most).min(self.photos.len());
        let mut contents = String::with_capacity(most * 230);
        for number in at..end {
            let photo = match self.order {
                ListOrder::Names => &self.photos[number],
                ListOrder::Reversed => &self.photos[self.photos.len() - 1 - number],
            };
            if !self.removed.lock().unwrap().contains(photo) {
                write!(
                    contents,
                    "<Contents><Key>{PREFIX}{}.jpg</Key><LastModified>2026-11-25T12:00:00.000Z</LastModified>\
                     <ETag>&quot;e&quot;</ETag><Size>{LENGTH}</Size></Contents>",
                    hex(photo)
                )
                .unwrap();
            }
        }
        document(&contents, end < self.photos.len(), end)
    }
}

fn document(contents: &str, is_truncated: bool, next: usize) -> String {
    let token = match is_truncated {
        true => format!("<NextContinuationToken>{next}</NextContinuationToken>"),
        false => String::new(),
    };
    format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>{contents}{token}</ListBucketResult>")
}

pub(crate) fn hex(key: &[u8; 32]) -> String {
    key.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Returns the hash in the name of a photo.
fn parse(name: &str) -> Option<[u8; 32]> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(".jpg")?;
    let mut key = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(key)
}
