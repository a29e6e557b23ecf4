//! The embedded catalog: sled, one directory, one process.
//!
//! sled acknowledges a transaction before it is on disk, does not fsync when it flushes, and after one failed write it
//! fails for ever. So every commit waits for a group commit (see `commit`), and a catalog that failed is closed and opened
//! again: only transactions that were never acknowledged are lost then.

mod commit;
mod ondisk;
mod pages;
mod restore;
mod rows;
mod watermark;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::RwLock;

use self::commit::{Commits, Log};
pub use self::ondisk::{Salvage, SalvageReport};
use self::rows::{Position, Trees};
use self::watermark::{Noted, Watermark};
use super::{
    Catalog, CatalogError, DraftRow, KeyLock, KnownSource, NewDraft, Restorable, Restore, RestoreError, State,
};
use crate::blocking::{BlockingError, blocking};
use crate::disk::{self, FreeDisk};
use crate::model::{Draft, DraftId, Media, MediaId, MediaKey, SourceId};

/// The default of sled is 1 GB, more than the memory of the machines that this runs on.
const CACHE_BYTES: u64 = 16 << 20;

/// The data file of sled, which sled also locks.
const DB_FILE: &str = "db";

/// How often, and with what pause, opening is repeated while the lock is not free yet.
const REOPEN_TRIES: u32 = 50;
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// A catalog in a directory, for one process.
#[derive(Debug)]
pub struct SledCatalog {
    path: Arc<Path>,
    min_free: FreeDisk,
    /// `None` after a failed attempt to open it again.
    current: RwLock<Option<Arc<Opened>>>,
}

/// An open sled database.
#[derive(Debug)]
struct Opened {
    trees: Trees,
    watermark: Arc<Watermark>,
    commits: Arc<Commits>,
    broken: AtomicBool,
}

impl Opened {
    async fn open(path: Arc<Path>) -> Result<Self, CatalogError> {
        let open = move || -> Result<_, CatalogError> {
            // sled repairs while it opens. Damage that it must not repair is found before, and left as it is.
            let noted = Noted::read(&path)?;
            let found = ondisk::verify(&path)?.unwrap_or_default();
            if let Some(noted) = &noted {
                noted.check(&found)?;
            }
            ondisk::remove_unfinished(&path)?;
            disk::create_dir(&path)?;
            let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES);
            // Commits flush; a timer would only write at other times.
            let db = config.flush_every_ms(None).open().map_err(|error| why_not_open(error, &path))?;
            disk::sync_dir(&path)?;
            let trees = Trees::open(&db, noted.map_or(1, |noted| noted.next_draft()))?;
            let file = path.join(DB_FILE);
            let watermark =
                Watermark::open(&path, noted, &found, &trees, || Ok(Log::make_durable(&db, &file)?))?;
            Ok((trees, Log { db, file, watermark: Arc::new(watermark) }))
        };
        let opened = blocking(move || Ok::<_, BlockingError>(open())).await;
        let (trees, log) = opened.map_err(|panic| {
            tracing::debug!(%panic, "opening the catalog panicked");
            CatalogError::Corrupt("its files cannot be read".into())
        })??;
        let watermark = Arc::clone(&log.watermark);
        Ok(Self { trees, watermark, commits: Commits::new(log), broken: AtomicBool::new(false) })
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Lets go of the directory.
    async fn close(self) {
        let Self { trees, watermark, commits, .. } = self;
        drop((trees, watermark));
        commits.stop().await;
    }
}

impl SledCatalog {
    /// Opens the catalog in directory `path`, or creates it. Called inside a tokio runtime.
    ///
    /// Below `min_free` on its volume [`check`](Catalog::check) reports full.
    ///
    /// # Errors
    /// Another process has it open, it is damaged, or the disk failed.
    pub async fn open(path: &Path, min_free: FreeDisk) -> Result<Self, CatalogError> {
        let path: Arc<Path> = path.into();
        let opened = Opened::open(Arc::clone(&path)).await?;
        Ok(Self { path, min_free, current: RwLock::new(Some(Arc::new(opened))) })
    }

    /// Returns the open database, opened again if it failed.
    async fn opened(&self) -> Result<Arc<Opened>, CatalogError> {
        if let Some(opened) = &*self.current.read().await
            && !opened.is_broken()
        {
            return Ok(Arc::clone(opened));
        }
        let mut current = self.current.write().await;
        match current.take().map(Arc::try_unwrap) {
            None => {}
            Some(Ok(opened)) if !opened.is_broken() => {
                return Ok(Arc::clone(current.insert(Arc::new(opened))));
            }
            Some(Ok(broken)) => broken.close().await,
            Some(Err(in_use)) => {
                let is_broken = in_use.is_broken();
                let opened = Arc::clone(current.insert(in_use));
                let busy = "it is being opened again after a failed write";
                return if is_broken { Err(CatalogError::Unavailable(busy.into())) } else { Ok(opened) };
            }
        }
        tracing::warn!("opening the catalog again after a failed write");
        Ok(Arc::clone(current.insert(Arc::new(self.open_again().await?))))
    }

    /// Opens the directory that was just closed. Threads of sled may hold its lock for a moment longer.
    async fn open_again(&self) -> Result<Opened, CatalogError> {
        for _ in 0..REOPEN_TRIES {
            match Opened::open(Arc::clone(&self.path)).await {
                Err(CatalogError::Unavailable(_) | CatalogError::InUse) => {
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
                opened_or_failed => return opened_or_failed,
            }
        }
        Opened::open(Arc::clone(&self.path)).await
    }

    /// Returns whether there is a catalog in directory `path`. [`open`](Self::open) would create one.
    pub fn exists(path: &Path) -> bool {
        path.join(DB_FILE).exists()
    }

    /// Returns the lowest id above those of all acknowledged drafts in directory `path`, as far as it is recorded beside
    /// the data. Works for a catalog that cannot be opened.
    pub fn noted_next_draft(path: &Path) -> Option<u64> {
        Noted::read(path).ok().flatten().map(|noted| noted.next_draft())
    }

    /// Reads all readable rows of the catalog in directory `path`, which may be damaged, and writes nothing. Blocks.
    ///
    /// # Errors
    /// There is no catalog, another process has it open, or the disk failed.
    pub fn salvage(path: &Path) -> Result<Salvage, CatalogError> {
        Salvage::read(path)
    }

    /// Closes the directory and waits for that. After a mere drop it takes a moment.
    pub async fn close(self) {
        if let Some(Ok(opened)) = self.current.into_inner().map(Arc::try_unwrap) {
            opened.close().await;
        }
    }

    /// Runs `work`, which writes one transaction and returns its position. Returns once that is durable.
    async fn record<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<(T, Position), CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let opened = self.opened().await?;
        let trees = opened.trees.clone();
        let recorded = opened.commits.record(move || work(&trees)).await;
        recorded.map_err(|error| match error {
            CatalogError::Corrupt(_) => error,
            failed => {
                opened.broken.store(true, Ordering::Relaxed);
                CatalogError::Indeterminate(Box::new(failed))
            }
        })
    }
}

#[async_trait]
impl Catalog for SledCatalog {
    async fn create_draft(&self, new: NewDraft) -> Result<Draft, CatalogError> {
        self.record(move |trees| trees.insert(&new)).await
    }

    /// No other process can have the catalog open, so there is nothing to lock.
    async fn lock_keys(&self, _keys: &[MediaKey]) -> Result<Box<dyn KeyLock>, CatalogError> {
        Ok(Box::new(SoleProcess))
    }

    async fn draft(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.load(id)).await
    }

    async fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.media_of_source(source)).await
    }

    async fn without_row(&self, keys: &[MediaKey]) -> Result<Vec<MediaKey>, CatalogError> {
        let (opened, keys) = (self.opened().await?, keys.to_vec());
        blocking(move || opened.trees.without_row(&keys)).await
    }

    async fn media_page(&self, after: Option<MediaId>, limit: usize) -> Result<Vec<Media>, CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.media_page(after, limit)).await
    }

    async fn drafts_page(&self, after: Option<DraftId>, limit: usize) -> Result<Vec<DraftRow>, CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.drafts_page(after, limit)).await
    }

    async fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<KnownSource>, CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.sources_page(after, limit)).await
    }

    async fn forget_source(&self, source: SourceId, media: MediaId) -> Result<(), CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.forget_source(source, media)).await
    }

    async fn created(&self) -> Result<SystemTime, CatalogError> {
        Ok(self.opened().await?.watermark.created())
    }

    async fn check(&self) -> Result<(), CatalogError> {
        self.opened().await?;
        let (path, min_free) = (Arc::clone(&self.path), self.min_free);
        let check = move || {
            min_free.check(&path)?;
            disk::check_writable(&path)?;
            // Without the file, or without permission to write it, the next draft would fail or be lost.
            File::options().write(true).open(path.join(DB_FILE)).map(drop)
        };
        blocking(move || Ok(check()?)).await
    }
}

#[async_trait]
impl Restorable for SledCatalog {
    async fn state(&self) -> Result<State, CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.state()).await
    }

    async fn media_of_key(&self, key: MediaKey) -> Result<Option<Media>, CatalogError> {
        let opened = self.opened().await?;
        blocking(move || opened.trees.media_of_key(key)).await
    }

    async fn restore(&self, step: Restore) -> Result<(), RestoreError> {
        let step = move |trees: &Trees| {
            Ok(match trees.restore(&step)? {
                Ok(position) => (Ok(()), position),
                Err(conflict) => (Err(conflict), Position::default()),
            })
        };
        let taken = self.record(step).await?;
        taken.map_err(|conflict| RestoreError::Conflict(conflict.0))
    }
}

/// The locks of a process that has the catalog for itself.
struct SoleProcess;

impl KeyLock for SoleProcess {
    fn is_valid(&self) -> bool {
        true
    }
}

/// Finds out why a catalog cannot be opened: another process has it open, it is damaged, or the disk or its permissions
/// fail. Damage shows in many ways, because sled trusts most of what it reads.
fn why_not_open(error: sled::Error, path: &Path) -> CatalogError {
    use sled::Error as E;
    match error {
        E::Io(_) if is_locked(path) => CatalogError::InUse,
        E::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            CatalogError::Corrupt("its files cannot be read".into())
        }
        error => error.into(),
    }
}

/// Returns whether another process holds the lock of sled, whose own error does not say so.
fn is_locked(path: &Path) -> bool {
    let tried = File::open(path.join(DB_FILE)).map(|file| file.try_lock());
    matches!(tried, Ok(Err(TryLockError::WouldBlock)))
}

impl From<io::Error> for CatalogError {
    fn from(error: io::Error) -> Self {
        if disk::is_full(&error) { Self::Full(error) } else { Self::Unavailable(error.into()) }
    }
}

impl From<sled::Error> for CatalogError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(_) => io_error(error).into(),
            sled::Error::Corruption { .. } => Self::Corrupt("a page of it cannot be read".into()),
            other => Self::Corrupt(io_error(other).to_string()),
        }
    }
}

/// Returns the error of the system, if it is one. The texts of sled are for its authors, and are logged for debugging.
fn io_error(error: sled::Error) -> io::Error {
    tracing::debug!(%error, "the embedded catalog failed");
    match error {
        sled::Error::Io(error) if error.raw_os_error().is_some() => error,
        sled::Error::Io(error) if error.kind() != io::ErrorKind::Other => error.kind().into(),
        sled::Error::Io(_) => io::Error::other("its files cannot be used"),
        _ => io::Error::other("its files are not what this version writes"),
    }
}

#[cfg(test)]
mod tests;
