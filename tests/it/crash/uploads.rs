//! Kills the server while fifty resumable uploads go on: every offset that it acknowledged is still there after each restart, every
//! finished photo is that of a plain upload, and nothing is left in the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::random;
use super::uploader::{Counts, Known, Running, Sample, UPLOADS, Uploader, without_id};
use crate::bucket::{BUCKET, Bucket};
use crate::cluster::Cluster;
use crate::model::{Place, Random};
use crate::s3;
use crate::support::{Server, files_below, noise, sha256, within};

/// Uploads that go on at the same time.
const CLIENTS: usize = 50;
/// Rounds in `make test`.
const ROUNDS: usize = 3;
/// Widths of the photos, of which most are small: from 20 kB to 2 MB.
const WIDTHS: [usize; 12] = [160, 170, 180, 200, 220, 250, 300, 380, 460, 640, 1000, 1400];
/// Longest time that clients take for a check.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_byte_of_an_upload_is_lost_and_none_is_left_after_kill_9() {
    let place = Place::new(None, Vec::new()).await;
    kill_under_uploads(place, 1, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_byte_of_an_upload_to_two_instances_is_lost_and_none_is_left_after_kill_9() {
    let Some(cluster) = Cluster::shared() else { return };
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let settings = s3::settings(&endpoint, &[]).into_iter();
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    kill_under_uploads(Place::new(Some(cluster), settings).await, 2, Some(&bucket)).await;
}

/// Servers of which one is killed at a time, and their place.
struct Servers {
    place: Place,
    servers: Vec<Server>,
    running: watch::Sender<Running>,
}

impl Servers {
    fn start(place: Place, count: usize) -> Self {
        let start = |number| place.start(number, Arc::new(tempfile::tempdir().unwrap()));
        let servers: Vec<Server> = (0..count).map(start).collect();
        let running = Running { servers: addresses(&servers, None), ..Running::default() };
        Self { place, servers, running: watch::Sender::new(running) }
    }

    /// Kills a server and starts it again. Meanwhile clients go on with the others.
    async fn restart(&mut self, number: usize) {
        let left = addresses(&self.servers, Some(number));
        self.servers[number].signal(Signal::SIGKILL);
        self.running.send_modify(|running| running.servers = left);
        let dir = self.servers[number].dir();
        tokio::task::block_in_place(|| self.servers[number].wait());
        self.place.age_claims().await;
        self.servers[number] = tokio::task::block_in_place(|| self.place.start(number, dir));
        let all = addresses(&self.servers, None);
        self.running.send_modify(|running| {
            running.restarts += 1;
            running.servers = all;
        });
    }

    /// Returns the files with bytes of uploads.
    fn upload_files(&self, bucket: Option<&Bucket>) -> Vec<String> {
        let dir = match bucket {
            Some(bucket) => objects(bucket),
            None => self.servers[0].media_root().join(".uploads"),
        };
        if dir.exists() { files_below(&dir) } else { Vec::new() }
    }
}

/// Returns the directory with the objects of uploads.
fn objects(bucket: &Bucket) -> PathBuf {
    bucket.dir().join(BUCKET).join("uploads")
}

fn addresses(servers: &[Server], without: Option<usize>) -> Vec<SocketAddr> {
    let others = servers.iter().enumerate().filter(|(number, _)| Some(*number) != without);
    others.map(|(_, server)| server.address).collect()
}

/// Returns photos, and what a server that nobody kills makes of them.
async fn samples() -> Vec<Sample> {
    let server = Server::start(&[]);
    let mut samples = Vec::new();
    for (seed, width) in (1..).zip(WIDTHS) {
        let bytes = noise(width, width * 4 / 5, seed);
        let sent = Client::new().post(server.url(UPLOADS)).body(bytes.clone()).send().await.unwrap();
        assert_eq!(sent.status(), 201);
        let upload: Value = sent.json().await.unwrap();
        samples.push(Sample { bytes, media: without_id(&upload["media"]) });
    }
    samples
}

async fn kill_under_uploads(place: Place, count: usize, bucket: Option<&Bucket>) {
    let rounds = super::rounds_or(ROUNDS);
    let seed = random(u64::MAX);
    println!("seed of the clients: {seed}");
    let mut random = Random::new(seed);
    let samples = Arc::new(samples().await);
    let mut servers = Servers::start(place, count);
    let counts = Arc::new(Counts::default());
    let (mut clients, mut checked) = (JoinSet::new(), Vec::new());
    for number in 0..CLIENTS {
        let (sender, receiver) = watch::channel(0);
        checked.push(receiver);
        let client = Uploader {
            number,
            random: Random::new(seed.wrapping_add(number as u64 + 1)),
            samples: Arc::clone(&samples),
            counts: Arc::clone(&counts),
            running: servers.running.subscribe(),
            objects: bucket.map(objects),
            checked: sender,
            finished: Vec::new(),
            cancelled: Vec::new(),
            abandoned: Vec::new(),
        };
        clients.spawn(client.run());
    }
    for round in 1..=rounds {
        tokio::time::sleep(Duration::from_millis(50 + random.below(500) as u64)).await;
        servers.restart(random.below(count)).await;
        let all = async {
            for checked in &mut checked {
                // The client of one that is gone has failed.
                let _failed = checked.wait_for(|checked| *checked >= round).await;
            }
        };
        let is_timely = tokio::time::timeout(PATIENCE, all).await.is_ok();
        if let Some(failed) = clients.try_join_next() {
            failed.unwrap();
        }
        assert!(is_timely, "clients do not check what was acknowledged");
    }
    servers.running.send_modify(|running| running.is_over = true);
    let (mut finished, mut abandoned) = (Vec::new(), Vec::new());
    for client in clients.join_all().await {
        finished.extend(client.finished);
        abandoned.extend(client.abandoned);
    }
    assert_eq!(finished.len(), counts.finished());
    assert!(finished.len() >= rounds, "too few uploads to test anything");
    read_photos(&servers.servers[0], &samples, &finished).await;
    let left = abandoned.len();
    remove(&mut servers, bucket, finished, abandoned).await;
    println!("{rounds} rounds: {counts}; {left} given up; 0 lost, 0 changed, 0 left");
}

/// Asserts that the photos of finished uploads have the bytes that their names stand for.
async fn read_photos(server: &Server, samples: &[Sample], finished: &[Known]) {
    let mut used: Vec<usize> = finished.iter().map(|known| known.sample).collect();
    used.sort_unstable();
    used.dedup();
    for sample in used {
        let url = samples[sample].media["url"].as_str().unwrap();
        let stored = server.get(url).await;
        assert_eq!(stored.status(), 200, "{url}");
        assert!(url.ends_with(&format!("/{}.jpg", sha256(stored.bytes().await.unwrap()))), "{url}");
    }
}

/// Removes all uploads: by requests, and with a database half of them by their age. Asserts that nothing is left.
async fn remove(servers: &mut Servers, bucket: Option<&Bucket>, finished: Vec<Known>, abandoned: Vec<Known>) {
    let client = Client::new();
    for (number, known) in finished.iter().chain(&abandoned).enumerate() {
        if bucket.is_none() || number % 2 == 0 {
            let url = servers.servers[0].url(&known.location);
            assert_eq!(client.delete(url).send().await.unwrap().status(), 204, "{known:?}");
        }
    }
    servers.place.expire_uploads().await;
    // At its start a server removes expired uploads, and bytes without an upload.
    for number in 0..servers.servers.len() {
        servers.restart(number).await;
    }
    // The bucket of the tests lists all its objects for each upload that is removed.
    within(PATIENCE, "bytes of uploads are left", || servers.upload_files(bucket).is_empty()).await;
    for known in finished.iter().chain(&abandoned) {
        assert_eq!(servers.servers[0].get(&known.location).await.status(), 404, "{known:?}");
    }
    let dirs: Vec<_> = servers.servers.drain(..).map(Server::stop).collect();
    assert_nothing_is_left(&servers.place, dirs[0].path()).await;
}

async fn assert_nothing_is_left(place: &Place, dir: &Path) {
    let summary = place.assert_consistent(dir).await;
    assert!(summary.contains(" 0 uploads"), "{summary}");
}
