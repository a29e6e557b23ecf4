//! A PostgreSQL cluster for tests, in a temporary directory on a reserved loopback port, with normal syncing. One per
//! test binary, and one database per test.
//!
//! tools/postgres.sh finds the programs. Without them, tests that need PostgreSQL are reported as skipped.

#![allow(dead_code, reason = "two binaries have it, and each uses a part")]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{self, ReservedPort};

/// A running cluster. Stops on drop or when the test process ends, however it ends.
pub(crate) struct Cluster {
    programs: PathBuf,
    dir: PathBuf,
    port: ReservedPort,
    user: Option<(u32, u32)>,
    databases: AtomicUsize,
    postmaster: Mutex<Option<Child>>,
    /// A process that stops the postmaster and removes its directory when its stdin is closed.
    keeper: Child,
}

impl Cluster {
    /// Returns the cluster that all tests of this binary share, or `None` without PostgreSQL.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[])).as_ref()
    }

    /// Starts another cluster with options of postgres, or returns `None` without PostgreSQL.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        let Some(programs) = std::env::var_os("VINTEDBOT_TEST_POSTGRES").filter(|dir| !dir.is_empty()) else {
            let why = "there is no PostgreSQL: tools/postgres.sh fetches one, and VINTEDBOT_TEST_POSTGRES names its programs";
            common::skip(why);
            return None;
        };
        let user = unprivileged();
        let dir = TempDir::with_prefix("vintedbot-postgres-").unwrap().keep();
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        let script =
            "cat >/dev/null; kill -QUIT $(head -n 1 \"$0/data/postmaster.pid\"); sleep 1; rm -rf \"$0\"";
        let mut keeper = Command::new("sh");
        keeper
            .args(["-c", script])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let keeper = keeper.process_group(0).spawn().unwrap();
        let cluster = Self {
            programs: programs.into(),
            dir,
            port: ReservedPort::new(),
            user,
            databases: AtomicUsize::new(0),
            postmaster: Mutex::default(),
            keeper,
        };
        let mut initdb = cluster.program("initdb");
        initdb.args(["-U", "app", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        let made = initdb.arg(cluster.dir.join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster.run(options);
        Some(cluster)
    }

    /// Starts the server, also after [`kill`](Self::kill), and returns when it accepts connections.
    pub(crate) fn run(&self, options: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
            let mut postgres = self.program("postgres");
            postgres.arg("-D").arg(self.dir.join("data")).args(["-p", &self.port().to_string()]);
            postgres.args([
                "-h",
                "127.0.0.1",
                "-k",
                "",
                "-c",
                "shared_buffers=32MB",
                "-c",
                "max_connections=200",
                "-c",
                // After a kill, PostgreSQL syncs the whole directory: in one call instead of one for each of a thousand files.
                "recovery_init_sync_method=syncfs",
            ]);
            postgres.args(options).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            let mut postmaster = postgres.spawn().unwrap();
            // Processes of a killed server end a moment later; until then a new one exits immediately.
            while postmaster.try_wait().unwrap().is_none() {
                let port = self.port().to_string();
                let mut asked = self.program("pg_isready");
                if asked.args(["-q", "-h", "127.0.0.1", "-p", &port]).status().unwrap().success() {
                    *self.postmaster.lock().unwrap() = Some(postmaster);
                    return;
                }
                assert!(
                    Instant::now() < deadline,
                    "{}",
                    std::fs::read_to_string(self.dir.join("log")).unwrap()
                );
                std::thread::sleep(Duration::from_millis(30));
            }
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(self.dir.join("log")).unwrap());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Kills the postmaster with SIGKILL.
    pub(crate) fn kill(&self) {
        let mut postmaster = self.postmaster.lock().unwrap().take().unwrap();
        postmaster.kill().unwrap();
        // The process is reaped, so that the next postmaster does not take its process id for a running server.
        postmaster.wait().unwrap();
    }

    /// Returns the port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Creates a database and returns its URL.
    pub(crate) async fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.client("postgres").await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://app:secret@127.0.0.1:{}/{database}", self.port())
    }

    /// Connects to the database with this name or URL.
    pub(crate) async fn client(&self, database: &str) -> tokio_postgres::Client {
        let name = database.rsplit('/').next().unwrap();
        let (client, connection) =
            tokio_postgres::connect(&self.url(name), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Returns the directory of the cluster, which belongs to its user.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns a command for a PostgreSQL program, or for any program by its path, in the cluster's directory and as
    /// its user.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.dir).env_remove("LC_ALL").env_remove("LANG");
        let libraries = std::env::var_os("VINTEDBOT_TEST_POSTGRES_LIBS").filter(|dirs| !dirs.is_empty());
        if let Some(libraries) = libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Returns another user if the tests run as root, which PostgreSQL refuses.
fn unprivileged() -> Option<(u32, u32)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).unwrap())
}
