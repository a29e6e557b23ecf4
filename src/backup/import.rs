//! Restoring a catalog from an export.
//!
//! The export is read twice: first to see that it is whole, before anything is recorded, then to record it in durable
//! batches. After a crash the same import is run again: rows that are there are found equal.

use std::io::{BufReader, Read, Seek};
use std::mem;

use super::CustodyError;
use super::format::{Counts, Reader};
use crate::catalog::{Restorable, Restore, Row};
use crate::model::MAX_ID;

/// Of one batch: rows, and bytes of their lines.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// Reads an export to its end and gives what it holds. `file` is at its start before and after.
///
/// # Errors
/// It is cut, changed, malformed or of another version, or cannot be read.
pub fn verify(mut file: impl Read + Seek) -> Result<Counts, CustodyError> {
    let (mut reader, _) = Reader::begin(BufReader::new(&mut file))?;
    while reader.row()?.is_some() {}
    let counts = reader.counts();
    file.rewind().map_err(CustodyError::Read)?;
    Ok(counts)
}

/// Records the export in `file`, which is at its start, in `catalog`. After each batch that is durable `progress` is told
/// how many rows are, and of how many.
///
/// # Errors
/// As of [`verify`], and then nothing was recorded; or the catalog holds another row in the place of one of the export, or
/// fails. Then what was recorded stays, and a catalog that was empty is [partial](crate::catalog::State::is_partial) until
/// the import is run again and ends.
pub async fn import(
    catalog: &dyn Restorable,
    mut file: impl Read + Seek,
    mut progress: impl FnMut(u64, u64),
) -> Result<Counts, CustodyError> {
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
        // The rows raise it.
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
