//! Where photos are kept: a content-addressed store behind a trait.
//!
//! This room knows bytes and their addresses, not drafts. It never takes a name from outside: a [`MediaKey`] is all that
//! can name a file. Every implementation passes the one suite in `conformance`.

#[cfg(test)]
mod conformance;
mod local;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use local::LocalStore;

use crate::disk;
use crate::model::MediaKey;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// No space is left; deleting something else may help.
    #[error("the media store is full")]
    Full(#[source] std::io::Error),
    /// The process has as many files open as it may; in a moment some will be closed.
    #[error("the media store cannot open another file")]
    OutOfFiles(#[source] std::io::Error),
    /// Anything else that failed below.
    #[error("the media store failed")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for MediaError {
    fn from(error: std::io::Error) -> Self {
        match error {
            error if disk::is_full(&error) => Self::Full(error),
            error if disk::is_out_of_files(&error) => Self::OutOfFiles(error),
            error => Self::Io(error),
        }
    }
}

/// Bytes that are durable but not yet visible under their key. Dropping one discards it and leaves nothing behind.
pub trait Staged: Send {
    /// The key under which the bytes will be published.
    fn key(&self) -> MediaKey;

    /// For the store that made it: its own type again.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

/// One stored photo, opened for reading: what is read later is what was opened, whatever happens to its name meanwhile.
pub trait MediaObject: Send {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether it holds no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of `range`, which lies within [`len`](Self::len), in pieces.
    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, std::io::Result<Bytes>>;
}

/// A content-addressed store of photos.
///
/// Content addressing makes every write idempotent: equal bytes have equal keys, so publishing twice is publishing once.
/// A reader sees a photo whole or not at all. Callers serialise [`publish`](Self::publish) and [`remove`](Self::remove)
/// of the same key among themselves; different keys are independent.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// Writes `bytes` durably, invisible to readers.
    ///
    /// # Errors
    /// Nothing is left behind on error.
    async fn stage(&self, bytes: Bytes) -> Result<Box<dyn Staged>, MediaError>;

    /// Makes everything in `batch` visible and durable under its key, and names the keys that did not exist before
    /// (each once). The batch may hold equal keys.
    ///
    /// # Errors
    /// What this call created is gone again.
    async fn publish(&self, batch: Vec<Box<dyn Staged>>) -> Result<Vec<MediaKey>, MediaError>;

    /// Removes the photos that exist under `keys`. One that is not there is not an error.
    ///
    /// # Errors
    /// Some of them may still be there.
    async fn remove(&self, keys: &[MediaKey]) -> Result<(), MediaError>;

    /// Opens the photo under `key`; `None` if there is none.
    ///
    /// # Errors
    /// The store failed: it is not known whether the photo exists.
    async fn open(&self, key: MediaKey) -> Result<Option<Box<dyn MediaObject>>, MediaError>;

    /// Length in bytes of the photo under `key`; `None` if there is none. Cheap: it reads no bytes of the photo.
    ///
    /// The answer holds for as long as the caller serialises with [`remove`](Self::remove) of the same key.
    ///
    /// # Errors
    /// The store failed: it is not known whether the photo exists.
    async fn length(&self, key: MediaKey) -> Result<Option<u64>, MediaError>;

    /// Whether a photo could be stored now.
    ///
    /// # Errors
    /// [`MediaError::Full`] below the floor of free space, else why the store does not answer.
    async fn check(&self) -> Result<(), MediaError>;
}
