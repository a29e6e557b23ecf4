//! The upload: a multipart body in, a draft with its photos out. All or nothing.
//!
//! Photos are decoded while later parts still arrive, unless an earlier upload made them. A failure before the commit point
//! removes what was staged. This room knows no HTTP: its input is a stream of bytes and a boundary.

mod admission;
pub(crate) mod boundary;
mod commit;
mod counts;
mod error;
mod page_pool;
pub mod parts;
mod photo;
mod quota;
pub mod sniff;
mod spool;
mod work;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::admission::Admission;
use self::counts::Counts;
pub(crate) use self::error::{IngestError, PhotoError};
use self::page_pool::PagePool;
use self::parts::{Part, Parts, StreamError};
use self::photo::{Label, PhotoPart};
use self::work::Work;
use crate::budget::Budget;
use crate::disk::Scratch;
use crate::imaging::{Pool, Recipe};
use crate::model::{Caller, ClientKey, Draft, MediaKey};
use crate::publication::Publisher;
use crate::ratelimit::RateLimiter;

/// Name of the form field that carries photos.
pub(crate) const FILES_FIELD: &str = "files";
/// Name of the form field that carries the title.
pub(crate) const TITLE_FIELD: &str = "title";
/// Most memory that is kept for the next photos while no photo uses it: two photos of the usual size of a phone.
const SPARE_BYTES: u64 = 8 << 20;
/// How long a successful check of store and catalog is valid. The floors of free space are far above what arrives in that
/// time.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Longest title in characters (Unicode scalar values).
pub(crate) const MAX_TITLE_CHARS: usize = 160;

/// Caps on one upload.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Most photos.
    pub photos: usize,
    /// Longest photo in bytes.
    pub photo_bytes: u64,
    /// Longest body in bytes.
    pub body_bytes: u64,
    /// Prefixes of the sniffed types that are allowed.
    pub mime_prefixes: Vec<String>,
    /// How long an encoded photo waits for memory of earlier ones that are not staged yet.
    pub memory_wait: Duration,
    /// Uploads in flight from which on each client is limited to its share.
    pub uploads: usize,
}

/// The result of a finished upload.
#[derive(Debug)]
pub(crate) struct Uploaded {
    /// The draft, durable.
    pub draft: Draft,
    /// One for each photo, in order.
    pub photos: Vec<UploadedPhoto>,
}

/// A photo of a finished upload: its source and what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UploadedPhoto {
    /// Content address of the stored photo.
    pub key: MediaKey,
    /// Sniffed type of the source.
    pub mime: &'static str,
    /// Length of the source in bytes.
    pub bytes: u64,
    /// Whether an earlier draft or an earlier part of this upload has the same source, so that it was not decoded.
    pub is_recognised: bool,
}

/// Takes uploads, and has everything that an upload needs.
pub(crate) struct Ingest {
    limits: Limits,
    recipe: Recipe,
    /// Hash of the recipe. It keys the hash of a source, so that other settings give other source ids.
    fingerprint: [u8; 32],
    budget: Budget,
    pool: Arc<Pool>,
    publisher: Arc<Publisher>,
    scratch: Scratch,
    page_pool: Arc<PagePool>,
    uploads: Arc<Admission>,
    /// When store and catalog were last checked with success.
    checked: Mutex<Option<Instant>>,
    /// Commits that are running.
    commits: TaskTracker,
    /// What one client may add to the store, in KiB.
    quota: Option<Arc<dyn RateLimiter>>,
    counts: Counts,
}

impl Ingest {
    /// Combines the parts. `scratch` is for photos that do not fit the memory budget.
    pub(crate) fn new(
        limits: Limits,
        recipe: Recipe,
        budget: Budget,
        pool: Arc<Pool>,
        publisher: Arc<Publisher>,
        scratch: Scratch,
    ) -> Self {
        let fingerprint = recipe.fingerprint();
        let page_pool = PagePool::new(limits.photo_bytes, SPARE_BYTES.min(budget.sources.limit() / 8));
        let uploads = Admission::new(limits.uploads);
        Self {
            limits,
            recipe,
            fingerprint,
            budget,
            pool,
            publisher,
            scratch,
            page_pool,
            uploads,
            checked: Mutex::default(),
            commits: TaskTracker::new(),
            quota: None,
            counts: Counts::default(),
        }
    }

    /// Limits what one client may add to the store; the units of `quota` are KiB.
    #[must_use]
    pub(crate) fn with_quota(mut self, quota: Option<Arc<dyn RateLimiter>>) -> Self {
        self.quota = quota;
        self
    }

    /// The caps in force.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Checks whether an upload of `client` could succeed now. Called before the body is read.
    ///
    /// # Errors
    /// Its photos would wait longer than they may, or the store or the catalog is full or does not answer.
    pub(crate) async fn admit(&self, client: ClientKey) -> Result<(), IngestError> {
        let wait = self.pool.expected_wait(client);
        if wait > self.pool.wait() {
            return Err(IngestError::Busy { retry_after: wait - self.pool.wait() });
        }
        self.check().await
    }

    /// Checks store and catalog, at most once in [`CHECK_INTERVAL`]: a check costs as much as a small photo.
    async fn check(&self) -> Result<(), IngestError> {
        let asked = Instant::now();
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked().is_some_and(|last| asked.duration_since(last) < CHECK_INTERVAL) {
            return Ok(());
        }
        let (store, catalog) = tokio::join!(self.publisher.store().check(), self.publisher.catalog().check());
        store?;
        catalog?;
        *checked() = Some(asked);
        Ok(())
    }

    /// Returns once all running commits have ended, including those whose clients left. Called when no upload begins any
    /// more.
    pub(crate) async fn drained(&self) {
        self.commits.close();
        self.commits.wait().await;
    }

    /// Takes in one body and returns once its draft is durable.
    ///
    /// Dropping the future before it returns abandons the upload and leaves nothing behind, unless the commit has begun,
    /// which then completes by itself.
    ///
    /// # Errors
    /// See [`IngestError`]; no draft, row or file stays.
    pub(crate) async fn upload<S>(
        self: &Arc<Self>,
        caller: Caller,
        body: S,
        boundary: &str,
    ) -> Result<Uploaded, IngestError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        let _in_flight = self.uploads.begin(caller.client).ok_or_else(IngestError::busy)?;
        let parts = Parts::new(body, boundary, self.limits.body_bytes, self.limits.photos);
        let mut work = Work::new(caller.client, self.publisher.store().begin().into());
        let title = match self.read(parts, &mut work).await {
            Ok(title) => title,
            Err(error) => {
                work.abandon().await;
                return Err(error);
            }
        };
        let (mut photos, staging) = (work.ready, work.staging);
        photos.sort_by_key(|photo| photo.index);
        let ingest = Arc::clone(self);
        // A task of its own: a client that disconnects now must not leave a published photo without its row.
        let commit = async move { ingest.commit(caller, title, photos, &*staging).await };
        let committed = self.commits.spawn(commit.in_current_span());
        let uploaded = committed.await.map_err(|error| IngestError::Internal(error.into()))??;
        self.counts.committed(&uploaded);
        Ok(uploaded)
    }

    /// Reads all parts, gives their photos to `work`, waits for them, and returns the title.
    async fn read(self: &Arc<Self>, mut parts: Parts, work: &mut Work) -> Result<String, IngestError> {
        let mut title = String::new();
        let (mut index, mut photos, mut empty) = (0, 0, None);
        while let Some(part) = work.meanwhile(parts.next()).await?? {
            match part.name() {
                FILES_FIELD => {
                    let label = Label { index, filename: part.filename().map(str::to_owned) };
                    match work.meanwhile(self.receive(part, label)).await?? {
                        PhotoPart::Photo(photo) => {
                            photos += 1;
                            work.begin(Arc::clone(self), photo);
                        }
                        PhotoPart::Empty(label) => empty = empty.or(Some(label)),
                        PhotoPart::NotChosen => continue,
                    }
                    index += 1;
                    // A form of empty parts alone has no photo. Beside a photo, an empty part is a photo that was lost.
                    if let Some(label) = empty.as_ref().filter(|_| photos > 0) {
                        return Err(label.blame(PhotoError::NoBytes));
                    }
                }
                TITLE_FIELD => title = work.meanwhile(read_title(part)).await??,
                _ => work.meanwhile(part.skip()).await??,
            }
        }
        if photos == 0 {
            return Err(IngestError::NoPhoto { max: self.limits.photos });
        }
        work.finish().await?;
        Ok(title)
    }
}

async fn read_title(mut part: Part<'_>) -> Result<String, IngestError> {
    if part.is_encoded() {
        return Err(IngestError::TitleEncoded);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await? {
        // A character takes at most four bytes.
        if bytes.len() + chunk.len() > 4 * MAX_TITLE_CHARS {
            return Err(IngestError::TitleTooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    let title = String::from_utf8(bytes).map_err(|_| IngestError::TitleNotText)?;
    if title.chars().count() > MAX_TITLE_CHARS {
        return Err(IngestError::TitleTooLong);
    }
    // Text areas send tabs and line breaks. No form sends other control characters, and no database accepts U+0000.
    let is_refused = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    match title.chars().find(is_refused) {
        Some(character) => Err(IngestError::TitleControl { character }),
        None => Ok(title),
    }
}

#[cfg(test)]
mod tests;
