//! The embedded catalog: sled, one directory, one process.
//!
//! sled acknowledges a transaction before it is on disk, and its flush does not fsync. So every commit waits for a group
//! commit: one task flushes and syncs for all that came since it last did, which costs one disk sync for many uploads.
//! Rows are JSON, so that an export is a copy and a new field is no migration.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};
use sled::{Db, Tree};
use tokio::sync::{mpsc, oneshot};

use super::{Catalog, CatalogError, NewDraft};
use crate::model::{Draft, DraftId, DraftStatus, Media, MediaId};

/// sled's default is 1 GB, more than the machines this runs on.
const CACHE_BYTES: u64 = 16 << 20;

const NEXT_MEDIA_ID: &[u8] = b"next_media_id";
const NEXT_DRAFT_ID: &[u8] = b"next_draft_id";

/// See the module.
#[derive(Debug, Clone)]
pub struct SledCatalog {
    trees: Arc<Trees>,
    commits: mpsc::UnboundedSender<oneshot::Sender<Result<(), Arc<io::Error>>>>,
}

#[derive(Debug)]
struct Trees {
    /// Media id (big endian) → [`Media`].
    media: Tree,
    /// Media key → media id.
    media_by_key: Tree,
    /// Draft id (big endian) → [`DraftRow`].
    drafts: Tree,
    /// Name → next id.
    counters: Tree,
}

/// A draft as stored: its photos are references.
#[derive(Debug, Serialize, Deserialize)]
struct DraftRow {
    title: String,
    description: String,
    status: DraftStatus,
    price_suggested: Option<f64>,
    photos: Vec<MediaId>,
}

impl SledCatalog {
    /// Opens the catalog in directory `path`, or creates it.
    ///
    /// # Errors
    /// Another process has it open, it is corrupt, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            // Commits flush by themselves; a timer would only write at other moments.
            .flush_every_ms(None)
            .open()?;
        let trees = Trees {
            media: db.open_tree("media")?,
            media_by_key: db.open_tree("media_by_key")?,
            drafts: db.open_tree("drafts")?,
            counters: db.open_tree("counters")?,
        };
        let (commits, queue) = mpsc::unbounded_channel();
        tokio::spawn(group_commit(db, path.join("db"), queue));
        Ok(Self { trees: Arc::new(trees), commits })
    }

    /// Returns when everything recorded before this call is on disk.
    async fn sync(&self) -> Result<(), CatalogError> {
        let (sender, done) = oneshot::channel();
        let gone = || CatalogError::Unavailable("the commit task has ended".into());
        self.commits.send(sender).map_err(|_| gone())?;
        match done.await.map_err(|_| gone())? {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error).into()),
        }
    }

    /// Runs `work` on the trees where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trees) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, CatalogError> {
        let trees = Arc::clone(&self.trees);
        let done = tokio::task::spawn_blocking(move || work(&trees)).await;
        done.map_err(|error| CatalogError::Unavailable(error.into()))?
    }
}

/// Flushes and syncs once for all commits that wait, until the last catalog handle is gone.
async fn group_commit(
    db: Db,
    file: PathBuf,
    mut queue: mpsc::UnboundedReceiver<oneshot::Sender<Result<(), Arc<io::Error>>>>,
) {
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
    db.flush_async().await.map_err(io::Error::from)?;
    let file = file.to_owned();
    tokio::task::spawn_blocking(move || File::open(file)?.sync_data()).await.map_err(io::Error::other)?
}

#[async_trait]
impl Catalog for SledCatalog {
    async fn create_draft(&self, new: NewDraft) -> Result<Draft, CatalogError> {
        let draft = self.blocking(move |trees| trees.insert(&new)).await?;
        if let Err(error) = self.sync().await {
            // Not durable, so not promised: take it back. If even this fails the row may reappear, without its photos'
            // files being missing: they are removed only by those who know that nobody was promised them.
            let id = draft.id;
            let _best_effort = self.blocking(move |trees| Ok(trees.drafts.remove(id.0.to_be_bytes())?)).await;
            return Err(error);
        }
        Ok(draft)
    }

    async fn draft(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        self.blocking(move |trees| trees.load(id)).await
    }

    async fn check(&self) -> Result<(), CatalogError> {
        self.blocking(|trees| Ok(trees.counters.get(NEXT_DRAFT_ID).map(|_| ())?)).await
    }
}

type Abort = ConflictableTransactionError<CatalogError>;

impl Trees {
    fn insert(&self, new: &NewDraft) -> Result<Draft, CatalogError> {
        let trees = (&self.media, &self.media_by_key, &self.drafts, &self.counters);
        let committed = trees.transaction(|(media, media_by_key, drafts, counters)| {
            let mut photos = Vec::with_capacity(new.photos.len());
            for photo in &new.photos {
                let row = match media_by_key.get(photo.key.as_bytes())? {
                    Some(id) => {
                        let row = media.get(&id)?.ok_or_else(|| abort("a media key refers to no row"))?;
                        decode(&row).map_err(Abort::Abort)?
                    }
                    None => {
                        let id = MediaId(take_id(counters, NEXT_MEDIA_ID)?);
                        let row = Media {
                            id,
                            key: photo.key,
                            width: photo.width,
                            height: photo.height,
                            size_bytes: photo.size_bytes,
                        };
                        media.insert(&id.0.to_be_bytes(), encode(&row).map_err(Abort::Abort)?)?;
                        media_by_key.insert(photo.key.as_bytes(), &id.0.to_be_bytes())?;
                        row
                    }
                };
                photos.push(row);
            }
            let id = DraftId(take_id(counters, NEXT_DRAFT_ID)?);
            let row = DraftRow {
                title: new.title.clone(),
                description: String::new(),
                status: DraftStatus::Draft,
                price_suggested: None,
                photos: photos.iter().map(|photo| photo.id).collect(),
            };
            drafts.insert(&id.0.to_be_bytes(), encode(&row).map_err(Abort::Abort)?)?;
            Ok(row.with(id, photos))
        });
        committed.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => error.into(),
        })
    }

    fn load(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        let Some(row) = self.drafts.get(id.0.to_be_bytes())? else {
            return Ok(None);
        };
        let row: DraftRow = decode(&row)?;
        let photo = |id: &MediaId| {
            let row = self.media.get(id.0.to_be_bytes())?;
            decode(&row.ok_or_else(|| CatalogError::Corrupt(format!("media {id} has no row")))?)
        };
        let photos = row.photos.iter().map(photo).collect::<Result<_, _>>()?;
        Ok(Some(row.with(id, photos)))
    }
}

impl DraftRow {
    fn with(self, id: DraftId, photos: Vec<Media>) -> Draft {
        let Self { title, description, status, price_suggested, photos: _ } = self;
        Draft { id, title, description, status, price_suggested, photos }
    }
}

fn take_id(counters: &TransactionalTree, name: &[u8]) -> ConflictableTransactionResult<u64, CatalogError> {
    let next = match counters.get(name)? {
        None => 1,
        Some(bytes) => {
            u64::from_be_bytes(bytes.as_ref().try_into().map_err(|_| abort("a counter is not a number"))?)
        }
    };
    counters.insert(name, &(next + 1).to_be_bytes())?;
    Ok(next)
}

fn abort(what: &str) -> Abort {
    Abort::Abort(CatalogError::Corrupt(what.to_owned()))
}

fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(row).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

fn decode<T: DeserializeOwned>(row: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(row).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

impl From<io::Error> for CatalogError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            Self::Full(error)
        } else {
            Self::Unavailable(error.into())
        }
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
        conformance::run(Arc::new(SledCatalog::open(dir.path()).unwrap())).await;
    }

    #[tokio::test]
    async fn drafts_and_counters_outlive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let new = NewDraft {
            title: "kept".into(),
            photos: vec![NewPhoto { key: MediaKey::of(b"1"), width: 4, height: 3, size_bytes: 1 }],
        };
        let first = {
            let catalog = SledCatalog::open(dir.path()).unwrap();
            catalog.create_draft(new.clone()).await.unwrap()
        };
        // The commit task lets go of the directory a moment after the last handle is dropped.
        let reopened = loop {
            match SledCatalog::open(dir.path()) {
                Ok(catalog) => break catalog,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        };
        assert_eq!(reopened.draft(first.id).await.unwrap(), Some(first.clone()));
        let second = reopened.create_draft(new).await.unwrap();
        assert_eq!((second.id, &second.photos), (DraftId(2), &first.photos));
    }
}
