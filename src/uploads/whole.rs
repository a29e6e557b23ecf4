//! A photo that comes whole, in one request: its bytes are never stored as those of an unfinished upload.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};

use super::verified::VerifiedBytes;
use super::{Digest, ResumableUploads, UploadError, UploadRequest};
use crate::catalog::{Catalog, ChangeError, Claim, UploadRow};
use crate::ingest::parts::{PartsError, StreamError};
use crate::model::{Caller, Media, Timestamp, UploadId};

/// A photo that comes whole.
pub(crate) struct Whole<'r, S> {
    /// What the client asked for.
    pub request: &'r UploadRequest,
    /// The length of the body, if it is known.
    pub length: Option<u64>,
    /// The digest of the body.
    pub digest: Option<Digest>,
    /// Held until the upload is durable, even if the client disconnects.
    pub claim: Option<Box<dyn Claim>>,
    /// The bytes.
    pub body: S,
}

impl ResumableUploads {
    /// Takes in a whole photo as a finished upload.
    ///
    /// # Errors
    /// The photo is refused, or a store failed. No upload and no photo stays.
    pub(crate) async fn store_whole<S>(
        &self,
        caller: Caller,
        id: UploadId,
        whole: Whole<'_, S>,
    ) -> Result<(UploadRow, Media), UploadError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        let Whole { request, length, digest, claim, body } = whole;
        self.refuse_longer(request, length)?;
        self.ingest.admit(caller.client).await?;
        let body = body.map_err(|error| PartsError::Stream(error).into());
        let body = VerifiedBytes::new(body, length, request.digest.clone().into_iter().chain(digest));
        let row = self.new_row(caller, id, request, length)?;
        let row = UploadRow { offset: length.unwrap_or(0), ..row };
        let record = move |catalog: Arc<dyn Catalog>, photo| async move {
            // Until the upload is recorded, no other request with its key may begin.
            let _claim = claim;
            catalog.record_upload(row, photo).await?.ok_or(ChangeError::Repeated)
        };
        let row = self.ingest.store_photo(caller, request.filename.clone(), body, record).await?;
        self.counts.created.inc();
        self.counts.finished.inc();
        let media = self.photo_of_finished(&row).await?;
        Ok((row, media))
    }

    /// Returns the row of an upload that begins now.
    pub(super) fn new_row(
        &self,
        caller: Caller,
        id: UploadId,
        request: &UploadRequest,
        length: Option<u64>,
    ) -> Result<UploadRow, UploadError> {
        let now = Timestamp::now();
        let row = UploadRow::new(id, caller.user, request.to_text()?, now, self.expiry());
        Ok(UploadRow { length, ..row })
    }
}
