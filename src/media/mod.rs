//! The store of photos: content-addressed, behind a trait.
//!
//! This room knows bytes and their keys, not drafts. No name from outside reaches it: only a [`MediaKey`] names a file.
//! Every implementation passes the suite in `conformance`.

mod by_key;
#[cfg(test)]
mod conformance;
mod local;
mod name;
mod object;
mod rendition;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sha2::{Digest, Sha256};

pub(crate) use local::LocalStore;
pub(crate) use name::{MediaName, RenditionName};
pub(crate) use object::{AT_ONCE, Bucket, BucketError, BucketSettings, BucketStore, Fault, s3};
pub(crate) use rendition::{OpenRendition, PublishedRenditions, RenditionStore, StoredRendition};

use crate::disk;
use crate::model::MediaKey;

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MediaError {
    /// No space is left.
    #[error("the media store is full")]
    Full(#[source] std::io::Error),
    /// The process has too many open files; some will be closed soon.
    #[error("the media store cannot open another file")]
    OutOfFiles(#[source] std::io::Error),
    /// The service that keeps the photos does not answer or refuses access. That may pass, or needs other settings.
    #[error("the media store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The file system failed.
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

/// Photos of one upload that a store has, and that are not yet visible. Dropping it discards them and leaves nothing behind.
#[async_trait]
pub(crate) trait Staging: Send + Sync {
    /// Takes `bytes`, invisible to readers, and returns their key. They hold no memory from then on.
    ///
    /// # Errors
    /// Nothing of these bytes is left behind.
    async fn stage(&self, bytes: Bytes) -> Result<MediaKey, MediaError>;

    /// Takes renditions of a staged photo, each with its longer side, invisible to readers. They hold no memory from then on.
    ///
    /// # Errors
    /// None of these renditions is staged. The photo still is.
    async fn stage_renditions(&self, key: MediaKey, renditions: Vec<(u32, Bytes)>) -> Result<(), MediaError>;

    /// Makes all staged photos visible and durable under their keys. A photo that exists already counts as
    /// [modified](Stored::modified) now. A file under one of the keys that is not [whole](MediaStore::verify) is replaced.
    /// No photo is staged any more after this call.
    ///
    /// # Errors
    /// The photos that this call [created](Publication::created) are removed again.
    async fn publish(&self) -> Result<Box<dyn Publication>, MediaError>;

    /// Makes the staged renditions visible beside their photos. The caller has [published](Self::publish) these, and still holds
    /// the locks of their keys. Nothing is synced. Nothing is staged any more after this call.
    async fn publish_renditions(&self) -> PublishedRenditions;
}

/// Photos that are visible, while it is not certain yet that a draft refers to them.
///
/// A publication ends in one of three ways: [commit](Self::commit), [rollback](Self::rollback), or drop, as when the process
/// dies. A drop removes nothing: the photos are [pending](MediaStore::pending) for the next process.
///
/// If several processes share a store, none of them can exclude that another one refers to a photo by now. Such a store
/// reports nothing as [`created`](Self::created), and a rollback removes nothing. Photos of a failed upload then stay until
/// the garbage collector removes them as [old](MediaStore::remove_older).
#[async_trait]
pub(crate) trait Publication: Send + Sync {
    /// The photos that did not exist before, and to which only their publisher can refer.
    fn created(&self) -> &[MediaKey];

    /// Ends the publication: a draft refers to the photos. Discards what a rollback would need.
    async fn commit(self: Box<Self>);

    /// Removes the photos that were [`created`](Self::created).
    ///
    /// # Errors
    /// Some of them may still exist, and are pending for the next process.
    async fn rollback(self: Box<Self>) -> Result<(), MediaError>;
}

/// One stored photo, opened for reading. It can be read to its end even if the photo is removed.
pub(crate) trait MediaObject: Send {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Returns the photo as an open file, if it is one: the bytes of a range of the photo are those of the file.
    fn file(&self) -> Option<Arc<File>> {
        None
    }

    /// Returns the bytes of `range`, which lies within [`len`](Self::len), in pieces.
    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, std::io::Result<Bytes>>;
}

/// What a store knows about a photo without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its key.
    pub key: MediaKey,
    /// Length in bytes.
    pub length: u64,
    /// When it was last published or otherwise written; up to a second too early.
    pub modified: SystemTime,
}

/// A part of what a store has, in ascending order of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ListPage {
    /// Photos of this part.
    pub photos: Vec<Stored>,
    /// Keys with renditions and without a photo.
    pub strays: Vec<MediaKey>,
    /// Every photo up to this key is in this part or an earlier one; `None`: nothing is known yet.
    pub last: Option<MediaKey>,
    /// Whether this is the last part. Then every photo is in this part or an earlier one.
    pub is_end: bool,
}

/// How many requests the calls of a store send to a service that counts or charges for them. All zero: the store has no service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// For one page of [`MediaStore::list_by_key`].
    pub list: u32,
    /// For [`MediaStore::stat`].
    pub stat: u32,
    /// For [`MediaStore::verify`] of a photo that is whole.
    pub verify: u32,
    /// For the removal of a photo without renditions. Each rendition adds one.
    pub remove: u32,
}

/// Whether the stored bytes under a key have that hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integrity {
    /// The bytes have the hash.
    Whole,
    /// The bytes have another hash.
    Damaged,
    /// There is no photo.
    Missing,
}

/// A URL from which a client can read a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// An http(s) URL for GET. Anyone who has it can read the photo.
    pub url: String,
    /// How long it is valid.
    pub lifetime: Duration,
}

impl Integrity {
    fn of(key: MediaKey, hash: Sha256) -> Self {
        if MediaKey::from_digest(hash.finalize().into()) == key { Self::Whole } else { Self::Damaged }
    }
}

/// A content-addressed store of photos.
///
/// Content addressing makes every write idempotent: equal bytes have equal keys, so publishing twice is publishing once.
/// A reader sees a photo whole or not at all. Callers serialise [`publish`](Staging::publish), the end of its [`Publication`]
/// and the removal of the same key among themselves; different keys are independent.
///
/// The renditions of a photo are in the store too, through [`RenditionStore`]. Whatever removes a photo removes them.
#[async_trait]
pub(crate) trait MediaStore: Send + Sync {
    /// Begins an upload, with nothing staged.
    fn begin(&self) -> Box<dyn Staging>;

    /// Returns the photos that an earlier process published, or was about to publish, without commit or rollback. Each
    /// occurs once, in no particular order. A store that cannot leave such traces returns none.
    ///
    /// # Errors
    /// The store failed.
    async fn pending(&self) -> Result<Vec<MediaKey>, MediaError>;

    /// Reconciles a photo that is [`pending`](Self::pending). If `keep` is false, the photo is removed, unless it existed
    /// before the earlier process published it. A photo that is not pending does not change.
    ///
    /// # Errors
    /// The photo is still pending.
    async fn reconcile(&self, key: MediaKey, keep: bool) -> Result<(), MediaError>;

    /// Removes the photos under `keys`. A photo that does not exist is no error.
    ///
    /// # Errors
    /// Some of them may still exist.
    async fn remove(&self, keys: &[MediaKey]) -> Result<(), MediaError>;

    /// Removes the photo under `key` if it was modified before `than`, and returns its length; returns `None` if it is
    /// newer or does not exist. After a loss of power the photo may exist again. A photo that another process publishes
    /// during the call stays, if `than` is at least an hour ago.
    ///
    /// # Errors
    /// The photo may still exist.
    async fn remove_older(&self, key: MediaKey, than: SystemTime) -> Result<Option<u64>, MediaError>;

    /// Moves the photo under `key` out of the sight of readers, durably, and keeps its bytes for the operator. Returns its
    /// new place, or `None` if there is no photo.
    ///
    /// # Errors
    /// The photo may still exist.
    async fn quarantine(&self, key: MediaKey) -> Result<Option<String>, MediaError>;

    /// Lists all photos, in pages of bounded size and in no particular order. A photo that is published or removed
    /// during the listing may be listed or not. Foreign files are not listed.
    ///
    /// The stream ends after its first error.
    fn list(&self) -> BoxStream<'static, Result<Vec<Stored>, MediaError>>;

    /// Lists photos in ascending order of keys, from the first key above `after` if it is given, in pages of bounded size. The
    /// last page [is the end](ListPage::is_end). A photo that is published or removed during the listing may be listed or
    /// not. A page may be empty.
    ///
    /// A store whose medium has another order reads it as often as it must to sort it in bounded memory.
    ///
    /// The stream ends after its first error.
    fn list_by_key(&self, after: Option<MediaKey>) -> BoxStream<'static, Result<ListPage, MediaError>>;

    /// Returns what the calls of this store cost in requests.
    fn requests(&self) -> Requests {
        Requests::default()
    }

    /// Opens the photo under `key`, or returns `None` if there is none.
    ///
    /// # Errors
    /// The store failed: it is not known whether the photo exists.
    async fn open(&self, key: MediaKey) -> Result<Option<Box<dyn MediaObject>>, MediaError>;

    /// Returns a URL from which a client can read the photo under `key`, or `None` if this store gives none. Does not check
    /// whether the photo exists.
    ///
    /// # Errors
    /// The URL cannot be made now.
    async fn link(&self, _key: MediaKey) -> Result<Option<Link>, MediaError> {
        Ok(None)
    }

    /// Returns what the store knows about the photo under `key`, or `None` if there is none. Cheap: it reads no bytes of
    /// the photo.
    ///
    /// The answer is true while the caller prevents the removal of the same key.
    ///
    /// # Errors
    /// The store failed: it is not known whether the photo exists.
    async fn stat(&self, key: MediaKey) -> Result<Option<Stored>, MediaError>;

    /// Returns the length of the photo under `key` in bytes, or `None` if there is none.
    ///
    /// # Errors
    /// Those of [`stat`](Self::stat).
    async fn length(&self, key: MediaKey) -> Result<Option<u64>, MediaError> {
        Ok(self.stat(key).await?.map(|stored| stored.length))
    }

    /// Reads the whole photo under `key` from where it is stored, and compares the hash of its bytes with the key. A store
    /// across a network transfers the whole photo: no length, date or tag proves what the bytes are.
    ///
    /// The answer is true while the caller holds the lock of the key, unless the disk changes the bytes by itself.
    ///
    /// # Errors
    /// The store failed, or the bytes cannot be read: their state is unknown.
    async fn verify(&self, key: MediaKey) -> Result<Integrity, MediaError> {
        let Some(object) = self.open(key).await? else { return Ok(Integrity::Missing) };
        let length = object.len();
        let mut hash = Sha256::new();
        let mut pieces = object.read(0..length);
        while let Some(piece) =
            pieces.try_next().await.map_err(|error| MediaError::Unavailable(error.into()))?
        {
            hash.update(&piece);
        }
        Ok(Integrity::of(key, hash))
    }

    /// Checks whether a photo could be stored now. Creates directories of the store again that were removed.
    ///
    /// # Errors
    /// [`MediaError::Full`] below the floor of free space, else the reason why the store does not answer.
    async fn check(&self) -> Result<(), MediaError>;
}
