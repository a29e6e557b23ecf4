//! The parts of a multipart body, one after the other, within hard caps.
//!
//! Data are handed on as they lie in the frames of the body: nothing is copied, nothing collected, and the next frame is asked
//! for only when the last one is used up. What lies before a part's data is collected, up to a cap, and refused where two
//! parsers could read it differently (see `head`). The grammar is RFC 2046 section 5.1.1's; the verdict does not depend on
//! how the body is cut into frames.

mod filename;
mod head;
mod scan;

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use self::head::{Head, read_head};
use self::scan::{Scanner, Step};

/// Most bytes in front of a part's data that are not data: the preamble, or the rest of a delimiter line, and the part's
/// headers.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Parts in one body, photos and other fields together, beyond the number of photos.
const MAX_OTHER_PARTS: usize = 100;

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Nothing arrived for longer than one may be silent.
    #[error("The request body did not arrive in time.")]
    Idle,
    /// The client went away or broke the framing of the protocol.
    #[error("The request body ended early.")]
    Aborted,
}

/// Why no further part could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartsError {
    /// The body is not well-formed `multipart/form-data` (RFC 7578), or was cut off.
    #[error("The multipart body is malformed: {0}.")]
    Malformed(&'static str),
    /// The body is longer than all caps together allow.
    #[error("The request body is larger than the {max} bytes that are allowed.")]
    TooLarge {
        /// The cap in bytes.
        max: u64,
    },
    /// The connection failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

const HEAD_TOO_LONG: PartsError =
    PartsError::Malformed("the headers of a part, or the bytes before the first part, exceed 16 KiB");
const CUT_OFF: PartsError =
    PartsError::Malformed("it ends before its closing delimiter, or a delimiter line is broken");
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

/// One part. What of it is not read is skipped when the next one is asked for.
pub struct Part<'p> {
    parts: &'p mut Parts,
    name: String,
    filename: Option<String>,
    is_encoded: bool,
}

impl Parts {
    /// The parts of `body`, delimited by `boundary`, which is valid (see [`boundary`](super::boundary::boundary)).
    ///
    /// At most `max_bytes` of the body are read, and `max_photos` parts and 100 more.
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

    /// The next part; `None` behind the closing delimiter. What follows that is not read.
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

    /// Hands the next frame to the scanner.
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

    /// The file name that the client declared, made safe to show. Only ever shown back to it.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// Whether the part declares a `Content-Transfer-Encoding`, such as base64, under which its data are not the bytes meant.
    pub fn is_encoded(&self) -> bool {
        self.is_encoded
    }

    /// The next piece of the part's data, not empty; `None` at its end.
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

    /// Reads the rest of the part and forgets it.
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
