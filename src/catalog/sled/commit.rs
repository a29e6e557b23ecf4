//! Group commit: makes transactions durable with one disk sync for all that wait.
//!
//! The thread that wrote a transaction flushes and syncs for all transactions recorded since the last sync.
//! Transactions recorded meanwhile are synced in the next round. A single upload needs no second thread.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sled::Db;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::batches::Batches;
use super::error::io_error;
use super::rows::Position;
use super::watermark::Watermark;
use crate::blocking::FewThreads;
use crate::catalog::CatalogError;

/// The database files that a commit makes durable.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) db: Db,
    /// sled's data file.
    pub(super) file: PathBuf,
    pub(super) watermark: Arc<Watermark>,
}

impl Log {
    /// Makes all recorded transactions durable. Blocks.
    pub(super) fn make_durable(db: &Db, file: &Path) -> io::Result<()> {
        db.flush().map_err(io_error)?;
        File::open(file)?.sync_data()
    }

    /// Makes transactions up to `last` durable and acknowledges them. Anything recorded after `last` may be half of a
    /// transaction.
    fn commit(&self, last: Position) -> io::Result<()> {
        Self::make_durable(&self.db, &self.file)?;
        // The drafts are durable. Without the watermark only a later loss of them might go unnoticed.
        if let Err(error) = self.watermark.acknowledge(last) {
            tracing::warn!(%error, "the watermark of the catalog cannot be written");
        }
        Ok(())
    }
}

/// A recorded transaction that is not durable yet.
struct Pending {
    last: Position,
    /// Sends the result to the waiting task.
    notify: Box<dyn FnOnce(Result<(), Arc<io::Error>>) + Send>,
}

/// The group commit; see the module.
pub(super) struct GroupCommit {
    log: Log,
    pending: Batches<Pending>,
    tasks: TaskTracker,
}

impl fmt::Debug for GroupCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").field("log", &self.log).finish_non_exhaustive()
    }
}

impl GroupCommit {
    /// Creates a group commit without pending transactions.
    pub(super) fn new(log: Log) -> Arc<Self> {
        Arc::new(Self { log, pending: Batches::new(), tasks: TaskTracker::new() })
    }

    /// Runs `work`, which writes one transaction and returns its position, on one of `threads`. Returns when the
    /// transaction is durable.
    pub(super) async fn record<T: Send + 'static>(
        self: &Arc<Self>,
        threads: &FewThreads,
        work: impl FnOnce() -> Result<(T, Position), CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let (sender, done) = oneshot::channel();
        let group_commit = Arc::clone(self);
        let work = move || {
            let notify = |result| {
                let _caller_left = sender.send(result);
            };
            match work() {
                Err(error) => notify(Err(error)),
                Ok((made, last)) => {
                    let notify = |durable: Result<(), Arc<io::Error>>| {
                        let durable = durable.map_err(|error| io::Error::new(error.kind(), error));
                        notify(durable.map(|()| made).map_err(CatalogError::from));
                    };
                    group_commit.flush(Pending { last, notify: Box::new(notify) });
                }
            }
        };
        self.tasks.spawn_blocking_on(work, threads.handle());
        done.await.unwrap_or_else(|_| Err(CatalogError::Unavailable("a write to it panicked".into())))
    }

    /// Makes `pending` durable, on this thread or on the one that flushes now. Blocks.
    fn flush(&self, pending: Pending) {
        self.pending.add(pending, |batch| {
            let last = batch.iter().map(|pending| pending.last).max().unwrap_or_default();
            let result = self.log.commit(last).map_err(Arc::new);
            for pending in batch {
                (pending.notify)(result.clone());
            }
        });
    }

    /// Waits until all writes ended and the database handle is free.
    pub(super) async fn stop(self: Arc<Self>) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
