//! Photos in a bucket of an object store: `media/<sha256>.jpg`.
//!
//! The store works with every [`Client`] of the `object_store` crate. A service is a module that builds a [`Connection`]
//! from its settings, and a variant of [`BucketSettings`]: [`s3`] is the one there is.
//!
//! Several processes may share the bucket, and none of them can lock out the others. So no operation relies on an earlier
//! answer of the bucket: publishing always writes, and a rollback removes no photo, because another process may refer to it.
//! The garbage collector removes photos of failed uploads after its grace time. Between [`stage`](Staging::stage) and the end
//! of the upload the bytes are in a file without a name, and take no memory.
//!
//! Other rooms keep their objects in the same [`Bucket`], under prefixes of their own.
//!
//! The store makes only requests that every service knows: GET, HEAD, PUT, DELETE, copy and list, without conditions and
//! without checksum headers.

mod breaker;
mod bucket;
mod fault;
mod http;
mod list;
mod publish;
mod renditions;
pub(crate) mod s3;
mod service;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::time::timeout;

pub(crate) use self::bucket::{AT_ONCE, Bucket};
use self::bucket::{PHOTOS, REMOVED_WITHIN, path, stored};
pub(crate) use self::fault::Fault;
use self::fault::found;
use self::publish::BucketStaging;
pub(crate) use self::service::BucketSettings;
use super::{Link, ListPage, MediaError, MediaName, MediaObject, MediaStore, Requests, Staging, Stored};
use crate::blocking::blocking;
use crate::disk::{self, FreeDisk};
use crate::model::MediaKey;
use crate::tls::TlsError;

const QUARANTINE: &str = "quarantine/";

/// What this store needs of a service's client.
pub trait Client: ObjectStore + PaginatedListStore + Signer {}

impl<C: ObjectStore + PaginatedListStore + Signer> Client for C {}

/// A bucket, and how to reach it.
#[derive(Debug)]
pub struct Connection {
    /// The name of the bucket.
    pub bucket: String,
    /// The scheme of URLs that name objects of this service, as `s3`.
    pub scheme: &'static str,
    /// The settings to check if the service refuses access.
    pub settings: &'static str,
    /// The client.
    pub client: Arc<dyn Client>,
    /// How long links for clients are valid; zero: clients get none.
    pub link_lifetime: Duration,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The service refuses access.
    #[error(
        "the bucket {bucket} cannot be used: {reason}. Check {settings} and the keys, which must be allowed to list, get, put \
         and delete"
    )]
    Refused {
        /// The name of the bucket.
        bucket: String,
        /// The answer of the service.
        reason: String,
        /// The settings to check.
        settings: &'static str,
    },
    /// The settings contradict each other.
    #[error("the settings of {service} cannot be used: {source}")]
    Settings {
        /// The name of the service.
        service: &'static str,
        /// The reason.
        source: object_store::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Photos in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct BucketStore(Arc<Bucket>);

impl BucketStore {
    /// Opens the bucket and sends it one request. A service that does not answer is logged, and used once it answers.
    ///
    /// `scratch` is a directory for staged photos; below `min_free` of its volume [`check`](MediaStore::check) reports full.
    ///
    /// # Errors
    /// The service refuses access: no such bucket, no such key.
    pub(crate) async fn open(
        connection: Connection,
        scratch: &FsPath,
        min_free: FreeDisk,
    ) -> Result<Self, BucketError> {
        let (bucket, settings) = (connection.bucket.clone(), connection.settings);
        let store = Self(Arc::new(Bucket::new(connection, scratch, min_free)));
        match store.0.probe().await {
            Ok(()) => {}
            Err(Fault::Refused(reason)) => {
                return Err(BucketError::Refused { bucket, reason, settings });
            }
            Err(fault) => {
                tracing::warn!(bucket, error = %fault, "the bucket cannot be reached");
            }
        }
        Ok(store)
    }

    /// Returns the bucket, for other objects than photos. They share its circuit breaker with the photos.
    pub(crate) fn bucket(&self) -> Arc<Bucket> {
        Arc::clone(&self.0)
    }
}

struct OpenObject {
    bucket: Arc<Bucket>,
    path: Path,
    length: u64,
    /// The whole object, as the service sends it.
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
        // The name is the hash of the bytes, so another request reads the same bytes.
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
impl MediaStore for BucketStore {
    fn begin(&self) -> Box<dyn Staging> {
        Box::new(BucketStaging::new(&self.0))
    }

    async fn pending(&self) -> Result<Vec<MediaKey>, MediaError> {
        Ok(Vec::new())
    }

    async fn reconcile(&self, _: MediaKey, _: bool) -> Result<(), MediaError> {
        Ok(())
    }

    async fn remove(&self, keys: &[MediaKey]) -> Result<(), MediaError> {
        let removals =
            keys.iter().map(|key| renditions::remove_with_photo(&self.0, *key)).collect::<Vec<_>>();
        stream::iter(removals).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn remove_older(&self, key: MediaKey, than: SystemTime) -> Result<Option<u64>, MediaError> {
        let removal = async {
            match self.0.head(key).await?.as_ref().and_then(stored) {
                Some(photo) if photo.modified < than => {
                    self.0.delete(key).await?;
                    Ok::<_, MediaError>(Some(photo.length))
                }
                _ => Ok(None),
            }
        };
        let removal = timeout(REMOVED_WITHIN, removal);
        let removed = removal.await.map_err(|late| MediaError::Unavailable(late.into()))??;
        if removed.is_some() {
            renditions::remove_all(&self.0, key).await?;
        }
        Ok(removed)
    }

    async fn quarantine(&self, key: MediaKey) -> Result<Option<String>, MediaError> {
        let (from, name) =
            (path(key), format!("{QUARANTINE}{}", MediaName::from(key).tagged(uuid::Uuid::now_v7())));
        if found(self.0.ask(self.0.client.copy(&from, &Path::from(name.as_str()))).await)?.is_none() {
            return Ok(None);
        }
        renditions::remove_with_photo(&self.0, key).await?;
        Ok(Some(format!("{}://{}/{name}", self.0.scheme, self.0.name)))
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

    fn list_by_key(&self, after: Option<MediaKey>) -> BoxStream<'static, Result<ListPage, MediaError>> {
        list::pages_by_key(Arc::clone(&self.0), after)
    }

    fn requests(&self) -> Requests {
        Requests { list: 1, stat: 1, verify: 1, remove: 3 }
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
        let lifetime = self.0.link_lifetime;
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
            self.0.probe().await?;
        }
        Ok(())
    }
}
