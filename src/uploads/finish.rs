//! The end of an upload: its photo is judged and stored, or refused.

use std::sync::Arc;

use futures_util::TryStreamExt;

use super::verified::VerifiedBytes;
use super::{Progress, ResumableUploads, UploadError, UploadRequest};
use crate::catalog::{Catalog, CatalogError, ChangeError, UploadChange, UploadRow};
use crate::ingest::{IngestError, PhotoError};
use crate::model::{Caller, Media};
use crate::partial::PartialError;

fn stored(error: PartialError) -> IngestError {
    match error {
        PartialError::OutOfFiles(_) | PartialError::Unavailable(_) => IngestError::Unavailable(error.into()),
        PartialError::Full(_)
        | PartialError::Missing
        | PartialError::TooManyResumptions
        | PartialError::Io(_) => IngestError::Internal(error.into()),
    }
}

impl ResumableUploads {
    /// Stores the photo of an upload whose bytes are all there.
    pub(super) async fn finish(
        &self,
        caller: Caller,
        row: UploadRow,
        request: UploadRequest,
    ) -> Result<Progress, UploadError> {
        let UploadRequest { filename, digest, .. } = request;
        let bytes = self.partial.read(row.id, &row.layout, 0, row.offset).await?;
        let bytes = VerifiedBytes::new(bytes.map_err(stored), Some(row.offset), digest);
        let (id, writer) = (row.id, row.writer);
        let record = move |catalog: Arc<dyn Catalog>, photo| async move {
            let finished = catalog.change_upload(id, writer, UploadChange::Finish(photo)).await?;
            finished.ok_or(ChangeError::Superseded)
        };
        // What is kept from here on is the stored photo.
        self.refund(caller, row.offset);
        let stored = self.ingest.store_photo(caller, filename, bytes, record).await;
        let row = match stored {
            Ok(row) => row,
            Err(IngestError::Photo { reason, .. }) => return Err(self.refuse_photo(&row, &reason).await?),
            Err(IngestError::Draft(ChangeError::Superseded)) => return Err(UploadError::Superseded),
            Err(error) => {
                // Its bytes stay. That the quota may be spent meanwhile does not matter: they are there.
                let _kept = self.charge(caller, row.offset).await;
                return Err(error.into());
            }
        };
        self.counts.finished.inc();
        self.remove_bytes(&row).await;
        let media = self.photo_of_finished(&row).await?;
        Ok(Progress::Finished(row, media))
    }

    /// Returns the photo of an upload that was just finished.
    pub(super) async fn photo_of_finished(&self, row: &UploadRow) -> Result<Media, UploadError> {
        let gone = || CatalogError::Corrupt("the photo of an upload has no row".into());
        Ok(self.photo(row).await?.ok_or_else(gone)?)
    }

    /// Records that the photo of an upload is refused. Returns the error for the client.
    pub(super) async fn refuse_photo(
        &self,
        row: &UploadRow,
        reason: &PhotoError,
    ) -> Result<UploadError, UploadError> {
        self.refuse(row, &reason.to_string(), (self.rules.describe_photo)(reason)).await
    }

    /// Records that an upload is refused. `text` is for the client. Returns its error.
    pub(super) async fn refuse(
        &self,
        row: &UploadRow,
        reason: &str,
        text: String,
    ) -> Result<UploadError, UploadError> {
        let change = UploadChange::Fail(text.clone());
        let failed = self.catalog.change_upload(row.id, row.writer, change).await?;
        if failed.is_none() {
            return Err(UploadError::Superseded);
        }
        self.counts.failed.inc();
        tracing::info!(upload = %row.id, reason, "an upload was refused");
        self.remove_bytes(row).await;
        Ok(UploadError::Refused(text))
    }

    /// Removes the bytes of an upload. What a failure leaves is removed later, as stray bytes.
    pub(super) async fn remove_bytes(&self, row: &UploadRow) {
        if let Err(error) = self.partial.remove(row.id).await {
            tracing::warn!(upload = %row.id, %error, "the bytes of a finished upload stay until the next search for stray bytes");
        }
    }
}
