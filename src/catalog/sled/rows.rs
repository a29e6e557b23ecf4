//! Rows and the transaction over them. They are JSON, so that an export is a copy and a new field is no migration.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};
use sled::{Db, Tree};

use crate::catalog::{CatalogError, NewDraft};
use crate::model::{Draft, DraftId, DraftStatus, Media, MediaId, SourceId, UserId};

pub(super) const NEXT_MEDIA_ID: &[u8] = b"next_media_id";
pub(super) const NEXT_DRAFT_ID: &[u8] = b"next_draft_id";
const CREATED: &[u8] = b"created";

/// The trees, as handles of them.
#[derive(Debug, Clone)]
pub(super) struct Trees {
    /// Media id (big endian) → [`Media`].
    pub(super) media: Tree,
    /// Media key → media id.
    pub(super) media_by_key: Tree,
    /// Source id → media id. Databases of before it existed get it empty.
    pub(super) media_by_source: Tree,
    /// Draft id (big endian) → [`DraftValue`].
    pub(super) drafts: Tree,
    /// Name → next id, or the moment of creation in nanoseconds since 1970.
    pub(super) counters: Tree,
}

/// A draft as stored under its id: its photos are references.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DraftValue {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) status: DraftStatus,
    pub(super) price_suggested: Option<f64>,
    pub(super) photos: Vec<MediaId>,
    /// Rows of before there were users lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<UserId>,
}

type Abort = ConflictableTransactionError<CatalogError>;

impl Trees {
    /// Opens the trees of `db`.
    pub(super) fn open(db: &Db) -> Result<Self, CatalogError> {
        Ok(Self {
            media: db.open_tree("media")?,
            media_by_key: db.open_tree("media_by_key")?,
            media_by_source: db.open_tree("media_by_source")?,
            drafts: db.open_tree("drafts")?,
            counters: db.open_tree("counters")?,
        })
    }

    /// Records a draft and those of its media that have no row yet, in one transaction; not durable yet.
    pub(super) fn insert(&self, new: &NewDraft) -> Result<Draft, CatalogError> {
        let trees = (&self.media, &self.media_by_key, &self.media_by_source, &self.drafts, &self.counters);
        let committed = trees.transaction(|(media, media_by_key, media_by_source, drafts, counters)| {
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
                            owner: new.owner,
                        };
                        media.insert(&id.0.to_be_bytes(), encode(&row).map_err(Abort::Abort)?)?;
                        media_by_key.insert(photo.key.as_bytes(), &id.0.to_be_bytes())?;
                        row
                    }
                };
                let id = row.id.0.to_be_bytes();
                // A retry finds it as it is, and then writes nothing.
                if media_by_source.get(photo.source.as_bytes())?.is_none_or(|known| known != id) {
                    media_by_source.insert(photo.source.as_bytes(), &id)?;
                }
                photos.push(row);
            }
            let id = DraftId(take_id(counters, NEXT_DRAFT_ID)?);
            let row = DraftValue {
                title: new.title.clone(),
                description: String::new(),
                status: DraftStatus::Draft,
                price_suggested: None,
                photos: photos.iter().map(|photo| photo.id).collect(),
                owner: new.owner,
            };
            drafts.insert(&id.0.to_be_bytes(), encode(&row).map_err(Abort::Abort)?)?;
            Ok(row.with(id, photos))
        });
        committed.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => error.into(),
        })
    }

    /// Reads the media that was made of a source.
    pub(super) fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError> {
        let Some(id) = self.media_by_source.get(source.as_bytes())? else {
            return Ok(None);
        };
        // The row may go between these two lines, and its source with it; ids are not used again.
        self.media.get(id)?.map(|row| decode(&row)).transpose()
    }

    /// The id of the next draft.
    pub(super) fn next_draft(&self) -> Result<u64, CatalogError> {
        Ok(self.counter(NEXT_DRAFT_ID)?.unwrap_or(1))
    }

    /// The moment of creation, if it is recorded.
    pub(super) fn created(&self) -> Result<Option<u64>, CatalogError> {
        self.counter(CREATED)
    }

    /// Records the moment of creation; not durable yet.
    pub(super) fn set_created(&self, created: u64) -> Result<(), CatalogError> {
        self.counters.insert(CREATED, &created.to_be_bytes())?;
        Ok(())
    }

    pub(super) fn counter(&self, name: &[u8]) -> Result<Option<u64>, CatalogError> {
        self.counters.get(name)?.map(|bytes| number(&bytes)).transpose()
    }

    /// Reads a draft.
    pub(super) fn load(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        let Some(row) = self.drafts.get(id.0.to_be_bytes())? else {
            return Ok(None);
        };
        let row: DraftValue = decode(&row)?;
        let photo = |id: &MediaId| {
            let row = self.media.get(id.0.to_be_bytes())?;
            decode(&row.ok_or_else(|| CatalogError::Corrupt(format!("media {id} has no row")))?)
        };
        let photos = row.photos.iter().map(photo).collect::<Result<_, _>>()?;
        Ok(Some(row.with(id, photos)))
    }
}

impl DraftValue {
    fn with(self, id: DraftId, photos: Vec<Media>) -> Draft {
        let Self { title, description, status, price_suggested, photos: _, owner } = self;
        Draft { id, title, description, status, price_suggested, photos, owner }
    }
}

fn take_id(counters: &TransactionalTree, name: &[u8]) -> ConflictableTransactionResult<u64, CatalogError> {
    let next = match counters.get(name)? {
        None => 1,
        Some(bytes) => number(&bytes).map_err(Abort::Abort)?,
    };
    counters.insert(name, &(next + 1).to_be_bytes())?;
    Ok(next)
}

pub(super) fn number(bytes: &[u8]) -> Result<u64, CatalogError> {
    let bytes = bytes.try_into().map_err(|_| CatalogError::Corrupt("a counter is not a number".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

fn abort(what: &str) -> Abort {
    Abort::Abort(CatalogError::Corrupt(what.to_owned()))
}

pub(super) fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(row).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(row: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(row).map_err(|error| CatalogError::Corrupt(error.to_string()))
}
