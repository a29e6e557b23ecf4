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
use crate::support::{PATIENCE, Server, binary, files_below};

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

/// What servers of a test share.
#[derive(Default)]
pub(crate) struct Place {
    /// The cluster and the URL of a database in it; `None`: the embedded catalog.
    database: Option<(&'static Cluster, String)>,
    settings: Vec<(String, String)>,
}

impl Place {
    /// Returns a place with a new database in `cluster`, if it is given, and with these settings.
    pub(crate) async fn new(cluster: Option<&'static Cluster>, settings: Vec<(String, String)>) -> Self {
        let database = match cluster {
            Some(cluster) => Some((cluster, cluster.database().await)),
            None => None,
        };
        Self { database, settings }
    }

    /// Returns the settings of a server or command. The database knows it by `name`.
    fn settings(&self, name: &str) -> Vec<(String, String)> {
        let mut settings = self.settings.clone();
        settings.extend(
            self.database
                .iter()
                .map(|(_, url)| ("DATABASE_URL".to_owned(), format!("{url}?application_name={name}"))),
        );
        settings
    }

    /// Starts the server with this number in `dir`.
    pub(crate) fn start(&self, number: usize, dir: Arc<TempDir>) -> Server {
        let mut settings = self.settings(&server_name(number));
        settings.extend(
            [("MAX_UPLOADS_PER_REQUEST", "4"), ("MAX_PHOTOS_PER_DRAFT", "6")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Server::start_in(dir, &settings)
    }

    /// Waits until the database has ended the transactions of a killed server.
    async fn forget_server(&self, number: usize) {
        let Some((cluster, url)) = &self.database else { return };
        let client = cluster.client(url).await;
        let own = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1";
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while client.query_one(own, &[&server_name(number)]).await.unwrap().get::<_, i64>(0) > 0 {
            assert!(tokio::time::Instant::now() < deadline, "a transaction of a killed server does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets so much time pass for the claims and leases of a killed server that they are free.
    pub(crate) async fn age_claims(&self) {
        let Some((cluster, url)) = &self.database else { return };
        let age = "UPDATE attempt_claim SET renewed = renewed - interval '1 minute';
            UPDATE delivery SET due = due - interval '1 minute'";
        cluster.client(url).await.batch_execute(age).await.unwrap();
    }

    /// Lets resumable uploads expire. The embedded catalog cannot be changed from outside.
    pub(crate) async fn expire_uploads(&self) {
        let Some((cluster, url)) = &self.database else { return };
        let age = "UPDATE upload SET expires = now() - interval '1 minute'";
        cluster.client(url).await.batch_execute(age).await.unwrap();
    }

    /// Asserts that fsck finds nothing at all, but for objects of killed uploads in a bucket, and that the outbox fits its events.
    /// Returns what fsck says it checked.
    pub(crate) async fn assert_consistent(&self, dir: &Path) -> String {
        let output = binary(dir).envs(self.settings("fsck")).arg("fsck").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let has_bucket = self.settings.iter().any(|(name, _)| name == "S3_BUCKET");
        let found = String::from_utf8(output.stdout).unwrap();
        assert!(found.lines().all(|line| has_bucket && line.starts_with("file-without-row ")), "{found}");
        let summary = String::from_utf8(output.stderr).unwrap();
        let Some((cluster, url)) = &self.database else { return summary };
        let wrong =
            "SELECT count(*) FROM delivery d WHERE d.events = 0 OR d.events <> (SELECT count(*) FROM event e
            WHERE e.subject_kind = d.subject_kind AND e.subject_id = d.subject_id)";
        let wrong: i64 = cluster.client(url).await.query_one(wrong, &[]).await.unwrap().get(0);
        assert_eq!(wrong, 0, "deliveries have another number of events");
        summary
    }
}

fn server_name(number: usize) -> String {
    format!("server-{number}")
}

/// Servers that are killed and started again, and their clients.
pub(crate) struct Restarting {
    place: Place,
    servers: Vec<Server>,
    runs: watch::Sender<Run>,
    pub(crate) shared: Arc<Shared>,
}

impl Restarting {
    /// Starts this number of servers, which is 1 with an embedded catalog.
    pub(crate) fn start(gallery: Arc<Gallery>, place: Place, servers: usize) -> Self {
        let start = |number| place.start(number, Arc::new(tempfile::tempdir().unwrap()));
        let servers: Vec<Server> = (0..servers).map(start).collect();
        let runs = watch::Sender::new(Run { number: 1, bases: bases(&servers) });
        let (media_ids, photos_read, history) = (MediaIds::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { gallery, media_ids, photos_read, history, counts: Counts::default() });
        Self { place, servers, runs, shared }
    }

    /// Returns a client with the token of its own user.
    fn client(&self, user: usize, random: Random) -> Client {
        let issued = self.run(&["token", "issue", "--user", &user.to_string()]);
        let name = format!("user {user}");
        Client::new(name, issued.trim().to_owned(), random, Arc::clone(&self.shared), self.runs.subscribe())
    }

    /// Runs a command beside the servers, and returns what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = binary(self.servers[0].dir().path());
        let output = command.envs(self.place.settings("command")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
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

    /// Sends a server a signal.
    pub(crate) fn signal(&self, server: usize, signal: Signal) {
        self.servers[server].signal(signal);
    }

    /// Ends a server by a signal. Clients wait until it is started again.
    pub(crate) async fn end(&mut self, server: usize, signal: Signal) {
        self.signal(server, signal);
        tokio::task::block_in_place(|| self.servers[server].wait());
        self.runs.send_modify(|run| run.bases.clear());
        self.place.forget_server(server).await;
    }

    /// Starts a server again that has ended.
    pub(crate) async fn start_again(&mut self, server: usize) {
        self.place.age_claims().await;
        // It waits for the ready line.
        let dir = self.servers[server].dir();
        self.servers[server] = tokio::task::block_in_place(|| self.place.start(server, dir));
        let bases = bases(&self.servers);
        self.runs.send_modify(|run| *run = Run { number: run.number + 1, bases });
    }

    /// Ends a server by a signal and starts it again.
    pub(crate) async fn restart(&mut self, server: usize, signal: Signal) {
        self.end(server, signal).await;
        self.start_again(server).await;
    }

    /// Stops the servers, and checks catalog and photos against each other.
    pub(crate) async fn stop(self) {
        let dirs: Vec<_> = self.servers.into_iter().map(Server::stop).collect();
        for dir in &dirs {
            let staging = dir.path().join("data/uploads/.staging");
            // A server whose photos are in a bucket has none.
            let left = if staging.exists() { files_below(&staging) } else { Vec::new() };
            assert_eq!(left, Vec::<String>::new(), "no staged file may be left");
        }
        self.place.assert_consistent(dirs[0].path()).await;
    }
}

fn bases(servers: &[Server]) -> Vec<String> {
    servers.iter().map(|server| server.url("")).collect()
}

/// Runs one sequence.
async fn run_sequence(seed: u64, gallery: &Arc<Gallery>, cluster: Option<&'static Cluster>) -> Arc<Shared> {
    let mut random = Random::new(seed);
    let place = Place::new(cluster, Vec::new()).await;
    let mut restarting = Restarting::start(Arc::clone(gallery), place, 1);
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
                restarting.restart(0, signal).await;
            }
            Err(_) => {}
        }
    }
    let shared = Arc::clone(&restarting.shared);
    restarting.stop().await;
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
