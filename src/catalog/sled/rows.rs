//! Trees, and the encoding of their rows. Media and drafts are JSON, so that an export copies them and a new field needs no
//! migration. Indexes have empty values.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::{Db, Tree};

use super::id_sets::IdSets;
use crate::catalog::{CatalogError, DraftRow};
use crate::model::{DraftId, DraftStatus, MAX_ID, MediaId, Timestamp, UserId};

pub(super) const NEXT_MEDIA_ID: &[u8] = b"next_media_id";
pub(super) const NEXT_DRAFT_ID: &[u8] = b"next_draft_id";
pub(super) const NEXT_USER_ID: &[u8] = b"next_user_id";
pub(super) const NEXT_EVENT: &[u8] = b"next_event";
pub(super) const CREATED: &[u8] = b"created";
pub(super) const CENSUS: &[u8] = b"census";

/// Handles of sled's trees.
#[derive(Debug, Clone)]
pub(super) struct Trees {
    /// Media id (big endian) → [`Media`](crate::model::Media).
    pub(super) media: Tree,
    /// Media key → media id.
    pub(super) media_by_key: Tree,
    /// Source id → media id.
    pub(super) media_by_source: Tree,
    /// Index of [`source_key`].
    pub(super) sources_by_media: Tree,
    /// Media id → [`References`].
    pub(super) references: Tree,
    /// Index of [`unreferenced_key`]: media to which nothing refers, by the time since when.
    pub(super) unreferenced: Tree,
    /// Draft id (big endian) → [`DraftValue`].
    pub(super) drafts: Tree,
    /// [`owner_set`] → its drafts.
    pub(super) drafts_of_owner: IdSets,
    /// Media id → the drafts with that photo.
    pub(super) drafts_with_media: IdSets,
    /// Attempt id → [`Attempt`](crate::catalog::Attempt).
    pub(super) attempts: Tree,
    /// Index of [`attempt_key`].
    pub(super) attempts_by_time: Tree,
    /// The events that are not delivered, with indexes: see `outbox`.
    pub(super) outbox: Tree,
    /// The resumable uploads, with an index: see `uploads`.
    pub(super) uploads: Tree,
    /// The users of identity providers: see `identities`.
    pub(super) identities: Tree,
    /// Name → next id, creation time in nanoseconds since 1970, the [`Census`], or the version of the schema.
    pub(super) counters: Tree,
    /// Next free media id when the catalog was opened.
    pub(super) lowest_media: u64,
    /// Next free draft id when the catalog was opened.
    pub(super) lowest_draft: u64,
    /// Whether changes record events.
    pub(super) records_events: bool,
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

    pub(super) fn bytes(self) -> Vec<u8> {
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
    /// Missing in rows of schema 1, as are the next two.
    #[serde(default)]
    pub(super) created: Timestamp,
    #[serde(default)]
    pub(super) updated: Timestamp,
    #[serde(default)]
    pub(super) version: u64,
}

/// The use of a photo by drafts and finished uploads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct References {
    /// Number of drafts and finished uploads that refer to the photo.
    pub(super) count: u64,
    /// When the last reference was removed, if there is none.
    pub(super) since: Timestamp,
}

impl References {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, CatalogError> {
        let numbers = bytes.as_chunks::<8>();
        let ([count, since], []) = numbers else {
            return Err(CatalogError::Corrupt("the references of a photo are not two numbers".into()));
        };
        let since = Timestamp::from_millis(u64::from_be_bytes(*since));
        Ok(Self { count: u64::from_be_bytes(*count), since })
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        [self.count, self.since.millis()].map(u64::to_be_bytes).concat()
    }
}

/// Returns the name of the set of an owner's drafts in a state: owner (0: none), status.
pub(super) fn owner_set(owner: Option<UserId>, status: DraftStatus) -> [u8; 9] {
    let mut set = [0; 9];
    set[..8].copy_from_slice(&owner.map_or(0, UserId::get).to_be_bytes());
    set[8] = match status {
        DraftStatus::Draft => 0,
        DraftStatus::Ready => 1,
        DraftStatus::Published => 2,
        DraftStatus::Archived => 3,
    };
    set
}

/// Returns the key of a source in the index by media: media, source.
pub(super) fn source_key(media: MediaId, source: &[u8]) -> Vec<u8> {
    [&media.0.to_be_bytes()[..], source].concat()
}

/// Returns the key of an attempt in the index by time: time, id.
pub(super) fn attempt_key(created: Timestamp, id: &[u8]) -> Vec<u8> {
    [&created.millis().to_be_bytes()[..], id].concat()
}

/// Returns the key of a photo in the index by the time since when no draft refers to it: time, media.
pub(super) fn unreferenced_key(since: Timestamp, media: MediaId) -> Vec<u8> {
    [since.millis(), media.0].map(u64::to_be_bytes).concat()
}

impl Trees {
    /// Opens the trees of `db`. Ids below `acknowledged` are never used again, even if their drafts are lost.
    pub(super) fn open(db: &Db, acknowledged: u64) -> Result<Self, CatalogError> {
        let [media, drafts] = [db.open_tree("media")?, db.open_tree("drafts")?];
        let trees = Self {
            lowest_media: above_last(&media)?,
            lowest_draft: above_last(&drafts)?.max(acknowledged),
            records_events: false,
            media,
            media_by_key: db.open_tree("media_by_key")?,
            media_by_source: db.open_tree("media_by_source")?,
            sources_by_media: db.open_tree("sources_by_media")?,
            references: db.open_tree("references")?,
            unreferenced: db.open_tree("unreferenced")?,
            drafts,
            drafts_of_owner: IdSets(db.open_tree("drafts_of_owner")?),
            drafts_with_media: IdSets(db.open_tree("drafts_with_media")?),
            attempts: db.open_tree("attempts")?,
            attempts_by_time: db.open_tree("attempts_by_time")?,
            outbox: db.open_tree("outbox")?,
            uploads: db.open_tree("uploads")?,
            identities: db.open_tree("identities")?,
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
}

impl DraftValue {
    /// Returns the draft that is stored under `id`.
    pub(super) fn row(self, id: DraftId) -> DraftRow {
        let Self { title, description, status, price_suggested, photos, owner, created, updated, version } =
            self;
        DraftRow { id, title, description, status, price_suggested, photos, owner, created, updated, version }
    }
}

impl From<DraftRow> for DraftValue {
    fn from(row: DraftRow) -> Self {
        let DraftRow {
            id: _,
            title,
            description,
            status,
            price_suggested,
            photos,
            owner,
            created,
            updated,
            version,
        } = row;
        Self { title, description, status, price_suggested, photos, owner, created, updated, version }
    }
}

/// Returns the next id. A damaged counter is replaced by `lowest`, the lowest id that no row has.
pub(super) fn next_id(counter: Option<u64>, lowest: u64) -> u64 {
    counter.filter(|counter| (lowest..=MAX_ID).contains(counter)).unwrap_or(lowest)
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

pub(super) fn encode<T: Serialize>(row: &T) -> Result<Vec<u8>, CatalogError> {
    serde_json::to_vec(row).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(row: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(row).map_err(|error| CatalogError::Corrupt(error.to_string()))
}
