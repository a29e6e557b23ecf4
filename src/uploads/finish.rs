//! The end of an upload: its photo is judged and stored, or refused.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{Digest, Digester, Progress, ResumableUploads, UploadError, UploadRequest};
use crate::catalog::{CatalogError, ChangeError, UploadChange, UploadRow, UploadState};
use crate::ingest::{IngestError, PhotoBytes, PhotoError};
use crate::model::Caller;
use crate::partial::{PartialBytes, PartialError};

/// The bytes of a complete upload.
struct StoredBytes {
    bytes: PartialBytes,
    length: u64,
    /// The digest that the whole photo should have.
    digest: Option<(Digest, Digester)>,
}

impl PhotoBytes for StoredBytes {
    fn is_encoded(&self) -> bool {
        false
    }

    fn declared_bytes(&self) -> Option<u64> {
        Some(self.length)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, IngestError> {
        let next = self.bytes.try_next().await.map_err(stored)?;
        match (&next, &mut self.digest) {
            (Some(piece), Some((_, digester))) => digester.update(piece),
            (None, digest) => {
                if let Some((digest, digester)) = digest.take()
                    && !digester.matches(&digest)
                {
                    let (index, filename, reason) = (0, None, PhotoError::WrongDigest);
                    return Err(IngestError::Photo { index, filename, reason });
                }
            }
            (Some(_), None) => {}
        }
        Ok(next)
    }
}

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
    pub(super) async fn finish(&self, caller: Caller, row: UploadRow) -> Result<Progress, UploadError> {
        let UploadRequest { filename, digest, .. } = UploadRequest::of_text(&row.request);
        let bytes = self.partial.read(row.id, &row.layout, 0, row.offset).await?;
        let digest = digest.map(|digest| {
            let digester = digest.digester();
            (digest, digester)
        });
        let (id, writer, length) = (row.id, row.writer, row.offset);
        let record = move |catalog: Arc<dyn crate::catalog::Catalog>, photo| async move {
            let finished = catalog.change_upload(id, writer, UploadChange::Finish(photo)).await?;
            finished.ok_or(ChangeError::Superseded)
        };
        // What is kept from here on is the stored photo.
        self.refund(caller, row.offset);
        let stored =
            self.ingest.store_photo(caller, filename, StoredBytes { bytes, length, digest }, record).await;
        let row = match stored {
            Ok(row) => row,
            Err(IngestError::Photo { reason, .. }) => return Err(self.refuse(&row, &reason).await?),
            Err(IngestError::Draft(ChangeError::Superseded)) => return Err(UploadError::Superseded),
            Err(error) => {
                // Its bytes stay. That the quota may be spent meanwhile does not matter: they are there.
                let _kept = self.charge(caller, row.offset).await;
                return Err(error.into());
            }
        };
        self.counts.finished.inc();
        self.remove_bytes(&row).await;
        let UploadState::Finished(media) = row.state else {
            return Err(UploadError::Superseded);
        };
        let media = self.catalog.media(media).await?;
        let gone = || CatalogError::Corrupt("the photo of an upload has no row".into());
        Ok(Progress::Finished(row, media.ok_or_else(gone)?))
    }

    /// Records that the photo of an upload is refused. Returns the error for the client.
    pub(super) async fn refuse(
        &self,
        row: &UploadRow,
        reason: &PhotoError,
    ) -> Result<UploadError, UploadError> {
        let text = (self.rules.describe)(reason);
        let change = UploadChange::Fail(text.clone());
        let failed = self.catalog.change_upload(row.id, row.writer, change).await?;
        if failed.is_none() {
            return Err(UploadError::Superseded);
        }
        self.counts.failed.inc();
        tracing::info!(upload = %row.id, %reason, "an upload was refused");
        self.remove_bytes(row).await;
        Ok(UploadError::Refused(text))
    }

    /// Removes the bytes of an upload. What a failure leaves is removed later, as stray bytes.
    async fn remove_bytes(&self, row: &UploadRow) {
        if let Err(error) = self.partial.remove(row.id).await {
            tracing::warn!(upload = %row.id, %error, "the bytes of a finished upload stay until the next search for stray bytes");
        }
    }
}
