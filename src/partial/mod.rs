//! The bytes of unfinished resumable uploads, behind a trait.
//!
//! This room knows bytes and the ids of uploads. Who may continue an upload, at which offset, and when it expires, is in the
//! catalog. Every implementation passes the suite in `conformance`.

#[cfg(test)]
mod conformance;
mod local;
mod object;
mod tail;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub(crate) use local::LocalPartialStore;
pub(crate) use object::BucketPartialStore;

use crate::blocking::BlockingError;
use crate::disk;
use crate::model::UploadId;

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartialError {
    /// No space is left.
    #[error("the store of unfinished uploads is full")]
    Full(#[source] std::io::Error),
    /// The process has too many open files; some will be closed soon.
    #[error("the store of unfinished uploads cannot open another file")]
    OutOfFiles(#[source] std::io::Error),
    /// The service that keeps the bytes does not answer or refuses access, or an earlier write of the upload has not ended.
    /// That may pass.
    #[error("the store of unfinished uploads is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Acknowledged bytes do not exist any more: the upload cannot be continued.
    #[error("acknowledged bytes of the upload are lost")]
    Missing,
    /// The upload was continued too often. Its acknowledged bytes can be read, but not continued.
    #[error("the upload was continued too often")]
    TooManyResumptions,
    /// The file system failed, or the caller passed a layout that the store did not return.
    #[error("the store of unfinished uploads failed")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for PartialError {
    fn from(error: std::io::Error) -> Self {
        match error {
            error if disk::is_full(&error) => Self::Full(error),
            error if disk::is_out_of_files(&error) => Self::OutOfFiles(error),
            error => Self::Io(error),
        }
    }
}

impl From<BlockingError> for PartialError {
    fn from(error: BlockingError) -> Self {
        Self::Io(error.into())
    }
}

/// Bytes of an upload, in pieces of bounded size. The stream ends after its first error.
pub(crate) type PartialBytes = BoxStream<'static, Result<Bytes, PartialError>>;

/// Where a writer continues an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resumption {
    /// The number of the writer; see [`PartialStore`].
    pub epoch: u64,
    /// The offset that the catalog acknowledged.
    pub offset: u64,
}

/// A store for the bytes of unfinished uploads.
///
/// An upload is written by one writer at a time. Each writer has an epoch, a number that is larger than those of all earlier
/// writers of the upload. The catalog gives it out, and acknowledges an offset only for the writer with the newest epoch. So a
/// writer that lost its claim, possibly in another process, may still write for a while: readers do not see these bytes.
///
/// Within one process the caller drops the writer of an upload before it opens the next one or removes the upload. What the
/// dropped writer is still writing then does no harm.
#[async_trait]
pub(crate) trait PartialStore: Send + Sync {
    /// Returns the layout of an upload after a writer continues it `at` an offset. Does no I/O.
    ///
    /// A layout is a text that only the store reads. It says which writers wrote which bytes. The catalog records it with the
    /// claim of the writer, before anything is written. The layout of a new upload is "".
    fn layout(&self, layout: &str, at: Resumption) -> String;

    /// Opens an upload for appending at the offset of `at`: 0, or one that [`sync`](PartialWriter::sync) returned. Bytes beyond
    /// it, which nobody acknowledged, are discarded or hidden. `layout` is the one that includes `at`.
    ///
    /// # Errors
    /// [`PartialError::Missing`] if the store knows that acknowledged bytes are lost. Some stores find that out only when the
    /// bytes are [read](Self::read).
    async fn append(
        &self,
        id: UploadId,
        layout: &str,
        at: Resumption,
    ) -> Result<Box<dyn PartialWriter>, PartialError>;

    /// Returns the bytes in `range`, which are acknowledged or were [flushed](PartialWriter::flush) by the newest writer.
    /// `layout` is that of this writer. The upload may be appended to meanwhile.
    ///
    /// # Errors
    /// [`PartialError::Missing`] if some of the bytes do not exist. The stream may report that, too.
    async fn read(&self, id: UploadId, layout: &str, range: Range<u64>)
    -> Result<PartialBytes, PartialError>;

    /// Removes what writers of an upload up to `epoch` wrote. Succeeds if there is nothing.
    ///
    /// Meanwhile an upload with the same id may begin in another process. Its writers have larger epochs, and their bytes stay.
    ///
    /// After a loss of power, or if another process still writes because it does not know of the removal, some bytes may exist again:
    /// [`page`](Self::page) then names the upload.
    ///
    /// # Errors
    /// Some of the bytes may still exist.
    async fn remove(&self, id: UploadId, epoch: u64) -> Result<(), PartialError>;

    /// Returns an epoch that is no smaller than those of all writers of an upload whose bytes exist.
    ///
    /// # Errors
    /// The store failed.
    async fn newest(&self, id: UploadId) -> Result<u64, PartialError>;

    /// Returns ids of uploads that have bytes, in ascending order: those after `after`, at most `limit`. If there are fewer
    /// than `limit`, these are the last.
    ///
    /// # Errors
    /// The store failed.
    async fn page(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>, PartialError>;
}

/// Appends to an upload.
///
/// After an error, and after a call whose future was dropped before its end, a writer only returns errors. The upload can be
/// opened again at its acknowledged offset.
#[async_trait]
pub(crate) trait PartialWriter: Send {
    /// Appends `bytes`. They are not durable yet.
    ///
    /// # Errors
    /// The bytes since the last [`sync`](Self::sync) are lost.
    async fn write(&mut self, bytes: Bytes) -> Result<(), PartialError>;

    /// Makes all written bytes readable. They are not durable yet. Returns the offset after them.
    ///
    /// # Errors
    /// The bytes since the last [`sync`](Self::sync) are lost.
    async fn flush(&mut self) -> Result<u64, PartialError>;

    /// Makes all written bytes durable: they survive `kill -9` and a loss of power. Returns the offset after them.
    ///
    /// # Errors
    /// The bytes since the last [`sync`](Self::sync) are lost.
    async fn sync(&mut self) -> Result<u64, PartialError>;

    /// Returns how many bytes were written since the last [`sync`](Self::sync).
    fn pending(&self) -> u64;
}

/// The error of a writer after an earlier one.
fn broken() -> PartialError {
    PartialError::Io(std::io::Error::other("an earlier write to the upload did not succeed"))
}
