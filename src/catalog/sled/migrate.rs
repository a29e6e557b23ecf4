//! Brings a database of an older version of this program to the present schema.
//!
//! Schema 1 had no dates, no versions and no indexes but those by key and source. Schema 2 had a row for each draft of an owner
//! and for each use of a photo. The migration derives all from the rows of photos and drafts. A crash in the middle leaves a
//! database of the old schema, and the next start begins again.

use std::collections::BTreeMap;

use sled::{Db, IVec};

use super::error::io_error;
use super::rows::{DraftValue, References, Trees, decode, encode, number, owner_set, unreferenced_key};
use crate::catalog::{CatalogError, DraftRow};
use crate::model::{DraftId, MediaId, Timestamp};

/// Key of the schema's version in `counters`. Schema 1 has none.
const SCHEMA: &[u8] = b"schema";
const PRESENT: u64 = 3;
/// The indexes of schema 2 that schema 3 replaced.
const FORMER: [&str; 2] = ["drafts_by_owner", "drafts_by_media"];
/// Rows between two flushes, which bound what sled keeps in memory.
const FLUSH_EVERY: usize = 10_000;

/// Migrates the database if its schema is older.
///
/// # Errors
/// A later version of this program wrote the database, or it cannot be read or written.
pub(super) fn migrate(db: &Db, trees: &Trees) -> Result<(), CatalogError> {
    let found = trees.counter(SCHEMA)?.unwrap_or(1);
    if found == PRESENT {
        return remove_former(db);
    }
    if found > PRESENT {
        return Err(CatalogError::Corrupt(format!(
            "its schema is {found}, and this version of the program reads up to {PRESENT}"
        )));
    }
    let mut migration = Migration { db, trees, now: Timestamp::now(), sets: Sets::default() };
    if !(trees.drafts.is_empty() && trees.media.is_empty()) {
        let schema = PRESENT;
        tracing::info!(schema, "the catalog is migrated; this takes about a minute for a million drafts");
        if found == 1 {
            migration.run_from_schema_1()?;
        } else {
            migration.run_from_schema_2()?;
        }
        tracing::info!(schema, "the catalog was migrated");
    }
    trees.counters.insert(SCHEMA, &PRESENT.to_be_bytes())?;
    remove_former(db)
}

/// Removes the trees that the schema no longer has. sled's log has the removal after the new schema, and an interrupted one
/// continues at the next start.
fn remove_former(db: &Db) -> Result<(), CatalogError> {
    let names = db.tree_names();
    for name in FORMER.iter().filter(|name| names.iter().any(|there| there == name.as_bytes())) {
        let tree = db.open_tree(name)?;
        // To drop a tree with its rows, sled reads all of its pages into memory: 600 MB of a million drafts.
        loop {
            let keys = tree.iter().keys().take(FLUSH_EVERY).collect::<Result<Vec<_>, _>>()?;
            if keys.is_empty() {
                break;
            }
            keys.iter().try_for_each(|key| tree.remove(key).map(drop))?;
            db.flush().map_err(io_error)?;
        }
        db.drop_tree(name)?;
    }
    Ok(())
}

struct Migration<'a> {
    db: &'a Db,
    trees: &'a Trees,
    /// The date of rows without a date.
    now: Timestamp,
    sets: Sets,
}

/// Entries of the indexes that are not written yet, so that each of their rows is written few times.
#[derive(Default)]
struct Sets {
    drafts_of_owner: BTreeMap<[u8; 9], Vec<DraftId>>,
    drafts_with_media: BTreeMap<[u8; 8], Vec<DraftId>>,
}

impl Sets {
    fn add(&mut self, row: &DraftRow) {
        self.drafts_of_owner.entry(owner_set(row.owner, row.status)).or_default().push(row.id);
        for media in &row.photos {
            self.drafts_with_media.entry(media.0.to_be_bytes()).or_default().push(row.id);
        }
    }

    fn write(&mut self, trees: &Trees) -> Result<(), CatalogError> {
        let Self { drafts_of_owner, drafts_with_media } = std::mem::take(self);
        drafts_of_owner.iter().try_for_each(|(set, ids)| trees.drafts_of_owner.add_all(set, ids))?;
        drafts_with_media.iter().try_for_each(|(set, ids)| trees.drafts_with_media.add_all(set, ids))
    }
}

impl Migration<'_> {
    fn run_from_schema_2(&mut self) -> Result<(), CatalogError> {
        self.clear_sets()?;
        self.for_each(&self.trees.drafts, |this, id, value| {
            this.sets.add(&decode::<DraftValue>(value)?.row(DraftId(number(id)?)));
            Ok(())
        })
    }

    fn run_from_schema_1(&mut self) -> Result<(), CatalogError> {
        let Trees { sources_by_media, references, unreferenced, .. } = self.trees;
        self.clear_sets()?;
        for index in [sources_by_media, references, unreferenced] {
            index.clear()?;
        }
        self.for_each(&self.trees.drafts, |this, id, value| this.migrate_draft(DraftId(number(id)?), value))?;
        self.count_references()?;
        self.for_each(&self.trees.media, |this, id, _| this.date_unreferenced(MediaId(number(id)?)))?;
        self.for_each(&self.trees.media_by_source, |this, source, media| {
            this.trees.index_source(MediaId(number(media)?), source)
        })
    }

    /// Removes what an unfinished migration left.
    fn clear_sets(&self) -> Result<(), CatalogError> {
        for sets in [&self.trees.drafts_of_owner, &self.trees.drafts_with_media] {
            sets.0.clear()?;
        }
        Ok(())
    }

    fn for_each(
        &mut self,
        tree: &sled::Tree,
        work: impl Fn(&mut Self, &IVec, &IVec) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        for (count, entry) in tree.iter().enumerate() {
            let (key, value) = entry?;
            work(self, &key, &value)?;
            if count % FLUSH_EVERY == FLUSH_EVERY - 1 {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), CatalogError> {
        self.sets.write(self.trees)?;
        self.db.flush().map_err(io_error)?;
        Ok(())
    }

    fn migrate_draft(&mut self, id: DraftId, value: &[u8]) -> Result<(), CatalogError> {
        let mut row = decode::<DraftValue>(value)?.row(id);
        if row.created.is_unknown() {
            (row.created, row.updated, row.version) = (self.now, self.now, 1);
            let value = encode(&DraftValue::from(row.clone()))?;
            self.trees.drafts.insert(id.0.to_be_bytes(), value)?;
        }
        self.sets.add(&row);
        Ok(())
    }

    fn count_references(&self) -> Result<(), CatalogError> {
        let mut counted: Option<(MediaId, u64)> = None;
        let write = |(media, count): (MediaId, u64)| {
            let references = References { count, since: Timestamp::UNKNOWN };
            self.trees.references.insert(media.0.to_be_bytes(), references.bytes()).map(drop)
        };
        self.trees.drafts_with_media.for_each(|media, _| {
            let media = MediaId(number(media)?);
            match &mut counted {
                Some((last, count)) if *last == media => *count += 1,
                _ => counted.replace((media, 1)).map_or(Ok(()), write)?,
            }
            Ok(())
        })?;
        Ok(counted.map_or(Ok(()), write)?)
    }

    /// Begins the grace time of a photo without a draft.
    fn date_unreferenced(&self, media: MediaId) -> Result<(), CatalogError> {
        let key = media.0.to_be_bytes();
        if !self.trees.references.contains_key(key)? {
            let references = References { count: 0, since: self.now };
            self.trees.references.insert(key, references.bytes())?;
            self.trees.unreferenced.insert(unreferenced_key(self.now, media), &[])?;
        }
        Ok(())
    }
}
