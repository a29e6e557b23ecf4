//! Photos in a bucket of S3, or of a service that speaks like it: `media/<sha256>.jpg`.
//!
//! Several processes may share the bucket, and none of them can lock the others out. So nothing here relies on what was
//! seen a moment ago: publishing always writes, whoever wrote before, and no photo is taken back, because another process
//! may refer to it by now. What was published in vain is the collector's, after its grace time. Between
//! [`stage`](MediaStore::stage) and the end of the upload the bytes are in a file without a name, and cost no memory.
//!
//! Only the plainest requests are made (GET, HEAD, PUT, DELETE, copy, list), none of them conditional and without
//! checksum headers, which not every service knows.

mod breaker;
mod fault;
mod http;
mod publish;
mod settings;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::breaker::Breaker;
use self::fault::{Fault, found};
use self::publish::ObjectStaging;
pub use self::settings::{S3Settings, S3StartError};
use super::{Link, MediaError, MediaName, MediaObject, MediaStore, Staging, Stored};
use crate::blocking::blocking;
use crate::disk::{self, FreeDisk};
use crate::model::MediaKey;

const PHOTOS: &str = "media/";
const QUARANTINE: &str = "quarantine/";
/// Photos that are on their way to the bucket at once, which is what there is of them in memory.
const PUTS: usize = 32;
/// Requests that are made at once for one caller.
const AT_ONCE: usize = 8;
/// For how long a service that answered is taken to answer.
const FRESH: Duration = Duration::from_secs(1);
/// Within this time of looking at a photo's age it is removed, or it is not. See [`publish`].
const REMOVED_WITHIN: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Clone)]
pub struct S3Store(Arc<Bucket>);

#[derive(Debug)]
struct Bucket {
    name: String,
    client: AmazonS3,
    presigned_for: Duration,
    scratch: Arc<FsPath>,
    min_free: FreeDisk,
    breaker: Breaker,
    puts: Semaphore,
    answered: Mutex<Option<Instant>>,
    /// Whether the bucket was ever seen. Until then, that an object is absent says nothing.
    is_seen: AtomicBool,
}

impl S3Store {
    /// Opens the bucket and looks into it. One that does not answer may do so later, and is only logged.
    ///
    /// `scratch` is a directory for photos between their making and the end of their upload; below `min_free` of its
    /// volume [`check`](MediaStore::check) reports full.
    ///
    /// # Errors
    /// The settings make no sense, or the service refuses what they ask for: no such bucket, no such key.
    pub async fn open(
        settings: &S3Settings,
        scratch: &FsPath,
        min_free: FreeDisk,
    ) -> Result<Self, S3StartError> {
        let store = Self(Arc::new(Bucket {
            name: settings.bucket.clone(),
            client: settings.client()?,
            presigned_for: settings.presigned_for,
            scratch: scratch.into(),
            min_free,
            breaker: Breaker::new(),
            puts: Semaphore::new(PUTS),
            answered: Mutex::default(),
            is_seen: AtomicBool::new(false),
        }));
        match store.0.look().await {
            Ok(()) => {}
            Err(Fault::Refused(reason)) => {
                return Err(S3StartError::Refused { bucket: settings.bucket.clone(), reason });
            }
            Err(fault) => {
                tracing::warn!(bucket = settings.bucket, error = %fault, "the bucket cannot be reached");
            }
        }
        Ok(store)
    }
}

impl Bucket {
    /// Makes a call, unless the service is being let alone.
    async fn ask<T>(&self, call: impl Future<Output = object_store::Result<T>>) -> Result<T, Fault> {
        let pass = self.breaker.enter().ok_or(Fault::HeldBack)?;
        let result = call.await.map_err(Fault::from);
        if matches!(result, Err(Fault::Down(_))) {
            pass.failed();
        } else {
            pass.answered();
            *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        result
    }

    /// Asks for as little as can be asked of a bucket.
    async fn look(&self) -> Result<(), Fault> {
        let options = PaginatedListOptions { max_keys: Some(1), ..Default::default() };
        self.ask(self.client.list_paginated(Some(PHOTOS), options)).await?;
        self.is_seen.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn head(&self, key: MediaKey) -> Result<Option<ObjectMeta>, MediaError> {
        let path = path(key);
        let meta = found(self.ask(self.client.head(&path)).await)?;
        // To a HEAD a bucket that is not there looks like an object that is not there.
        if meta.is_none() && !self.is_seen.load(Ordering::Relaxed) {
            self.look().await?;
        }
        Ok(meta)
    }

    async fn delete(&self, key: MediaKey) -> Result<(), MediaError> {
        let path = path(key);
        found(self.ask(self.client.delete(&path)).await).map(drop)
    }

    fn has_answered_just_now(&self) -> bool {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.is_some_and(|last| last.elapsed() < FRESH)
    }
}

fn path(key: MediaKey) -> Path {
    Path::from(format!("{PHOTOS}{}", MediaName::from(key)))
}

/// What is told of an object, if it is a photo. The service tells times in whole seconds to some questions, and so to all.
fn stored(meta: &ObjectMeta) -> Option<Stored> {
    let name: MediaName = meta.location.as_ref().strip_prefix(PHOTOS)?.parse().ok()?;
    let seconds = u64::try_from(meta.last_modified.timestamp()).unwrap_or(0);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Some(Stored { key: name.key(), length: meta.size, modified })
}

struct OpenObject {
    bucket: Arc<Bucket>,
    path: Path,
    length: u64,
    /// All of it, as the service sends it.
    content: BoxStream<'static, object_store::Result<Bytes>>,
}

impl MediaObject for OpenObject {
    fn len(&self) -> u64 {
        self.length
    }

    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        if range == (0..self.length) {
            return self.content.map_err(io::Error::other).boxed();
        }
        // Nothing else ever has this name.
        let Self { bucket, path, .. } = *self;
        let part = async move {
            if range.is_empty() {
                return Ok(stream::empty().boxed());
            }
            let options = GetOptions { range: Some(GetRange::Bounded(range)), ..Default::default() };
            let part = bucket.ask(bucket.client.get_opts(&path, options)).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(part.into_stream().map_err(io::Error::other).boxed())
        };
        stream::once(part).try_flatten().boxed()
    }
}

#[async_trait]
impl MediaStore for S3Store {
    fn begin(&self) -> Box<dyn Staging> {
        Box::new(ObjectStaging::new(&self.0))
    }

    async fn pending(&self) -> Result<Vec<MediaKey>, MediaError> {
        Ok(Vec::new())
    }

    async fn reconcile(&self, _: MediaKey, _: bool) -> Result<(), MediaError> {
        Ok(())
    }

    async fn remove(&self, keys: &[MediaKey]) -> Result<(), MediaError> {
        let removals = keys.iter().map(|key| self.0.delete(*key)).collect::<Vec<_>>();
        stream::iter(removals).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn remove_older(&self, key: MediaKey, than: SystemTime) -> Result<Option<u64>, MediaError> {
        let removal = async {
            match self.0.head(key).await?.as_ref().and_then(stored) {
                Some(photo) if photo.modified < than => {
                    self.0.delete(key).await?;
                    Ok(Some(photo.length))
                }
                _ => Ok(None),
            }
        };
        timeout(REMOVED_WITHIN, removal).await.map_err(|late| MediaError::Unavailable(late.into()))?
    }

    async fn quarantine(&self, key: MediaKey) -> Result<Option<String>, MediaError> {
        let (from, name) =
            (path(key), format!("{QUARANTINE}{}", MediaName::from(key).tagged(uuid::Uuid::now_v7())));
        if found(self.0.ask(self.0.client.copy(&from, &Path::from(name.as_str()))).await)?.is_none() {
            return Ok(None);
        }
        self.0.delete(key).await?;
        Ok(Some(format!("s3://{}/{name}", self.0.name)))
    }

    fn list(&self) -> BoxStream<'static, Result<Vec<Stored>, MediaError>> {
        let first = Some(PaginatedListOptions::default());
        stream::try_unfold((Arc::clone(&self.0), first), |(bucket, options)| async move {
            let Some(options) = options else { return Ok(None) };
            let page = bucket.ask(bucket.client.list_paginated(Some(PHOTOS), options)).await?;
            let photos = page.result.objects.iter().filter_map(stored).collect();
            let next = page
                .page_token
                .map(|token| PaginatedListOptions { page_token: Some(token), ..Default::default() });
            Ok(Some((photos, (bucket, next))))
        })
        .boxed()
    }

    async fn open(&self, key: MediaKey) -> Result<Option<Box<dyn MediaObject>>, MediaError> {
        let (bucket, path) = (Arc::clone(&self.0), path(key));
        let Some(object) = found(bucket.ask(bucket.client.get(&path)).await)? else {
            return Ok(None);
        };
        let (length, content) = (object.meta.size, object.into_stream());
        Ok(Some(Box::new(OpenObject { bucket, path, length, content })))
    }

    async fn link(&self, key: MediaKey) -> Result<Option<Link>, MediaError> {
        let lifetime = self.0.presigned_for;
        if lifetime.is_zero() {
            return Ok(None);
        }
        let signed = self.0.client.signed_url(hyper::Method::GET, &path(key), lifetime).await;
        Ok(Some(Link { url: signed.map_err(Fault::from)?.into(), lifetime }))
    }

    async fn stat(&self, key: MediaKey) -> Result<Option<Stored>, MediaError> {
        Ok(self.0.head(key).await?.as_ref().and_then(stored))
    }

    async fn check(&self) -> Result<(), MediaError> {
        let (dir, floor) = (Arc::clone(&self.0.scratch), self.0.min_free);
        let check = move || {
            disk::scratch_file(&dir)?;
            floor.check(&dir)
        };
        blocking(check).await?;
        if !self.0.has_answered_just_now() {
            self.0.look().await?;
        }
        Ok(())
    }
}
