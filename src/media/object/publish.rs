//! Publishes staged photos in the bucket.
//!
//! There is one race between processes. One process reads the age of an old photo to which nothing refers, and removes it;
//! between the two another process publishes the photo again. No request that every service knows prevents that. But a photo
//! is removed within [`REMOVED_WITHIN`] of reading its age, or not at all, and only old photos are removed. So a process that
//! publishes a photo which existed and was old waits for longer than that, and then looks whether the photo still exists.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::{Attribute, Attributes, ObjectStore, PutOptions};
use tokio::time::{Instant, sleep};

use super::bucket::{AT_ONCE, Bucket, REMOVED_WITHIN, path, stored};
use super::fault::Fault;
use super::renditions::{self, StagedRenditions};
use crate::blocking::blocking;
use crate::disk;
use crate::media::{MediaError, MediaName, Publication, PublishedRenditions, Staging};
use crate::model::MediaKey;

/// Age from which a photo counts as old: half of the shortest grace time, by as much as clocks may differ.
const OLD: Duration = Duration::from_secs(1800);
/// How long a removal that was sent in time may take to arrive.
const TRANSIT: Duration = Duration::from_secs(1);

/// A photo in a file without a name.
struct StagedObject {
    key: MediaKey,
    length: usize,
    file: Arc<File>,
    /// Age that the photo in the bucket had when this one was staged.
    age: Option<Duration>,
    staged: Instant,
}

impl StagedObject {
    /// Writes the file. Asks the bucket now whether it has the photo, while the rest of the upload arrives.
    async fn new(bucket: &Bucket, bytes: Bytes) -> Result<Self, MediaError> {
        let scratch = Arc::clone(&bucket.scratch);
        let writing = blocking(move || {
            let mut file = disk::scratch_file(&scratch)?;
            file.write_all(&bytes)?;
            Ok::<_, io::Error>((MediaKey::of(&bytes), bytes.len(), Arc::new(file)))
        });
        let (key, length, file) = writing.await?;
        let photo = bucket.head(key).await?.as_ref().and_then(stored);
        let age = photo.map(|photo| photo.modified.elapsed().unwrap_or_default());
        Ok(Self { key, length, file, age, staged: Instant::now() })
    }

    fn is_old(&self) -> bool {
        self.age.is_some_and(|age| age + self.staged.elapsed() > OLD)
    }

    async fn put(&self, bucket: &Bucket) -> Result<(), MediaError> {
        // The semaphore is never closed, so this fails never.
        let _turn = bucket.puts.acquire().await.map_err(io::Error::other)?;
        let (file, length) = (Arc::clone(&self.file), self.length);
        let reading = blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, 0)?;
            Ok::<_, io::Error>(Bytes::from(bytes))
        });
        let bytes = reading.await?;
        let name = MediaName::from(self.key);
        let attributes = Attributes::from_iter([
            (Attribute::ContentType, name.content_type()),
            (Attribute::CacheControl, name.cache_control()),
        ]);
        let options = PutOptions { attributes, ..Default::default() };
        let path = path(self.key);
        match bucket.ask(bucket.client.put_opts(&path, bytes.into(), options)).await {
            Ok(_) => Ok(()),
            // The service contradicts itself: an object that is being created cannot be absent.
            Err(Fault::Absent) => Err(MediaError::Unavailable(Fault::Absent.into())),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn publish(self, bucket: &Bucket) -> Result<(), MediaError> {
        self.put(bucket).await?;
        if self.is_old() {
            sleep(REMOVED_WITHIN + TRANSIT).await;
            if bucket.head(self.key).await?.is_none() {
                self.put(bucket).await?;
            }
        }
        Ok(())
    }
}

/// Photos that are in the bucket. A rollback removes none of them: another process may refer to them.
struct BucketPublication;

#[async_trait]
impl Publication for BucketPublication {
    fn created(&self) -> &[MediaKey] {
        &[]
    }

    async fn commit(self: Box<Self>) {}

    async fn rollback(self: Box<Self>) -> Result<(), MediaError> {
        Ok(())
    }
}

/// The staged photos of one upload.
pub(super) struct BucketStaging {
    bucket: Arc<Bucket>,
    objects: Mutex<BTreeMap<MediaKey, StagedObject>>,
    renditions: Mutex<BTreeMap<MediaKey, StagedRenditions>>,
}

impl BucketStaging {
    pub(super) fn new(bucket: &Arc<Bucket>) -> Self {
        Self { bucket: Arc::clone(bucket), objects: Mutex::default(), renditions: Mutex::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<MediaKey, StagedObject>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renditions(&self) -> MutexGuard<'_, BTreeMap<MediaKey, StagedRenditions>> {
        self.renditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Staging for BucketStaging {
    async fn stage(&self, bytes: Bytes) -> Result<MediaKey, MediaError> {
        let object = StagedObject::new(&self.bucket, bytes).await?;
        let key = object.key;
        self.objects().insert(key, object);
        Ok(key)
    }

    async fn stage_renditions(&self, key: MediaKey, renditions: Vec<(u32, Bytes)>) -> Result<(), MediaError> {
        let staged = StagedRenditions::new(&self.bucket, key, renditions).await?;
        self.renditions().insert(key, staged);
        Ok(())
    }

    async fn publish(&self) -> Result<Box<dyn Publication>, MediaError> {
        let objects = std::mem::take(&mut *self.objects());
        let puts: Vec<_> = objects.into_values().map(|object| object.publish(&self.bucket)).collect();
        stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(Box::new(BucketPublication))
    }

    async fn publish_renditions(&self) -> PublishedRenditions {
        let staged = std::mem::take(&mut *self.renditions());
        renditions::publish(&self.bucket, staged.into_values()).await
    }
}
