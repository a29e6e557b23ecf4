//! Compares the indexes and the references with the drafts that they are derived from.
//!
//! Runs while nothing else uses the catalog, so that a repair needs no transaction: each entry is corrected by itself, and a
//! repair that was interrupted continues when it is run again.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::rows::{DraftValue, References, Trees, decode, number, owner_set, unreferenced_key};
use crate::catalog::{CatalogError, IndexFault};
use crate::model::{DraftId, MediaId, Timestamp};

/// A fault, and what corrects it.
struct Found {
    fault: IndexFault,
    repair: Repair,
}

enum Repair {
    /// Whether the draft is in this set.
    Owner(Vec<u8>, DraftId, bool),
    Media(MediaId, DraftId, bool),
    RemoveUnreferenced(Vec<u8>),
    /// The number of drafts and finished uploads with the photo.
    SetReferences(MediaId, u64),
}

impl Trees {
    /// Returns the faults of indexes and references, and corrects them if `repair` is set. Not durable yet.
    pub(super) fn check_indexes(&self, repair: bool) -> Result<Vec<IndexFault>, CatalogError> {
        let mut found = Vec::new();
        let (drafts, mut references) = self.check_drafts(&mut found)?;
        let total: u64 = references.values().sum();
        self.for_each_finished(|media| *references.entry(media).or_default() += 1)?;
        // Nothing is missing, so that only further entries make an index longer than its rows.
        let missing =
            |is_it: fn(&IndexFault) -> bool| found.iter().filter(|found| is_it(&found.fault)).count() as u64;
        let unlisted = missing(|fault| matches!(fault, IndexFault::Unlisted(_)));
        let unindexed = missing(|fault| matches!(fault, IndexFault::Unindexed(..)));
        if self.drafts_of_owner.count()? + unlisted != drafts {
            self.check_owners(&mut found)?;
        }
        if self.drafts_with_media.count()? + unindexed != total {
            self.check_media(&mut found)?;
        }
        self.check_references(references, &mut found)?;
        self.check_unreferenced(&mut found)?;
        if repair {
            let now = Timestamp::now();
            // Stale entries, which were found last, go first: one of this very millisecond has the key of the right entry.
            found.iter().rev().try_for_each(|found| self.repair(&found.repair, now))?;
        }
        Ok(found.into_iter().map(|found| found.fault).collect())
    }

    /// Checks that the indexes have each draft. Returns the number of drafts, and how many have each photo.
    fn check_drafts(&self, found: &mut Vec<Found>) -> Result<(u64, HashMap<MediaId, u64>), CatalogError> {
        let (mut drafts, mut references) = (0, HashMap::new());
        for entry in self.drafts.iter() {
            let (id, value) = entry?;
            let id = DraftId(number(&id)?);
            let row = decode::<DraftValue>(&value)?.row(id);
            drafts += 1;
            let set = owner_set(row.owner, row.status);
            if !self.drafts_of_owner.contains(&set, id)? {
                let repair = Repair::Owner(set.to_vec(), id, true);
                found.push(Found { fault: IndexFault::Unlisted(id), repair });
            }
            for media in BTreeSet::from_iter(row.photos) {
                *references.entry(media).or_default() += 1;
                if !self.drafts_with_media.contains(&media.0.to_be_bytes(), id)? {
                    let fault = IndexFault::Unindexed(id, media);
                    found.push(Found { fault, repair: Repair::Media(media, id, true) });
                }
            }
        }
        Ok((drafts, references))
    }

    fn draft_value(&self, id: DraftId) -> Result<Option<DraftValue>, CatalogError> {
        self.drafts.get(id.0.to_be_bytes())?.map(|value| decode(&value)).transpose()
    }

    /// Finds entries of the index by owner without a draft.
    fn check_owners(&self, found: &mut Vec<Found>) -> Result<(), CatalogError> {
        self.drafts_of_owner.for_each(|set, id| {
            let is_right = |row: DraftValue| owner_set(row.owner, row.status) == *set;
            if !self.draft_value(id)?.is_some_and(is_right) {
                let repair = Repair::Owner(set.to_vec(), id, false);
                found.push(Found { fault: IndexFault::StaleList(id), repair });
            }
            Ok(())
        })
    }

    /// Finds entries of the index by media without a draft.
    fn check_media(&self, found: &mut Vec<Found>) -> Result<(), CatalogError> {
        self.drafts_with_media.for_each(|media, id| {
            let media = MediaId(number(media)?);
            if !self.draft_value(id)?.is_some_and(|row| row.photos.contains(&media)) {
                let fault = IndexFault::StaleReference(id, media);
                found.push(Found { fault, repair: Repair::Media(media, id, false) });
            }
            Ok(())
        })
    }

    /// Compares the counted references with the recorded ones.
    fn check_references(
        &self,
        mut counted: HashMap<MediaId, u64>,
        found: &mut Vec<Found>,
    ) -> Result<(), CatalogError> {
        for entry in self.references.iter() {
            let (id, value) = entry?;
            let (media, recorded) = (MediaId(number(&id)?), References::read(&value)?);
            let drafts = counted.remove(&media).unwrap_or(0);
            let is_listed = recorded.count > 0
                || self.unreferenced.contains_key(unreferenced_key(recorded.since, media))?;
            let fault = match recorded.count {
                fewer if fewer < drafts => IndexFault::Undercounted(media),
                same if same == drafts && is_listed => continue,
                // A draft that was removed had a photo without a row. There is nothing to remove.
                _ if drafts == 0 && !self.media.contains_key(&id)? => continue,
                _ => IndexFault::Overcounted(media),
            };
            found.push(Found { fault, repair: Repair::SetReferences(media, drafts) });
        }
        let unrecorded: HashSet<MediaId> = counted.keys().copied().collect();
        for (media, drafts) in counted {
            let fault = IndexFault::Undercounted(media);
            found.push(Found { fault, repair: Repair::SetReferences(media, drafts) });
        }
        for id in self.media.iter().keys() {
            let id = id?;
            let media = MediaId(number(&id)?);
            if !unrecorded.contains(&media) && !self.references.contains_key(&id)? {
                let fault = IndexFault::Overcounted(media);
                found.push(Found { fault, repair: Repair::SetReferences(media, 0) });
            }
        }
        Ok(())
    }

    /// Finds entries of the index of photos without a draft that are not such photos.
    fn check_unreferenced(&self, found: &mut Vec<Found>) -> Result<(), CatalogError> {
        for key in self.unreferenced.iter().keys() {
            let key = key?;
            let (since, media) = key.split_at(key.len().min(8));
            let id = MediaId(number(media)?);
            let since = Timestamp::from_millis(number(since)?);
            let recorded = self.references.get(media)?.map(|value| References::read(&value)).transpose()?;
            let is_right =
                recorded == Some(References { count: 0, since }) && self.media.contains_key(media)?;
            if !is_right {
                let repair = Repair::RemoveUnreferenced(key.to_vec());
                found.push(Found { fault: IndexFault::StaleUnreferenced(id), repair });
            }
        }
        Ok(())
    }

    fn repair(&self, repair: &Repair, now: Timestamp) -> Result<(), CatalogError> {
        match repair {
            Repair::Owner(set, id, is_member) => self.drafts_of_owner.put(set, *id, *is_member)?,
            Repair::Media(media, id, is_member) => {
                self.drafts_with_media.put(&media.0.to_be_bytes(), *id, *is_member)?;
            }
            Repair::RemoveUnreferenced(key) => drop(self.unreferenced.remove(key)?),
            Repair::SetReferences(media, count) => {
                let since = if *count == 0 { now } else { Timestamp::UNKNOWN };
                let key = media.0.to_be_bytes();
                let old = self.references.get(key)?.map(|value| References::read(&value)).transpose()?;
                if let Some(References { count: 0, since }) = old {
                    self.unreferenced.remove(unreferenced_key(since, *media))?;
                }
                if *count == 0 {
                    self.unreferenced.insert(unreferenced_key(now, *media), &[])?;
                }
                self.references.insert(key, References { count: *count, since }.bytes())?;
            }
        }
        Ok(())
    }
}
