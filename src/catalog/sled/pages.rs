//! Reads for maintenance: rows in pages, and lookups of many keys.

use std::ops::Bound;

use super::rows::{Trees, decode};
use crate::catalog::{CatalogError, KnownSource};
use crate::model::{Media, MediaId, MediaKey, SourceId};

/// Returns the range after `after`, or the whole range.
pub(super) fn behind<T: AsRef<[u8]>>(after: Option<T>) -> (Bound<T>, Bound<T>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

impl Trees {
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

    /// Returns media rows by id.
    pub(super) fn media_page(
        &self,
        after: Option<MediaId>,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError> {
        let rows = self.media.range(behind(after.map(|id| id.0.to_be_bytes())));
        rows.take(limit).map(|row| decode(&row?.1)).collect()
    }

    /// Returns known sources by id.
    pub(super) fn sources_page(
        &self,
        after: Option<SourceId>,
        limit: usize,
    ) -> Result<Vec<KnownSource>, CatalogError> {
        let entries = self.media_by_source.range(behind(after.map(|source| *source.as_bytes())));
        let known = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (source, id) = entry?;
            let media = self.media.get(&id)?.map(|row| decode(&row)).transpose()?;
            let source = source.as_ref().try_into().map_err(|_| corrupt("a source is no digest"))?;
            let id = id.as_ref().try_into().map_err(|_| corrupt("a media id is no number"))?;
            let (source, media_id) = (SourceId::new(source), MediaId(u64::from_be_bytes(id)));
            Ok(KnownSource { source, media_id, media })
        };
        entries.take(limit).map(known).collect()
    }

    /// Forgets a source if `media` is the photo that was last made from it.
    pub(super) fn forget_source(&self, source: SourceId, media: MediaId) -> Result<(), CatalogError> {
        let known = media.0.to_be_bytes();
        let _known_by_another = self.media_by_source.compare_and_swap(
            source.as_bytes(),
            Some(known.as_slice()),
            None::<&[u8]>,
        )?;
        Ok(())
    }
}

fn corrupt(what: &str) -> CatalogError {
    CatalogError::Corrupt(what.to_owned())
}
