//! Records, changes and removes resumable uploads.

use deadpool_postgres::Client;

use super::change::{UNREFERENCED, lock_photos};
use super::params::boxed;
use super::record::{REFERENCED, Recording, SOURCES, USER, sources};
use super::rows::{self, number};
use super::transaction::{BEGIN, Commit, Failed, Steps, Work};
use super::uploads::{self, DELETE, INSERT, inserted, locked, update};
use crate::catalog::{CatalogError, NewPhoto, UploadChange, UploadRow, UploadState};
use crate::model::{MediaId, Timestamp, UploadId, UserId};

/// Records an upload that has no row.
pub(super) struct CreateUpload<'a>(pub(super) &'a UploadRow);

impl Work for CreateUpload<'_> {
    type Output = bool;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<bool, Failed> {
        client.batch_execute(BEGIN).await?;
        let mut steps = Steps::default();
        steps.add(client, INSERT, inserted(self.0)?).await?;
        Ok(steps.commit(client, commit).await?.first() == Some(&1))
    }
}

/// Records a finished upload that has no row, and its photo.
pub(super) struct RecordUpload<'a> {
    pub(super) row: &'a UploadRow,
    pub(super) photo: &'a NewPhoto,
}

impl Work for RecordUpload<'_> {
    type Output = Option<UploadRow>;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<Option<UploadRow>, Failed> {
        let Self { row, photo } = self;
        client.batch_execute(BEGIN).await?;
        lock_owner(client, row.owner).await?;
        // Another transaction with the same id waits here, and then inserts nothing.
        let insert = client.prepare_cached(INSERT).await?;
        if client.execute_raw(&insert, inserted(row)?).await? == 0 {
            return Ok(None);
        }
        let mut steps = Steps::default();
        let media = add_photo(client, &mut steps, photo, row.owner).await?;
        let row = UploadRow { state: UploadState::Finished(media), ..(*row).clone() };
        update(client, &mut steps, &row).await?;
        steps.commit(client, commit).await?;
        Ok(Some(row))
    }
}

/// Records the owner, whose row is locked before that of the upload.
async fn lock_owner(client: &Client, owner: Option<UserId>) -> Result<(), Failed> {
    let users = Vec::from_iter(owner.map(|owner| number(owner.get())));
    client.execute(&client.prepare_cached(USER).await?, &[&users]).await?;
    Ok(())
}

/// Adds the statements that record a photo and its source, and returns its id.
async fn add_photo(
    client: &Client,
    steps: &mut Steps,
    photo: &NewPhoto,
    owner: Option<UserId>,
) -> Result<MediaId, Failed> {
    let photos = std::slice::from_ref(photo);
    let made = Recording::prepare(client).await?.media(client, photos, owner).await?;
    let ids: Vec<i64> = made.iter().map(|media| number(media.id.0)).collect();
    let (source_ids, source_media) = sources(photos, &ids);
    let source_ids: Vec<Vec<u8>> = source_ids.into_iter().map(<[u8]>::to_vec).collect();
    steps.add(client, REFERENCED, boxed![ids]).await?;
    steps.add(client, SOURCES, boxed![source_ids, source_media]).await?;
    let lost = || CatalogError::Corrupt("a photo that was recorded has no row".into());
    Ok(made.first().map(|media| media.id).ok_or_else(lost)?)
}

/// Changes an upload.
pub(super) struct ChangeUpload<'a> {
    pub(super) id: UploadId,
    pub(super) writer: u64,
    pub(super) change: &'a UploadChange,
}

impl Work for ChangeUpload<'_> {
    type Output = Option<UploadRow>;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<Option<UploadRow>, Failed> {
        client.batch_execute(BEGIN).await?;
        if let UploadChange::Finish { .. } = self.change {
            // The row of the user is locked before that of the upload.
            let read = client.prepare_cached(&uploads::one_upload()).await?;
            let found = client.query_opt(&read, &[&self.id.as_bytes().as_slice()]).await?;
            let owner = found.map(|found| uploads::row(&found)).transpose()?.and_then(|row| row.owner);
            lock_owner(client, owner).await?;
        }
        let Some(old) = locked(client, self.id).await? else { return Ok(None) };
        let mut steps = Steps::default();
        let media = match self.change {
            UploadChange::Finish { photo, .. } if old.can_change(self.writer) => {
                Some(add_photo(client, &mut steps, photo, old.owner).await?)
            }
            _ => None,
        };
        let Some(new) = old.after(self.writer, self.change, media) else { return Ok(None) };
        update(client, &mut steps, &new).await?;
        steps.commit(client, commit).await?;
        Ok(Some(new))
    }
}

/// Removes an upload that expired at `before` or earlier, or whenever it expires.
pub(super) struct RemoveUpload {
    pub(super) id: UploadId,
    pub(super) before: Option<Timestamp>,
}

impl Work for RemoveUpload {
    type Output = bool;

    async fn run(&self, client: &Client, commit: &Commit) -> Result<bool, Failed> {
        client.batch_execute(BEGIN).await?;
        let old = locked(client, self.id)
            .await?
            .filter(|row| self.before.is_none_or(|before| row.expires <= before));
        let Some(old) = old else { return Ok(false) };
        let mut steps = Steps::default();
        let photo = match old.kept_photo() {
            Some(media) => {
                let sql = client.prepare_cached("SELECT key FROM media WHERE id = $1").await?;
                let found = client.query_opt(&sql, &[&number(media.0)]).await?;
                found.map(|found| Ok::<_, CatalogError>((media, rows::key(&found, 0)?))).transpose()?
            }
            None => None,
        };
        let photos = photo.into_iter().collect();
        lock_photos(client, &mut steps, &photos).await?;
        steps.add(client, DELETE, boxed![self.id.as_bytes().to_vec()]).await?;
        let ids: Vec<i64> = photos.keys().map(|id| number(id.0)).collect();
        steps.add(client, UNREFERENCED, boxed![ids]).await?;
        steps.commit(client, commit).await?;
        Ok(true)
    }
}
