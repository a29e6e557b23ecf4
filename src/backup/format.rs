//! The format of an export: JSON lines. The first line names the format, the last one proves that the export is complete.
//!
//! Media, drafts, sources, attempts, events and identities follow in this order, each ascending, so that equal catalogs have equal exports and a row
//! comes after the rows that it refers to. Each row can be written in one way only. A line that is written differently is
//! refused: it may contain fields that this version does not know.

use std::fmt;
use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::catalog::{AttemptRow, DraftRow, EventRow, IdentityRow, Row, SourceRow, State};
use crate::model::{AttemptId, DraftId, Media, MediaId, SourceId, UserId};

const FORMAT: &str = "vintedbot-ingest catalog";
const VERSION: u32 = 4;
/// The oldest version that is read. Version 1 has no dates, attempts and events, version 2 no facts of photos, version 3 no users of
/// identity providers.
const OLDEST_VERSION: u32 = 1;
/// Longest line that is read into memory, far above any that this program writes.
pub(crate) const MAX_LINE_BYTES: u64 = 16 << 20;

/// The number of rows of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Media rows.
    pub media: u64,
    /// Drafts.
    pub drafts: u64,
    /// Sources.
    pub sources: u64,
    /// Attempts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u64,
    /// Events.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events: u64,
    /// Users of identity providers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub identities: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Rows of all kinds.
    pub(crate) fn rows(&self) -> u64 {
        self.media + self.drafts + self.sources + self.attempts + self.events + self.identities
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { media, drafts, sources, attempts, events, identities } = self;
        write!(
            f,
            "{media} photos, {drafts} drafts, {sources} sources, {attempts} idempotency keys, {events} events and \
             {identities} users of identity providers"
        )
    }
}

/// Why an export cannot be imported. Each text names the position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// It does not begin like an export.
    #[error("line 1 does not say that this is an export of a {FORMAT}")]
    Foreign,
    /// Another version of this program wrote it.
    #[error("the export has version {0}, and this program reads versions {OLDEST_VERSION} to {VERSION}")]
    Version(u64),
    /// It is incomplete.
    #[error("the export is cut: it ends in or after line {0}, before the line that says it is whole")]
    Cut(u64),
    /// A line does not have the format.
    #[error("line {line} of the export {what}")]
    Line {
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Its checksum is wrong.
    #[error(
        "line {0} of the export, the last, does not fit those before it: some were changed, lost or added"
    )]
    Changed(u64),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Export(Header),
    Media(Media),
    Draft(DraftRow),
    Source(SourceRow),
    Attempt(AttemptRow),
    Event(EventRow),
    Identity(IdentityRow),
    End(Trailer),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    version: u32,
    pub(super) next_media_id: u64,
    pub(super) next_draft_id: u64,
}

impl Header {
    pub(super) fn of(state: State) -> Self {
        let State { next_media_id, next_draft_id, is_partial: _ } = state;
        Self { format: FORMAT.to_owned(), version: VERSION, next_media_id, next_draft_id }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trailer {
    rows: Counts,
    /// Hash of all bytes before this line.
    blake3: String,
}

/// Writes an export.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    out: W,
    hash: blake3::Hasher,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// Begins an export with the next ids of `state`.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(crate) fn begin(out: W, state: State) -> Result<Self, BackupError> {
        Self::with_header(out, &Line::Export(Header::of(state)))
    }

    /// Begins an export with a line that is a header.
    pub(super) fn with_header(out: W, header: &Line) -> Result<Self, BackupError> {
        let mut writer = Self { out, hash: blake3::Hasher::new(), counts: Counts::default() };
        writer.line(header)?;
        Ok(writer)
    }

    /// Writes a row. Rows ascend, media before drafts before sources before attempts before events before identities.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(crate) fn row(&mut self, row: Row) -> Result<(), BackupError> {
        self.counts.add(&row);
        self.line(&match row {
            Row::Media(row) => Line::Media(row),
            Row::Draft(row) => Line::Draft(row),
            Row::Source(row) => Line::Source(row),
            Row::Attempt(row) => Line::Attempt(row),
            Row::Event(row) => Line::Event(row),
            Row::Identity(row) => Line::Identity(row),
        })
    }

    /// Writes a media row, which is a line already.
    pub(super) fn media(&mut self, line: &Line) -> Result<(), BackupError> {
        self.counts.media += 1;
        self.line(line)
    }

    /// Writes rows that are lines already.
    pub(super) fn append(&mut self, rows: Counts, mut lines: impl BufRead) -> Result<(), BackupError> {
        self.counts = self.counts.plus(rows);
        loop {
            let bytes = lines.fill_buf().map_err(BackupError::Write)?;
            let length = bytes.len();
            if length == 0 {
                return Ok(());
            }
            self.hash.update(bytes);
            self.out.write_all(bytes).map_err(BackupError::Write)?;
            lines.consume(length);
        }
    }

    /// Ends the export with its checksum, and flushes it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(crate) fn end(mut self) -> Result<Counts, BackupError> {
        let end = Trailer { rows: self.counts, blake3: self.hash.finalize().to_string() };
        self.line(&Line::End(end))?;
        self.out.flush().map_err(BackupError::Write)?;
        Ok(self.counts)
    }

    fn line(&mut self, line: &Line) -> Result<(), BackupError> {
        let bytes = bytes_of(line).map_err(|error| BackupError::Write(error.into()))?;
        self.hash.update(&bytes);
        self.out.write_all(&bytes).map_err(BackupError::Write)
    }
}

impl Counts {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            media: self.media + other.media,
            drafts: self.drafts + other.drafts,
            sources: self.sources + other.sources,
            attempts: self.attempts + other.attempts,
            events: self.events + other.events,
            identities: self.identities + other.identities,
        }
    }

    fn add(&mut self, row: &Row) {
        *match row {
            Row::Media(_) => &mut self.media,
            Row::Draft(_) => &mut self.drafts,
            Row::Source(_) => &mut self.sources,
            Row::Attempt(_) => &mut self.attempts,
            Row::Event(_) => &mut self.events,
            Row::Identity(_) => &mut self.identities,
        } += 1;
    }
}

pub(super) fn bytes_of(line: &Line) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The position of a row in the order of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RowPosition {
    Media(MediaId),
    Draft(DraftId),
    Source(SourceId),
    Attempt(AttemptId),
    Event(u64),
    Identity(UserId),
}

/// Reads an export, and verifies all of it.
pub(super) struct Reader<R> {
    input: R,
    /// The line that was read last.
    bytes: Vec<u8>,
    number: u64,
    hash: blake3::Hasher,
    counts: Counts,
    position: Option<RowPosition>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn begin(input: R) -> Result<(Self, Header), BackupError> {
        let (hash, counts) = (blake3::Hasher::new(), Counts::default());
        let mut reader = Self { input, bytes: Vec::new(), number: 0, hash, counts, position: None };
        reader.read_line()?;
        // The version is read first: another version may have other fields.
        let header: serde_json::Value = serde_json::from_slice(&reader.bytes).unwrap_or_default();
        if header["export"]["format"] != FORMAT {
            return Err(Malformed::Foreign.into());
        }
        match header["export"]["version"].as_u64() {
            Some(version) if (u64::from(OLDEST_VERSION)..=u64::from(VERSION)).contains(&version) => {}
            Some(version) => return Err(Malformed::Version(version).into()),
            None => return Err(Malformed::Foreign.into()),
        }
        match reader.parse()? {
            Line::Export(header) => Ok((reader, header)),
            _ => Err(Malformed::Foreign.into()),
        }
    }

    /// Returns the next row and the length of its line, or `None` after an end that proves that all rows were read.
    pub(super) fn row(&mut self) -> Result<Option<(Row, usize)>, BackupError> {
        self.hash.update(&self.bytes);
        self.read_line()?;
        let (row, position) = match self.parse()? {
            Line::Media(row) => (Row::Media(row.clone()), RowPosition::Media(row.id)),
            Line::Draft(row) => (Row::Draft(row.clone()), RowPosition::Draft(row.id)),
            Line::Source(row) => (Row::Source(row), RowPosition::Source(row.source)),
            Line::Attempt(row) => (Row::Attempt(row.clone()), RowPosition::Attempt(row.id)),
            Line::Event(row) => (Row::Event(row.clone()), RowPosition::Event(row.number)),
            Line::Identity(row) => (Row::Identity(row.clone()), RowPosition::Identity(row.user)),
            Line::Export(_) => return Err(self.wrong("begins another export".to_owned())),
            Line::End(end) => return self.end(&end).map(|()| None),
        };
        if self.position >= Some(position) {
            let what =
                "is not in its place: rows ascend, media, drafts, sources, attempts, events, identities";
            return Err(self.wrong(what.into()));
        }
        self.position = Some(position);
        self.counts.add(&row);
        Ok(Some((row, self.bytes.len())))
    }

    /// Returns the counts of the rows so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn end(&mut self, end: &Trailer) -> Result<(), BackupError> {
        let (rows, blake3) = (self.counts, self.hash.finalize().to_string());
        if *end != (Trailer { rows, blake3 }) {
            return Err(Malformed::Changed(self.number).into());
        }
        if !self.input.fill_buf().map_err(BackupError::Read)?.is_empty() {
            self.number += 1;
            return Err(self.wrong("follows the last row of the export".to_owned()));
        }
        Ok(())
    }

    fn read_line(&mut self) -> Result<(), BackupError> {
        self.bytes.clear();
        let mut line = self.input.by_ref().take(MAX_LINE_BYTES);
        let read = line.read_until(b'\n', &mut self.bytes).map_err(BackupError::Read)?;
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

    fn parse(&self) -> Result<Line, BackupError> {
        let line = serde_json::from_slice(&self.bytes)
            .map_err(|error| self.wrong(format!("cannot be read: {error}")))?;
        if bytes_of(&line).ok().as_deref() != Some(&*self.bytes) {
            return Err(self.wrong("holds more than this program knows, or was not written by it".to_owned()));
        }
        Ok(line)
    }

    fn wrong(&self, what: String) -> BackupError {
        Malformed::Line { line: self.number, what }.into()
    }
}
