//! Random sequences of all operations on drafts, by several clients in parallel, against a small model of `docs/api.md`. During them
//! the server is killed and started again. Each client has drafts of its own, so that it knows the answer to each request.
//!
//! A request during which the server was killed may have happened or not. If the client sent a key, it sends the request again.
//! Else it looks afterwards.
//!
//! `VINTEDBOT_MODEL_SEQUENCES=200` runs more sequences on each catalog than `make test` has time for, and
//! `VINTEDBOT_MODEL_SEED` chooses the first one.

mod client;
mod gallery;
mod operation;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::client::Counts;
pub(crate) use self::client::Shared;
use self::client::{Client, Run};
pub(crate) use self::gallery::Gallery;
use self::gallery::MediaIds;
use crate::cluster::Cluster;
use crate::support::{Server, binary, files_below};

const SEQUENCES: usize = 5;
const CLIENTS: usize = 4;
/// Operations of one client in one sequence.
const STEPS: usize = 60;
/// Most times that the server is killed or stopped in one sequence.
const STOPS: usize = 4;
const GOOD_PHOTOS: usize = 6;

/// Pseudo-random numbers (SplitMix64), so that a sequence of choices can be made again.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `below`, which is not 0.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.next() % below as u64).unwrap()
    }

    /// Returns true in this share of all cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

fn number_of(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a number"))
}

/// A server that is killed and started again on the same data, and its clients.
pub(crate) struct Restarting {
    dir: Arc<TempDir>,
    database: Option<(&'static Cluster, String)>,
    server: Server,
    runs: watch::Sender<Run>,
    pub(crate) shared: Arc<Shared>,
}

impl Restarting {
    pub(crate) async fn start(gallery: Arc<Gallery>, cluster: Option<&'static Cluster>) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let database = match cluster {
            Some(cluster) => Some((cluster, cluster.database().await)),
            None => None,
        };
        let server = start_server(&dir, database.as_ref());
        let runs = watch::Sender::new(Run { number: 1, base: Some(server.url("")) });
        let (media_ids, photos_read, counts) = (MediaIds::default(), Mutex::default(), Counts::default());
        let shared = Arc::new(Shared { gallery, media_ids, photos_read, counts });
        Self { dir, database, server, runs, shared }
    }

    /// Returns a client with the token of its own user.
    fn client(&self, user: usize, random: Random) -> Client {
        let mut command = binary(self.dir.path());
        let issued = command.args(["token", "issue", "--user", &user.to_string()]).output().unwrap();
        let token = String::from_utf8(issued.stdout).unwrap().trim().to_owned();
        let name = format!("user {user}");
        Client::new(name, token, random, Arc::clone(&self.shared), self.runs.subscribe())
    }

    /// Starts clients that go on until they have taken `steps`, or `stopped` is true. Each checks everything at the end.
    pub(crate) fn start_clients(
        &self,
        count: usize,
        random: &mut Random,
        steps: usize,
        stopped: &watch::Receiver<bool>,
    ) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for user in 1..=count {
            let mut client = self.client(user, Random::new(random.next()));
            let stopped = stopped.clone();
            clients.spawn(async move {
                for _ in 0..steps {
                    client.step().await;
                    if *stopped.borrow() {
                        break;
                    }
                }
                while client.check_all().await.is_none() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        clients
    }

    /// Sends the server a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Ends the server by a signal and starts it again.
    pub(crate) async fn restart(&mut self, signal: Signal) {
        self.signal(signal);
        tokio::task::block_in_place(|| self.server.wait());
        self.runs.send_modify(|run| run.base = None);
        if let Some((cluster, url)) = &self.database {
            forget_instance(cluster, url).await;
        }
        // It waits for the ready line.
        self.server = tokio::task::block_in_place(|| start_server(&self.dir, self.database.as_ref()));
        let base = Some(self.server.url(""));
        self.runs.send_modify(|run| *run = Run { number: run.number + 1, base });
    }

    /// Stops the server, and checks catalog and photos against each other.
    pub(crate) fn stop(self) {
        let Self { dir, database, server, .. } = self;
        let staging = server.media_root().join(".staging");
        server.stop();
        assert_eq!(files_below(&staging), Vec::<String>::new(), "no staged file may be left");
        assert_consistent(dir.path(), database.as_ref().map(|(_, url)| url.as_str()));
    }
}

fn start_server(dir: &Arc<TempDir>, database: Option<&(&'static Cluster, String)>) -> Server {
    let mut settings = vec![("MAX_UPLOADS_PER_REQUEST", "4"), ("MAX_PHOTOS_PER_DRAFT", "6")];
    settings.extend(database.map(|(_, url)| ("DATABASE_URL", url.as_str())));
    Server::start_in(Arc::clone(dir), &settings)
}

/// Waits until the database has ended the transactions of a killed instance, and lets so much time pass for its claims that they
/// are free.
async fn forget_instance(cluster: &Cluster, url: &str) {
    let client = cluster.client(url).await;
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while client.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(tokio::time::Instant::now() < deadline, "a transaction of a killed instance does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let age = "UPDATE attempt_claim SET renewed = renewed - interval '1 minute'";
    client.batch_execute(age).await.unwrap();
}

/// Asserts that fsck finds nothing at all.
fn assert_consistent(dir: &Path, database: Option<&str>) {
    let mut command = binary(dir);
    command.envs(database.map(|url| ("DATABASE_URL", url)));
    let output = command.arg("fsck").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{output:?}");
}

/// Runs one sequence.
async fn run_sequence(seed: u64, gallery: &Arc<Gallery>, cluster: Option<&'static Cluster>) -> Arc<Shared> {
    let mut random = Random::new(seed);
    let mut restarting = Restarting::start(Arc::clone(gallery), cluster).await;
    let (_never, stopped) = watch::channel(false);
    let mut clients = restarting.start_clients(CLIENTS, &mut random, STEPS, &stopped);
    let mut stops = 0;
    while !clients.is_empty() {
        let pause = Duration::from_millis(50 + random.below(300) as u64);
        match tokio::time::timeout(pause, clients.join_next()).await {
            Ok(ended) => ended.map_or(Ok(()), |ended| ended).unwrap(),
            Err(_) if stops < STOPS => {
                stops += 1;
                let signal = if random.chance(75) { Signal::SIGKILL } else { Signal::SIGTERM };
                restarting.restart(signal).await;
            }
            Err(_) => {}
        }
    }
    let shared = Arc::clone(&restarting.shared);
    restarting.stop();
    shared
}

async fn run_sequences(cluster: Option<&'static Cluster>) {
    let sequences =
        number_of("VINTEDBOT_MODEL_SEQUENCES").map_or(SEQUENCES, |count| usize::try_from(count).unwrap());
    let first =
        number_of("VINTEDBOT_MODEL_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32);
    let gallery = Arc::new(Gallery::learn(GOOD_PHOTOS).await);
    for seed in (first..).take(sequences) {
        println!("VINTEDBOT_MODEL_SEED={seed}");
        println!("{}", run_sequence(seed, &gallery, cluster).await.counts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_on_the_embedded_catalog_are_answered_as_the_model_says() {
    run_sequences(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_on_postgres_are_answered_as_the_model_says() {
    let Some(cluster) = Cluster::shared() else { return };
    run_sequences(Some(cluster)).await;
}
