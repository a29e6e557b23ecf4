//! Renditions in a bucket: `media/<sha256>/<longer side>.jpg`, beside `media/<sha256>.jpg`.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::list::PaginatedListOptions;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectMeta, ObjectStore, ObjectStoreExt, PutOptions};

use super::bucket::{AT_ONCE, Bucket, PHOTOS};
use super::fault::{Fault, found};
use super::{BucketStore, OpenObject};
use crate::blocking::blocking;
use crate::disk;
use crate::media::{
    Link, MediaError, MediaName, OpenRendition, PublishedRenditions, RenditionName, RenditionStore,
    StoredRendition,
};
use crate::model::MediaKey;

fn path(name: RenditionName) -> Path {
    Path::from(format!("{PHOTOS}{name}"))
}

/// Returns the name of an object, if it is a rendition.
pub(super) fn name_of(object: &ObjectMeta) -> Option<RenditionName> {
    let (photo, file) = object.location.as_ref().strip_prefix(PHOTOS)?.split_once('/')?;
    RenditionName::parse(photo, file)
}

/// The version is the ETag of the service, or else length and time.
fn described(object: &ObjectMeta) -> StoredRendition {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let tag = object.e_tag.as_deref().unwrap_or_default();
    let tag: String = tag.trim_start_matches("W/").chars().filter(is_plain).take(64).collect();
    let version = match tag.is_empty() {
        true => format!("{:x}-{:x}", object.size, object.last_modified.timestamp()),
        false => tag,
    };
    StoredRendition { length: object.size, version }
}

#[async_trait]
impl RenditionStore for BucketStore {
    async fn find_rendition(&self, name: RenditionName) -> Result<Option<StoredRendition>, MediaError> {
        let object = found(self.0.ask(self.0.client.head(&path(name))).await)?;
        Ok(object.as_ref().map(described))
    }

    async fn open_rendition(&self, name: RenditionName) -> Result<Option<OpenRendition>, MediaError> {
        let (bucket, path) = (Arc::clone(&self.0), path(name));
        let Some(object) = found(bucket.ask(bucket.client.get(&path)).await)? else { return Ok(None) };
        let stored = described(&object.meta);
        let (length, content) = (object.meta.size, object.into_stream());
        Ok(Some(OpenRendition { stored, object: Box::new(OpenObject { bucket, path, length, content }) }))
    }

    async fn keep_rendition(&self, name: RenditionName, bytes: Bytes) -> Result<bool, MediaError> {
        put(&self.0, name, async { Ok(bytes) }).await?;
        if self.0.head(name.key).await?.is_some() {
            return Ok(true);
        }
        remove_all(&self.0, name.key).await?;
        Ok(false)
    }

    async fn rendition_link(&self, name: RenditionName) -> Result<Option<Link>, MediaError> {
        let lifetime = self.0.link_lifetime;
        if lifetime.is_zero() {
            return Ok(None);
        }
        let signed = self.0.client.signed_url(hyper::Method::GET, &path(name), lifetime).await;
        Ok(Some(Link { url: signed.map_err(Fault::from)?.into(), lifetime }))
    }

    async fn remove_strays(&self, key: MediaKey) -> Result<u64, MediaError> {
        match self.0.head(key).await? {
            Some(_) => Ok(0),
            None => remove_all(&self.0, key).await,
        }
    }
}

/// Sends a rendition to the bucket. Its bytes are read when it is its turn.
async fn put(
    bucket: &Bucket,
    name: RenditionName,
    bytes: impl Future<Output = io::Result<Bytes>>,
) -> Result<(), MediaError> {
    let photo = MediaName::from(name.key);
    let attributes = Attributes::from_iter([
        (Attribute::ContentType, photo.content_type()),
        (Attribute::CacheControl, photo.cache_control()),
    ]);
    let options = PutOptions { attributes, ..Default::default() };
    // The semaphore is never closed, so this never fails.
    let _turn = bucket.puts.acquire().await.map_err(io::Error::other)?;
    let bytes = bytes.await?;
    match bucket.ask(bucket.client.put_opts(&path(name), bytes.into(), options)).await {
        Ok(_) => Ok(()),
        // The service contradicts itself: an object that is being created cannot be absent.
        Err(Fault::Absent) => Err(MediaError::Unavailable(Fault::Absent.into())),
        Err(fault) => Err(fault.into()),
    }
}

/// The renditions of one photo, one after the other in a file without a name.
pub(super) struct StagedRenditions {
    key: MediaKey,
    /// Longer side and place in the file of each.
    parts: Vec<(u32, Range<u64>)>,
    file: Arc<File>,
}

impl StagedRenditions {
    pub(super) async fn new(
        bucket: &Bucket,
        key: MediaKey,
        renditions: Vec<(u32, Bytes)>,
    ) -> Result<Self, MediaError> {
        let (scratch, min_free) = (Arc::clone(&bucket.scratch), bucket.min_free);
        let writing = blocking(move || {
            min_free.check(&scratch)?;
            let mut file = disk::scratch_file(&scratch)?;
            let mut end = 0;
            let mut parts = Vec::with_capacity(renditions.len());
            for (side, bytes) in renditions {
                file.write_all(&bytes)?;
                let start = end;
                end += bytes.len() as u64;
                parts.push((side, start..end));
            }
            Ok::<_, io::Error>((parts, Arc::new(file)))
        });
        let (parts, file) = writing.await?;
        Ok(Self { key, parts, file })
    }
}

/// Sends staged renditions to the bucket.
pub(super) async fn publish(
    bucket: &Bucket,
    staged: impl Iterator<Item = StagedRenditions>,
) -> PublishedRenditions {
    let parts = staged.flat_map(|StagedRenditions { key, parts, file }| {
        parts.into_iter().map(move |(side, place)| (RenditionName { key, side }, place, Arc::clone(&file)))
    });
    let puts: Vec<_> = parts
        .map(|(name, place, file)| {
            let reading = blocking(move || {
                let mut bytes = vec![0; usize::try_from(place.end - place.start).map_err(io::Error::other)?];
                file.read_exact_at(&mut bytes, place.start)?;
                Ok::<_, io::Error>(Bytes::from(bytes))
            });
            put(bucket, name, reading)
        })
        .collect();
    let mut published = PublishedRenditions::default();
    let mut puts = stream::iter(puts).buffer_unordered(AT_ONCE);
    while let Some(put) = puts.next().await {
        published.add(put);
    }
    published
}

/// Removes the photo under `key` and its renditions. A crash in between leaves the photo, which is then removed again.
pub(super) async fn remove_with_photo(bucket: &Bucket, key: MediaKey) -> Result<(), MediaError> {
    remove_all(bucket, key).await?;
    bucket.delete(key).await?;
    // Those that were kept meanwhile.
    remove_all(bucket, key).await.map(drop)
}

/// Removes all renditions of a photo, and returns how many. There are fewer than fit one page of a list.
pub(super) async fn remove_all(bucket: &Bucket, key: MediaKey) -> Result<u64, MediaError> {
    let prefix = format!("{PHOTOS}{key}/");
    let options = PaginatedListOptions::default();
    let page = bucket.ask(bucket.client.list_paginated(Some(&prefix), options)).await?;
    let removals: Vec<_> = page.result.objects.iter().filter_map(name_of).map(path).collect();
    let count = removals.len() as u64;
    let removals =
        removals.into_iter().map(async |path| found(bucket.ask(bucket.client.delete(&path)).await).map(drop));
    stream::iter(removals).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(count)
}
