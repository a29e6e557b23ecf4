//! The server's side: answers commands, a few at a time, beside requests of clients.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::examine::{Level, examine};
use super::protocol::{Answer, MAX_REQUEST_BYTES, Request, advice, new_path, path};
use crate::backup::{self, Checks, Finding, Rows, Summary};
use crate::catalog::Restorable;
use crate::error_chain::error_chain;
use crate::media::MediaStore;
use crate::partial::PartialStore;
use crate::publication::Publisher;

/// Connections at a time. Further ones get an answer that says so.
const CONNECTIONS: usize = 4;
/// How long a client may take to send its request, or to read a part of the answer. A backup writes to a disk meanwhile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time for which a backup keeps photos from being removed.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3600);
/// Bytes that are sent together.
const SEND_BYTES: usize = 64 << 10;
/// Pause after a failure to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How much the thread gives way to those that answer requests (`nice`).
const NICE: i32 = 10;

/// What commands read.
pub(crate) struct Served {
    /// The catalog.
    pub catalog: Arc<dyn Restorable>,
    /// What removes photos.
    pub publisher: Arc<Publisher>,
    /// The bytes of unfinished uploads.
    pub partial: Arc<dyn PartialStore>,
    /// MAX_CONNECTIONS.
    pub connections: usize,
}

/// A socket that listens. Its file is removed on drop.
pub(crate) struct ControlSocket {
    listener: StdListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _best_effort = fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Listens in directory `catalog`, whose catalog this process has open: a socket that is there is that of a killed server,
    /// and is replaced.
    ///
    /// # Errors
    /// The path is too long, or the file system has no sockets or is read-only.
    pub(crate) fn bind(catalog: &Path) -> io::Result<Self> {
        if let Some(advice) = advice(catalog) {
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, advice));
        }
        let (new, path) = (new_path(catalog), path(catalog));
        if let Err(error) = fs::remove_file(&new)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = StdListener::bind(&new)?;
        // Nobody knows its name before only its user may connect.
        let placed = fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| fs::rename(&new, &path));
        if let Err(error) = placed {
            let _best_effort = fs::remove_file(&new);
            return Err(error);
        }
        Ok(Self { listener, path })
    }

    /// Answers commands until `stop` is cancelled, on a thread of its own, which needs a runtime that is not ended before. The
    /// result completes when no command reads any more and the file of the socket is removed.
    ///
    /// # Errors
    /// The thread cannot start.
    pub(crate) fn serve(self, served: Served, stop: CancellationToken) -> io::Result<oneshot::Receiver<()>> {
        let (ended, has_ended) = oneshot::channel();
        let runtime = Handle::current();
        std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            // On Linux for this thread alone.
            let _as_it_was = rustix::process::nice(NICE);
            let tasks = LocalSet::new();
            runtime.block_on(tasks.run_until(accept(&self.listener, Rc::new(served), &stop)));
            drop(tasks);
            drop(self);
            let _nobody_waits = ended.send(());
        })?;
        Ok(has_ended)
    }
}

/// Accepts connections, each of which is a task of the [`LocalSet`].
async fn accept(listener: &StdListener, served: Rc<Served>, stop: &CancellationToken) {
    let listener = match listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%error, "the control socket cannot be used"),
    };
    let (places, jobs) = (Arc::new(Semaphore::new(CONNECTIONS)), Rc::new(Semaphore::new(1)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = Arc::clone(&places).try_acquire_owned();
        let (served, jobs) = (Rc::clone(&served), Rc::clone(&jobs));
        tokio::task::spawn_local(async move {
            let mut connection = match Connection::new(stream) {
                Ok(connection) => connection,
                Err(error) => return tracing::warn!(%error, "a connection of the control socket was refused"),
            };
            let answered = match &place {
                Ok(_) => connection.run(&served, &jobs).await,
                Err(_) => connection.fail("too many commands ask the server at the same time").await,
            };
            if let Err(error) = answered {
                tracing::info!(%error, "a command ended its connection before it had the whole answer");
            }
        });
    }
}

struct Connection {
    requests: BufReader<OwnedReadHalf>,
    answers: Answers,
}

/// The sending side of a connection.
struct Answers(BufWriter<OwnedWriteHalf>);

impl Answers {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(READ_TIMEOUT, self.0.write_all(bytes)).await?
    }

    async fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.send(&answer.bytes()?).await?;
        timeout(READ_TIMEOUT, self.0.flush()).await?
    }
}

impl Connection {
    /// Refuses users other than that of this process and root, whatever the permissions of the file are.
    fn new(stream: UnixStream) -> io::Result<Self> {
        let (peer, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
        if peer != own && peer != 0 {
            let what = format!("it is of user {peer}, and the server's user is {own}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        let (requests, answers) = stream.into_split();
        let answers = Answers(BufWriter::with_capacity(SEND_BYTES, answers));
        Ok(Self { requests: BufReader::new(requests), answers })
    }

    async fn fail(&mut self, why: &str) -> io::Result<()> {
        self.answers.answer(&Answer::Failed(why.to_owned())).await
    }

    async fn run(&mut self, served: &Served, jobs: &Semaphore) -> io::Result<()> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.requests).take(MAX_REQUEST_BYTES);
        timeout(REQUEST_TIMEOUT, bounded.read_until(b'\n', &mut line)).await??;
        let Ok(request) = serde_json::from_slice::<Request>(&line) else {
            return self.fail("the server does not know this command: it is of another version").await;
        };
        let job = match request {
            Request::Examine => None,
            _ => match jobs.try_acquire() {
                Ok(job) => Some(job),
                Err(_) => {
                    let why = "another backup, export or check runs: try again when it has ended";
                    return self.fail(why).await;
                }
            },
        };
        let begun = Instant::now();
        tracing::info!(command = request.name(), "a command reads the catalog");
        // A client that closes the connection, or sends more than its request, wants no answer.
        let Self { requests, answers } = self;
        let mut more = [0; 1];
        let hold = served.publisher.hold_removals();
        let answered = tokio::select! {
            answered = answer(request, served, answers) => answered,
            _ = requests.read(&mut more) => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        drop(job);
        if request == Request::Backup && answered.is_ok() {
            // The client closes the connection once it has the photos.
            let _closed_or_late = timeout(LONGEST_HOLD, requests.read(&mut more)).await;
        }
        drop(hold);
        tracing::info!(
            command = request.name(),
            seconds = begun.elapsed().as_secs(),
            "the command has ended"
        );
        answered
    }
}

/// Answers a request. Errors are those of the connection.
async fn answer(request: Request, served: &Served, answers: &mut Answers) -> io::Result<()> {
    let rows = Rows::beside_requests(&*served.catalog);
    let result = match request {
        Request::Export | Request::Backup => {
            let sent = backup::stream(rows, async |line| answers.send(&line).await).await;
            sent.map(|()| Answer::Done(()))
        }
        Request::Fsck { quick } => {
            let (found, mut findings) = mpsc::unbounded_channel();
            let store: &dyn MediaStore = &**served.publisher.store();
            let checks = Checks { quick, repair: false, beside_requests: true };
            let check = async move {
                let report = |finding: &Finding| {
                    let _client_left = found.send(finding.to_string());
                };
                backup::fsck(&*served.catalog, store, &*served.partial, checks, report).await
            };
            let tell = async {
                while let Some(line) = findings.recv().await {
                    answers.answer(&Answer::Say(line)).await?;
                }
                Ok::<_, io::Error>(())
            };
            let (checked, told) = tokio::join!(check, tell);
            told?;
            checked.map(Answer::Checked)
        }
        Request::Examine => {
            let store = served.publisher.store();
            let remarks = examine(&**served.publisher.catalog(), &**store, served.connections).await;
            let mut summary = Summary::default();
            for remark in remarks {
                summary.problems += u64::from(remark.level == Level::Problem);
                answers.answer(&Answer::Say(remark.to_string())).await?;
            }
            Ok(Answer::Checked(summary))
        }
    };
    let last = result.unwrap_or_else(|error| Answer::Failed(error_chain(&error)));
    answers.answer(&last).await
}
