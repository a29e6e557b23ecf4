//! Resumable uploads. The tree has two kinds of keys, distinguished by their first byte: `u` id → [`UploadRow`], and `e` expiry, id →
//! nothing, the index by which expired uploads are found.

use super::pages::after_key;
use super::rows::{Position, Trees, decode, encode};
use super::transaction::{Step, Transaction, abort};
use crate::catalog::{CatalogError, ChangeError, NewPhoto, UploadChange, UploadRow, UploadState};
use crate::model::{DraftId, Media, MediaId, Timestamp, UploadId, UserId};

fn row_key(id: UploadId) -> Vec<u8> {
    [b"u", &id.as_bytes()[..]].concat()
}

fn expiry_key(expires: Timestamp, id: UploadId) -> Vec<u8> {
    [b"e", &expires.millis().to_be_bytes()[..], id.as_bytes()].concat()
}

impl Transaction<'_> {
    fn upload<A: From<CatalogError>>(&self, id: UploadId) -> Step<Option<UploadRow>, A> {
        let row = self.uploads.get(row_key(id))?;
        row.map(|row| decode(&row)).transpose().map_err(abort)
    }

    /// Replaces the row of an upload: `None` is no row. The index and the reference to its photo follow.
    fn replace_upload<A: From<CatalogError>>(
        &self,
        old: Option<&UploadRow>,
        new: Option<&UploadRow>,
    ) -> Step<(), A> {
        let photo = |row: Option<&UploadRow>| row.and_then(UploadRow::kept_photo);
        let (old_photo, new_photo) = (photo(old), photo(new));
        let expiry = |row: Option<&UploadRow>| row.map(|row| expiry_key(row.expires, row.id));
        let (old_expiry, new_expiry) = (expiry(old), expiry(new));
        if old_expiry != new_expiry {
            if let Some(key) = old_expiry {
                self.uploads.remove(key)?;
            }
            if let Some(key) = new_expiry {
                self.uploads.insert(key, &[])?;
            }
        }
        if let Some(old) = old {
            self.uploads.remove(row_key(old.id))?;
        }
        if let Some(new) = new {
            self.uploads.insert(row_key(new.id), encode(new).map_err(abort)?)?;
        }
        if old_photo != new_photo {
            if let Some(media) = new_photo {
                self.count_reference(media)?;
            }
            if let Some(media) = old_photo {
                self.uncount_reference(media, Timestamp::now())?;
            }
        }
        self.count(0, 0);
        Ok(())
    }

    /// Gives the photos of finished uploads to a draft. Returns their media rows. The draft must refer to them in this
    /// transaction.
    pub(super) fn take_uploads(
        &self,
        uploads: &[UploadId],
        draft: DraftId,
        owner: Option<UserId>,
    ) -> Step<Vec<Media>, ChangeError> {
        let take = |(index, id): (usize, &UploadId)| {
            let unusable = || abort(ChangeError::UnusableUpload { index });
            let old = self.upload(*id)?.filter(|row| row.owner == owner).ok_or_else(unusable)?;
            let UploadState::Finished(media) = old.state else { return Err(unusable()) };
            let new = UploadRow { state: UploadState::InDraft(media, draft), ..old.clone() };
            let media = self.media_row(media)?;
            self.replace_upload(Some(&old), Some(&new))?;
            Ok(media)
        };
        uploads.iter().enumerate().map(take).collect()
    }
}

impl Trees {
    /// Records an upload in one transaction. Not durable yet.
    pub(super) fn create_upload(&self, row: &UploadRow) -> Result<(bool, Position), CatalogError> {
        self.transact(|transaction| {
            let is_new = transaction.upload::<CatalogError>(row.id)?.is_none();
            if is_new {
                transaction.replace_upload(None, Some(row))?;
            }
            Ok(is_new)
        })
    }

    /// Records a finished upload with its photo in one transaction. Not durable yet.
    pub(super) fn record_upload(
        &self,
        row: &UploadRow,
        photo: &NewPhoto,
    ) -> Result<(Option<UploadRow>, Position), CatalogError> {
        let now = Timestamp::now();
        self.transact(|transaction| {
            if transaction.upload::<CatalogError>(row.id)?.is_some() {
                return Ok(None);
            }
            let media = transaction.record_photo(photo, row.owner, now)?;
            let row = UploadRow { state: UploadState::Finished(media.id), ..row.clone() };
            transaction.replace_upload(None, Some(&row))?;
            Ok(Some(row))
        })
    }

    /// Returns the upload with this id, or `None`.
    pub(super) fn upload(&self, id: UploadId) -> Result<Option<UploadRow>, CatalogError> {
        self.uploads.get(row_key(id))?.map(|row| decode(&row)).transpose()
    }

    /// Changes an upload in one transaction. Not durable yet.
    pub(super) fn change_upload(
        &self,
        id: UploadId,
        writer: u64,
        change: &UploadChange,
    ) -> Result<(Option<UploadRow>, Position), CatalogError> {
        let now = Timestamp::now();
        self.transact(|transaction| {
            let Some(old) = transaction.upload::<CatalogError>(id)? else { return Ok(None) };
            let media = match change {
                UploadChange::Finish { photo, .. } if old.can_change(writer) => {
                    Some(transaction.record_photo(photo, old.owner, now)?.id)
                }
                _ => None,
            };
            let Some(new) = old.after(writer, change, media) else { return Ok(None) };
            transaction.replace_upload(Some(&old), Some(&new))?;
            Ok(Some(new))
        })
    }

    /// Removes an upload in one transaction, if it expired at `before` or earlier, or whenever it expires for `None`. Not
    /// durable yet.
    pub(super) fn remove_upload(
        &self,
        id: UploadId,
        before: Option<Timestamp>,
    ) -> Result<(bool, Position), CatalogError> {
        self.transact(|transaction| {
            let row = transaction.upload::<CatalogError>(id)?;
            let row = row.filter(|row| before.is_none_or(|before| row.expires <= before));
            if let Some(row) = &row {
                transaction.replace_upload(Some(row), None)?;
            }
            Ok(row.is_some())
        })
    }

    /// Returns uploads that expired at `before` or earlier, the oldest first.
    pub(super) fn expired_uploads(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<UploadId>, CatalogError> {
        let first = expiry_key(Timestamp::UNKNOWN, UploadId::from_bytes([0; 16]));
        let keys = self.uploads.range(first..=expiry_key(before, UploadId::from_bytes([u8::MAX; 16])));
        let id = |key: sled::Result<sled::IVec>| {
            let key = key?;
            let id = key.get(9..).and_then(|id| id.try_into().ok()).map(UploadId::from_bytes);
            id.ok_or_else(|| CatalogError::Corrupt("the expiry of an upload has no id".into()))
        };
        keys.keys().take(limit).map(id).collect()
    }

    /// Returns uploads in ascending order of id.
    pub(super) fn uploads_page(
        &self,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRow>, CatalogError> {
        // `u` is the last kind of key.
        let first = after.map_or_else(|| b"u".to_vec(), row_key);
        let rows = self.uploads.range(after_key(Some(first)));
        rows.take(limit).map(|row| decode(&row?.1)).collect()
    }

    /// Calls `work` with the photo of each finished upload.
    pub(super) fn for_each_finished(&self, mut work: impl FnMut(MediaId)) -> Result<(), CatalogError> {
        for row in self.uploads.scan_prefix(b"u") {
            if let UploadState::Finished(media) = decode::<UploadRow>(&row?.1)?.state {
                work(media);
            }
        }
        Ok(())
    }
}
