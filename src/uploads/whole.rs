//! A photo that comes whole, in one request: its bytes are never stored as those of an unfinished upload.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{Digest, Digester, ResumableUploads, UploadError, UploadRequest};
use crate::catalog::{Catalog, CatalogError, ChangeError, UploadChange, UploadRow, UploadState};
use crate::ingest::parts::{PartsError, StreamError};
use crate::ingest::{IngestError, PhotoBytes, PhotoError};
use crate::model::{Caller, Media, Timestamp, UploadId};

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
    /// Takes in a whole photo under the id of a finished upload. `digest` is that of the body.
    ///
    /// # Errors
    /// The photo is refused, or a store failed. No upload and no photo stays.
    pub(crate) async fn store_whole<S>(
        &self,
        caller: Caller,
        id: UploadId,
        request: &UploadRequest,
        length: Option<u64>,
        digest: Option<Digest>,
        body: S,
    ) -> Result<(UploadRow, Media), UploadError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        self.refuse_longer(length)?;
        self.ingest.admit(caller.client).await?;
        let digests = request.digest.iter().chain(&digest).map(|digest| (digest.clone(), digest.digester()));
        let body = WholeBody { body: Box::pin(body), length, digests: digests.collect() };
        let row = self.new_row(caller, id, request, length)?;
        let record = move |catalog: Arc<dyn Catalog>, photo| async move {
            catalog.create_upload(row).await?;
            let finished = catalog.change_upload(id, 0, UploadChange::Finish(photo)).await?;
            finished.ok_or(ChangeError::Superseded)
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
            writer: 0,
            layout: String::new(),
            state: UploadState::Receiving,
            created: now,
            expires: now.plus(self.rules.lifetime),
        })
    }
}
