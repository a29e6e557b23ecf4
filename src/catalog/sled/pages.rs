//! Reading everything, piece by piece.

use std::ops::Bound;

use serde::de::DeserializeOwned;
use sled::{IVec, Tree};

use super::restore::PARTIAL;
use super::rows::{DraftValue, NEXT_DRAFT_ID, NEXT_MEDIA_ID, Trees, decode, number};
use crate::catalog::{CatalogError, DraftRow, SourceRow, State};
use crate::model::{DraftId, Media, MediaId, MediaKey, SourceId};

impl Trees {
    pub(super) fn state(&self) -> Result<State, CatalogError> {
        Ok(State {
            next_media_id: number(self.counters.get(NEXT_MEDIA_ID)?)?,
            next_draft_id: number(self.counters.get(NEXT_DRAFT_ID)?)?,
            is_partial: self.counters.contains_key(PARTIAL)?,
        })
    }

    pub(super) fn media_page(
        &self,
        after: Option<MediaId>,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError> {
        page(&self.media, after.map(|id| id.0.to_be_bytes()), limit, |key, value| {
            let id = id_of("media", key)?;
            let row: Media = named(&format!("media {id}"), value)?;
            if row.id.0 != id {
                return Err(CatalogError::Corrupt(format!("media {id} is recorded as {}", row.id)));
            }
            Ok(row)
        })
    }

    pub(super) fn drafts_page(
        &self,
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftRow>, CatalogError> {
        page(&self.drafts, after.map(|id| id.0.to_be_bytes()), limit, |key, value| {
            let id = DraftId(id_of("draft", key)?);
            let value: DraftValue = named(&format!("draft {id}"), value)?;
            Ok(value.row(id))
        })
    }

    pub(super) fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<SourceRow>, CatalogError> {
        page(&self.media_by_source, after.map(|source| *source.as_bytes()), limit, |key, value| {
            let source = SourceId::new(key.as_ref().try_into().map_err(|_| not_a_key("source", key))?);
            Ok(SourceRow { source, media: MediaId(id_of("media of a source", value)?) })
        })
    }

    pub(super) fn media_of_key(&self, key: MediaKey) -> Result<Option<Media>, CatalogError> {
        let Some(id) = self.media_by_key.get(key.as_bytes())? else { return Ok(None) };
        let row = self.media.get(id)?;
        let row = row.ok_or_else(|| CatalogError::Corrupt(format!("media key {key} refers to no row")))?;
        decode(&row).map(Some)
    }
}

impl DraftValue {
    pub(super) fn row(self, id: DraftId) -> DraftRow {
        let Self { title, description, status, price_suggested, photos } = self;
        DraftRow { id, title, description, status, price_suggested, photos }
    }
}

impl From<&DraftRow> for DraftValue {
    fn from(row: &DraftRow) -> Self {
        let DraftRow { id: _, title, description, status, price_suggested, photos } = row.clone();
        Self { title, description, status, price_suggested, photos }
    }
}

fn page<const N: usize, T>(
    tree: &Tree,
    after: Option<[u8; N]>,
    limit: usize,
    read: impl Fn(&IVec, &IVec) -> Result<T, CatalogError>,
) -> Result<Vec<T>, CatalogError> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = tree.range::<[u8; N], _>((start, Bound::Unbounded)).take(limit);
    rows.map(|row| row.map_err(CatalogError::from).and_then(|(key, value)| read(&key, &value))).collect()
}

fn id_of(what: &str, bytes: &IVec) -> Result<u64, CatalogError> {
    bytes.as_ref().try_into().map(u64::from_be_bytes).map_err(|_| not_a_key(what, bytes))
}

fn not_a_key(what: &str, bytes: &IVec) -> CatalogError {
    CatalogError::Corrupt(format!("{bytes:?} is no id of a {what}"))
}

fn named<T: DeserializeOwned>(name: &str, value: &IVec) -> Result<T, CatalogError> {
    serde_json::from_slice(value)
        .map_err(|error| CatalogError::Corrupt(format!("{name} cannot be read: {error}")))
}
