//! A body whose digests are verified after it was read, wherever the reader stopped.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::Mutex;

use super::Digest;
use super::digest::Verifier;
use crate::ingest::IngestError;
use crate::ingest::parts::{PartsError, StreamError};

type Piece = Result<Bytes, StreamError>;

/// What is left to verify of a body.
pub(crate) struct Verification(Option<Arc<Mutex<Digested>>>);

struct Digested {
    body: Pin<Box<dyn Stream<Item = Piece> + Send>>,
    verifier: Verifier,
    read: u64,
    max: u64,
}

impl Digested {
    async fn next(&mut self) -> Option<Piece> {
        let piece = self.body.next().await?;
        if let Ok(bytes) = &piece {
            self.read += bytes.len() as u64;
            self.verifier.update(bytes);
        }
        Some(piece)
    }
}

/// Returns the body for its reader, and what is verified once the reader has dropped it. The body has at most `max` bytes.
pub(crate) fn verified_body<S>(
    body: S,
    digests: Vec<Digest>,
    max: u64,
) -> (impl Stream<Item = Piece> + Send + 'static, Verification)
where
    S: Stream<Item = Piece> + Send + 'static,
{
    if digests.is_empty() {
        return (Either::Left(body), Verification(None));
    }
    let verifier = Verifier::new(digests);
    let digested = Arc::new(Mutex::new(Digested { body: Box::pin(body), verifier, read: 0, max }));
    let pieces = stream::unfold(Arc::clone(&digested), async |digested: Arc<Mutex<Digested>>| {
        let piece = digested.lock().await.next().await?;
        Some((piece, digested))
    });
    (Either::Right(pieces), Verification(Some(digested)))
}

impl Verification {
    /// Reads the rest of the body, which has no meaning to its reader, and verifies the digests.
    ///
    /// # Errors
    /// The body does not arrive, is too long, or has another digest.
    pub(crate) async fn finish(self) -> Result<(), IngestError> {
        let Some(digested) = self.0 else { return Ok(()) };
        let mut digested = digested.lock().await;
        while let Some(piece) = digested.next().await {
            piece.map_err(PartsError::from)?;
            if digested.read > digested.max {
                return Err(PartsError::TooLarge { max: digested.max }.into());
            }
        }
        if digested.verifier.is_met() { Ok(()) } else { Err(IngestError::WrongDigest) }
    }
}
