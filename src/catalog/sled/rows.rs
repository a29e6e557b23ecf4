//! Rows, and the transaction that records a draft. Rows are JSON, so that an export copies them and a new field needs
//! no migration.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::transaction::{
    ConflictableTransactionError, ConflictableTransactionResult, TransactionError, Transactional,
    TransactionalTree,
};
use sled::{Db, Tree};

use crate::catalog::{CatalogError, DraftRow, NewDraft};
use crate::model::{Draft, DraftId, DraftStatus, MAX_ID, Media, MediaId, SourceId, UserId};

pub(super) const NEXT_MEDIA_ID: &[u8] = b"next_media_id";
pub(super) const NEXT_DRAFT_ID: &[u8] = b"next_draft_id";
pub(super) const CREATED: &[u8] = b"created";
pub(super) const CENSUS: &[u8] = b"census";

/// Handles of sled's trees.
#[derive(Debug, Clone)]
pub(super) struct Trees {
    /// Media id (big endian) → [`Media`].
    pub(super) media: Tree,
    /// Media key → media id.
    pub(super) media_by_key: Tree,
    /// Source id → media id. Empty at first in databases that are older than this tree.
    pub(super) media_by_source: Tree,
    /// Draft id (big endian) → [`DraftValue`].
    pub(super) drafts: Tree,
    /// Name → next id, creation time in nanoseconds since 1970, or the [`Census`].
    pub(super) counters: Tree,
    /// Next free media id when the catalog was opened.
    pub(super) lowest_media: u64,
    /// Next free draft id when the catalog was opened.
    pub(super) lowest_draft: u64,
}

/// The recorded numbers of rows and transactions. Every transaction that records rows updates them, so that lost rows are
/// noticed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Census {
    /// Number of transactions.
    pub(super) transactions: u64,
    /// Number of media rows.
    pub(super) media: u64,
    /// Number of drafts.
    pub(super) drafts: u64,
    /// The counters after the transaction. If they differ from the stored counters, a version of this program without
    /// the census recorded rows in between.
    pub(super) next_media: u64,
    pub(super) next_draft: u64,
}

impl Census {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 40] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|number| u64::from_be_bytes(*number));
        let mut next = || numbers.next();
        Some(Self {
            transactions: next()?,
            media: next()?,
            drafts: next()?,
            next_media: next()?,
            next_draft: next()?,
        })
    }

    fn bytes(self) -> Vec<u8> {
        let Self { transactions, media, drafts, next_media, next_draft } = self;
        [transactions, media, drafts, next_media, next_draft].map(u64::to_be_bytes).concat()
    }

    /// Returns true if the census was written together with these counters.
    pub(super) fn fits(&self, next_media: Option<u64>, next_draft: Option<u64>) -> bool {
        (self.next_media, self.next_draft) == (next_media.unwrap_or(0), next_draft.unwrap_or(0))
    }
}

/// The last recorded transaction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Number of transactions.
    pub(super) transactions: u64,
    /// Next draft id.
    pub(super) next_draft: u64,
}

/// A draft as stored: its photos are media ids.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DraftValue {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) status: DraftStatus,
    pub(super) price_suggested: Option<f64>,
    pub(super) photos: Vec<MediaId>,
    /// Missing in rows that were written before drafts had owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<UserId>,
}

type Abort = ConflictableTransactionError<CatalogError>;

impl Trees {
    /// Opens the trees of `db`. Ids below `acknowledged` are never used again, even if their drafts are lost.
    pub(super) fn open(db: &Db, acknowledged: u64) -> Result<Self, CatalogError> {
        let [media, drafts] = [db.open_tree("media")?, db.open_tree("drafts")?];
        let trees = Self {
            lowest_media: above_last(&media)?,
            lowest_draft: above_last(&drafts)?.max(acknowledged),
            media,
            media_by_key: db.open_tree("media_by_key")?,
            media_by_source: db.open_tree("media_by_source")?,
            drafts,
            counters: db.open_tree("counters")?,
        };
        let media = ("media", NEXT_MEDIA_ID, trees.lowest_media);
        for (rows, counter, lowest) in [media, ("drafts", NEXT_DRAFT_ID, trees.lowest_draft)] {
            let counter = trees.counter(counter)?;
            let next = next_id(counter, lowest);
            if counter.is_some_and(|counter| counter != next) {
                tracing::warn!(
                    rows,
                    ?counter,
                    next,
                    "a damaged counter is ignored; ids continue after the highest row"
                );
            }
        }
        Ok(trees)
    }

    /// Records a draft and its media that have no row yet, in one transaction. Not durable yet.
    pub(super) fn insert(&self, new: &NewDraft) -> Result<(Draft, Position), CatalogError> {
        let trees = (&self.media, &self.media_by_key, &self.media_by_source, &self.drafts, &self.counters);
        let committed = trees.transaction(|(media, media_by_key, media_by_source, drafts, counters)| {
            let mut photos = Vec::with_capacity(new.photos.len());
            let mut new_media = 0;
            for photo in &new.photos {
                let row = match media_by_key.get(photo.key.as_bytes())? {
                    Some(id) => {
                        let row = media.get(&id)?.ok_or_else(|| abort("a media key refers to no row"))?;
                        decode(&row).map_err(Abort::Abort)?
                    }
                    None => {
                        let id = MediaId(take_id(counters, NEXT_MEDIA_ID, self.lowest_media)?);
                        new_media += 1;
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
                // A retried upload finds an unchanged entry and writes nothing.
                if media_by_source.get(photo.source.as_bytes())?.is_none_or(|known| known != id) {
                    media_by_source.insert(photo.source.as_bytes(), &id)?;
                }
                photos.push(row);
            }
            let id = DraftId(take_id(counters, NEXT_DRAFT_ID, self.lowest_draft)?);
            let row = DraftValue {
                title: new.title.clone(),
                description: String::new(),
                status: DraftStatus::Draft,
                price_suggested: None,
                photos: photos.iter().map(|photo| photo.id).collect(),
                owner: new.owner,
            };
            drafts.insert(&id.0.to_be_bytes(), encode(&row).map_err(Abort::Abort)?)?;
            let transactions = add_to_census(counters, new_media, 1)?;
            Ok((row.row(id).with_photos(photos), Position { transactions, next_draft: id.0 + 1 }))
        });
        committed.map_err(|error| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => error.into(),
        })
    }

    /// Returns the media row that was made from a source, or `None`.
    pub(super) fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError> {
        let Some(id) = self.media_by_source.get(source.as_bytes())? else {
            return Ok(None);
        };
        // The row and its source may be removed between these two lines; ids are never reused.
        self.media.get(id)?.map(|row| decode(&row)).transpose()
    }

    /// Records the creation time. Not durable yet.
    pub(super) fn set_created(&self, created: u64) -> Result<(), CatalogError> {
        self.counters.insert(CREATED, &created.to_be_bytes())?;
        Ok(())
    }

    /// Records the number of media rows and drafts. Not durable yet.
    pub(super) fn set_census(&self, media: u64, drafts: u64) -> Result<(), CatalogError> {
        let next_media = self.counter(NEXT_MEDIA_ID)?.unwrap_or(0);
        let next_draft = self.counter(NEXT_DRAFT_ID)?.unwrap_or(0);
        let census = self.counters.get(CENSUS)?.and_then(|bytes| Census::read(&bytes)).unwrap_or_default();
        let census = Census { media, drafts, next_media, next_draft, ..census };
        self.counters.insert(CENSUS, census.bytes())?;
        Ok(())
    }

    /// Reads a counter. Returns 0, which no intact counter is, if the value is not a number.
    pub(super) fn counter(&self, name: &[u8]) -> Result<Option<u64>, CatalogError> {
        Ok(self.counters.get(name)?.map(|bytes| counter(&bytes)))
    }

    /// Returns the draft with this id, or `None`.
    pub(super) fn load(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        let Some(row) = self.drafts.get(id.0.to_be_bytes())? else {
            return Ok(None);
        };
        let row = decode::<DraftValue>(&row)?.row(id);
        let photo = |id: &MediaId| {
            let row = self.media.get(id.0.to_be_bytes())?;
            decode(&row.ok_or_else(|| CatalogError::Corrupt(format!("media {id} has no row")))?)
        };
        let photos = row.photos.iter().map(photo).collect::<Result<_, _>>()?;
        Ok(Some(row.with_photos(photos)))
    }
}

impl DraftValue {
    /// Returns the draft that is stored under `id`.
    pub(super) fn row(self, id: DraftId) -> DraftRow {
        let Self { title, description, status, price_suggested, photos, owner } = self;
        DraftRow { id, title, description, status, price_suggested, photos, owner }
    }
}

impl From<DraftRow> for DraftValue {
    fn from(row: DraftRow) -> Self {
        let DraftRow { id: _, title, description, status, price_suggested, photos, owner } = row;
        Self { title, description, status, price_suggested, photos, owner }
    }
}

fn take_id(
    counters: &TransactionalTree,
    name: &[u8],
    lowest: u64,
) -> ConflictableTransactionResult<u64, CatalogError> {
    let next = next_id(counters.get(name)?.map(|bytes| counter(&bytes)), lowest);
    counters.insert(name, &(next + 1).to_be_bytes())?;
    Ok(next)
}

/// Returns the next id. A damaged counter is replaced by `lowest`, the lowest id that no row has.
pub(super) fn next_id(counter: Option<u64>, lowest: u64) -> u64 {
    counter.filter(|counter| (lowest..=MAX_ID).contains(counter)).unwrap_or(lowest)
}

/// Adds the rows of a transaction to the census and returns the transaction's number.
pub(super) fn add_to_census<E>(
    counters: &TransactionalTree,
    media: u64,
    drafts: u64,
) -> ConflictableTransactionResult<u64, E> {
    let census = counters.get(CENSUS)?.and_then(|bytes| Census::read(&bytes));
    // The census is created when the catalog is opened.
    let Some(census) = census else { return Ok(0) };
    let next = |name| counters.get(name).map(|bytes| bytes.map_or(0, |bytes| counter(&bytes)));
    let census = Census {
        transactions: census.transactions + 1,
        media: census.media + media,
        drafts: census.drafts + drafts,
        next_media: next(NEXT_MEDIA_ID)?,
        next_draft: next(NEXT_DRAFT_ID)?,
    };
    counters.insert(CENSUS, census.bytes())?;
    Ok(census.transactions)
}

/// Returns the id after the highest row.
fn above_last(rows: &Tree) -> Result<u64, CatalogError> {
    let last = rows.last()?;
    Ok(last.map_or(Ok(0), |(id, _)| number(&id))?.saturating_add(1))
}

pub(super) fn counter(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

pub(super) fn number(bytes: &[u8]) -> Result<u64, CatalogError> {
    let bytes = bytes.try_into().map_err(|_| CatalogError::Corrupt("an id is not a number".into()))?;
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
