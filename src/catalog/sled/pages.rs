//! Reads rows in pages, and looks up many keys at once, for maintenance.

use std::ops::Bound;

use super::rows::{Trees, decode, source_key};
use crate::catalog::{CatalogError, KnownSource};
use crate::model::{Media, MediaId, MediaKey, SourceId};

/// Returns the key range after `after`, or the full range for `None`.
pub(super) fn after_key<T: AsRef<[u8]>>(after: Option<T>) -> (Bound<T>, Bound<T>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

impl Trees {
    /// Returns the media row that was made from a source, or `None`.
    pub(super) fn media_of_source(&self, source: SourceId) -> Result<Option<Media>, CatalogError> {
        let Some(id) = self.media_by_source.get(source.as_bytes())? else {
            return Ok(None);
        };
        // The row and its source may be removed between these two lines; ids are never reused.
        self.media.get(id)?.map(|row| decode(&row)).transpose()
    }

    /// Returns the media row with this id, or `None`.
    pub(super) fn one_media(&self, id: MediaId) -> Result<Option<Media>, CatalogError> {
        self.media.get(id.0.to_be_bytes())?.map(|row| decode(&row)).transpose()
    }

    /// Returns those of `keys` that have no media row.
    pub(super) fn without_row(&self, keys: &[MediaKey]) -> Result<Vec<MediaKey>, CatalogError> {
        let mut without = Vec::new();
        for key in keys {
            if !self.media_by_key.contains_key(key.as_bytes())? {
                without.push(*key);
            }
        }
        Ok(without)
    }

    /// Returns media rows in ascending order of id.
    pub(super) fn media_page(
        &self,
        after: Option<MediaId>,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError> {
        let rows = self.media.range(after_key(after.map(|id| id.0.to_be_bytes())));
        rows.take(limit).map(|row| decode(&row?.1)).collect()
    }

    /// Returns media rows in ascending order of key, above `after` and up to `upto`.
    pub(super) fn media_by_key(
        &self,
        after: Option<MediaKey>,
        upto: Option<MediaKey>,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError> {
        let bytes = |key: MediaKey| *key.as_bytes();
        let (start, _) = after_key(after.map(bytes));
        let end = upto.map(bytes).map_or(Bound::Unbounded, Bound::Included);
        // An empty range: sled panics if its bounds are the wrong way round.
        if after.is_some() && upto.is_some() && after >= upto {
            return Ok(Vec::new());
        }
        let ids = self.media_by_key.range((start, end)).values();
        // A row may be removed after its key was read.
        let row = |id: sled::Result<sled::IVec>| id.and_then(|id| self.media.get(id)).transpose();
        ids.filter_map(row).take(limit).map(|row| decode(&row?)).collect()
    }

    /// Returns known sources in ascending order of id.
    pub(super) fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<KnownSource>, CatalogError> {
        let entries = self.media_by_source.range(after_key(after.map(|source| *source.as_bytes())));
        let known = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (source, id) = entry?;
            let media = self.media.get(&id)?.map(|row| decode(&row)).transpose()?;
            let source = source.as_ref().try_into().map_err(|_| corrupt("a source id is not a digest"))?;
            let id = id.as_ref().try_into().map_err(|_| corrupt("a media id is not a number"))?;
            let (source, media_id) = (SourceId::from_digest(source), MediaId(u64::from_be_bytes(id)));
            Ok(KnownSource { source, media_id, media })
        };
        entries.take(limit).map(known).collect()
    }

    /// Removes a source if it maps to this photo.
    pub(super) fn forget_source(&self, source: SourceId, media: MediaId) -> Result<(), CatalogError> {
        let known = media.0.to_be_bytes();
        let swapped = self.media_by_source.compare_and_swap(
            source.as_bytes(),
            Some(known.as_slice()),
            None::<&[u8]>,
        )?;
        if swapped.is_ok() {
            self.sources_by_media.remove(source_key(media, source.as_bytes()))?;
        }
        Ok(())
    }
}

fn corrupt(what: &str) -> CatalogError {
    CatalogError::Corrupt(what.to_owned())
}
