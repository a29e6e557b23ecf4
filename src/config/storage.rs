//! `MEDIA_STORAGE`: where photos are kept.

use crate::media::BucketSettings;

/// The store of photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaStorage {
    /// In a directory, `MEDIA_ROOT`.
    Local,
    /// In a bucket of a service.
    Bucket(BucketSettings),
}

impl MediaStorage {
    /// Returns the value of `MEDIA_STORAGE` for this store.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Bucket(bucket) => bucket.service(),
        }
    }
}

/// The store of photos, before the rest of its settings is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StorageKind {
    Local,
    /// In a bucket of the service with this name.
    Bucket(&'static str),
}
