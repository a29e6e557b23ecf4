//! Reads the parts of a multipart body, one after the other, within fixed limits.
//!
//! Data are passed on as slices of the frames of the body: nothing is copied or collected, and the next frame is read only
//! when the last one is used up. The bytes before the data of a part are collected, up to a limit, and refused if two
//! parsers could read them differently (see `head`). The grammar is that of RFC 2046 section 5.1.1. The result does not
//! depend on how the body is cut into frames.

mod filename;
mod head;
mod scan;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use self::head::{Head, read_head};
use self::scan::{CUT_OFF, Scanner, Step};

/// Number of parts, photos and other fields together, that one body may have beyond the number of photos.
const MAX_OTHER_PARTS: usize = 100;

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// No data arrived for too long.
    #[error("The request body did not arrive in time.")]
    Idle,
    /// The client disconnected or broke the framing of the protocol.
    #[error("The request body ended early.")]
    Aborted,
}

/// Why no further part could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The body is not well-formed `multipart/form-data` (RFC 7578), or was cut off.
    #[error("The multipart body is malformed: {0}.")]
    Malformed(&'static str),
    /// The body is longer than all limits together allow.
    #[error("The request body is larger than the {max} bytes that are allowed.")]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// The connection failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

const EMPTY: PartsError = PartsError::Malformed("it is empty");
const TOO_MANY_PARTS: PartsError = PartsError::Malformed("it has too many parts");

/// Reads the parts of a body in order.
pub struct Parts {
    body: Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>,
    scanner: Scanner,
    bytes_left: u64,
    max_bytes: u64,
    parts_left: usize,
}

/// One part. Data that are not read are skipped when the next part is read.
pub struct Part<'p> {
    parts: &'p mut Parts,
    name: String,
    filename: Option<String>,
    is_encoded: bool,
}

impl Parts {
    /// Reads the parts of `body`, delimited by `boundary`, which is valid (see `ingest/boundary.rs`).
    ///
    /// Reads at most `max_bytes` of the body, and at most 100 parts more than `max_photos`.
    pub fn new<S>(body: S, boundary: &str, max_bytes: u64, max_photos: usize) -> Self
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        Self {
            body: Box::pin(body),
            scanner: Scanner::new(boundary),
            bytes_left: max_bytes,
            max_bytes,
            parts_left: max_photos + MAX_OTHER_PARTS,
        }
    }

    /// Returns the next part, or `None` after the closing delimiter. Bytes after that are not read.
    ///
    /// # Errors
    /// The body is malformed, too large, or did not arrive.
    pub async fn next(&mut self) -> Result<Option<Part<'_>>, PartsError> {
        let block = loop {
            match self.scanner.step()? {
                Step::Data(_) | Step::PartEnd => {}
                Step::More => self.pull().await?,
                Step::Head(block) => break block,
                Step::End => return Ok(None),
            }
        };
        self.parts_left = self.parts_left.checked_sub(1).ok_or(TOO_MANY_PARTS)?;
        let Head { name, filename, is_encoded } = read_head(&block)?;
        let name = name.ok_or(PartsError::Malformed("a part has no name"))?;
        Ok(Some(Part { parts: self, name, filename, is_encoded }))
    }

    /// Passes the next frame to the scanner.
    async fn pull(&mut self) -> Result<(), PartsError> {
        let is_empty = self.bytes_left == self.max_bytes;
        let frame = self.body.next().await.ok_or(if is_empty { EMPTY } else { CUT_OFF })??;
        let left = self.bytes_left.checked_sub(frame.len() as u64);
        self.bytes_left = left.ok_or(PartsError::TooLarge { max: self.max_bytes })?;
        self.scanner.push(frame);
        Ok(())
    }
}

impl Part<'_> {
    /// The name of the form field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file name that the client declared, made safe to show to the client.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// Whether the part declares a `Content-Transfer-Encoding`, such as base64: its data are encoded then.
    pub fn is_encoded(&self) -> bool {
        self.is_encoded
    }

    /// Returns the next piece of the data, never an empty one, or `None` at the end.
    ///
    /// # Errors
    /// The body is cut off, too large, or did not arrive.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, PartsError> {
        while self.parts.scanner.is_in_data() {
            match self.parts.scanner.step()? {
                Step::Data(data) => return Ok(Some(data)),
                Step::More => self.parts.pull().await?,
                Step::PartEnd | Step::Head(_) | Step::End => {}
            }
        }
        Ok(None)
    }

    /// Reads the rest of the part and discards it.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub async fn skip(mut self) -> Result<(), PartsError> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests;
