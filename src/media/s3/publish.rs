//! From a file without a name to the bucket.
//!
//! One thing two processes can do to each other: one looks at an old photo to which nothing refers, and removes it; between
//! the two another publishes it anew. Nothing in S3 that every service knows forbids that. But a photo is removed within
//! [`REMOVED_WITHIN`] of being looked at, or it is not; and only old ones are. So who publishes a photo that was there and
//! was old waits for longer than that, and looks whether it still is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::{Attribute, Attributes, ObjectStore, PutOptions};
use tokio::time::{Instant, sleep};

use super::fault::Fault;
use super::{AT_ONCE, Bucket, REMOVED_WITHIN, path, stored};
use crate::blocking::blocking;
use crate::disk;
use crate::media::{MediaError, MediaName, Publication, Staging};
use crate::model::MediaKey;

/// Half of the shortest grace time: the clocks of the processes and of the service may differ by as much.
const OLD: Duration = Duration::from_secs(1800);
/// A removal that was sent in time may still be on its way for so long.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Bytes in a file without a name.
struct StagedObject {
    key: MediaKey,
    length: usize,
    file: Arc<File>,
    /// Of the photo that was there, when this one was staged.
    age: Option<Duration>,
    staged: Instant,
}

impl StagedObject {
    /// Keeps the bytes. The bucket is asked now whether it has them, while the upload still arrives.
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
        // Never closed, so that this only waits.
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
            // An object that is being made cannot be absent: the service contradicts itself.
            Err(Fault::Absent) => Err(MediaError::Unavailable(Fault::Absent.into())),
            Err(fault) => Err(fault.into()),
        }
    }

    async fn publish(self, bucket: &Bucket) -> Result<MediaKey, MediaError> {
        self.put(bucket).await?;
        if self.is_old() {
            sleep(REMOVED_WITHIN + ON_ITS_WAY).await;
            if bucket.head(self.key).await?.is_none() {
                self.put(bucket).await?;
            }
        }
        Ok(self.key)
    }
}

/// Photos that are in the bucket. A rollback removes none of them: another process may refer to them.
struct S3Publication(Vec<MediaKey>);

#[async_trait]
impl Publication for S3Publication {
    fn keys(&self) -> &[MediaKey] {
        &self.0
    }

    fn created(&self) -> &[MediaKey] {
        &[]
    }

    async fn commit(self: Box<Self>) {}

    async fn rollback(self: Box<Self>) -> Result<(), MediaError> {
        Ok(())
    }
}

/// The staged photos of one upload.
pub(super) struct ObjectStaging {
    bucket: Arc<Bucket>,
    objects: Mutex<BTreeMap<MediaKey, StagedObject>>,
}

impl ObjectStaging {
    pub(super) fn new(bucket: &Arc<Bucket>) -> Self {
        Self { bucket: Arc::clone(bucket), objects: Mutex::default() }
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<MediaKey, StagedObject>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Staging for ObjectStaging {
    async fn stage(&self, bytes: Bytes) -> Result<MediaKey, MediaError> {
        let object = StagedObject::new(&self.bucket, bytes).await?;
        let key = object.key;
        self.objects().insert(key, object);
        Ok(key)
    }

    async fn publish(&self) -> Result<Box<dyn Publication>, MediaError> {
        let objects = std::mem::take(&mut *self.objects());
        let puts: Vec<_> = objects.into_values().map(|object| object.publish(&self.bucket)).collect();
        let keys = stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Box::new(S3Publication(keys)))
    }
}
