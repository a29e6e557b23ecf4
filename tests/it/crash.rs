//! Kills the server with SIGKILL at random moments under load, repeatedly on the same data: nothing that was
//! acknowledged may be lost or changed, and nothing else may be left behind.
//!
//! `make crash ROUNDS=200` runs more rounds than `make test` has time for.

mod deliveries;
mod exchange;
mod forms;
mod uploader;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use self::deliveries::FailingReceiver;
use crate::bucket::{BUCKET, Bucket};
use crate::cluster::Cluster;
use crate::model::{Gallery, Place, Random, Restarting};
use crate::s3;
use crate::support::{BOUNDARY, Server, UPLOAD, file, files_below, form, photo_numbered, sha256};

const CLIENTS: usize = 6;
const ROUNDS: usize = 6;
/// Different photos of the mixed load.
const GOOD_PHOTOS: usize = 30;
/// Number of rounds between two checks of everything ever acknowledged; other rounds check only what is new.
const FULL_EVERY: usize = 20;

/// Totals of all rounds.
#[derive(Debug, Default)]
struct Totals {
    /// Acknowledged drafts, by id.
    acknowledged: BTreeMap<u64, Value>,
    /// Ids up to which everything was checked.
    checked: u64,
    /// Number of uploads that ended without a response.
    unanswered: usize,
    /// Number of drafts that exist although their upload got no response.
    unacknowledged: usize,
    /// Names of the photos of all drafts seen so far.
    referenced: BTreeSet<String>,
}

fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

fn rounds() -> usize {
    rounds_or(ROUNDS)
}

/// Returns how many rounds to run, and `default` if nothing is said.
fn rounds_or(default: usize) -> usize {
    std::env::var("VINTEDBOT_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_drafts_survive_and_nothing_else_is_left_after_kill_9() {
    let rounds = rounds();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let numbers = Arc::new(AtomicUsize::new(0));
    let mut totals = Totals::default();
    for round in 0..rounds {
        let server = Server::start_in(Arc::clone(&dir), &[]);
        check(&server, &dir, &mut totals, round % FULL_EVERY == 0).await;
        load_and_kill(server, &numbers, &mut totals).await;
    }
    let server = Server::start_in(Arc::clone(&dir), &[]);
    check(&server, &dir, &mut totals, true).await;
    assert!(totals.acknowledged.len() >= rounds, "too few uploads to test anything");
    println!(
        "{rounds} rounds: {} drafts acknowledged, {} uploads cut off of which {} have a draft, {} photos; \
         0 lost, 0 changed, 0 torn, 0 left over",
        totals.acknowledged.len(),
        totals.unanswered,
        totals.unacknowledged,
        totals.referenced.len(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_undone_no_key_makes_two_drafts_and_no_event_is_lost_after_kill_9() {
    let receiver = FailingReceiver::start(random(u64::MAX), None);
    let place = Place::new(None, receiver.settings()).await;
    kill_under_changes(place, 1, &receiver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_of_two_instances_is_undone_and_no_event_is_lost_after_kill_9() {
    let Some(cluster) = Cluster::shared() else { return };
    let bucket = Bucket::start();
    let receiver = FailingReceiver::start(random(u64::MAX), Some(bucket.dir().join(BUCKET).join("media")));
    let endpoint = bucket.endpoint();
    let mut settings = receiver.settings();
    let own = s3::settings(&endpoint, &[]);
    settings.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    kill_under_changes(Place::new(Some(cluster), settings).await, 2, &receiver).await;
}

/// Clients upload, change and delete drafts, send requests again with their keys and break off requests. Each knows what its drafts
/// have to be after each restart, and so which events there have to be. In each round one of the servers is killed. In the end all
/// users are erased, and a server is killed once more while it delivers that.
async fn kill_under_changes(place: Place, servers: usize, receiver: &FailingReceiver) {
    let rounds = rounds();
    let gallery = Arc::new(Gallery::learn(GOOD_PHOTOS).await);
    let mut restarting = Restarting::start(gallery, place, servers);
    let shared = Arc::clone(&restarting.shared);
    let (stop, stopped) = watch::channel(false);
    let mut clients =
        restarting.start_clients(CLIENTS, &mut Random::new(random(u64::MAX)), usize::MAX, &stopped);
    let any_server = || usize::try_from(random(servers as u64)).unwrap();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(100 + random(500))).await;
        let server = any_server();
        if random(3) == 0 {
            restarting.signal(server, Signal::SIGSTOP);
            tokio::time::sleep(Duration::from_millis(random(100))).await;
        }
        restarting.restart(server, Signal::SIGKILL).await;
        if let Some(failed) = clients.try_join_next() {
            failed.unwrap();
        }
    }
    stop.send(true).unwrap();
    clients.join_all().await;
    receiver.check(&shared.history, 0).await;

    let server = any_server();
    restarting.end(server, Signal::SIGKILL).await;
    for user in 1..=CLIENTS {
        restarting.run(&["user", "erase", &user.to_string()]);
    }
    let photos = shared.note_erasure();
    restarting.start_again(server).await;
    tokio::time::sleep(Duration::from_millis(random(300))).await;
    restarting.restart(server, Signal::SIGKILL).await;
    let delivered = receiver.check(&shared.history, photos).await;
    restarting.stop().await;
    println!("{rounds} rounds: {}; {delivered}; 0 lost, 0 undone, 0 made twice", shared.counts);
}

/// Uploads from several clients until the server is killed.
async fn load_and_kill(mut server: Server, numbers: &Arc<AtomicUsize>, totals: &mut Totals) {
    let url = server.url(UPLOAD);
    let clients = (0..CLIENTS).map(|_| tokio::spawn(upload_until_it_dies(url.clone(), Arc::clone(numbers))));
    let clients: Vec<_> = clients.collect();
    tokio::time::sleep(Duration::from_millis(50 + random(400))).await;
    if random(3) == 0 {
        // In one of three rounds, SIGSTOP first stops each thread at some point. Connections stay open meanwhile.
        server.signal(Signal::SIGSTOP);
        tokio::time::sleep(Duration::from_millis(random(100))).await;
    }
    server.signal(Signal::SIGKILL);
    server.wait();
    for client in clients {
        let (answered, unanswered) = client.await.unwrap();
        totals.unanswered += unanswered;
        for draft in answered {
            let id = draft["id"].as_u64().unwrap();
            let earlier = totals.acknowledged.insert(id, draft);
            assert_eq!(earlier, None, "an id was reused");
        }
    }
}

/// Uploads forms of one to three photos, most of them new, until the server dies. Returns the responses and the
/// number of uploads without one.
async fn upload_until_it_dies(url: String, numbers: Arc<AtomicUsize>) -> (Vec<Value>, usize) {
    let client = Client::new();
    let mut answered = Vec::new();
    loop {
        let photos: Vec<Vec<u8>> = (0..=random(3))
            .map(|_| {
                let is_repeat = random(5) == 0;
                let last = numbers.fetch_add(usize::from(!is_repeat), Ordering::Relaxed);
                let back = if is_repeat { usize::try_from(random(20)).unwrap() } else { 0 };
                let number = last.saturating_sub(back);
                photo_numbered(40 + number % 211, 30 + number / 211 % 199, number)
            })
            .collect();
        let parts: Vec<_> = photos.iter().map(|photo| file(photo)).collect();
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let request = client.post(&url).header("content-type", content_type).body(form(&parts));
        let Ok(response) = request.send().await else {
            return (answered, 1);
        };
        let status = response.status();
        match response.json::<Value>().await {
            Ok(draft) if status == 201 => answered.push(draft),
            Ok(problem) => panic!("{status}: {problem}"),
            // The response was cut off: the client does not know its id.
            Err(_) => return (answered, 1),
        }
    }
}

/// Checks the state after a restart, over HTTP and in the directories.
async fn check(server: &Server, dir: &TempDir, totals: &mut Totals, everything: bool) {
    let media_root = dir.path().join("data/uploads");
    assert_eq!(files_below(&media_root.join(".staging")), Vec::<String>::new(), "no staged file may be left");
    let client = Client::new();
    let last_acknowledged = totals.acknowledged.keys().next_back().copied().unwrap_or(0);
    let mut id = if everything { 1 } else { totals.checked + 1 };
    loop {
        let response = client.get(server.url(&format!("/api/v1/listings/{id}"))).send().await.unwrap();
        if response.status() == 404 && id > last_acknowledged {
            break;
        }
        let is_new = id > totals.checked;
        match totals.acknowledged.get(&id).cloned() {
            Some(answered) => {
                assert_eq!(response.status(), 200, "draft {id} is lost");
                assert_eq!(
                    response.json::<Value>().await.unwrap(),
                    answered,
                    "draft {id} is not as answered"
                );
                look_at_photos(server, &client, &answered, totals, everything).await;
            }
            // Ids of failed commits may be missing in between.
            None if response.status() == 404 => {}
            None => {
                let draft: Value = response.json().await.unwrap();
                totals.unacknowledged += usize::from(is_new);
                look_at_photos(server, &client, &draft, totals, everything).await;
            }
        }
        totals.checked = totals.checked.max(id);
        id += 1;
    }
    let stored: BTreeSet<String> = std::fs::read_dir(&media_root)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let left: Vec<&String> = stored.difference(&totals.referenced).collect();
    assert!(left.is_empty(), "photos without a draft: {left:?}");
    let lost: Vec<&String> = totals.referenced.difference(&stored).collect();
    assert!(lost.is_empty(), "drafts without their photo: {lost:?}");
}

async fn look_at_photos(
    server: &Server,
    client: &Client,
    draft: &Value,
    totals: &mut Totals,
    read_all: bool,
) {
    for photo in draft["photos"].as_array().unwrap() {
        let url = photo["media"]["url"].as_str().unwrap();
        let name = url.rsplit('/').next().unwrap().to_owned();
        if read_all || !totals.referenced.contains(&name) {
            let response = client.get(server.url(url)).send().await.unwrap();
            assert_eq!(response.status(), 200, "{url} is lost");
            assert_eq!(sha256(response.bytes().await.unwrap()) + ".jpg", name, "a photo is incomplete");
        }
        totals.referenced.insert(name);
    }
}
