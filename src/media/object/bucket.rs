//! The bucket: its requests, through the circuit breaker, and the names of photos in it.

use std::future::Future;
use std::path::Path as FsPath;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use object_store::list::PaginatedListOptions;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::fault::{Fault, found};
use super::{Client, Connection};
use crate::disk::FreeDisk;
use crate::media::{MediaError, MediaName, Stored};
use crate::model::MediaKey;

pub(super) const PHOTOS: &str = "media/";
/// Photos that are sent to the bucket in parallel. Only these are in memory.
const PUTS: usize = 32;
/// Requests that are made in parallel for one caller.
pub(crate) const AT_ONCE: usize = 8;
/// For how long after an answer the service counts as available.
const AVAILABLE_FOR: Duration = Duration::from_secs(1);
/// A photo is removed within this time after its age was read, or not at all. See [`publish`](super::publish).
pub(super) const REMOVED_WITHIN: Duration = Duration::from_secs(2);

/// The bucket with its client, and what is known about the service.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(super) name: String,
    pub(super) scheme: &'static str,
    /// Its requests are made through [`ask`](Self::ask).
    pub(crate) client: Arc<dyn Client>,
    pub(super) link_lifetime: Duration,
    /// The directory for bytes that are not in the bucket yet.
    pub(crate) scratch: Arc<FsPath>,
    /// Below this free space the volume of `scratch` counts as full.
    pub(crate) min_free: FreeDisk,
    breaker: Breaker,
    pub(super) puts: Semaphore,
    answered: Mutex<Option<Instant>>,
    /// Whether the bucket ever answered. Before that, an absent object may mean an absent bucket.
    is_seen: AtomicBool,
}

impl Bucket {
    pub(super) fn new(connection: Connection, scratch: &FsPath, min_free: FreeDisk) -> Self {
        let Connection { bucket: name, scheme, settings: _, client, link_lifetime } = connection;
        Self {
            name,
            scheme,
            client,
            link_lifetime,
            scratch: scratch.into(),
            min_free,
            breaker: Breaker::new(),
            puts: Semaphore::new(PUTS),
            answered: Mutex::default(),
            is_seen: AtomicBool::new(false),
        }
    }

    /// Makes a call, unless the circuit breaker is open.
    pub(crate) async fn ask<T>(
        &self,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Fault> {
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

    /// Sends the smallest request, to find out whether the bucket answers.
    pub(super) async fn probe(&self) -> Result<(), Fault> {
        let options = PaginatedListOptions { max_keys: Some(1), ..Default::default() };
        self.ask(self.client.list_paginated(Some(PHOTOS), options)).await?;
        self.is_seen.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn head(&self, key: MediaKey) -> Result<Option<ObjectMeta>, MediaError> {
        let path = path(key);
        let meta = found(self.ask(self.client.head(&path)).await)?;
        // The answer to a HEAD is the same for an absent bucket and for an absent object.
        if meta.is_none() && !self.is_seen.load(Ordering::Relaxed) {
            self.probe().await?;
        }
        Ok(meta)
    }

    pub(super) async fn delete(&self, key: MediaKey) -> Result<(), MediaError> {
        let path = path(key);
        found(self.ask(self.client.delete(&path)).await).map(drop)
    }

    pub(super) fn has_answered_just_now(&self) -> bool {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.is_some_and(|last| last.elapsed() < AVAILABLE_FOR)
    }
}

pub(super) fn path(key: MediaKey) -> Path {
    Path::from(format!("{PHOTOS}{}", MediaName::from(key)))
}

/// Returns key, length and time of an object, if it is a photo. Some answers of the service have times in whole seconds, so
/// all times are cut to them.
pub(super) fn stored(meta: &ObjectMeta) -> Option<Stored> {
    let name: MediaName = meta.location.as_ref().strip_prefix(PHOTOS)?.parse().ok()?;
    let seconds = u64::try_from(meta.last_modified.timestamp()).unwrap_or(0);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Some(Stored { key: name.key(), length: meta.size, modified })
}
