//! Reads one form as a body whose bytes come from many requests.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::FormRequest;
use crate::catalog::UploadRow;
use crate::ingest::{Ingest, IngestError, ReadUpload};
use crate::model::{ClientKey, Timestamp};
use crate::uploads::Digest;
use crate::uploads::digest::Verifier;

/// Chunks that wait to be read.
const WAITING_CHUNKS: usize = 2;

/// A form that is being read. Dropping it abandons its photos.
pub(super) struct Session {
    /// When the upload was created. Another upload may have the id of an earlier one.
    created: Timestamp,
    state: State,
    fed: u64,
    /// Knows the digest that the whole form should have.
    verifier: Verifier,
}

enum State {
    Reading {
        feed: mpsc::Sender<Bytes>,
        task: AbortOnDropHandle<Result<ReadUpload, IngestError>>,
    },
    /// The form ended. What follows is ignored, as after the last part of a body.
    Read(Box<ReadUpload>),
    /// The form was refused, and its error was returned.
    Refused,
}

impl Session {
    /// Begins to read a form of which nothing was read.
    pub(super) fn begin(
        ingest: Arc<Ingest>,
        created: Timestamp,
        client: ClientKey,
        request: &FormRequest,
        digest: Option<&Digest>,
    ) -> Self {
        let (feed, bytes) = mpsc::channel(WAITING_CHUNKS);
        let body = stream::unfold(bytes, async |mut bytes: mpsc::Receiver<Bytes>| {
            Some((Ok(bytes.recv().await?), bytes))
        });
        let (boundary, on_error) = (request.boundary.clone(), request.on_error);
        let reading = async move { ingest.read(client, on_error, body, &boundary).await };
        let task = AbortOnDropHandle::new(tokio::spawn(reading.in_current_span()));
        let verifier = Verifier::new(digest.cloned());
        Self { created, state: State::Reading { feed, task }, fed: 0, verifier }
    }

    /// Returns whether what the session read are the first acknowledged bytes of this upload.
    pub(super) fn fits(&self, row: &UploadRow) -> bool {
        self.created == row.created && self.fed <= row.offset
    }

    /// Returns how many bytes were read.
    pub(super) fn fed(&self) -> u64 {
        self.fed
    }

    /// Whether the form was refused, or could not be read. Then the session is of no more use.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused)
    }

    /// Reads the next bytes. They are not read if the future is dropped.
    ///
    /// # Errors
    /// The form is refused, or cannot be read now.
    pub(super) async fn feed(&mut self, chunk: Bytes) -> Result<(), IngestError> {
        if let State::Reading { feed, task } = &mut self.state
            && feed.send(chunk.clone()).await.is_err()
        {
            let ended = joined(task.await);
            self.end_with(ended)?;
        }
        self.fed += chunk.len() as u64;
        self.verifier.update(&chunk);
        Ok(())
    }

    /// Returns once the form is refused, however many bytes are missing.
    pub(super) async fn refused(&mut self) -> IngestError {
        if let State::Reading { feed, task } = &mut self.state {
            feed.closed().await;
            let ended = joined(task.await);
            if let Err(error) = self.end_with(ended) {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Says that no more bytes come. Returns the form once all its photos are encoded.
    ///
    /// # Errors
    /// The form is refused, or cannot be read now.
    pub(super) async fn end(mut self) -> Result<ReadUpload, IngestError> {
        let read = match self.state {
            State::Reading { feed, task } => {
                drop(feed);
                joined(task.await)?
            }
            State::Read(read) => *read,
            State::Refused => return Err(gone()),
        };
        if self.verifier.is_met() { Ok(read) } else { Err(IngestError::WrongDigest) }
    }

    fn end_with(&mut self, ended: Result<ReadUpload, IngestError>) -> Result<(), IngestError> {
        self.state = State::Refused;
        self.state = State::Read(Box::new(ended?));
        Ok(())
    }
}

fn joined(ended: Result<Result<ReadUpload, IngestError>, JoinError>) -> Result<ReadUpload, IngestError> {
    ended.map_err(|error| IngestError::Internal(error.into()))?
}

fn gone() -> IngestError {
    IngestError::Internal("a form was read after its refusal".into())
}
