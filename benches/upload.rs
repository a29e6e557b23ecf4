//! The whole server over loopback: several keep-alive connections, each uploading one photo after the other.
//!
//! Every upload differs in source and output: a counter is written into the quantisation table, so that no hash of a
//! source or an output occurs twice. Client and server share the machine.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use vintedbot_ingest::app::App;
use vintedbot_ingest::config::{Settings, Source};

use crate::photos::{encode, phone, phone_pixels};

const BOUNDARY: &str = "----vintedbot-bench";

pub(crate) fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let small = encode(&phone_pixels(4), turbojpeg::Subsamp::Sub2x2);
    let mut group = criterion.benchmark_group("upload");
    group.sampling_mode(SamplingMode::Flat);
    for (label, photo) in [("12mp", &phone().bytes), ("0.8mp", &small)] {
        for concurrency in [1, 8, 32] {
            // The bytes sent in one iteration: one upload of each connection.
            let elements = u64::from(concurrency);
            let bytes = elements * photo.len() as u64;
            group.throughput(Throughput::ElementsAndBytes { elements, bytes });
            group.bench_function(format!("{label}/c{concurrency}"), |bencher| {
                let server = Server::start(&runtime);
                let photos = Arc::new(Photos::new(photo));
                bencher.iter_custom(|rounds| {
                    let uploads = u32::try_from(rounds).unwrap() * concurrency;
                    runtime.block_on(server.upload(&photos, uploads, concurrency))
                });
                server.stop(&runtime);
            });
        }
    }
    group.finish();
}

/// A photo and its variants.
struct Photos {
    bytes: Vec<u8>,
    /// Offset of the values of the first quantisation table.
    table: usize,
    made: AtomicU32,
    /// The length of a stored output.
    stored: Mutex<HashSet<String>>,
}

impl Photos {
    fn new(jpeg: &[u8]) -> Self {
        let mut at = 2;
        while jpeg[at + 1] != 0xDB {
            at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        }
        assert_eq!(jpeg[at + 4], 0, "the first table is that of luminance, with 8-bit values");
        Self { bytes: jpeg.to_vec(), table: at + 5, made: AtomicU32::new(0), stored: Mutex::default() }
    }

    /// Returns a form with the next variant. Each bit of its number makes one frequency a step coarser.
    fn next_form(&self) -> Vec<u8> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{number}.jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n"
        );
        let mut form = [head.as_bytes(), &self.bytes, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat();
        // Not the first value, which sets the brightness of whole blocks.
        let table = &mut form[head.len() + self.table + 1..][..20];
        for (bit, value) in table.iter_mut().enumerate() {
            *value = value.saturating_add(u8::from(number >> bit & 1 == 1));
        }
        form
    }

    /// Checks that no upload was recognised as an earlier one, which would measure something else.
    fn check(&self, draft: &Value) {
        let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
        assert!(self.stored.lock().unwrap().insert(url.to_owned()), "{url} was stored twice");
    }
}

struct Server {
    url: String,
    client: Client,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(runtime: &Runtime) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let settings = Settings::load(&Source::from_pairs([
            ("PORT", "0".to_owned()),
            ("DATABASE_URL", format!("sled:{}", path("db"))),
            ("MEDIA_ROOT", path("uploads")),
            ("RATE_LIMIT_GLOBAL", "off".to_owned()),
            ("RATE_LIMIT_UPLOAD", "off".to_owned()),
            ("MIN_FREE_DISK_MB", "0".to_owned()),
        ]));
        let app = runtime.block_on(App::start(&settings.unwrap(), None)).unwrap();
        let url = format!("http://{}/api/v1/ingest/upload", app.address());
        let (stop, stopped) = oneshot::channel();
        let ended = runtime.spawn(async move {
            app.run(async { stopped.await.unwrap_or(()) }).await;
        });
        Self { url, client: Client::new(), stop, ended, _dir: dir }
    }

    /// Returns the time for `uploads` uploads, `concurrency` at a time.
    async fn upload(&self, photos: &Arc<Photos>, uploads: u32, concurrency: u32) -> Duration {
        let started = Instant::now();
        let connections = (0..concurrency).map(|_| {
            let (client, url, photos) = (self.client.clone(), self.url.clone(), Arc::clone(photos));
            tokio::spawn(async move {
                for _ in 0..uploads / concurrency {
                    let request = client
                        .post(&url)
                        .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"))
                        .body(photos.next_form());
                    let response = request.send().await.unwrap();
                    assert_eq!(response.status(), StatusCode::CREATED);
                    // Read to the end, otherwise the connection is not reused.
                    photos.check(&response.json().await.unwrap());
                }
            })
        });
        for connection in join_all(connections).await {
            connection.unwrap();
        }
        started.elapsed()
    }

    fn stop(self, runtime: &Runtime) {
        drop(self.client);
        self.stop.send(()).unwrap();
        runtime.block_on(self.ended).unwrap();
    }
}
