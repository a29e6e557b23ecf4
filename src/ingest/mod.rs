//! The upload: a multipart body or URLs in, a draft with its photos out. All or nothing.
//!
//! Photos are decoded while later parts still arrive, unless an earlier upload made them. A failure before the commit point
//! removes what was staged. This room knows no HTTP: its input is a stream of bytes and a boundary, or what `fetch` brings.

mod admission;
pub(crate) mod boundary;
mod commit;
mod counts;
mod error;
mod form;
mod page_pool;
pub mod parts;
mod photo;
mod quota;
mod single;
pub mod sniff;
mod spool;
mod steps;
mod urls;
mod work;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub(crate) use self::admission::{Admission, InFlight};
use self::commit::Commit;
use self::counts::Counts;
pub(crate) use self::error::{IngestError, PhotoError};
pub(crate) use self::form::{FILES_FIELD, TITLE_FIELD};
use self::page_pool::PagePool;
use self::parts::{Parts, StreamError};
pub(crate) use self::photo::PhotoBytes;
use self::steps::Steps;
use self::work::{Prepared, Work};
use crate::budget::Budget;
use crate::catalog::{Claim, ClaimedAttempt, NewAttempt};
use crate::disk::Scratch;
use crate::fetch::Fetcher;
use crate::imaging::{Pool, Recipe, RenditionSizes};
use crate::model::{Caller, ClientKey, Draft, DraftId, MediaKey};
use crate::publication::Publisher;
use crate::ratelimit::RateLimiter;
use crate::recent_check::RecentCheck;

/// Most memory that is kept for the next photos while no photo uses it: two photos of the usual size of a phone.
const SPARE_BYTES: u64 = 8 << 20;
/// Uploads by URL in flight from which on each client is limited to its share. Each has up to four connections.
const UPLOADS_BY_URL: usize = 64;

/// Caps on one upload.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Most photos in one request.
    pub photos: usize,
    /// Most photos of one draft.
    pub photos_per_draft: usize,
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

#[cfg(test)]
impl Limits {
    /// Returns the limits of tests: up to five photos of 1 MiB.
    pub(crate) fn for_tests() -> Self {
        Self {
            photos: 5,
            photos_per_draft: 5,
            photo_bytes: 1 << 20,
            body_bytes: 8 << 20,
            mime_prefixes: vec!["image/".into()],
            memory_wait: Duration::from_secs(5),
            uploads: 64,
        }
    }
}

/// Who uploads, to which draft, and what a bad photo means.
pub(crate) struct Upload {
    /// The sender.
    pub caller: Caller,
    /// The draft that gets the photos.
    pub target: Target,
    /// What happens to the other photos if one is bad.
    pub on_error: OnError,
    /// The attempt that succeeds with the upload, if the client may repeat it.
    pub attempt: Option<UploadAttempt>,
}

/// An upload that the client may repeat.
pub(crate) struct UploadAttempt {
    /// The attempt, with its claim.
    pub claimed: ClaimedAttempt,
    /// Writes the note of the attempt from the photos that were left out.
    pub note: fn(&[Rejected]) -> String,
}

impl UploadAttempt {
    /// Returns what is to be recorded, and the claim, which lives until then.
    fn with_rejected(self, rejected: &[Rejected]) -> (NewAttempt, Box<dyn Claim>) {
        let ClaimedAttempt { attempt, claim } = self.claimed;
        (NewAttempt { note: (self.note)(rejected), ..attempt }, claim)
    }
}

/// The draft that gets the photos of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A new draft of the caller.
    NewDraft,
    /// An existing draft, after its last photo.
    Append {
        /// The draft.
        draft: DraftId,
        /// The version that the draft must have when the photos are added, if any.
        version: Option<u64>,
    },
}

/// What happens to the other photos of an upload if one is bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// The upload fails.
    #[default]
    Fail,
    /// The bad photo is left out. The upload fails if there is no good one.
    Skip,
}

/// The result of a finished upload.
#[derive(Debug)]
pub(crate) struct Uploaded {
    /// The draft, durable.
    pub draft: Draft,
    /// One for each photo, in order.
    pub photos: Vec<UploadedPhoto>,
    /// The photos that were left out, in order.
    pub rejected: Vec<Rejected>,
}

/// An upload whose photos are encoded and not yet recorded.
pub(crate) struct ReadUpload {
    in_flight: InFlight,
    work: Work,
    title: String,
}

/// A photo that was left out of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Its position among the photos, from 0.
    pub index: usize,
    /// The file name that the client declared.
    pub filename: Option<String>,
    /// What is wrong with it.
    pub reason: PhotoError,
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
    /// Renditions that are made with each photo.
    renditions: Arc<RenditionSizes>,
    /// Hash of the recipe. It keys the hash of a source, so that other settings give other source ids.
    fingerprint: [u8; 32],
    budget: Budget,
    pool: Arc<Pool>,
    publisher: Arc<Publisher>,
    scratch: Scratch,
    page_pool: Arc<PagePool>,
    uploads: Arc<Admission>,
    uploads_by_url: Arc<Admission>,
    checked: RecentCheck,
    /// Commits that are running.
    commits: TaskTracker,
    /// What one client may add to the store, in KiB.
    quota: Option<Arc<dyn RateLimiter>>,
    counts: Counts,
    steps: Steps,
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
            renditions: Arc::default(),
            fingerprint,
            budget,
            pool,
            publisher,
            scratch,
            page_pool,
            uploads,
            uploads_by_url: Admission::new(UPLOADS_BY_URL),
            checked: RecentCheck::default(),
            commits: TaskTracker::new(),
            quota: None,
            counts: Counts::default(),
            steps: Steps::default(),
        }
    }

    /// Limits what one client may add to the store; the units of `quota` are KiB.
    #[must_use]
    pub(crate) fn with_quota(mut self, quota: Option<Arc<dyn RateLimiter>>) -> Self {
        self.quota = quota;
        self
    }

    /// Makes these renditions with each photo.
    #[must_use]
    pub(crate) fn with_renditions(mut self, sizes: RenditionSizes) -> Self {
        self.renditions = Arc::new(sizes);
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

    /// Checks store and catalog.
    async fn check(&self) -> Result<(), IngestError> {
        let check = async {
            let (store, catalog) =
                tokio::join!(self.publisher.store().check(), self.publisher.catalog().check());
            store?;
            Ok(catalog?)
        };
        self.checked.run(check).await
    }

    /// Returns once all running commits have ended, including those whose clients left. Called when no upload begins any
    /// more.
    pub(crate) async fn drained(&self) {
        self.commits.close();
        self.commits.wait().await;
    }

    /// Takes in one body, and returns once all its photos are encoded. Nothing is recorded before [`record`](Self::record).
    ///
    /// Dropping the future, or what it returns, abandons the photos.
    ///
    /// # Errors
    /// See [`IngestError`]; no file stays.
    pub(crate) async fn read<S>(
        self: &Arc<Self>,
        client: ClientKey,
        on_error: OnError,
        body: S,
        boundary: &str,
    ) -> Result<ReadUpload, IngestError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        let (in_flight, mut work) = self.begin(client, on_error)?;
        let parts = Parts::new(body, boundary, self.limits.body_bytes, self.limits.photos);
        match self.read_form(parts, &mut work).await {
            Ok(title) => Ok(ReadUpload { in_flight, work, title }),
            Err(error) => {
                work.abandon().await;
                Err(error)
            }
        }
    }

    /// Fetches photos and returns once their draft is durable. Dropping the future abandons the upload, unless its recording has
    /// begun, which then completes by itself.
    ///
    /// # Errors
    /// See [`IngestError`]; no draft, row or file stays.
    pub(crate) async fn upload_urls(
        self: &Arc<Self>,
        upload: Upload,
        fetcher: &Arc<Fetcher>,
        urls: Vec<String>,
        title: String,
    ) -> Result<Uploaded, IngestError> {
        let client = upload.caller.client;
        let _by_url = self.uploads_by_url.begin(client).ok_or_else(IngestError::busy)?;
        let (in_flight, mut work) = self.begin(client, upload.on_error)?;
        if let Err(error) = self.read_urls(fetcher, urls, &mut work).await {
            work.abandon().await;
            return Err(error);
        }
        self.record(upload, ReadUpload { in_flight, work, title }).await
    }

    /// Begins an upload, unless its client has its share of those in flight.
    fn begin(&self, client: ClientKey, on_error: OnError) -> Result<(InFlight, Work), IngestError> {
        let in_flight = self.uploads.begin(client).ok_or_else(IngestError::busy)?;
        Ok((in_flight, Work::new(client, self.publisher.store().begin().into(), on_error)))
    }

    /// Records the draft of an upload that was read, and returns once it is durable. Completes by itself if the future is
    /// dropped.
    ///
    /// # Errors
    /// See [`IngestError`]; no draft, row or file stays.
    pub(crate) async fn record(
        self: &Arc<Self>,
        upload: Upload,
        read: ReadUpload,
    ) -> Result<Uploaded, IngestError> {
        let ReadUpload { in_flight: _in_flight, work, title } = read;
        let Upload { caller, target, on_error: _, attempt } = upload;
        let Prepared { photos, rejected, staging } = work.prepared();
        let (attempt, claim) = attempt.map(|attempt| attempt.with_rejected(&rejected)).unzip();
        let ingest = Arc::clone(self);
        // A task of its own: a client that disconnects now must not leave a published photo without its row.
        let commit = async move {
            let _claim = claim;
            ingest.commit(Commit { caller, target, title, attempt }, photos, &*staging).await
        };
        let committed = self.commits.spawn(commit.in_current_span());
        let (draft, photos) = committed.await.map_err(|error| IngestError::Internal(error.into()))??;
        for Rejected { index, reason, .. } in &rejected {
            tracing::info!(file_index = index, %reason, draft = draft.id.0, "a photo was left out");
        }
        let uploaded = Uploaded { draft, photos, rejected };
        self.counts.committed(&uploaded.photos);
        Ok(uploaded)
    }
}

#[cfg(test)]
mod tests;
