//! Staged files of one upload.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::LocalStore;
use super::publish::LocalPublication;
use super::renditions::StagedRendition;
use super::staged_file::StagedFile;
use crate::blocking::blocking;
use crate::media::{MediaError, Publication, PublishedRenditions, RenditionName, Staging};
use crate::model::MediaKey;

/// The staged files of one upload.
pub(super) struct LocalStaging {
    store: LocalStore,
    files: Mutex<Vec<StagedFile>>,
    renditions: Mutex<Vec<StagedRendition>>,
}

impl LocalStaging {
    pub(super) fn new(store: &LocalStore) -> Self {
        Self { store: store.clone(), files: Mutex::default(), renditions: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, Vec<StagedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renditions(&self) -> MutexGuard<'_, Vec<StagedRendition>> {
        self.renditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Staging for LocalStaging {
    async fn stage(&self, bytes: Bytes) -> Result<MediaKey, MediaError> {
        self.store.directories.writable()?;
        let directories = Arc::clone(&self.store.directories);
        let file = blocking(move || match StagedFile::write(&directories.staging(), &bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directories.restore()?;
                StagedFile::write(&directories.staging(), &bytes)
            }
            written => written,
        })
        .await?;
        let key = file.key;
        self.files().push(file);
        Ok(key)
    }

    async fn stage_renditions(&self, key: MediaKey, renditions: Vec<(u32, Bytes)>) -> Result<(), MediaError> {
        let store = self.store.clone();
        let writing = move || {
            store.min_free.check(&store.root)?;
            let staging = store.directories.staging();
            let write = |(side, bytes): (u32, Bytes)| {
                StagedRendition::write(&staging, RenditionName { key, side }, &bytes)
            };
            renditions.into_iter().map(write).collect::<io::Result<Vec<_>>>()
        };
        let staged = blocking(writing).await?;
        self.renditions().extend(staged);
        Ok(())
    }

    async fn publish(&self) -> Result<Box<dyn Publication>, MediaError> {
        self.store.directories.writable()?;
        let files = std::mem::take(&mut *self.files());
        if files.is_empty() {
            return Ok(Box::new(LocalPublication::empty(&self.store)));
        }
        let store = self.store.clone();
        let linking = blocking(move || {
            // Names in a directory that was replaced would be synced in the old one.
            store.directories.restore()?;
            LocalPublication::link(&store, files)
        });
        let (publication, has_new_names) = linking.await?;
        // Without new names there is nothing to sync: existing names were synced when they were made, or at the start.
        if has_new_names && let Err(error) = self.store.directories.names().sync().await {
            let _best_effort = Box::new(publication).rollback().await;
            return Err(error.into());
        }
        Ok(Box::new(publication))
    }

    async fn publish_renditions(&self) -> PublishedRenditions {
        let renditions = std::mem::take(&mut *self.renditions());
        let mut published = PublishedRenditions::default();
        if renditions.is_empty() {
            return published;
        }
        let (root, count) = (Arc::clone(&self.store.root), renditions.len() as u64);
        let publishing = move || {
            for rendition in renditions {
                published.add(rendition.publish_if_absent(&root).map_err(MediaError::from));
            }
            Ok::<_, io::Error>(published)
        };
        blocking(publishing).await.unwrap_or_else(|error| PublishedRenditions {
            stored: 0,
            lost: count,
            error: Some(error.into()),
        })
    }
}
