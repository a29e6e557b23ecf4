//! The end of an upload: its photo is judged and stored, or refused.

use std::sync::Arc;

use futures_util::TryStreamExt;

use super::verified::VerifiedBytes;
use super::{Appender, Progress, ResumableUploads, UploadError, UploadRequest};
use crate::catalog::{Catalog, CatalogError, ChangeError, UploadChange, UploadRow};
use crate::ingest::{IngestError, PhotoError};
use crate::model::Media;
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

/// Returns the error of an upload whose photo could not be stored: that of the store of its bytes, if that one failed.
fn failed(error: IngestError) -> UploadError {
    match error {
        IngestError::Unavailable(cause) | IngestError::Internal(cause) if cause.is::<PartialError>() => cause
            .downcast::<PartialError>()
            .map_or_else(UploadError::Internal, |error| UploadError::Partial(*error)),
        error => error.into(),
    }
}

impl ResumableUploads {
    /// Stores the photo of an upload whose bytes were all taken. The last ones are acknowledged together with it: that spares a
    /// sync of the file, and a transaction. If the photo cannot be stored now, they are acknowledged like others.
    pub(super) async fn finish(
        &self,
        mut appender: Appender<'_>,
        acknowledged: &(impl Fn(u64) + Sync),
    ) -> Result<Progress, UploadError> {
        let UploadRequest { filename, digest, .. } = appender.request.clone();
        let (id, writer, caller) = (appender.row.id, appender.row.writer, appender.caller);
        let length = appender.writer.flush().await?;
        let bytes = self.partial.read(id, &appender.row.layout, 0..length).await?;
        let bytes = VerifiedBytes::new(bytes.map_err(stored), Some(length), digest);
        let record = move |catalog: Arc<dyn Catalog>, photo| async move {
            let finished = catalog.change_upload(id, writer, UploadChange::Finish { length, photo }).await?;
            finished.ok_or(ChangeError::Superseded)
        };
        // What is kept from here on is the stored photo.
        self.refund(caller, length);
        appender.reader.stop_counting();
        let stored = self.ingest.store_photo(caller, filename, bytes, record).await;
        if let Err(error) = &stored
            && !matches!(error, IngestError::Photo { .. } | IngestError::Draft(ChangeError::Superseded))
        {
            // Its bytes stay. That the quota may be spent meanwhile does not matter: they are there.
            let _kept = self.charge(caller, length).await;
            appender.acknowledge(acknowledged).await?;
        }
        let Appender { row, writer, .. } = appender;
        // Before its bytes are removed.
        drop(writer);
        let row = match stored {
            Ok(row) => row,
            Err(IngestError::Photo { reason, .. }) => return Err(self.refuse_photo(&row, &reason).await?),
            Err(IngestError::Draft(ChangeError::Superseded)) => return Err(UploadError::Superseded),
            Err(error) => return Err(failed(error)),
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
        if let Err(error) = self.partial.remove(row.id, row.writer).await {
            tracing::warn!(upload = %row.id, %error, "the bytes of a finished upload stay until the next search for stray bytes");
        }
    }
}
