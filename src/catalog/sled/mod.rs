//! The embedded catalog: sled, one directory, one process.
//!
//! sled acknowledges a transaction before it is on disk, its flush does not fsync, and after one failed write it fails for
//! ever. So every commit waits for a group commit (see `commit`), and a catalog that failed is closed and opened again:
//! this forgets exactly what was never acknowledged.

mod commit;
mod mark;
mod pages;
mod rows;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::RwLock;

use self::commit::{Commits, Log};
use self::mark::Mark;
use self::rows::Trees;
use super::{Catalog, CatalogError, KnownSource, NewDraft};
use crate::disk::{self, FreeDisk};
use crate::model::{Draft, DraftId, Media, MediaId, MediaKey, SourceId};

/// sled's default is 1 GB, more than the machines this runs on.
const CACHE_BYTES: u64 = 16 << 20;

/// How often, and with what pause, a lock that is not yet free is asked for again.
const REOPEN_TRIES: u32 = 50;
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// See the module.
#[derive(Debug)]
pub struct SledCatalog {
    path: Arc<Path>,
    min_free: FreeDisk,
    /// `None` after an attempt to open it again that failed.
    current: RwLock<Option<Arc<Opened>>>,
}

/// sled, while it works.
#[derive(Debug)]
struct Opened {
    trees: Trees,
    mark: Arc<Mark>,
    commits: Commits,
    broken: AtomicBool,
}

impl Opened {
    async fn open(path: Arc<Path>) -> Result<Self, CatalogError> {
        let opening = tokio::task::spawn_blocking(move || -> Result<_, CatalogError> {
            let noted = Mark::read(&path)?;
            disk::create_dir(&path)?;
            let config = sled::Config::new().path(&path).cache_capacity(CACHE_BYTES);
            // Commits flush by themselves; a timer would only write at other moments.
            let db = config.flush_every_ms(None).open()?;
            disk::sync_dir(&path)?;
            let trees = Trees::open(&db)?;
            let file = path.join("db");
            let mark = Mark::open(&path, noted, &trees, || Ok(Log::make_durable(&db, &file)?))?;
            Ok((trees, Log { db, file, mark: Arc::new(mark) }))
        });
        let (trees, log) = opening.await.map_err(|died| CatalogError::Corrupt(last_words(died)))??;
        let mark = Arc::clone(&log.mark);
        Ok(Self { trees, mark, commits: Commits::start(log), broken: AtomicBool::new(false) })
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Lets go of the directory.
    async fn close(self) {
        let Self { trees, mark, commits, .. } = self;
        drop((trees, mark));
        commits.stop().await;
    }
}

impl SledCatalog {
    /// Opens the catalog in directory `path`, or creates it. Called inside a tokio runtime.
    ///
    /// Below `min_free` on its volume [`check`](Catalog::check) reports full.
    ///
    /// # Errors
    /// Another process has it open, it is corrupt, or the disk refuses.
    pub async fn open(path: &Path, min_free: FreeDisk) -> Result<Self, CatalogError> {
        let path: Arc<Path> = path.into();
        let opened = Opened::open(Arc::clone(&path)).await?;
        Ok(Self { path, min_free, current: RwLock::new(Some(Arc::new(opened))) })
    }

    /// sled as it is, or opened again if it broke.
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

    /// Opens the directory that was just closed. sled's own threads may hold its lock for a moment longer.
    async fn open_again(&self) -> Result<Opened, CatalogError> {
        for _ in 0..REOPEN_TRIES {
            match Opened::open(Arc::clone(&self.path)).await {
                Err(CatalogError::Unavailable(_)) => tokio::time::sleep(REOPEN_PAUSE).await,
                opened_or_failed => return opened_or_failed,
            }
        }
        Opened::open(Arc::clone(&self.path)).await
    }
}

#[async_trait]
impl Catalog for SledCatalog {
    async fn create_draft(&self, new: NewDraft) -> Result<Draft, CatalogError> {
        let opened = self.opened().await?;
        let recording = Arc::clone(&opened);
        let recorded = match blocking(move || recording.trees.insert(&new)).await {
            Ok(draft) => opened.commits.wait(draft.id).await.map(|()| draft),
            Err(error) => Err(error),
        };
        recorded.map_err(|error| match error {
            CatalogError::Corrupt(_) => error,
            failed => {
                opened.broken.store(true, Ordering::Relaxed);
                CatalogError::Indeterminate(Box::new(failed))
            }
        })
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
        Ok(self.opened().await?.mark.created())
    }

    async fn check(&self) -> Result<(), CatalogError> {
        self.opened().await?;
        let (path, min_free) = (Arc::clone(&self.path), self.min_free);
        blocking(move || Ok(min_free.check(&path)?)).await
    }
}

/// sled does not expect everything that a disk can do to its files.
fn last_words(died: tokio::task::JoinError) -> String {
    let said = match died.try_into_panic() {
        Ok(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (None, Some(text)) => (*text).to_owned(),
            (None, None) => String::new(),
        },
        Err(cancelled) => cancelled.to_string(),
    };
    format!("its files cannot be read ({})", said.lines().next().unwrap_or("no reason is told"))
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CatalogError> + Send + 'static,
) -> Result<T, CatalogError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| CatalogError::Unavailable(error.into()))?
}

impl From<io::Error> for CatalogError {
    fn from(error: io::Error) -> Self {
        if disk::is_full(&error) { Self::Full(error) } else { Self::Unavailable(error.into()) }
    }
}

impl From<sled::Error> for CatalogError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            sled::Error::Corruption { .. } => Self::Corrupt(error.to_string()),
            other => Self::Unavailable(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{NewPhoto, conformance};
    use crate::model::MediaKey;

    #[tokio::test]
    async fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        conformance::run(Arc::new(SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap())).await;
    }

    #[tokio::test]
    async fn drafts_and_counters_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let new = NewDraft {
            title: "kept".into(),
            photos: vec![NewPhoto {
                key: MediaKey::of(b"1"),
                width: 4,
                height: 3,
                size_bytes: 1,
                source: SourceId::new([1; 32]),
            }],
        };
        let first = {
            let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
            catalog.create_draft(new.clone()).await.unwrap()
        };
        // The commit task lets go of the directory a moment after the last handle is dropped.
        let mut tries = 0;
        let reopened = loop {
            match SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await {
                Ok(catalog) => break catalog,
                Err(error) if tries == 1000 => panic!("{error}"),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
            tries += 1;
        };
        assert_eq!(reopened.draft(first.id).await.unwrap(), Some(first.clone()));
        let known = reopened.media_of_source(SourceId::new([1; 32])).await.unwrap();
        assert_eq!(known.as_ref(), first.photos.first());
        let second = reopened.create_draft(new).await.unwrap();
        assert_eq!((second.id, &second.photos), (DraftId(2), &first.photos));
    }

    /// As after a write that failed: what was acknowledged is there, and new drafts are taken.
    #[tokio::test]
    async fn a_catalog_that_broke_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = SledCatalog::open(dir.path(), FreeDisk::Bytes(0)).await.unwrap();
        let new = NewDraft { title: String::new(), photos: Vec::new() };
        let first = catalog.create_draft(new.clone()).await.unwrap();
        catalog.opened().await.unwrap().broken.store(true, Ordering::Relaxed);
        catalog.check().await.unwrap();
        assert_eq!(catalog.draft(first.id).await.unwrap(), Some(first));
        assert_eq!(catalog.create_draft(new).await.unwrap().id, DraftId(2));
    }
}
