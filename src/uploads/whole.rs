//! A photo that comes whole, in one request: its bytes are never stored as those of an unfinished upload.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{Digest, Digester, ResumableUploads, UploadError, UploadRequest};
use crate::catalog::{Catalog, CatalogError, ChangeError, Claim, UploadRow, UploadState};
use crate::ingest::parts::{PartsError, StreamError};
use crate::ingest::{IngestError, PhotoBytes, PhotoError};
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

/// The bytes of a body, with the digests that they should have.
struct WholeBody<S> {
    body: Pin<Box<S>>,
    /// Its Content-Length.
    length: Option<u64>,
    digests: Vec<(Digest, Digester)>,
}

impl<S: Stream<Item = Result<Bytes, StreamError>> + Send> PhotoBytes for WholeBody<S> {
    fn is_encoded(&self) -> bool {
        false
    }

    fn declared_bytes(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Result<Option<Bytes>, IngestError> {
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk.map_err(PartsError::Stream)?;
            self.digests.iter_mut().for_each(|(_, digester)| digester.update(&chunk));
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        let is_right =
            std::mem::take(&mut self.digests).into_iter().all(|(digest, digester)| digester.matches(&digest));
        let (index, filename, reason) = (0, None, PhotoError::WrongDigest);
        if is_right { Ok(None) } else { Err(IngestError::Photo { index, filename, reason }) }
    }
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
        self.refuse_longer(length)?;
        self.ingest.admit(caller.client).await?;
        let digests = request.digest.iter().chain(&digest).map(|digest| (digest.clone(), digest.digester()));
        let body = WholeBody { body: Box::pin(body), length, digests: digests.collect() };
        let row = self.new_row(caller, id, request, length)?;
        let record = move |catalog: Arc<dyn Catalog>, photo| async move {
            // Until the upload is recorded, no other request with its key may begin.
            let _claim = claim;
            catalog.record_upload(row, photo).await?.ok_or(ChangeError::Repeated)
        };
        let row = self.ingest.store_photo(caller, request.filename.clone(), body, record).await?;
        self.counts.created.inc();
        self.counts.finished.inc();
        let UploadState::Finished(media) = row.state else { return Err(UploadError::Superseded) };
        let media = self.catalog.media(media).await?;
        let gone = || CatalogError::Corrupt("the photo of an upload has no row".into());
        Ok((row, media.ok_or_else(gone)?))
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
        Ok(UploadRow {
            id,
            owner: caller.user,
            request: request.to_text()?,
            length,
            offset: 0,
            // Above those of an earlier upload with this id, of which a store may still have bytes.
            writer: now.millis(),
            layout: String::new(),
            state: UploadState::Receiving,
            created: now,
            expires: now.plus(self.rules.lifetime),
        })
    }
}
