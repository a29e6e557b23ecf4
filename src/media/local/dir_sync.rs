//! Makes new names durable: one sync of the directory for all uploads that wait for one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::blocking::blocking;

/// A directory whose names are synced.
#[derive(Debug)]
pub(super) struct DirSync {
    /// One handle for as long as the store lives, so that the system reports every failed write to it.
    dir: Arc<File>,
    /// Number of requests so far.
    asked: AtomicU64,
    /// Held while the directory is synced.
    synced: Mutex<Synced>,
}

#[derive(Debug, Default)]
struct Synced {
    /// The last request whose names are as durable as they will get.
    last: u64,
    /// The last request whose names may not be, and why.
    failed: Option<(u64, io::ErrorKind, String)>,
}

impl Synced {
    fn outcome(&self, request: u64) -> io::Result<()> {
        match &self.failed {
            // After a failure the system may call the next sync a success though names were lost: not for these.
            Some((last, kind, error)) if request <= *last => Err(io::Error::new(*kind, error.clone())),
            _ => Ok(()),
        }
    }
}

impl DirSync {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let dir = Arc::new(File::open(dir)?);
        Ok(Self { dir, asked: AtomicU64::new(0), synced: Mutex::default() })
    }

    /// The directory.
    pub(super) fn dir(&self) -> &File {
        &self.dir
    }

    /// Syncs, whoever else does. Blocks.
    pub(super) fn sync_now(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    /// Returns when every name given or taken before this call is durable.
    pub(super) async fn sync(&self) -> io::Result<()> {
        let request = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        // Whoever gets here first syncs for all who asked by then; these find it done when their turn comes.
        let mut synced = self.synced.lock().await;
        if synced.last < request {
            let last = self.asked.load(Ordering::SeqCst);
            let dir = Arc::clone(&self.dir);
            if let Err(error) = blocking(move || dir.sync_all()).await {
                synced.failed = Some((last, error.kind(), error.to_string()));
            }
            synced.last = last;
        }
        synced.outcome(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everybody_who_asks_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let names = Arc::new(DirSync::open(dir.path()).unwrap());
        let asking = (0..100).map(|_| {
            let names = Arc::clone(&names);
            tokio::spawn(async move { names.sync().await })
        });
        for asked in asking.collect::<Vec<_>>() {
            asked.await.unwrap().unwrap();
        }
        let synced = names.synced.lock().await;
        assert_eq!((synced.last, synced.failed.is_none()), (100, true));
    }

    #[tokio::test]
    async fn a_failed_sync_fails_those_that_it_was_for_and_no_later_ones() {
        let synced = Synced { last: 9, failed: Some((7, io::ErrorKind::StorageFull, "full".into())) };
        assert_eq!(synced.outcome(7).unwrap_err().kind(), io::ErrorKind::StorageFull);
        synced.outcome(8).unwrap();
        // A pipe cannot be synced.
        let (reader, _writer) = std::io::pipe().unwrap();
        let dir = Arc::new(File::from(std::os::fd::OwnedFd::from(reader)));
        let names = DirSync { dir, asked: AtomicU64::new(0), synced: Mutex::default() };
        assert!(names.sync().await.is_err());
        assert!(names.sync().await.is_err());
    }
}
