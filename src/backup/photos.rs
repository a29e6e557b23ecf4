//! Copies the photos that an export names, into a backup and out of it.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::iter;
use std::time::UNIX_EPOCH;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::BackupError;
use super::copy::{AT_ONCE, Copied, Fate, LOOK_EVERY, carry, not_copied, photos};
use super::format::Reader;
use super::fsck::{Finding, Outcome};
use crate::catalog::Row;
use crate::media::{MediaError, MediaStore, Stored};
use crate::model::{Media, MediaKey};

/// Photos that are removed together.
const PAGE: usize = 256;

/// Copies the photos that the export in `file` names from `source` into `target`, and verifies the export. The bytes of every photo
/// are compared with its key before it is published. A photo that `target` has with the same length is skipped, and nothing is
/// removed. `total` is the number of media rows. `file` is at its start afterwards.
///
/// `absent` says what it means that `source` does not have a photo.
///
/// # Errors
/// The export is malformed, or a store failed several times in a row. Copied photos stay, and the next call continues.
pub(crate) async fn copy_named(
    mut file: &File,
    total: u64,
    source: &dyn MediaStore,
    target: &dyn MediaStore,
    absent: impl AsyncFn(&Media) -> Result<Finding, BackupError>,
    mut progress: impl FnMut(&Copied),
    mut found: impl FnMut(&Finding),
) -> Result<Copied, BackupError> {
    for key in target.pending().await? {
        target.reconcile(key, true).await?;
    }
    file.rewind().map_err(BackupError::Read)?;
    let (mut reader, _) = Reader::begin(BufReader::new(file))?;
    let mut copied = Copied { total, ..Copied::default() };
    let one = |row: Media| async move {
        let photo = Stored { key: row.key, length: row.size_bytes, modified: UNIX_EPOCH };
        let (_, fate) = carry(source, target, photo).await?;
        Ok::<_, BackupError>((row, fate))
    };
    let named = stream::iter(iter::from_fn(|| next_media(&mut reader)));
    let mut fates = named.map_ok(one).try_buffer_unordered(AT_ONCE).boxed_local();
    while let Some((row, fate)) = fates.try_next().await? {
        if copied.seen.is_multiple_of(LOOK_EVERY) {
            target.check().await?;
        }
        copied.seen += 1;
        let finding = match fate {
            Fate::There => None,
            Fate::Copied => {
                copied.copied += 1;
                copied.bytes += row.size_bytes;
                None
            }
            Fate::Gone => Some(absent(&row).await?),
            Fate::Torn | Fate::TooLong => Some(not_copied(row.key, &fate)),
        };
        if let Some(finding) = finding {
            copied.problems += u64::from(finding.outcome == Outcome::Problem);
            found(&finding);
        }
        progress(&copied);
    }
    drop(fates);
    file.rewind().map_err(BackupError::Read)?;
    Ok(copied)
}

/// Returns the next media row. The rest of the export is read too, so that its end is verified.
fn next_media(reader: &mut Reader<BufReader<&File>>) -> Option<Result<Media, BackupError>> {
    loop {
        match reader.row() {
            Ok(Some((Row::Media(row), _))) => return Some(Ok(row)),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Returns the keys of the photos that the export in `file` names, sorted. Verifies the export. `file` is at its start afterwards.
///
/// # Errors
/// The export is malformed or cannot be read.
pub(crate) fn keys(mut file: &File) -> Result<Vec<MediaKey>, BackupError> {
    file.rewind().map_err(BackupError::Read)?;
    let (mut reader, _) = Reader::begin(BufReader::new(file))?;
    let mut keys = Vec::new();
    while let Some(row) = next_media(&mut reader) {
        keys.push(row?.key);
    }
    keys.sort_unstable();
    file.rewind().map_err(BackupError::Read)?;
    Ok(keys)
}

/// Returns a photo of `store` that is not among the sorted `keys`, if there is one.
///
/// # Errors
/// The store failed.
pub(crate) async fn not_among(
    store: &dyn MediaStore,
    keys: &[MediaKey],
) -> Result<Option<MediaKey>, MediaError> {
    let mut photos = photos(store);
    while let Some(Stored { key, .. }) = photos.try_next().await? {
        if keys.binary_search(&key).is_err() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Removes the photos of `store` that are not among the sorted `keys`. Returns how many.
///
/// # Errors
/// The store failed.
pub(crate) async fn remove_others(store: &dyn MediaStore, keys: &[MediaKey]) -> Result<u64, MediaError> {
    let others = photos(store).try_filter(|photo| {
        let is_other = keys.binary_search(&photo.key).is_err();
        async move { is_other }
    });
    let others: Vec<MediaKey> = others.map_ok(|photo| photo.key).try_collect().await?;
    for page in others.chunks(PAGE) {
        store.remove(page).await?;
    }
    Ok(others.len() as u64)
}
