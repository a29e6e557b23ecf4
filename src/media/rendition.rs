//! The smaller copies of photos, beside the photos of a store.
//!
//! A rendition can be made again from its photo at any time, so that a store may lose one, and syncs none.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Link, MediaError, MediaObject, RenditionName};
use crate::model::MediaKey;

/// What a store knows about a rendition without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRendition {
    /// Length in bytes.
    pub length: u64,
    /// Letters, digits and hyphens that differ for each file that was ever kept under the name.
    pub version: String,
}

/// A rendition, opened for reading. It can be read to its end even if it is replaced or removed.
pub(crate) struct OpenRendition {
    /// What the store knows about it.
    pub stored: StoredRendition,
    /// Its bytes.
    pub object: Box<dyn MediaObject>,
}

/// What became of the renditions that were staged with photos. Those that are lost can be made from their photos.
#[derive(Debug, Default)]
pub(crate) struct PublishedRenditions {
    /// How many the store has.
    pub stored: u64,
    /// How many it could not take.
    pub lost: u64,
    /// Why it could not take the first of them.
    pub error: Option<MediaError>,
}

impl PublishedRenditions {
    /// Counts one rendition.
    pub(super) fn add(&mut self, published: Result<(), MediaError>) {
        match published {
            Ok(()) => self.stored += 1,
            Err(error) => {
                self.lost += 1;
                self.error.get_or_insert(error);
            }
        }
    }
}

/// The renditions of a store of photos.
///
/// A reader sees a rendition whole or not at all. The methods need no locks: a rendition that is kept while its photo is
/// removed is removed too.
#[async_trait]
pub(crate) trait RenditionStore: Send + Sync {
    /// Returns what the store knows about a rendition, or `None` if it has none.
    ///
    /// # Errors
    /// The store failed.
    async fn find_rendition(&self, name: RenditionName) -> Result<Option<StoredRendition>, MediaError>;

    /// Opens a rendition, or returns `None` if the store has none.
    ///
    /// # Errors
    /// The store failed.
    async fn open_rendition(&self, name: RenditionName) -> Result<Option<OpenRendition>, MediaError>;

    /// Keeps `bytes` under `name`, in the place of an earlier rendition. Returns false, and keeps nothing, if the store does
    /// not have the photo.
    ///
    /// # Errors
    /// The store failed, or is full. An earlier rendition stays.
    async fn keep_rendition(&self, name: RenditionName, bytes: Bytes) -> Result<bool, MediaError>;

    /// Returns a URL from which a client can read a rendition, or `None` if this store gives none. Does not check whether
    /// the rendition exists.
    ///
    /// # Errors
    /// The URL cannot be made now.
    async fn rendition_link(&self, _name: RenditionName) -> Result<Option<Link>, MediaError> {
        Ok(None)
    }

    /// Removes the renditions of the photo under `key` if there is no such photo, as a crash may leave them. Returns how
    /// many were removed.
    ///
    /// # Errors
    /// Some of them may still exist.
    async fn remove_strays(&self, key: MediaKey) -> Result<u64, MediaError>;
}
