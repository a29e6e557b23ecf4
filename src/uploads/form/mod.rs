//! A form that comes over as many connections as it takes. Its photos are decoded while later ones still arrive, and while the
//! client is away.
//!
//! A [`Session`] reads the form as one body: it is fed with what each request brings. It is of no account for what is
//! acknowledged. A session that is lost is made again from the stored bytes, but not for each request: see [`FormReader`].

mod finish;
mod parked;
mod session;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

pub(super) use self::parked::Parked;
use self::session::Session;
use super::{Digest, ResumableUploads, UploadError};
use crate::catalog::{RequestHead, UploadRow};
use crate::ingest::{OnError, Target};
use crate::model::{AttemptId, Caller, ClientKey};

/// A lost session is made again once a request has brought one byte for as many stored ones. So a client that comes back again
/// and again has each of its bytes decoded at most five times.
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

/// Reads the form of an upload while a request brings more of it.
pub(super) struct FormReader {
    request: FormRequest,
    digest: Option<Digest>,
    client: ClientKey,
    session: Option<Session>,
    /// Bytes that were acknowledged when the request began.
    stored: u64,
    /// Bytes that the request brought.
    brought: u64,
}

impl FormReader {
    /// Reads the next bytes of the form, which are written and begin at `position`. Returns false if the session lacks bytes
    /// before them, or is lost and worth to be made again: it should [catch up](ResumableUploads::catch_up) then.
    pub(super) async fn take(&mut self, position: u64, chunk: Bytes) -> Result<bool, UploadError> {
        self.brought += chunk.len() as u64;
        match &mut self.session {
            Some(session) if session.fed() == position => {
                session.feed(chunk).await?;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Ok(self.brought.saturating_mul(STORED_BYTES_PER_NEW_BYTE) < self.stored),
        }
    }

    /// Returns once the form was refused while its bytes arrive.
    pub(super) async fn refused(&mut self) -> UploadError {
        match &mut self.session {
            Some(session) => session.refused().await.into(),
            None => std::future::pending().await,
        }
    }
}

impl ResumableUploads {
    /// Returns what reads the form of an upload while a request brings more.
    pub(super) fn form_reader(
        &self,
        caller: Caller,
        row: &UploadRow,
        request: FormRequest,
        digest: Option<Digest>,
    ) -> FormReader {
        let session = self.parked.take(row.id).filter(|session| session.fed() <= row.offset);
        let (client, stored) = (caller.client, row.offset);
        let mut reader = FormReader { request, digest, client, session, stored, brought: 0 };
        if stored == 0 {
            self.session(&mut reader);
        }
        reader
    }

    /// Returns the session of a form. Begins it if it is lost.
    fn session<'r>(&self, reader: &'r mut FormReader) -> &'r mut Session {
        let FormReader { request, digest, client, session, .. } = reader;
        session.get_or_insert_with(|| {
            Session::begin(Arc::clone(&self.ingest), *client, request, digest.as_ref())
        })
    }

    /// Has the session read everything that is acknowledged.
    pub(super) async fn catch_up(&self, reader: &mut FormReader, row: &UploadRow) -> Result<(), UploadError> {
        let session = self.session(reader);
        let mut bytes = self.partial.read(row.id, &row.layout, session.fed(), row.offset).await?;
        while let Some(piece) = bytes.try_next().await? {
            session.feed(piece).await?;
        }
        Ok(())
    }

    /// Keeps the session of an upload for the next request, which may come soon.
    pub(super) fn park_form(&self, reader: FormReader, row: &UploadRow) {
        let is_kept = |session: &Session| !session.is_refused() && session.fed() <= row.offset;
        if let Some(session) = reader.session.filter(is_kept) {
            self.parked.put(row.id, session);
        }
    }
}
