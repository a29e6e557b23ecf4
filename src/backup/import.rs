//! Restores a catalog from an export.
//!
//! The export is read twice: first to verify that it is complete, before anything is recorded, then to record it in durable
//! batches. After a crash the same import is run again: rows that were recorded are found equal.

use std::io::{BufReader, Read, Seek};
use std::mem;

use super::BackupError;
use super::format::{Counts, Reader};
use crate::catalog::{Restorable, Restore, Row};
use crate::model::MAX_ID;

/// Most rows of one batch, and most bytes of their lines.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// Reads an export to its end, and returns the number of its rows. `file` is at its start before and after.
///
/// # Errors
/// The export is incomplete, changed, malformed or of another version, or cannot be read.
pub(crate) fn verify(mut file: impl Read + Seek) -> Result<Counts, BackupError> {
    let (mut reader, _) = Reader::begin(BufReader::new(&mut file))?;
    while reader.row()?.is_some() {}
    let counts = reader.counts();
    file.rewind().map_err(BackupError::Read)?;
    Ok(counts)
}

/// Records the export in `file`, which is at its start, in `catalog`. Calls `progress` after each durable batch with the
/// number of rows so far and in all.
///
/// # Errors
/// Those of [`verify`], and then nothing is recorded; or the catalog has another row in the place of one of the export, or
/// fails. Then recorded rows stay, and a catalog that was empty is [partial](crate::catalog::State::is_partial) until the
/// import is run again and ends.
pub(crate) async fn import(
    catalog: &dyn Restorable,
    mut file: impl Read + Seek,
    mut progress: impl FnMut(u64, u64),
) -> Result<Counts, BackupError> {
    let total = verify(&mut file)?.rows();
    let (mut reader, header) = Reader::begin(BufReader::new(file))?;
    let plausible = |what: &'static str, next: u64| {
        if next > MAX_ID {
            tracing::warn!(
                what,
                next,
                "a damaged counter of the export is not used: ids go on after the highest"
            );
        }
        // The rows raise the counter.
        if next > MAX_ID { 1 } else { next }
    };
    let next_media_id = plausible("media", header.next_media_id);
    let next_draft_id = plausible("drafts", header.next_draft_id);
    catalog.restore(Restore::Begin { next_media_id, next_draft_id }).await?;
    let mut batch: Vec<Row> = Vec::with_capacity(BATCH_ROWS);
    let mut bytes = 0;
    while let Some((row, length)) = reader.row()? {
        batch.push(row);
        bytes += length;
        if batch.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
            catalog.restore(Restore::Rows(mem::take(&mut batch))).await?;
            bytes = 0;
            progress(reader.counts().rows(), total);
        }
    }
    if !batch.is_empty() {
        catalog.restore(Restore::Rows(batch)).await?;
    }
    catalog.restore(Restore::End).await?;
    Ok(reader.counts())
}
