//! Makes changes of a directory durable, with one sync for all uploads that wait for one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::blocking::blocking;

/// A directory that is synced.
#[derive(Debug)]
pub(super) struct DirSync {
    /// One handle for the lifetime of the store, so that the system reports every failed write on it.
    dir: Arc<File>,
    /// Number of requests so far.
    asked: AtomicU64,
    /// Held while the directory is synced.
    synced: Mutex<Synced>,
}

#[derive(Debug, Default)]
struct Synced {
    /// The last request that was synced, with success or not.
    last: u64,
    /// The last request whose sync failed, and the error.
    failed: Option<(u64, io::ErrorKind, String)>,
}

impl Synced {
    fn outcome(&self, request: u64) -> io::Result<()> {
        match &self.failed {
            // After a failure the next sync may succeed although entries were lost, so these requests stay failed.
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

    /// Syncs without waiting for others. Blocks.
    pub(super) fn sync_now(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    /// Returns once every name added or removed before this call is durable.
    pub(super) async fn sync(&self) -> io::Result<()> {
        let request = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        // The first task to get here syncs for all requests so far; the others find that done when they get the lock.
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
    async fn every_concurrent_request_is_synced() {
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
    async fn failed_sync_fails_its_own_requests_and_no_later_ones() {
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
