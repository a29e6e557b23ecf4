//! Creates, changes, removes and lists drafts, and removes photos that no draft refers to.

use super::pages::after_key;
use super::rows::{DraftValue, Position, Trees, decode, number, owner_set, source_key, unreferenced_key};
use super::transaction::{Step, Transaction, abort};
use crate::catalog::{CatalogError, Change, ChangeError, DraftFilter, DraftRow, Happening, NewDraft};
use crate::model::{Draft, DraftId, DraftStatus, Media, MediaId, Timestamp};

impl Trees {
    /// Records a draft and its media that have no row yet, in one transaction. Not durable yet.
    pub(super) fn insert(&self, new: &NewDraft) -> Result<(Draft, Position), ChangeError> {
        let now = Timestamp::now();
        self.transact(|transaction| {
            let photos = new.photos.iter().map(|photo| transaction.record_photo(photo, new.owner, now));
            let mut photos = photos.collect::<Step<Vec<Media>, ChangeError>>()?;
            let id = transaction.take_draft_id()?;
            // Before their uploads lose the photos, so that no photo is without a reference in between.
            let uploaded = transaction.take_uploads(&new.uploads, id, new.owner)?;
            photos.extend(uploaded);
            let row = DraftRow {
                id,
                title: new.title.clone(),
                description: new.description.clone(),
                status: DraftStatus::Draft,
                price_suggested: new.price_suggested,
                photos: photos.iter().map(|photo| photo.id).collect(),
                owner: new.owner,
                created: now,
                updated: now,
                version: 1,
            };
            transaction.replace_draft(None, Some(&row), now)?;
            let draft = row.with_photos(photos);
            transaction.record_attempt(new.attempt.as_ref(), &draft, now)?;
            transaction.record_event(|| Happening::created(&draft), now)?;
            Ok(draft)
        })
    }

    /// Changes a draft in one transaction. Not durable yet.
    pub(super) fn change(
        &self,
        id: DraftId,
        version: Option<u64>,
        change: &Change,
    ) -> Result<(Draft, Position), ChangeError> {
        let now = Timestamp::now();
        self.transact(|transaction: &Transaction<'_>| {
            let row = transaction.draft(id)?.ok_or_else(|| abort(ChangeError::NotFound))?;
            let appended =
                change.appended().iter().map(|photo| transaction.record_photo(photo, row.owner, now));
            let appended = appended.collect::<Step<Vec<Media>, ChangeError>>()?;
            let appended: Vec<MediaId> = appended.iter().map(|photo| photo.id).collect();
            let changed = change.apply(&row, version, &appended, now).map_err(abort)?;
            let is_change = changed != row;
            if is_change {
                transaction.replace_draft(Some(&row), Some(&changed), now)?;
            }
            let photos = changed.photos.iter().map(|id| transaction.media_row(*id));
            let photos = photos.collect::<Step<Vec<Media>, ChangeError>>()?;
            let draft = changed.with_photos(photos);
            transaction.record_attempt(change.attempt(), &draft, now)?;
            if is_change {
                transaction.record_event(|| Happening::updated(&draft), now)?;
            }
            Ok(draft)
        })
    }

    /// Removes a draft in one transaction. Not durable yet.
    pub(super) fn delete(&self, id: DraftId, version: Option<u64>) -> Result<((), Position), ChangeError> {
        let now = Timestamp::now();
        self.transact(|transaction| {
            let row = transaction.draft(id)?.ok_or_else(|| abort(ChangeError::NotFound))?;
            row.check_version(version).map_err(abort)?;
            transaction.replace_draft(Some(&row), None, now)?;
            transaction.record_event(|| Happening::DraftDeleted(id), now)
        })
    }

    /// Removes a media row in one transaction if no draft has referred to it since `before`. Not durable yet.
    pub(super) fn remove_media(
        &self,
        id: MediaId,
        before: Timestamp,
    ) -> Result<(bool, Position), CatalogError> {
        // A source that is recorded after this comes with a reference, so that the row is not removed.
        let sources = self.sources_by_media.scan_prefix(id.0.to_be_bytes()).keys().map(|key| {
            let key = key?;
            let source = key.get(8..).and_then(|source| source.try_into().ok());
            source.ok_or_else(|| CatalogError::Corrupt("a source id is not a digest".into()))
        });
        let sources = sources.collect::<Result<Vec<[u8; 32]>, CatalogError>>()?;
        self.transact(|transaction| transaction.remove_media(id, &sources, before, Timestamp::now()))
    }

    /// Returns the draft with this id, or `None`.
    pub(super) fn load(&self, id: DraftId) -> Result<Option<Draft>, CatalogError> {
        let key = id.0.to_be_bytes();
        let mut found = self.drafts.get(key)?;
        while let Some(value) = found {
            let row = decode::<DraftValue>(&value)?.row(id);
            let mut photos = Vec::with_capacity(row.photos.len());
            for id in &row.photos {
                photos.extend(self.media.get(id.0.to_be_bytes())?.map(|row| decode(&row)).transpose()?);
            }
            if photos.len() == row.photos.len() {
                return Ok(Some(row.with_photos(photos)));
            }
            // A photo was removed after the row was read: then the row has changed, too.
            found = self.drafts.get(key)?;
            if found.as_ref() == Some(&value) {
                return Err(CatalogError::Corrupt(format!("a photo of draft {id} has no row")));
            }
        }
        Ok(None)
    }

    /// Returns drafts in descending order of id.
    pub(super) fn drafts_of(
        &self,
        filter: DraftFilter,
        mut before: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<Draft>, CatalogError> {
        let mut drafts = Vec::new();
        while drafts.len() < limit {
            let ids = self.draft_ids_of(filter, before, limit - drafts.len())?;
            before = ids.last().copied();
            if before.is_none() {
                break;
            }
            for id in ids {
                // A draft that changed its state or was removed meanwhile is left out, and the next one takes its place. The
                // owner cannot change, but a damaged index must not show a draft to somebody else.
                let fits = |draft: &Draft| {
                    draft.owner == filter.owner && filter.status.is_none_or(|status| status == draft.status)
                };
                drafts.extend(self.load(id)?.filter(fits));
            }
        }
        Ok(drafts)
    }

    fn draft_ids_of(
        &self,
        DraftFilter { owner, status }: DraftFilter,
        before: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftId>, CatalogError> {
        let mut ids = Vec::new();
        for state in DraftStatus::ALL.into_iter().filter(|state| status.is_none_or(|status| status == *state))
        {
            ids.extend(self.drafts_of_owner.before(&owner_set(owner, state), before, limit)?);
        }
        ids.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        ids.truncate(limit);
        Ok(ids)
    }

    /// Returns drafts that refer to a photo, in ascending order of id.
    pub(super) fn drafts_with(
        &self,
        media: MediaId,
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftId>, CatalogError> {
        self.drafts_with_media.after(&media.0.to_be_bytes(), after, limit)
    }

    /// Returns media rows to which no draft has referred since `before`, the oldest first.
    pub(super) fn unreferenced_media(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Media>, CatalogError> {
        let keys = self.unreferenced.range(..=unreferenced_key(before, MediaId(u64::MAX)));
        let mut rows = Vec::new();
        for key in keys.keys().take(limit) {
            let key = key?;
            rows.extend(
                self.media.get(&key[key.len().saturating_sub(8)..])?.map(|row| decode(&row)).transpose()?,
            );
        }
        Ok(rows)
    }

    /// Returns drafts in ascending order of id.
    pub(super) fn drafts_page(
        &self,
        after: Option<DraftId>,
        limit: usize,
    ) -> Result<Vec<DraftRow>, CatalogError> {
        let rows = self.drafts.range(after_key(after.map(|id| id.0.to_be_bytes())));
        let row = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (id, value) = entry?;
            Ok(decode::<DraftValue>(&value)?.row(DraftId(number(&id)?)))
        };
        rows.take(limit).map(row).collect()
    }

    /// Writes the entries of a source into the index by media.
    pub(super) fn index_source(&self, media: MediaId, source: &[u8]) -> Result<(), CatalogError> {
        self.sources_by_media.insert(source_key(media, source), &[])?;
        Ok(())
    }
}
