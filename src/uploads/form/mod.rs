//! A form that comes over several connections. Its photos are decoded while later ones still arrive, and while the client is
//! away.
//!
//! A [`Session`] reads the form as one body: it gets the bytes of each request. Acknowledged offsets do not depend on it. A
//! session that is lost is made again from the stored bytes, but not for each request: see [`FormReader`].

mod finish;
mod parked;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

pub(super) use self::finish::Pauses;
pub(super) use self::parked::Parked;
use self::parked::Patience;
use self::session::Session;
use super::{Digest, ResumableUploads, UploadError};
use crate::catalog::{RequestHead, UploadRow};
use crate::ingest::{InFlight, IngestError, OnError, Target};
use crate::model::{AttemptId, Caller, ClientKey, Timestamp};

/// A lost session is made again once a request has brought one byte for as many stored ones. So a client that comes back again
/// and again has at most five bytes decoded for each that it sends, before the form is complete.
const STORED_BYTES_PER_NEW_BYTE: u64 = 4;

/// What is to be done with the form of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormRequest {
    /// The boundary of its parts.
    pub boundary: String,
    /// The draft that gets the photos.
    pub target: Target,
    /// What a bad photo means for the others.
    pub on_error: OnError,
    /// The attempt that succeeds with the draft, if the client named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// The request that created the upload.
    pub head: RequestHead,
}

impl FormRequest {
    /// Returns whether the bytes of a form that `other` creates continue those of this one.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let of = |form: &Self| (form.boundary.clone(), form.target, form.on_error);
        of(self) == of(other)
    }
}

/// Reads the form of an upload while a request brings more of it.
pub(super) struct FormReader {
    request: FormRequest,
    digest: Option<Digest>,
    client: ClientKey,
    created: Timestamp,
    /// Reads the bytes, and counts as an upload in flight. Without it, the bytes are only stored.
    session: Option<Session>,
    /// Counts the request as an upload in flight while there is no session.
    in_flight: Option<InFlight>,
    /// Whether a session failed for a reason that passes. Then there is none before the form is complete.
    gave_up: bool,
    /// How long the session waited for its client before.
    patience: Option<Patience>,
    /// Bytes that were acknowledged when the request began.
    stored: u64,
    /// Bytes that the request brought.
    brought: u64,
}

impl FormReader {
    /// Reads the next bytes of the form, which are written and begin at `position`. Returns false if the session lacks bytes
    /// before them, or is lost and worth to be made again: it should [catch up](ResumableUploads::catch_up) then.
    pub(super) async fn take(
        &mut self,
        uploads: &ResumableUploads,
        position: u64,
        chunk: Bytes,
    ) -> Result<bool, UploadError> {
        self.brought += chunk.len() as u64;
        match &mut self.session {
            Some(session) if session.fed() == position => {
                let fed = session.feed(chunk).await;
                self.judge(uploads, fed)?;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Ok(self.gave_up || self.brought.saturating_mul(STORED_BYTES_PER_NEW_BYTE) < self.stored),
        }
    }

    /// Returns once the form was refused while its bytes arrive.
    pub(super) async fn refused(&mut self, uploads: &ResumableUploads) -> UploadError {
        if let Some(session) = &mut self.session {
            let error = session.refused().await;
            if let Err(error) = self.judge(uploads, Err(error)) {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Returns the error of a session if it ends the upload. After one that passes, the bytes are only stored: they are read when
    /// the form is complete.
    fn judge(
        &mut self,
        uploads: &ResumableUploads,
        read: Result<(), IngestError>,
    ) -> Result<(), UploadError> {
        match read {
            Err(error) if error.is_final() => Err(error.into()),
            Err(error) => {
                tracing::info!(%error, "a form is read when it is complete");
                self.session = None;
                self.in_flight = Some(uploads.ingest.begin_receiving(self.client)?);
                self.gave_up = true;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

impl ResumableUploads {
    /// Returns what reads the form of an upload while a request brings more.
    ///
    /// # Errors
    /// The client has its share of the uploads in flight.
    pub(super) fn form_reader(
        &self,
        caller: Caller,
        row: &UploadRow,
        request: FormRequest,
        digest: Option<Digest>,
    ) -> Result<FormReader, UploadError> {
        let parked = self.parked.take(row.id).filter(|parked| parked.session.fits(row));
        let (client, created, stored) = (caller.client, row.created, row.offset);
        let mut reader = FormReader {
            request,
            digest,
            client,
            created,
            session: None,
            in_flight: None,
            gave_up: false,
            patience: None,
            stored,
            brought: 0,
        };
        match parked {
            Some(parked) => (reader.session, reader.patience) = (Some(parked.session), Some(parked.patience)),
            None => reader.in_flight = Some(self.ingest.begin_receiving(client)?),
        }
        if stored == 0 {
            reader.session = Some(self.take_session(&mut reader));
        }
        Ok(reader)
    }

    /// Takes the session of a form. Begins it if it is lost.
    fn take_session(&self, reader: &mut FormReader) -> Session {
        // Before the session counts as another one.
        reader.in_flight = None;
        let FormReader { request, digest, client, created, session, .. } = reader;
        let begin = || Session::begin(Arc::clone(&self.ingest), *created, *client, request, digest.as_ref());
        session.take().unwrap_or_else(begin)
    }

    /// Has the session read everything that is acknowledged.
    pub(super) async fn catch_up(&self, reader: &mut FormReader, row: &UploadRow) -> Result<(), UploadError> {
        let session = self.take_session(reader);
        let fed = self.feed_stored(reader.session.insert(session), row).await?;
        reader.judge(self, fed)
    }

    /// Feeds a session with what it lacks. Returns what the session says.
    async fn feed_stored(
        &self,
        session: &mut Session,
        row: &UploadRow,
    ) -> Result<Result<(), IngestError>, UploadError> {
        let mut bytes = self.partial.read(row.id, &row.layout, session.fed()..row.offset).await?;
        while let Some(piece) = bytes.try_next().await? {
            if let Err(error) = session.feed(piece).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Keeps the session of an upload for the next request, which may come soon.
    pub(super) fn park_form(&self, reader: FormReader, row: &UploadRow) {
        if let Some(session) = reader.session
            && !session.is_refused()
            && session.fed() > 0
            && session.fits(row)
        {
            self.parked.put(row.id, session, reader.client, reader.patience);
        }
    }
}
