//! The rows of resumable uploads. A transaction that changes one locks it first, so that one writer at a time changes it.

use std::sync::Arc;

use deadpool_postgres::Client;
use tokio_postgres::Row;

use super::params::{Params, boxed};
use super::pool::Connections;
use super::rows::{self, MEDIA, limit_of, number};
use super::transaction::{Failed, Steps};
use crate::catalog::{CatalogError, ChangeError, UploadRow, UploadState};
use crate::model::{DraftId, Media, Timestamp, UploadId, UserId};

/// Columns of an upload, in the order in which [`row`] reads them.
const UPLOAD: &str = "id, user_id, request, length, acknowledged, writer, layout, state, created, expires";

pub(super) const INSERT: &str = "
    INSERT INTO upload (id, user_id, request, length, acknowledged, writer, layout, state, created, expires)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING";

const UPDATE: &str = "
    UPDATE upload SET length = $2, acknowledged = $3, writer = $4, layout = $5, state = $6, media_id = $7, expires = $8
    WHERE id = $1";

pub(super) const DELETE: &str = "DELETE FROM upload WHERE id = $1";

/// Returns a query of the upload with the id `$1` for [`row`].
pub(super) fn one_upload() -> String {
    format!("SELECT {UPLOAD} FROM upload WHERE id = $1")
}

fn state_text(state: &UploadState) -> Result<String, CatalogError> {
    serde_json::to_string(state).map_err(|error| CatalogError::Corrupt(error.to_string()))
}

/// Returns the parameters of [`INSERT`].
pub(super) fn inserted(row: &UploadRow) -> Result<Params, CatalogError> {
    let UploadRow { id, owner, request, length, offset, writer, layout, state, created, expires } = row;
    Ok(boxed![
        id.as_bytes().to_vec(),
        owner.map(|owner| number(owner.get())),
        request.clone(),
        length.map(number),
        number(*offset),
        number(*writer),
        layout.clone(),
        state_text(state)?,
        rows::system_time(*created),
        rows::system_time(*expires)
    ])
}

/// Returns the parameters of [`UPDATE`].
fn updated(row: &UploadRow) -> Result<Params, CatalogError> {
    let media = row.kept_photo().map(|media| number(media.0));
    Ok(boxed![
        row.id.as_bytes().to_vec(),
        row.length.map(number),
        number(row.offset),
        number(row.writer),
        row.layout.clone(),
        state_text(&row.state)?,
        media,
        rows::system_time(row.expires)
    ])
}

/// Reads an upload from its [`UPLOAD`] columns.
pub(super) fn row(row: &Row) -> Result<UploadRow, CatalogError> {
    let id: &[u8] = rows::column(row, 0)?;
    let id =
        id.try_into().map_err(|_| CatalogError::Corrupt("the id of an upload is not 16 bytes".into()))?;
    let length: Option<i64> = rows::column(row, 3)?;
    let state: &str = rows::column(row, 7)?;
    let state = serde_json::from_str(state).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
    Ok(UploadRow {
        id: UploadId::from_bytes(id),
        owner: rows::owner(row, 1)?,
        request: rows::column(row, 2)?,
        length: length.map(rows::positive).transpose()?,
        offset: rows::id(row, 4)?,
        writer: rows::id(row, 5)?,
        layout: rows::column(row, 6)?,
        state,
        created: rows::time(row, 8)?,
        expires: rows::time(row, 9)?,
    })
}

/// Locks an upload until the transaction ends, and returns its row.
pub(super) async fn locked(client: &Client, id: UploadId) -> Result<Option<UploadRow>, Failed> {
    let sql = client.prepare_cached(&format!("{} FOR UPDATE", one_upload())).await?;
    let found = client.query_opt(&sql, &[&id.as_bytes().as_slice()]).await?;
    Ok(found.map(|found| row(&found)).transpose()?)
}

/// Adds the statement that replaces the row of an upload.
pub(super) async fn update(client: &Client, steps: &mut Steps, new: &UploadRow) -> Result<(), Failed> {
    Ok(steps.add(client, UPDATE, updated(new)?).await?)
}

/// Gives the photos of finished uploads to a draft. Returns their media rows.
pub(super) async fn take(
    client: &Client,
    steps: &mut Steps,
    uploads: &[UploadId],
    draft: DraftId,
    owner: Option<UserId>,
) -> Result<Vec<Media>, Failed> {
    let mut taken = Vec::new();
    for (index, id) in uploads.iter().enumerate() {
        let unusable = || Failed::Other(ChangeError::UnusableUpload { index });
        // Twice in one list, it is still unchanged in the database.
        let is_repeated = uploads[..index].contains(id);
        let row = locked(client, *id).await?.filter(|row| row.owner == owner && !is_repeated);
        let row = row.ok_or_else(unusable)?;
        let media = row.kept_photo().ok_or_else(unusable)?;
        let sql = client.prepare_cached(&format!("SELECT {MEDIA} FROM media m WHERE m.id = $1")).await?;
        taken.push(rows::media(&client.query_one(&sql, &[&number(media.0)]).await?, 0)?);
        update(client, steps, &UploadRow { state: UploadState::InDraft(media, draft), ..row }).await?;
    }
    Ok(taken)
}

impl Connections {
    pub(super) async fn upload(self: &Arc<Self>, id: UploadId) -> Result<Option<UploadRow>, CatalogError> {
        let found = self.read(&one_upload(), &[&id.as_bytes().as_slice()]).await?;
        found.first().map(row).transpose()
    }

    pub(super) async fn expired_uploads(
        self: &Arc<Self>,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<UploadId>, CatalogError> {
        let sql = format!("SELECT {UPLOAD} FROM upload WHERE expires <= $1 ORDER BY expires LIMIT $2");
        let found = self.read(&sql, &[&rows::system_time(before), &limit_of(limit)]).await?;
        found.iter().map(|found| row(found).map(|row| row.id)).collect()
    }

    pub(super) async fn uploads_page(
        self: &Arc<Self>,
        after: Option<UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRow>, CatalogError> {
        let sql = format!("SELECT {UPLOAD} FROM upload WHERE id > $1 ORDER BY id LIMIT $2");
        let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
        self.read(&sql, &[&after, &limit_of(limit)]).await?.iter().map(row).collect()
    }
}
