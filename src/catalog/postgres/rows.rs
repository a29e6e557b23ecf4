//! Converts columns to rows, and ids to PostgreSQL's signed numbers.

use std::collections::BTreeSet;
use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::catalog::{CatalogError, DraftRow, KnownSource};
use crate::error_chain::error_chain;
use crate::model::{
    Draft, DraftId, DraftStatus, Media, MediaId, MediaKey, PhotoFacts, SourceId, Timestamp, UserId,
};

/// Columns of a media row, in the order in which [`media`] reads them.
pub(super) const MEDIA: &str = "m.id, m.key, m.width, m.height, m.size_bytes, m.user_id, m.facts";
/// Columns of a draft without its photos, in the order in which [`draft_row`] reads them.
pub(super) const DRAFT: &str =
    "d.id, d.title, d.description, d.status, d.price_suggested, d.user_id, d.created, d.updated, d.version";
/// The number of columns in [`DRAFT`].
const DRAFT_COLUMNS: usize = 9;
/// The column of a draft's photos that [`draft_row`] reads after [`DRAFT`].
pub(super) const PHOTO_IDS: &str =
    "ARRAY(SELECT p.media_id FROM draft_photo p WHERE p.draft_id = d.id ORDER BY p.order_index)";
/// The last time that a [`Timestamp`] prints, and far below the last that PostgreSQL stores: the year 9999.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// The condition that a draft or a finished upload refers to the photo with this id.
macro_rules! is_referenced {
    ($media:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM draft_photo p WHERE p.media_id = ",
            $media,
            " UNION ALL SELECT 1 FROM upload u WHERE u.media_id = ",
            $media,
            ")"
        )
    };
}
pub(super) use is_referenced;

/// Returns a query of the draft with the id `$1` for [`drafts`].
pub(super) fn one_draft() -> String {
    drafts_from("(SELECT * FROM draft WHERE id = $1)")
}

/// Returns a query for [`drafts`]: the newest first, of the drafts that the table expression `from` gives.
pub(super) fn drafts_from(from: &str) -> String {
    format!(
        "SELECT {DRAFT}, p.media_id, {MEDIA} FROM {from} AS d LEFT JOIN draft_photo p ON p.draft_id = d.id
         LEFT JOIN media m ON m.id = p.media_id ORDER BY d.id DESC, p.order_index"
    )
}

/// Converts an id to PostgreSQL's type. An id that does not fit becomes the maximum, which no row has.
pub(super) fn number(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// Converts the greatest number of rows of a query to PostgreSQL's type.
pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Reads column `at`.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, CatalogError> {
    row.try_get(at).map_err(|error| CatalogError::Corrupt(error_chain(&error)))
}

fn unsigned<T: TryFrom<i64>>(row: &Row, at: usize) -> Result<T, CatalogError> {
    positive(column(row, at)?)
}

/// Converts a number that must not be negative and must fit `T`.
pub(super) fn positive<T: TryFrom<i64>>(number: i64) -> Result<T, CatalogError> {
    T::try_from(number).map_err(|_| CatalogError::Corrupt(format!("{number} is out of range")))
}

/// Reads the user in column `at`.
pub(super) fn owner(row: &Row, at: usize) -> Result<Option<UserId>, CatalogError> {
    let Some(id) = column::<Option<i64>>(row, at)? else { return Ok(None) };
    let id = UserId::try_from(positive::<u64>(id)?);
    id.map(Some).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

pub(super) fn digest(bytes: &[u8]) -> Result<[u8; 32], CatalogError> {
    bytes.try_into().map_err(|_| CatalogError::Corrupt("a digest does not have 32 bytes".into()))
}

/// Reads the media key in column `at`.
pub(super) fn key(row: &Row, at: usize) -> Result<MediaKey, CatalogError> {
    Ok(MediaKey::from_digest(digest(column(row, at)?)?))
}

/// Reads the source id in column `at`.
pub(super) fn source(row: &Row, at: usize) -> Result<SourceId, CatalogError> {
    Ok(SourceId::from_digest(digest(column(row, at)?)?))
}

/// Reads a number of pixels in column `at`.
pub(super) fn side(row: &Row, at: usize) -> Result<u32, CatalogError> {
    unsigned(row, at)
}

/// Reads the id in column `at`.
pub(super) fn id(row: &Row, at: usize) -> Result<u64, CatalogError> {
    unsigned(row, at)
}

/// Reads the time in column `at`, to the millisecond.
pub(super) fn time(row: &Row, at: usize) -> Result<Timestamp, CatalogError> {
    column::<SystemTime>(row, at).map(Timestamp::from)
}

/// Converts a time to PostgreSQL's type. A later time than the year 9999 becomes its end.
pub(super) fn system_time(time: Timestamp) -> SystemTime {
    Timestamp::from_millis(time.millis().min(LAST_MILLIS)).into()
}

/// Reads the media row whose [`MEDIA`] columns begin at `at`.
pub(super) fn media(row: &Row, at: usize) -> Result<Media, CatalogError> {
    Ok(Media {
        id: MediaId(unsigned(row, at)?),
        key: key(row, at + 1)?,
        width: unsigned(row, at + 2)?,
        height: unsigned(row, at + 3)?,
        size_bytes: unsigned(row, at + 4)?,
        owner: owner(row, at + 5)?,
        facts: facts(row, at + 6)?,
    })
}

/// Reads the facts in column `at`.
fn facts(row: &Row, at: usize) -> Result<Option<PhotoFacts>, CatalogError> {
    let text: Option<&str> = column(row, at)?;
    text.map(serde_json::from_str).transpose().map_err(|error| CatalogError::Corrupt(error.to_string()))
}

/// Returns facts as a row has them: as JSON.
pub(super) fn facts_text(facts: Option<&PhotoFacts>) -> Result<Option<String>, CatalogError> {
    let text = facts.map(serde_json::to_string).transpose();
    text.map_err(|error| CatalogError::Corrupt(error.to_string()))
}

/// Reads a draft from its [`DRAFT`] columns, followed by the ids of its photos.
pub(super) fn draft_row(row: &Row) -> Result<DraftRow, CatalogError> {
    let photos: Vec<i64> = column(row, DRAFT_COLUMNS)?;
    let photos = photos.into_iter().map(|id| positive(id).map(MediaId)).collect::<Result<_, _>>()?;
    Ok(DraftRow { photos, ..bare_draft(row)? })
}

/// Reads a draft without photos: the columns [`DRAFT`].
fn bare_draft<P>(row: &Row) -> Result<Draft<P>, CatalogError> {
    let status: &str = column(row, 3)?;
    let status = status.parse::<DraftStatus>();
    Ok(Draft {
        id: DraftId(unsigned(row, 0)?),
        title: column(row, 1)?,
        description: column(row, 2)?,
        status: status.map_err(|error| CatalogError::Corrupt(error.to_string()))?,
        price_suggested: column(row, 4)?,
        photos: Vec::new(),
        owner: owner(row, 5)?,
        created: time(row, 6)?,
        updated: time(row, 7)?,
        version: unsigned(row, 8)?,
    })
}

/// Reads drafts from one row for each photo: [`DRAFT`], the photo's media id, and its [`MEDIA`].
pub(super) fn drafts(rows: &[Row]) -> Result<Vec<Draft>, CatalogError> {
    let mut drafts: Vec<Draft> = Vec::new();
    for row in rows {
        let id = DraftId(id(row, 0)?);
        if drafts.last().is_none_or(|draft| draft.id != id) {
            drafts.push(bare_draft(row)?);
        }
        let Some(photo) = column::<Option<i64>>(row, DRAFT_COLUMNS)? else { continue };
        if column::<Option<i64>>(row, DRAFT_COLUMNS + 1)?.is_none() {
            return Err(CatalogError::Corrupt(format!("media {photo} has no row")));
        }
        let media = media(row, DRAFT_COLUMNS + 1)?;
        if let Some(draft) = drafts.last_mut() {
            draft.photos.push(media);
        }
    }
    Ok(drafts)
}

/// Reads a source from its id, the id of its media, and the media's [`MEDIA`].
pub(super) fn known_source(row: &Row) -> Result<KnownSource, CatalogError> {
    let media = match column::<Option<i64>>(row, 2)? {
        Some(_) => Some(media(row, 2)?),
        None => None,
    };
    Ok(KnownSource { source: source(row, 0)?, media_id: MediaId(unsigned(row, 1)?), media })
}

/// Returns the lock numbers of keys in ascending order, in which everyone takes them. Two keys may share a number;
/// then one waits for the other.
pub(super) fn locks(keys: impl IntoIterator<Item = MediaKey>, from: Half) -> Vec<i64> {
    let start = match from {
        Half::Publish => 0,
        Half::Record => 16,
    };
    let name = |key: MediaKey| {
        key.as_bytes()[start..start + 8].iter().fold(0, |name, byte| name << 8 | i64::from(*byte))
    };
    BTreeSet::from_iter(keys.into_iter().map(name)).into_iter().collect()
}

/// The part of a key that gives the lock number. The lock held while a photo is published differs from the lock of
/// the transaction that records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Publish,
    Record,
}
