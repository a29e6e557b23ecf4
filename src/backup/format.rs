//! The export: JSON lines, the first of which says what it is, and the last that it is whole.
//!
//! Media, drafts and sources follow each other in this order, each ascending, so that equal catalogs have equal exports and
//! a row stands behind those that it refers to. There is one way to write a row, and a line written in another way is
//! refused: it would hold something that this version does not know.

use std::fmt;
use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use super::CustodyError;
use crate::catalog::{DraftRow, Row, SourceRow, State};
use crate::model::{DraftId, Media, MediaId, SourceId};

const FORMAT: &str = "vintedbot-ingest catalog";
const VERSION: u32 = 1;
/// Of a line, with much room: what is longer was not written here, and is not taken into memory.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// How many rows there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Media rows.
    pub media: u64,
    /// Drafts.
    pub drafts: u64,
    /// Sources.
    pub sources: u64,
}

impl Counts {
    /// Rows of all kinds.
    pub fn rows(&self) -> u64 {
        self.media + self.drafts + self.sources
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { media, drafts, sources } = self;
        write!(f, "{media} photos, {drafts} drafts and {sources} sources")
    }
}

/// The export is not one that can be imported. Each text says where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not begin as one.
    #[error("line 1 does not say that this is an export of a {FORMAT}")]
    Foreign,
    /// Another version of this program wrote it.
    #[error("the export has version {0}, and this program reads version {VERSION}")]
    Version(u64),
    /// It ends too early.
    #[error("the export is cut: it ends in or after line {0}, before the line that says it is whole")]
    Cut(u64),
    /// A line is not what it should be.
    #[error("line {line} of the export {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It was changed.
    #[error(
        "line {0} of the export, the last, does not fit those before it: some were changed, lost or added"
    )]
    Changed(u64),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Export(Header),
    Media(Media),
    Draft(DraftRow),
    Source(SourceRow),
    End(Trailer),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    pub(super) next_media_id: u64,
    pub(super) next_draft_id: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Trailer {
    rows: Counts,
    /// Of all bytes before this line.
    blake3: String,
}

/// Writes an export.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    hash: blake3::Hasher,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// Begins an export with the next ids of `state`.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn begin(out: W, state: State) -> Result<Self, CustodyError> {
        let mut writer = Self { out, hash: blake3::Hasher::new(), counts: Counts::default() };
        writer.line(&Line::Export(Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            next_media_id: state.next_media_id,
            next_draft_id: state.next_draft_id,
        }))?;
        Ok(writer)
    }

    /// Writes a row. Rows ascend, media before drafts before sources.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn row(&mut self, row: Row) -> Result<(), CustodyError> {
        self.counts.add(&row);
        self.line(&match row {
            Row::Media(row) => Line::Media(row),
            Row::Draft(row) => Line::Draft(row),
            Row::Source(row) => Line::Source(row),
        })
    }

    /// Ends the export with its checksum, and flushes it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn end(mut self) -> Result<Counts, CustodyError> {
        let end = Trailer { rows: self.counts, blake3: self.hash.finalize().to_string() };
        self.line(&Line::End(end))?;
        self.out.flush().map_err(CustodyError::Write)?;
        Ok(self.counts)
    }

    fn line(&mut self, line: &Line) -> Result<(), CustodyError> {
        let bytes = bytes_of(line).map_err(|error| CustodyError::Write(error.into()))?;
        self.hash.update(&bytes);
        self.out.write_all(&bytes).map_err(CustodyError::Write)
    }
}

impl Counts {
    fn add(&mut self, row: &Row) {
        *match row {
            Row::Media(_) => &mut self.media,
            Row::Draft(_) => &mut self.drafts,
            Row::Source(_) => &mut self.sources,
        } += 1;
    }
}

fn bytes_of(line: &Line) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Where a row stands in an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Media(MediaId),
    Draft(DraftId),
    Source(SourceId),
}

/// Reads an export, and believes nothing of it.
pub(super) struct Reader<R> {
    input: R,
    /// The line that was read last.
    bytes: Vec<u8>,
    number: u64,
    hash: blake3::Hasher,
    counts: Counts,
    place: Option<Place>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn begin(input: R) -> Result<(Self, Header), CustodyError> {
        let (hash, counts) = (blake3::Hasher::new(), Counts::default());
        let mut reader = Self { input, bytes: Vec::new(), number: 0, hash, counts, place: None };
        reader.read_line()?;
        // Another version may have other fields, and is to be named all the same.
        let header: serde_json::Value = serde_json::from_slice(&reader.bytes).unwrap_or_default();
        if header["export"]["format"] != FORMAT {
            return Err(Malformed::Foreign.into());
        }
        match header["export"]["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(Malformed::Version(version).into()),
            None => return Err(Malformed::Foreign.into()),
        }
        match reader.parse()? {
            Line::Export(header) => Ok((reader, header)),
            _ => Err(Malformed::Foreign.into()),
        }
    }

    /// The next row, and how many bytes its line has; `None` once the end proved that all rows were there.
    pub(super) fn row(&mut self) -> Result<Option<(Row, usize)>, CustodyError> {
        self.hash.update(&self.bytes);
        self.read_line()?;
        let (row, place) = match self.parse()? {
            Line::Media(row) => (Row::Media(row.clone()), Place::Media(row.id)),
            Line::Draft(row) => (Row::Draft(row.clone()), Place::Draft(row.id)),
            Line::Source(row) => (Row::Source(row), Place::Source(row.source)),
            Line::Export(_) => return Err(self.wrong("begins another export".to_owned())),
            Line::End(end) => return self.end(&end).map(|()| None),
        };
        if self.place >= Some(place) {
            return Err(
                self.wrong("is not in its place: rows ascend, media before drafts before sources".into())
            );
        }
        self.place = Some(place);
        self.counts.add(&row);
        Ok(Some((row, self.bytes.len())))
    }

    /// Of the rows so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn end(&mut self, end: &Trailer) -> Result<(), CustodyError> {
        let (rows, blake3) = (self.counts, self.hash.finalize().to_string());
        if *end != (Trailer { rows, blake3 }) {
            return Err(Malformed::Changed(self.number).into());
        }
        if !self.input.fill_buf().map_err(CustodyError::Read)?.is_empty() {
            self.number += 1;
            return Err(self.wrong("stands behind the end".to_owned()));
        }
        Ok(())
    }

    fn read_line(&mut self) -> Result<(), CustodyError> {
        self.bytes.clear();
        let mut line = self.input.by_ref().take(MAX_LINE_BYTES);
        let read = line.read_until(b'\n', &mut self.bytes).map_err(CustodyError::Read)?;
        if read as u64 == MAX_LINE_BYTES {
            self.number += 1;
            return Err(self.wrong("is longer than any that this program writes".to_owned()));
        }
        if self.bytes.last() != Some(&b'\n') {
            return Err(Malformed::Cut(self.number + u64::from(read > 0)).into());
        }
        self.number += 1;
        Ok(())
    }

    fn parse(&self) -> Result<Line, CustodyError> {
        let line = serde_json::from_slice(&self.bytes)
            .map_err(|error| self.wrong(format!("cannot be read: {error}")))?;
        if bytes_of(&line).ok().as_deref() != Some(&*self.bytes) {
            return Err(self.wrong("holds more than this program knows, or was not written by it".to_owned()));
        }
        Ok(line)
    }

    fn wrong(&self, what: String) -> CustodyError {
        Malformed::Line { line: self.number, what }.into()
    }
}
