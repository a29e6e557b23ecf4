//! The group commit: one task flushes and syncs for all commits that came since it last did, which costs one disk sync for
//! many uploads.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sled::Db;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::mark::Mark;
use crate::catalog::CatalogError;
use crate::model::DraftId;

/// A draft that was recorded, and who waits until it is durable.
type Waiting = (DraftId, oneshot::Sender<Result<(), Arc<io::Error>>>);

/// What is made durable.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) db: Db,
    /// sled's file of data.
    pub(super) file: PathBuf,
    pub(super) mark: Arc<Mark>,
}

impl Log {
    /// Makes everything durable that was recorded before. Blocks.
    pub(super) fn make_durable(db: &Db, file: &Path) -> io::Result<()> {
        db.flush()?;
        File::open(file)?.sync_data()
    }

    /// `last` is the highest of the drafts that are waited for. What else is recorded may be half of a transaction.
    fn commit(&self, last: DraftId) -> io::Result<()> {
        Self::make_durable(&self.db, &self.file)?;
        // The drafts are durable; that it is not noted costs only a warning, should they ever be lost.
        if let Err(error) = self.mark.acknowledge(last.0 + 1) {
            tracing::warn!(%error, "the number of drafts cannot be noted");
        }
        Ok(())
    }
}

/// The task, and the way to it.
#[derive(Debug)]
pub(super) struct Commits {
    queue: mpsc::UnboundedSender<Waiting>,
    task: JoinHandle<()>,
}

impl Commits {
    /// Starts the task.
    pub(super) fn start(log: Log) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        Self { queue, task: tokio::spawn(run(Arc::new(log), waiting)) }
    }

    /// Returns when everything recorded before this call is on disk, `draft` the last of it.
    pub(super) async fn wait(&self, draft: DraftId) -> Result<(), CatalogError> {
        let (sender, done) = oneshot::channel();
        let gone = || CatalogError::Unavailable("the commit task has ended".into());
        self.queue.send((draft, sender)).map_err(|_| gone())?;
        match done.await.map_err(|_| gone())? {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error).into()),
        }
    }

    /// Ends the task and returns once it has let go of the database.
    pub(super) async fn stop(self) {
        drop(self.queue);
        let _panicked = self.task.await;
    }
}

async fn run(log: Arc<Log>, mut queue: mpsc::UnboundedReceiver<Waiting>) {
    while let Some(first) = queue.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        let log = Arc::clone(&log);
        let last = waiting.iter().map(|(draft, _)| *draft).fold(DraftId(0), DraftId::max);
        let made_durable = tokio::task::spawn_blocking(move || log.commit(last));
        let result = made_durable.await.map_err(io::Error::other).flatten().map_err(Arc::new);
        for (_, commit) in waiting {
            let _caller_left = commit.send(result.clone());
        }
    }
}
