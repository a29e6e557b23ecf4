//! The group commit: one task flushes and syncs for all commits that came since it last did, which costs one disk sync for
//! many uploads.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sled::Db;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::catalog::CatalogError;

type Waiting = oneshot::Sender<Result<(), Arc<io::Error>>>;

/// The task, and the way to it.
#[derive(Debug)]
pub(super) struct Commits {
    queue: mpsc::UnboundedSender<Waiting>,
    task: JoinHandle<()>,
}

impl Commits {
    /// Starts the task for `db`, whose data are in `file`.
    pub(super) fn start(db: Db, file: PathBuf) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        Self { queue, task: tokio::spawn(run(db, file, waiting)) }
    }

    /// Returns when everything recorded before this call is on disk.
    pub(super) async fn wait(&self) -> Result<(), CatalogError> {
        let (sender, done) = oneshot::channel();
        let gone = || CatalogError::Unavailable("the commit task has ended".into());
        self.queue.send(sender).map_err(|_| gone())?;
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

async fn run(db: Db, file: PathBuf, mut queue: mpsc::UnboundedReceiver<Waiting>) {
    while let Some(first) = queue.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = queue.try_recv() {
            waiting.push(next);
        }
        let result = flush_and_sync(&db, &file).await.map_err(Arc::new);
        for commit in waiting {
            let _caller_left = commit.send(result.clone());
        }
    }
}

async fn flush_and_sync(db: &Db, file: &Path) -> io::Result<()> {
    let (db, file) = (db.clone(), file.to_owned());
    // Both in one go: a change of threads between them would cost as much as they do.
    let both = move || {
        db.flush()?;
        File::open(file)?.sync_data()
    };
    tokio::task::spawn_blocking(both).await.map_err(io::Error::other)?
}
