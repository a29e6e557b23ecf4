//! The bytes of a photo, whose digests are verified before its end.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::Digest;
use super::digest::Verifier;
use crate::ingest::{IngestError, PhotoBytes, PhotoError};

/// A stream of the bytes of a photo.
pub(super) struct VerifiedBytes<S> {
    bytes: Pin<Box<S>>,
    length: Option<u64>,
    verifier: Verifier,
}

impl<S> VerifiedBytes<S> {
    /// Takes the bytes, their length if it is declared, and the digests that they should have.
    pub(super) fn new(bytes: S, length: Option<u64>, digests: impl IntoIterator<Item = Digest>) -> Self {
        Self { bytes: Box::pin(bytes), length, verifier: Verifier::new(digests) }
    }
}

impl<S: Stream<Item = Result<Bytes, IngestError>> + Send> PhotoBytes for VerifiedBytes<S> {
    fn is_encoded(&self) -> bool {
        false
    }

    fn declared_bytes(&self) -> Option<u64> {
        self.length
    }

    async fn next(&mut self) -> Result<Option<Bytes>, IngestError> {
        while let Some(piece) = self.bytes.next().await.transpose()? {
            self.verifier.update(&piece);
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        if self.verifier.is_met() {
            return Ok(None);
        }
        Err(IngestError::Photo { index: 0, filename: None, reason: PhotoError::WrongDigest })
    }
}
