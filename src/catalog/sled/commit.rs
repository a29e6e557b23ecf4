//! The group commit: whoever recorded a draft flushes and syncs, for all that were recorded since it was last done; who comes
//! meanwhile is served in the next turn. So one disk sync does for many uploads, and one that is alone waits for no other
//! thread.

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

/// What is made durable.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) db: Db,
    /// sled's file of data.
    pub(super) file: PathBuf,
    pub(super) watermark: Arc<Watermark>,
}

impl Log {
    /// Makes everything durable that was recorded before. Blocks.
    pub(super) fn make_durable(db: &Db, file: &Path) -> io::Result<()> {
        db.flush().map_err(io_error)?;
        File::open(file)?.sync_data()
    }

    /// `last` is the highest position that is waited for. What else is recorded may be half of a transaction.
    fn commit(&self, last: Position) -> io::Result<()> {
        Self::make_durable(&self.db, &self.file)?;
        // The drafts are durable; that it is not noted costs only a warning, should they ever be lost.
        if let Err(error) = self.watermark.acknowledge(last) {
            tracing::warn!(%error, "the number of drafts cannot be noted");
        }
        Ok(())
    }
}

/// What was recorded and is not durable yet.
struct Recorded {
    last: Position,
    /// Tells who waits.
    tell: Box<dyn FnOnce(Result<(), Arc<io::Error>>) + Send>,
}

/// See the module.
pub(super) struct Commits {
    log: Log,
    recorded: Mutex<Vec<Recorded>>,
    /// Held by who flushes.
    turn: Mutex<()>,
    tasks: TaskTracker,
}

impl fmt::Debug for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commits").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Commits {
    /// Nothing is recorded yet.
    pub(super) fn new(log: Log) -> Arc<Self> {
        Arc::new(Self { log, recorded: Mutex::default(), turn: Mutex::default(), tasks: TaskTracker::new() })
    }

    /// Does `work` where it may block, which writes one transaction and says what is recorded by then, and
    /// returns once that is durable.
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

    /// Has this one made durable, by itself or by who is at it. Blocks.
    fn take_turns(&self, recorded: Recorded) {
        self.recorded().push(recorded);
        // Asked after each turn as well: who came during it may have found it taken, and gone.
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

    /// Returns once it has let go of the database.
    pub(super) async fn stop(self: Arc<Self>) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
