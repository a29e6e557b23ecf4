//! Saves a catalog.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::mem;

use super::BackupError;
use super::format::{Counts, Line, Malformed, Writer, bytes_of};
use super::pages::Rows;
use super::snapshot::snapshot;

/// Writes the whole content of a catalog to `out`, and flushes it. Equal catalogs give equal bytes. `spool` is an empty file, which
/// gets about as many bytes as `out`.
///
/// Rows are written as they are, with dangling references, so that there is a copy before a repair.
///
/// # Errors
/// The catalog is partial, or the catalog, `spool` or `out` failed. The output then has no end, and cannot be imported.
pub(crate) async fn export(rows: Rows<'_>, spool: File, out: impl Write) -> Result<Counts, BackupError> {
    let mut assembler = Assembler::new(spool, out);
    snapshot(rows, async |line| assembler.add(&line)).await?;
    assembler.end()
}

/// Calls `send` with the lines of a catalog in the order in which they are read, which [`Assembler`] takes.
///
/// # Errors
/// The catalog is partial or failed, or `send` failed.
pub(crate) async fn stream(
    rows: Rows<'_>,
    mut send: impl AsyncFnMut(Vec<u8>) -> io::Result<()>,
) -> Result<(), BackupError> {
    snapshot(rows, async |line| {
        let bytes = bytes_of(&line).map_err(|error| BackupError::Write(error.into()))?;
        send(bytes).await.map_err(BackupError::Write)
    })
    .await
}

/// The kinds of lines before the header, numbered in the order in which they are read.
const ATTEMPTS: usize = 0;
const DRAFTS: usize = 1;
const EVENTS: usize = 2;
const SOURCES: usize = 3;
const IDENTITIES: usize = 4;
/// The order of these kinds in an export.
const ORDER: [usize; 5] = [DRAFTS, SOURCES, ATTEMPTS, EVENTS, IDENTITIES];

/// The lines of one kind.
#[derive(Debug, Default, Clone, Copy)]
struct Section {
    counts: Counts,
    bytes: u64,
}

/// Makes an export of lines in the order in which they are read.
pub(crate) struct Assembler<W> {
    spool: BufWriter<File>,
    sections: [Section; ORDER.len()],
    last: usize,
    out: Out<W>,
}

enum Out<W> {
    Waiting(W),
    Begun(Box<Writer<W>>),
    Failed,
}

impl<W: Write> Assembler<W> {
    /// Begins an export to `out`. `spool` is an empty file.
    pub(crate) fn new(spool: File, out: W) -> Self {
        Self {
            spool: BufWriter::new(spool),
            sections: [Section::default(); ORDER.len()],
            last: 0,
            out: Out::Waiting(out),
        }
    }

    /// Adds a line that [`stream`] sent.
    ///
    /// # Errors
    /// The line is none of an export or is out of order, or a file failed.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let line = serde_json::from_slice(bytes)
            .map_err(|error| Malformed::Line { line: 0, what: format!("cannot be read: {error}") })?;
        self.add(&line)
    }

    fn add(&mut self, line: &Line) -> Result<(), BackupError> {
        let none = Counts::default();
        let (kind, one) = match line {
            Line::Attempt(_) => (ATTEMPTS, Counts { attempts: 1, ..none }),
            Line::Draft(_) => (DRAFTS, Counts { drafts: 1, ..none }),
            Line::Event(_) => (EVENTS, Counts { events: 1, ..none }),
            Line::Source(_) => (SOURCES, Counts { sources: 1, ..none }),
            Line::Identity(_) => (IDENTITIES, Counts { identities: 1, ..none }),
            Line::Export(_) => {
                let Out::Waiting(out) = mem::replace(&mut self.out, Out::Failed) else { return disorder() };
                self.out = Out::Begun(Box::new(Writer::with_header(out, line)?));
                return Ok(());
            }
            Line::Media(_) => {
                let Out::Begun(writer) = &mut self.out else { return disorder() };
                return writer.media(line);
            }
            Line::End(_) => return disorder(),
        };
        if kind < self.last || !matches!(self.out, Out::Waiting(_)) {
            return disorder();
        }
        self.last = kind;
        let bytes = bytes_of(line).map_err(|error| BackupError::Write(error.into()))?;
        let section = &mut self.sections[kind];
        (section.counts, section.bytes) = (section.counts.plus(one), section.bytes + bytes.len() as u64);
        self.spool.write_all(&bytes).map_err(BackupError::Write)
    }

    /// Ends the export, and flushes it. Returns the number of its rows.
    ///
    /// # Errors
    /// There was no header, or a file failed.
    pub(crate) fn end(self) -> Result<Counts, BackupError> {
        let Out::Begun(mut writer) = self.out else { return disorder() };
        let spooled = self.spool.into_inner().map_err(|error| BackupError::Write(error.into_error()))?;
        for kind in ORDER {
            let Section { counts, bytes } = self.sections[kind];
            let start = self.sections[..kind].iter().map(|section| section.bytes).sum();
            (&spooled).seek(SeekFrom::Start(start)).map_err(BackupError::Write)?;
            writer.append(counts, BufReader::new((&spooled).take(bytes)))?;
        }
        writer.end()
    }
}

fn disorder<T>() -> Result<T, BackupError> {
    Err(Malformed::Line { line: 0, what: "comes in another order than it was read".to_owned() }.into())
}
