//! Reads a stored photo, to compare it with its name and its row.

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use super::BackupError;
use crate::imaging;
use crate::media::MediaStore;
use crate::model::MediaKey;

/// Enough for everything before the pixels of a stored JPEG: kept EXIF is one segment of up to 64 KiB.
const HEAD_BYTES: usize = 256 << 10;

/// The properties of the bytes of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) length: u64,
    /// The key of these bytes.
    pub(super) key: MediaKey,
    /// Width and height that the JPEG declares; `None` if the bytes are no JPEG.
    pub(super) sides: Option<(u32, u32)>,
}

/// Reads the photo under `key`, piece by piece. Returns `None` if there is none.
pub(super) async fn content(store: &dyn MediaStore, key: MediaKey) -> Result<Option<Content>, BackupError> {
    let Some(object) = store.open(key).await? else { return Ok(None) };
    let length = object.len();
    let mut hash = Sha256::new();
    let mut head = Vec::new();
    let mut pieces = object.read(0..length);
    while let Some(piece) = pieces.try_next().await.map_err(crate::media::MediaError::from)? {
        hash.update(&piece);
        let room = HEAD_BYTES - head.len();
        head.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    let key = MediaKey::from_digest(hash.finalize().into());
    Ok(Some(Content { length, key, sides: imaging::stored_sides(&head) }))
}
