//! Compares the indexes and the references with the drafts that they are derived from.
//!
//! Runs while nothing else uses the catalog, so that a repair needs no transaction: each entry is corrected by itself, and a
//! repair that was interrupted continues when it is run again.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::rows::{
    DraftValue, References, Trees, decode, number, owner_key, reference_key, unreferenced_key,
};
use crate::catalog::{CatalogError, IndexFault};
use crate::model::{DraftId, MediaId, Timestamp};

/// A fault, and what corrects it.
struct Found {
    fault: IndexFault,
    repair: Repair,
}

enum Repair {
    AddToOwner(Vec<u8>),
    AddToMedia(Vec<u8>),
    RemoveFromOwner(Vec<u8>),
    RemoveFromMedia(Vec<u8>),
    RemoveUnreferenced(Vec<u8>),
    /// The number of drafts with the photo.
    SetReferences(MediaId, u64),
}

impl Trees {
    /// Returns the faults of indexes and references, and corrects them if `repair` is set. Not durable yet.
    pub(super) fn check_indexes(&self, repair: bool) -> Result<Vec<IndexFault>, CatalogError> {
        let mut found = Vec::new();
        let (drafts, references) = self.check_drafts(&mut found)?;
        let total: u64 = references.values().sum();
        // Nothing is missing, so that only further entries make an index longer than its rows.
        let missing =
            |is_it: fn(&IndexFault) -> bool| found.iter().filter(|found| is_it(&found.fault)).count();
        let unlisted = missing(|fault| matches!(fault, IndexFault::Unlisted(_)));
        let unindexed = missing(|fault| matches!(fault, IndexFault::Unindexed(..)));
        if (self.drafts_by_owner.len() + unlisted) as u64 != drafts {
            self.check_owners(&mut found)?;
        }
        if (self.drafts_by_media.len() + unindexed) as u64 != total {
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
            let key = owner_key(row.owner, row.status, id);
            if !self.drafts_by_owner.contains_key(&key)? {
                found.push(Found { fault: IndexFault::Unlisted(id), repair: Repair::AddToOwner(key) });
            }
            for media in BTreeSet::from_iter(row.photos) {
                *references.entry(media).or_default() += 1;
                let key = reference_key(media, id);
                if !self.drafts_by_media.contains_key(&key)? {
                    let fault = IndexFault::Unindexed(id, media);
                    found.push(Found { fault, repair: Repair::AddToMedia(key) });
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
        for key in self.drafts_by_owner.iter().keys() {
            let key = key?;
            let id = DraftId(number(&key[key.len().saturating_sub(8)..])?);
            let is_right = |row: DraftValue| owner_key(row.owner, row.status, id) == *key;
            if !self.draft_value(id)?.is_some_and(is_right) {
                let (fault, repair) = (IndexFault::StaleList(id), Repair::RemoveFromOwner(key.to_vec()));
                found.push(Found { fault, repair });
            }
        }
        Ok(())
    }

    /// Finds entries of the index by media without a draft.
    fn check_media(&self, found: &mut Vec<Found>) -> Result<(), CatalogError> {
        for key in self.drafts_by_media.iter().keys() {
            let key = key?;
            let (media, id) = key.split_at(key.len().min(8));
            let (media, id) = (MediaId(number(media)?), DraftId(number(id)?));
            if !self.draft_value(id)?.is_some_and(|row| row.photos.contains(&media)) {
                let fault = IndexFault::StaleReference(id, media);
                found.push(Found { fault, repair: Repair::RemoveFromMedia(key.to_vec()) });
            }
        }
        Ok(())
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
            let is_listed = recorded.drafts > 0
                || self.unreferenced.contains_key(unreferenced_key(recorded.since, media))?;
            let fault = match recorded.drafts {
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
                recorded == Some(References { drafts: 0, since }) && self.media.contains_key(media)?;
            if !is_right {
                let repair = Repair::RemoveUnreferenced(key.to_vec());
                found.push(Found { fault: IndexFault::StaleUnreferenced(id), repair });
            }
        }
        Ok(())
    }

    fn repair(&self, repair: &Repair, now: Timestamp) -> Result<(), CatalogError> {
        match repair {
            Repair::AddToOwner(key) => drop(self.drafts_by_owner.insert(key, &[])?),
            Repair::AddToMedia(key) => drop(self.drafts_by_media.insert(key, &[])?),
            Repair::RemoveFromOwner(key) => drop(self.drafts_by_owner.remove(key)?),
            Repair::RemoveFromMedia(key) => drop(self.drafts_by_media.remove(key)?),
            Repair::RemoveUnreferenced(key) => drop(self.unreferenced.remove(key)?),
            Repair::SetReferences(media, drafts) => {
                let since = if *drafts == 0 { now } else { Timestamp::UNKNOWN };
                let key = media.0.to_be_bytes();
                let old = self.references.get(key)?.map(|value| References::read(&value)).transpose()?;
                if let Some(References { drafts: 0, since }) = old {
                    self.unreferenced.remove(unreferenced_key(since, *media))?;
                }
                if *drafts == 0 {
                    self.unreferenced.insert(unreferenced_key(now, *media), &[])?;
                }
                self.references.insert(key, References { drafts: *drafts, since }.bytes())?;
            }
        }
        Ok(())
    }
}
