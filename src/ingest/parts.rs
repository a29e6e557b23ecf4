//! The parts of a multipart body, one after the other, within hard caps.
//!
//! multer parses. What it does not bound or check is guarded here: it would drain a body that is always ready into memory,
//! collect a preamble or part headers of any length, and let the last of two `Content-Disposition` headers win, so that a
//! filter in front and this server could read different names. The guard mirrors what the parser has not consumed yet, and
//! from this knows when it needs more, when it collects too much, and what the raw header block of a part was.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use multer::Multipart;

/// What the parser may have collected when it asks for more before a part begins: preamble, delimiter, part headers.
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
const TOO_MANY_PARTS: PartsError = PartsError::Malformed("it has too many parts");

/// Reads the parts of a body in order.
#[derive(Debug)]
pub struct Parts {
    multipart: Multipart<'static>,
    mirror: Arc<Mutex<Mirror>>,
    delimiter: String,
    parts_left: usize,
}

/// One part. To be read to its end, or skipped, before the next one is asked for.
#[derive(Debug)]
pub struct Part {
    field: multer::Field<'static>,
    mirror: Arc<Mutex<Mirror>>,
    name: String,
    filename: Option<String>,
}

impl Parts {
    /// The parts of `body`, delimited by `boundary`, which is valid (see [`boundary`](super::boundary::boundary)).
    pub fn new<S>(body: S, boundary: &str, max_bytes: u64, max_photos: usize) -> Self
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        let mirror = Arc::new(Mutex::new(Mirror { collecting: true, ..Mirror::default() }));
        let guarded =
            Guarded { body: Box::pin(body), mirror: Arc::clone(&mirror), left: max_bytes, max: max_bytes };
        Self {
            multipart: Multipart::new(guarded, boundary),
            mirror,
            delimiter: format!("--{boundary}"),
            parts_left: max_photos + MAX_OTHER_PARTS,
        }
    }

    /// The next part; `None` behind the last.
    ///
    /// # Errors
    /// The body is malformed, too large, or did not arrive.
    pub async fn next(&mut self) -> Result<Option<Part>, PartsError> {
        lock(&self.mirror).collecting = true;
        let field = self.multipart.next_field().await.map_err(understand)?;
        let Some(field) = field else { return Ok(None) };
        self.parts_left = self.parts_left.checked_sub(1).ok_or(TOO_MANY_PARTS)?;
        let head = {
            let mut mirror = lock(&self.mirror);
            mirror.collecting = false;
            mirror.take_head(self.delimiter.as_bytes())?
        };
        let Disposition { name, filename } = read_head(&head)?;
        let name = name.ok_or(PartsError::Malformed("a part has no name"))?;
        Ok(Some(Part { field, mirror: Arc::clone(&self.mirror), name, filename }))
    }
}

impl Part {
    /// The name of the form field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file name that the client declared. Only ever shown back to it.
    pub fn filename(&self) -> Option<&str> {
        self.filename.as_deref()
    }

    /// The next piece of the part's data, not empty; `None` at its end.
    ///
    /// # Errors
    /// The body is cut off, too large, or did not arrive.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, PartsError> {
        loop {
            let chunk = self.field.chunk().await.map_err(understand)?;
            if let Some(chunk) = &chunk {
                lock(&self.mirror).consume(chunk.len())?;
                if chunk.is_empty() {
                    continue;
                }
            }
            return Ok(chunk);
        }
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

fn lock(mirror: &Mutex<Mirror>) -> MutexGuard<'_, Mirror> {
    mirror.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes that were handed to the parser and that it has not given back as data: a copy of its buffer, by reference
/// count.
#[derive(Debug, Default)]
struct Mirror {
    frames: std::collections::VecDeque<Bytes>,
    length: usize,
    /// The parser looks for the start of a part's data; what it asks for now, it collects.
    collecting: bool,
    /// The parser has looked at all of this since it last changed.
    looked_at: bool,
}

const OUT_OF_STEP: PartsError = PartsError::Malformed("a part cannot be delimited");

impl Mirror {
    fn push(&mut self, frame: Bytes) {
        self.looked_at = false;
        self.length += frame.len();
        self.frames.push_back(frame);
    }

    fn consume(&mut self, mut count: usize) -> Result<(), PartsError> {
        self.looked_at = false;
        self.length = self.length.checked_sub(count).ok_or(OUT_OF_STEP)?;
        while let Some(front) = self.frames.front_mut() {
            if front.len() > count {
                bytes::Buf::advance(front, count);
                return Ok(());
            }
            count -= front.len();
            self.frames.pop_front();
        }
        Ok(())
    }

    /// Removes what lies before a part's data, all of which the parser has found, and gives its header block, the empty
    /// line included.
    fn take_head(&mut self, delimiter: &[u8]) -> Result<Vec<u8>, PartsError> {
        let mut seen = Vec::new();
        for frame in &self.frames {
            let room = MAX_HEAD_BYTES - seen.len();
            seen.extend_from_slice(&frame[..frame.len().min(room)]);
        }
        // A head that is longer is not found. All that lies before the data counts, as when it comes byte by byte: the
        // verdict must not depend on how the body is cut.
        let (start, end) = find_head(&seen, delimiter).ok_or(HEAD_TOO_LONG)?;
        self.consume(end)?;
        seen.truncate(end);
        Ok(seen.split_off(start))
    }
}

/// Start and end of the header block behind the first delimiter line in `bytes`.
fn find_head(bytes: &[u8], delimiter: &[u8]) -> Option<(usize, usize)> {
    let find = |from: usize, pattern: &[u8]| {
        bytes.get(from..)?.windows(pattern.len()).position(|window| window == pattern).map(|at| from + at)
    };
    let line_end = find(find(0, delimiter)? + delimiter.len(), b"\r\n")?;
    // The line's own CRLF may be the first half of the empty line: a block without headers.
    let end = find(line_end, b"\r\n\r\n")? + 4;
    Some((line_end + 2, end))
}

/// What the header block of a part says. Blocks that two parsers could read differently are refused.
fn read_head(block: &[u8]) -> Result<Disposition, PartsError> {
    let mut found = None;
    let lines = block.strip_suffix(b"\r\n\r\n").ok_or(PartsError::Malformed("a part has no headers"))?;
    let lines =
        std::str::from_utf8(lines).map_err(|_| PartsError::Malformed("a part header is not UTF-8"))?;
    for line in lines.split("\r\n") {
        if line.contains(['\r', '\n', '\0']) {
            return Err(PartsError::Malformed("a part header holds a control character"));
        }
        let (name, value) =
            line.split_once(':').ok_or(PartsError::Malformed("a part header has no colon"))?;
        if name.eq_ignore_ascii_case("content-disposition") && found.replace(disposition(value)?).is_some() {
            return Err(PartsError::Malformed("a part has more than one Content-Disposition"));
        }
    }
    found.ok_or(PartsError::Malformed("a part has no Content-Disposition"))
}

/// The parameters of a part's `Content-Disposition` that are used here.
#[derive(Debug, Default)]
struct Disposition {
    name: Option<String>,
    filename: Option<String>,
}

/// Reads `form-data` with each of its parameters at most once (RFC 7578 section 4.2). The parser's own reading is not
/// asked: it looks for `name` without regard to quotes.
fn disposition(value: &str) -> Result<Disposition, PartsError> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(PartsError::Malformed("a part's Content-Disposition is not form-data"));
    }
    let mut seen: Vec<String> = Vec::new();
    let mut read = Disposition::default();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([';', ' ', '\t']).to_ascii_lowercase();
        let (value, after) = parameter_value(after)?;
        rest = after;
        if seen.contains(&name) {
            return Err(PartsError::Malformed("a Content-Disposition names a parameter twice"));
        }
        match name.as_str() {
            "name" => read.name = Some(value),
            "filename" => read.filename = Some(value),
            _ => {}
        }
        seen.push(name);
    }
    Ok(read)
}

/// A parameter's value and what follows its semicolon. A backslash escapes a quote and nothing else: old browsers send
/// whole Windows paths.
fn parameter_value(text: &str) -> Result<(String, &str), PartsError> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return Ok((value.trim_end().to_owned(), rest));
    };
    let mut escaped = false;
    let end = quoted.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.ok_or(PartsError::Malformed("a Content-Disposition has an open quote"))?;
    let rest = quoted[end + 1..].trim_start();
    let rest = match rest.strip_prefix(';') {
        Some(rest) => rest,
        None if rest.is_empty() => rest,
        None => return Err(PartsError::Malformed("a Content-Disposition has text behind a quote")),
    };
    Ok((quoted[..end].replace("\\\"", "\""), rest))
}

/// Our own errors come back from the parser in a box; its own are told in our words.
fn understand(error: multer::Error) -> PartsError {
    match error {
        multer::Error::StreamReadFailed(inner) => {
            inner.downcast::<PartsError>().map_or(PartsError::Stream(StreamError::Aborted), |ours| *ours)
        }
        multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteStream => {
            PartsError::Malformed("it ends before its closing delimiter, or a delimiter line is broken")
        }
        _ => PartsError::Malformed("the headers of a part cannot be read"),
    }
}

/// The body as the parser sees it: the next frame only once it has looked at all that it has and found it too little, so
/// that what it does not need yet stays in the socket.
struct Guarded {
    body: Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>,
    mirror: Arc<Mutex<Mirror>>,
    left: u64,
    max: u64,
}

impl Stream for Guarded {
    type Item = Result<Bytes, PartsError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        {
            let mut mirror = lock(&self.mirror);
            if mirror.length > 0 && !mirror.looked_at {
                // The parser asks before it looks. Put off once, it looks; asking again, it has found too little.
                mirror.looked_at = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if mirror.collecting && mirror.length > MAX_HEAD_BYTES {
                return Poll::Ready(Some(Err(HEAD_TOO_LONG)));
            }
        }
        match self.body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let Some(left) = self.left.checked_sub(frame.len() as u64) else {
                    return Poll::Ready(Some(Err(PartsError::TooLarge { max: self.max })));
                };
                self.left = left;
                lock(&self.mirror).push(frame.clone());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
