//! The group commit. A thread that recorded a draft flushes and syncs for all drafts that were recorded since the last
//! sync; drafts that are recorded meanwhile wait for the next one. So one disk sync serves many uploads, and an upload that
//! is alone waits for no other thread.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use sled::Db;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::io_error;
use super::rows::Position;
use super::watermark::Watermark;
use crate::catalog::CatalogError;

/// The files that a commit makes durable.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) db: Db,
    /// The data file of sled.
    pub(super) file: PathBuf,
    pub(super) watermark: Arc<Watermark>,
}

impl Log {
    /// Makes all earlier transactions durable. Blocks.
    pub(super) fn make_durable(db: &Db, file: &Path) -> io::Result<()> {
        db.flush().map_err(io_error)?;
        File::open(file)?.sync_data()
    }

    /// Makes all transactions up to `last` durable, and acknowledges them. Later ones may be incomplete.
    fn commit(&self, last: Position) -> io::Result<()> {
        Self::make_durable(&self.db, &self.file)?;
        // The drafts are durable. Without the watermark their loss would not be noticed later.
        if let Err(error) = self.watermark.acknowledge(last) {
            tracing::warn!(%error, "the number of drafts cannot be noted");
        }
        Ok(())
    }
}

/// A transaction that is recorded and not durable yet.
struct Recorded {
    last: Position,
    /// Reports the result to the task that waits.
    tell: Box<dyn FnOnce(Result<(), Arc<io::Error>>) + Send>,
}

/// The group commit of one database.
pub(super) struct Commits {
    log: Log,
    recorded: Mutex<Vec<Recorded>>,
    /// Held by the thread that flushes.
    turn: Mutex<()>,
    tasks: TaskTracker,
}

impl fmt::Debug for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commits").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Commits {
    /// Begins with no transaction.
    pub(super) fn new(log: Log) -> Arc<Self> {
        Arc::new(Self { log, recorded: Mutex::default(), turn: Mutex::default(), tasks: TaskTracker::new() })
    }

    /// Runs `work`, which writes one transaction, on a thread where it may block. Returns once the transaction is durable.
    pub(super) async fn record<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<(T, Position), CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let (sender, done) = oneshot::channel();
        let commits = Arc::clone(self);
        self.tasks.spawn_blocking(move || {
            let tell = |result| {
                let _caller_left = sender.send(result);
            };
            match work() {
                Err(error) => tell(Err(error)),
                Ok((made, last)) => {
                    let tell = |durable: Result<(), Arc<io::Error>>| {
                        let durable = durable.map_err(|error| io::Error::new(error.kind(), error));
                        tell(durable.map(|()| made).map_err(CatalogError::from));
                    };
                    commits.take_turns(Recorded { last, tell: Box::new(tell) });
                }
            }
        });
        done.await.unwrap_or_else(|_| Err(CatalogError::Unavailable("a write to it died".into())))
    }

    /// Makes this transaction durable, on this thread or on the one that flushes now. Blocks.
    fn take_turns(&self, recorded: Recorded) {
        self.recorded().push(recorded);
        // Checked after each flush as well: a thread that came meanwhile found the lock taken, and left.
        while !self.recorded().is_empty() {
            let _turn = match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(TryLockError::Poisoned(died)) => died.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let batch = std::mem::take(&mut *self.recorded());
            let last = batch.iter().map(|recorded| recorded.last).max().unwrap_or_default();
            let result = self.log.commit(last).map_err(Arc::new);
            for recorded in batch {
                (recorded.tell)(result.clone());
            }
        }
    }

    fn recorded(&self) -> std::sync::MutexGuard<'_, Vec<Recorded>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once no thread uses the database any more.
    pub(super) async fn stop(self: Arc<Self>) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
