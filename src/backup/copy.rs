//! Copies photos from one store into another.
//!
//! Nothing is removed in either store. A photo that the target has with the same length is skipped: so a copy continues
//! after an interruption, since a store never shows an incomplete photo. At the end both stores are listed and compared.

use std::collections::HashSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::BackupError;
use super::fsck::{Finding, Outcome};
use crate::media::{MediaError, MediaStore, Stored};
use crate::model::MediaKey;

/// Photos that are copied in parallel. Each may be in memory as a whole.
pub(super) const AT_ONCE: usize = 8;
/// Longest photo that is read into memory, far above any that this program stores.
const MOST_BYTES: u64 = 256 << 20;
/// Pauses after failures of one photo, so that a short failure of the service does not end a copy of hours.
const RESTS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Photos between two checks of the free space.
pub(super) const LOOK_EVERY: u64 = 256;

/// The progress or the result of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Photos that the source had when it was counted, before the first was copied.
    pub total: u64,
    /// Photos that were compared so far.
    pub seen: u64,
    /// Photos that were copied.
    pub copied: u64,
    /// Bytes of the copied photos.
    pub bytes: u64,
    /// Differences between the two stores.
    pub problems: u64,
}

/// The result for one photo.
pub(super) enum Fate {
    There,
    Copied,
    /// Removed since it was listed.
    Gone,
    Torn,
    TooLong,
}

/// A checksum of all photos of a store: stores with equal ones have equal photos.
#[derive(Default, PartialEq, Eq)]
struct Checksum {
    photos: u64,
    bytes: u64,
    /// The exclusive or of the keys.
    keys: [u8; 32],
}

/// Copies all photos of `source` that `target` lacks, and compares both stores. The bytes of every photo are compared with
/// its key before it is published; a damaged one is reported and skipped. `progress` is called after each photo, `found`
/// for each difference.
///
/// No other process may write to `target` during the copy. Memory grows with the number of damaged photos, not with that of
/// all photos.
///
/// # Errors
/// A store failed several times in a row. Copied photos stay, and the next call continues.
pub(crate) async fn copy(
    source: &dyn MediaStore,
    target: &dyn MediaStore,
    mut progress: impl FnMut(&Copied),
    mut found: impl FnMut(&Finding),
) -> Result<Copied, BackupError> {
    // Photos of an interrupted copy. This command cannot know whether they are needed, so it keeps them.
    for key in target.pending().await? {
        target.reconcile(key, true).await?;
    }
    let mut left_out = HashSet::new();
    let mut copied = Copied { total: checksum(source, &left_out).await?.photos, ..Copied::default() };
    let mut problem = |copied: &mut Copied, finding: Finding| {
        copied.problems += 1;
        found(&finding);
    };
    let mut fates = photos(source).map_ok(|photo| carry(source, target, photo)).try_buffer_unordered(AT_ONCE);
    while let Some((photo, fate)) = fates.try_next().await? {
        if copied.seen.is_multiple_of(LOOK_EVERY) {
            target.check().await?;
        }
        copied.seen += 1;
        let Stored { key, length, .. } = photo;
        match fate {
            Fate::There | Fate::Gone => {}
            Fate::Copied => {
                copied.copied += 1;
                copied.bytes += length;
            }
            Fate::Torn | Fate::TooLong => {
                left_out.insert(key);
                problem(&mut copied, not_copied(key, &fate));
            }
        }
        progress(&copied);
    }
    if checksum(source, &left_out).await? != checksum(target, &left_out).await? {
        let here = "is not at the target: run the same command again";
        let there = "is at the target, and not where the others come from";
        for (one, other, kind, what) in
            [(source, target, "file-missing", here), (target, source, "file-foreign", there)]
        {
            let mut absent = absent(one, other);
            while let Some(photo) = absent.try_next().await? {
                if !left_out.contains(&photo.key) {
                    let about = format!("{} {what}", photo.key);
                    problem(&mut copied, Finding { kind, about, outcome: Outcome::Problem });
                }
            }
        }
    }
    Ok(copied)
}

/// Says why a photo was not copied.
pub(super) fn not_copied(key: MediaKey, fate: &Fate) -> Finding {
    let about = match fate {
        Fate::TooLong => format!(
            "{key} has more than {} MiB, which is no photo of this server; it was not copied",
            MOST_BYTES >> 20
        ),
        _ => format!("{key} does not hold the bytes that its name stands for; it was not copied"),
    };
    Finding { kind: "file-torn", about, outcome: Outcome::Problem }
}

pub(super) fn photos(store: &dyn MediaStore) -> BoxStream<'_, Result<Stored, MediaError>> {
    store.list().map_ok(|page| stream::iter(page).map(Ok)).try_flatten().boxed()
}

async fn checksum(store: &dyn MediaStore, without: &HashSet<MediaKey>) -> Result<Checksum, MediaError> {
    let mut sum = Checksum::default();
    let mut photos = photos(store);
    while let Some(photo) = photos.try_next().await? {
        if without.contains(&photo.key) {
            continue;
        }
        sum.photos += 1;
        sum.bytes = sum.bytes.wrapping_add(photo.length);
        for (mixed, byte) in sum.keys.iter_mut().zip(photo.key.as_bytes()) {
            *mixed ^= byte;
        }
    }
    Ok(sum)
}

/// Returns the photos of `one` that `other` does not have with the same length.
fn absent<'s>(
    one: &'s dyn MediaStore,
    other: &'s dyn MediaStore,
) -> BoxStream<'s, Result<Stored, MediaError>> {
    photos(one)
        .map_ok(move |photo| async move { Ok((other.length(photo.key).await? != Some(photo.length), photo)) })
        .try_buffer_unordered(AT_ONCE)
        .try_filter_map(|(is_absent, photo)| async move { Ok(is_absent.then_some(photo)) })
        .boxed()
}

/// Copies one photo, and repeats that after failures.
pub(super) async fn carry(
    source: &dyn MediaStore,
    target: &dyn MediaStore,
    photo: Stored,
) -> Result<(Stored, Fate), MediaError> {
    let mut rests = RESTS.into_iter();
    loop {
        match (carry_once(source, target, photo).await, rests.next()) {
            (Ok(fate), _) => return Ok((photo, fate)),
            // Repeating makes no room.
            (Err(error @ MediaError::Full(_)), _) | (Err(error), None) => return Err(error),
            (Err(_), Some(rest)) => tokio::time::sleep(rest).await,
        }
    }
}

async fn carry_once(
    source: &dyn MediaStore,
    target: &dyn MediaStore,
    photo: Stored,
) -> Result<Fate, MediaError> {
    if target.length(photo.key).await? == Some(photo.length) {
        return Ok(Fate::There);
    }
    let Some(bytes) = read(source, photo.key).await? else { return Ok(Fate::Gone) };
    let Some(bytes) = bytes else { return Ok(Fate::TooLong) };
    let staging = target.begin();
    // The target hashed the bytes that it took, and would publish them under this key.
    if staging.stage(bytes).await? != photo.key {
        return Ok(Fate::Torn);
    }
    staging.publish().await?.commit().await;
    Ok(Fate::Copied)
}

/// Reads a photo. Returns `None` if there is none, and `Some(None)` if it is too long.
async fn read(store: &dyn MediaStore, key: MediaKey) -> Result<Option<Option<Bytes>>, MediaError> {
    let Some(object) = store.open(key).await? else { return Ok(None) };
    let length = object.len();
    let Ok(room) = usize::try_from(length.min(MOST_BYTES)) else { return Ok(Some(None)) };
    if length > MOST_BYTES {
        return Ok(Some(None));
    }
    let mut bytes = BytesMut::with_capacity(room);
    let mut pieces = object.read(0..length);
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(Some(bytes.freeze())))
}
