//! Brings a database of an older version of this program to the present schema.
//!
//! Schema 1 had no dates, no versions and no indexes but those by key and source. The migration derives them from the rows. A
//! crash in the middle leaves a database of schema 1, and the next start begins again.

use sled::{Db, IVec};

use super::error::io_error;
use super::rows::{
    DraftValue, References, Trees, decode, encode, number, owner_key, reference_key, unreferenced_key,
};
use crate::catalog::CatalogError;
use crate::model::{DraftId, MediaId, Timestamp};

/// Key of the schema's version in `counters`. Schema 1 has none.
const SCHEMA: &[u8] = b"schema";
const PRESENT: u64 = 2;
/// Rows between two flushes, which bound what sled keeps in memory.
const FLUSH_EVERY: usize = 10_000;

/// Migrates the database if its schema is older.
///
/// # Errors
/// A later version of this program wrote the database, or it cannot be read or written.
pub(super) fn migrate(db: &Db, trees: &Trees) -> Result<(), CatalogError> {
    let schema = trees.counter(SCHEMA)?.unwrap_or(1);
    if schema == PRESENT {
        return Ok(());
    }
    if schema > PRESENT {
        return Err(CatalogError::Corrupt(format!(
            "its schema is {schema}, and this version of the program reads up to {PRESENT}"
        )));
    }
    let migration = Migration { db, trees, now: Timestamp::now() };
    if !(trees.drafts.is_empty() && trees.media.is_empty()) {
        let schema = PRESENT;
        tracing::info!(schema, "the catalog is migrated; this takes about a minute for a million drafts");
        migration.run()?;
        tracing::info!(schema, "the catalog was migrated");
    }
    trees.counters.insert(SCHEMA, &PRESENT.to_be_bytes())?;
    Ok(())
}

struct Migration<'a> {
    db: &'a Db,
    trees: &'a Trees,
    /// The date of rows without a date.
    now: Timestamp,
}

impl Migration<'_> {
    fn run(&self) -> Result<(), CatalogError> {
        let Trees { sources_by_media, references, unreferenced, drafts_by_owner, drafts_by_media, .. } =
            self.trees;
        // What an unfinished migration left.
        for index in [sources_by_media, references, unreferenced, drafts_by_owner, drafts_by_media] {
            index.clear()?;
        }
        self.for_each(&self.trees.drafts, |id, value| self.migrate_draft(DraftId(number(id)?), value))?;
        self.count_references()?;
        self.for_each(&self.trees.media, |id, _| self.date_unreferenced(MediaId(number(id)?)))?;
        self.for_each(&self.trees.media_by_source, |source, media| {
            self.trees.index_source(MediaId(number(media)?), source)
        })?;
        self.flush()
    }

    fn for_each(
        &self,
        tree: &sled::Tree,
        mut work: impl FnMut(&IVec, &IVec) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        for (count, entry) in tree.iter().enumerate() {
            let (key, value) = entry?;
            work(&key, &value)?;
            if count % FLUSH_EVERY == FLUSH_EVERY - 1 {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), CatalogError> {
        self.db.flush().map_err(io_error)?;
        Ok(())
    }

    fn migrate_draft(&self, id: DraftId, value: &[u8]) -> Result<(), CatalogError> {
        let mut row = decode::<DraftValue>(value)?.row(id);
        if row.created.is_unknown() {
            (row.created, row.updated, row.version) = (self.now, self.now, 1);
            let value = encode(&DraftValue::from(row.clone()))?;
            self.trees.drafts.insert(id.0.to_be_bytes(), value)?;
        }
        self.trees.drafts_by_owner.insert(owner_key(row.owner, row.status, id), &[])?;
        for media in row.photos {
            self.trees.drafts_by_media.insert(reference_key(media, id), &[])?;
        }
        Ok(())
    }

    fn count_references(&self) -> Result<(), CatalogError> {
        let mut counted: Option<(IVec, u64)> = None;
        let write = |media: &[u8], drafts| {
            let references = References { drafts, since: Timestamp::UNKNOWN };
            self.trees.references.insert(media, references.bytes())
        };
        self.for_each(&self.trees.drafts_by_media, |key, _| {
            let media = key.subslice(0, 8);
            counted = Some(match counted.take() {
                Some((last, drafts)) if last == media => (media, drafts + 1),
                Some((last, drafts)) => {
                    write(&last, drafts)?;
                    (media, 1)
                }
                None => (media, 1),
            });
            Ok(())
        })?;
        if let Some((last, drafts)) = counted {
            write(&last, drafts)?;
        }
        Ok(())
    }

    /// Begins the grace time of a photo without a draft.
    fn date_unreferenced(&self, media: MediaId) -> Result<(), CatalogError> {
        let key = media.0.to_be_bytes();
        if !self.trees.references.contains_key(key)? {
            let references = References { drafts: 0, since: self.now };
            self.trees.references.insert(key, references.bytes())?;
            self.trees.unreferenced.insert(unreferenced_key(self.now, media), &[])?;
        }
        Ok(())
    }
}
