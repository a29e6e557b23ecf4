//! Resumable uploads: one photo, or a form with several, sent over several connections.
//!
//! The catalog has a row for each upload and says which of its bytes are acknowledged; the bytes are in a [`PartialStore`]. A
//! request that continues an upload becomes its writer. It ends earlier requests of this process, and the catalog refuses the
//! changes of earlier writers of other processes. Bytes are acknowledged in steps (see `appender`), and whenever a request ends for
//! any reason. A complete upload is stored as a photo or a form that comes in one piece is; then its bytes are removed.
//!
//! This room knows no HTTP. It refuses bytes beyond the length of the upload, of the largest photo or of the largest form, first
//! bytes that are no accepted photo, and bytes beyond the quota of the client.

mod appender;
mod digest;
mod error;
mod expire;
mod finish;
mod form;
mod head;
mod quota;
mod reader;
mod request;
mod turns;
mod verified;
mod verified_body;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::appender::Appender;
pub(crate) use self::digest::{Algorithm, Digest, Digester};
pub(crate) use self::error::UploadError;
pub(crate) use self::form::FormRequest;
use self::form::{Parked, Pauses};
use self::reader::Reader;
pub(crate) use self::request::UploadRequest;
use self::turns::Turns;
pub(crate) use self::verified_body::verified_body;
pub(crate) use self::whole::Whole;
use crate::catalog::{Catalog, ClaimedAttempt, UploadChange, UploadRow, UploadState};
use crate::ingest::parts::{PartsError, StreamError};
use crate::ingest::{Ingest, IngestError, PhotoError, Rejected};
use crate::listings::may_see;
use crate::model::{AttemptId, Caller, Draft, Media, Timestamp, UploadId, UserId};
use crate::partial::{PartialError, PartialStore, Resumption};
use crate::ratelimit::RateLimiter;
use crate::telemetry::metrics::{Counter, Metrics, Unit};

/// Takes in resumable uploads.
pub(crate) struct ResumableUploads {
    catalog: Arc<dyn Catalog>,
    partial: Arc<dyn PartialStore>,
    ingest: Arc<Ingest>,
    rules: Rules,
    /// What one client may add to the store, in KiB.
    quota: Option<Arc<dyn RateLimiter>>,
    turns: Turns,
    parked: Parked,
    pauses: Pauses,
    appends: TaskTracker,
    counts: Counts,
}

/// What holds for all uploads.
pub(crate) struct Rules {
    /// How long an upload is kept after it was last continued.
    pub lifetime: Duration,
    /// Whether uploads without an owner are hidden.
    pub auth_required: bool,
    /// Makes the ids of uploads from Idempotency-Keys unguessable.
    pub id_key: [u8; 32],
    /// How long an attempt is remembered.
    pub attempt_lifetime: Duration,
    /// Writes down why a photo was refused.
    pub describe_photo: fn(&PhotoError) -> String,
    /// Writes down why a form was refused.
    pub describe_form: fn(IngestError) -> String,
    /// Writes down which photos of a form were left out.
    pub note: fn(&[Rejected]) -> String,
}

#[derive(Debug, Default)]
struct Counts {
    created: Counter,
    resumed: Counter,
    finished: Counter,
    failed: Counter,
    expired: Counter,
}

/// An upload that the caller may use. Only [`ResumableUploads::find`] and [`ResumableUploads::create`] make one.
#[derive(Debug, Clone)]
pub(crate) struct FoundUpload(UploadRow);

impl FoundUpload {
    /// The upload as it was found.
    pub(crate) fn row(&self) -> &UploadRow {
        &self.0
    }
}

/// How bytes are appended to an upload.
pub(crate) struct Append<S> {
    /// The client.
    pub caller: Caller,
    /// Where the bytes begin.
    pub offset: u64,
    /// Whether the upload is complete with the last of them. Else it is complete if its length is reached and `ends_at_length`.
    pub is_last: bool,
    /// Whether an upload is complete as soon as its length is reached.
    pub ends_at_length: bool,
    /// The length of the whole upload, if the request says so.
    pub length: Option<u64>,
    /// The digest of these bytes. None of them is acknowledged before it is verified.
    pub digest: Option<Digest>,
    /// The attempt that the request claimed. Held until it ends, even if the client disconnects.
    pub claimed: Option<ClaimedAttempt>,
    /// The bytes.
    pub body: S,
}

/// The state of an upload after a request.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// Bytes are missing.
    Receiving(UploadRow),
    /// The photo is stored.
    Finished(UploadRow, Media),
    /// The draft of the form is recorded.
    Ingested {
        /// The upload.
        row: UploadRow,
        /// The draft as it was recorded.
        draft: Draft,
        /// What [`Rules::note`] wrote, or nothing if no photo may be left out.
        note: String,
    },
}

impl ResumableUploads {
    /// Combines the parts. The units of `quota` are KiB.
    pub(crate) fn new(
        catalog: Arc<dyn Catalog>,
        partial: Arc<dyn PartialStore>,
        ingest: Arc<Ingest>,
        quota: Option<Arc<dyn RateLimiter>>,
        rules: Rules,
    ) -> Self {
        Self {
            catalog,
            partial,
            ingest,
            rules,
            quota,
            turns: Turns::default(),
            parked: Parked::default(),
            pauses: Pauses::default(),
            appends: TaskTracker::new(),
            counts: Counts::default(),
        }
    }

    /// Registers the metrics of resumable uploads.
    pub(crate) fn register(&self, metrics: &mut Metrics) {
        let Counts { created, resumed, finished, failed, expired } = &self.counts;
        let rows = [
            ("uploads_created", "Resumable uploads that were created", created),
            ("uploads_resumed", "Requests that continued a resumable upload", resumed),
            ("uploads_finished", "Resumable uploads whose photos were stored", finished),
            ("uploads_failed", "Resumable uploads that were refused", failed),
            ("uploads_expired", "Resumable uploads that were removed because they expired", expired),
        ];
        for (name, help, counter) in rows {
            metrics.register(name, Unit::Of("uploads"), help, counter.clone());
        }
    }

    /// Returns once all requests that write have ended. Called when none begins any more.
    pub(crate) async fn drained(&self) {
        self.appends.close();
        self.appends.wait().await;
        self.parked.clear();
    }

    /// The longest upload in bytes.
    pub(crate) fn max_length(&self, request: &UploadRequest) -> u64 {
        let limits = self.ingest.limits();
        if request.form.is_some() { limits.body_bytes } else { limits.photo_bytes }
    }

    /// Returns how long `row` is kept from now on.
    pub(crate) fn remaining(&self, row: &UploadRow) -> Duration {
        Duration::from_millis(row.expires.millis().saturating_sub(Timestamp::now().millis()))
    }

    /// Creates an upload under `id`. Returns the one that there is already, and false, if `id` is taken.
    ///
    /// # Errors
    /// `length` is more than an upload may have, there is no room, or the catalog failed.
    pub(crate) async fn create(
        &self,
        caller: Caller,
        id: UploadId,
        request: &UploadRequest,
        length: Option<u64>,
    ) -> Result<(FoundUpload, bool), UploadError> {
        self.refuse_longer(request, length)?;
        self.ingest.admit(caller.client).await?;
        let row = self.new_row(caller, id, request, length)?;
        if !self.catalog.create_upload(row.clone()).await? {
            let there = self.catalog.upload(id).await?.ok_or(UploadError::Superseded)?;
            return Ok((FoundUpload(there), false));
        }
        self.counts.created.inc();
        Ok((FoundUpload(row), true))
    }

    /// Returns an upload that `user` may use.
    ///
    /// # Errors
    /// The upload does not exist, expired, or belongs to another user, or the catalog failed.
    pub(crate) async fn find(&self, user: Option<UserId>, id: UploadId) -> Result<FoundUpload, UploadError> {
        let is_open = |row: &UploadRow| {
            may_see(user, row.owner, self.rules.auth_required) && row.expires > Timestamp::now()
        };
        let found = self.catalog.upload(id).await?.filter(is_open);
        found.map(FoundUpload).ok_or(UploadError::NotFound)
    }

    /// Returns the id of the upload that the request of an attempt creates, so that the request finds it when it is sent again.
    pub(crate) fn id_of(&self, attempt: AttemptId) -> UploadId {
        let hash = blake3::keyed_hash(&self.rules.id_key, attempt.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        UploadId::from_bytes(id)
    }

    /// Returns the upload of an earlier request with the same Idempotency-Key. One that failed or expired is removed, and the
    /// request is a new one.
    ///
    /// # Errors
    /// A store failed.
    pub(crate) async fn earlier(
        &self,
        user: Option<UserId>,
        id: UploadId,
    ) -> Result<Option<FoundUpload>, UploadError> {
        let Some(row) = self.catalog.upload(id).await?.filter(|row| row.owner == user) else {
            return Ok(None);
        };
        let is_over = row.expires <= Timestamp::now() || matches!(row.state, UploadState::Failed(_));
        let found = FoundUpload(row);
        if !is_over {
            return Ok(Some(found));
        }
        match self.remove_claimed(&found).await {
            Ok(()) | Err(UploadError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the photo of an upload, or `None` if it has none or the photo was removed.
    ///
    /// # Errors
    /// The catalog failed.
    pub(crate) async fn photo(&self, row: &UploadRow) -> Result<Option<Media>, UploadError> {
        match row.state {
            UploadState::Finished(media) | UploadState::InDraft(media, _) => {
                Ok(self.catalog.media(media).await?)
            }
            UploadState::Receiving | UploadState::Ingested(_) | UploadState::Failed(_) => Ok(None),
        }
    }

    /// Ends the requests that write an upload, and returns it as it is then: its offset stays until it is continued.
    ///
    /// # Errors
    /// The upload was removed, or the catalog failed.
    pub(crate) async fn stop_writers(&self, found: &FoundUpload) -> Result<FoundUpload, UploadError> {
        let _turn = self.turns.take(found.0.id).await?;
        let row = self.current(found).await?;
        if row.state != UploadState::Receiving {
            return Ok(FoundUpload(row));
        }
        // A writer of another instance acknowledges nothing more from here on.
        self.claim(row).await.map(FoundUpload)
    }

    /// Removes an upload, and its bytes.
    ///
    /// # Errors
    /// The upload was removed already, its draft is being recorded, or a store failed.
    pub(crate) async fn remove(&self, found: &FoundUpload) -> Result<(), UploadError> {
        let _turn = self.turns.take(found.0.id).await?;
        // Another instance may be recording the draft of a form. After this call reports the removal, no instance may record it.
        let form = UploadRequest::of_text(&found.0.request).form;
        let _attempted = match form {
            Some(form) if found.0.state == UploadState::Receiving => {
                Some(self.attempt(found.0.id, &form).await?)
            }
            _ => None,
        };
        self.remove_row(found).await
    }

    /// Removes an upload, and its bytes, for a request that has claimed the attempt of the upload.
    ///
    /// # Errors
    /// The upload was removed already, or a store failed.
    pub(crate) async fn remove_claimed(&self, found: &FoundUpload) -> Result<(), UploadError> {
        let _turn = self.turns.take(found.0.id).await?;
        self.remove_row(found).await
    }

    async fn remove_row(&self, found: &FoundUpload) -> Result<(), UploadError> {
        let id = found.0.id;
        self.parked.forget(id);
        let newest = UploadRow::newest_writer(Timestamp::now());
        if !self.catalog.remove_upload(id, None).await? {
            return Err(UploadError::NotFound);
        }
        Ok(self.partial.remove(id, newest).await?)
    }

    /// Appends bytes, and stores the photo or records the draft if they are the last. `acknowledged` gets the offset at which the request begins to
    /// write, and each one that is acknowledged later.
    ///
    /// The work goes on if the future is dropped, as long as the body brings bytes.
    ///
    /// # Errors
    /// See [`UploadError`]. What was acknowledged stays so.
    pub(crate) async fn append<S>(
        self: &Arc<Self>,
        found: FoundUpload,
        append: Append<S>,
        acknowledged: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Progress, UploadError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        let uploads = Arc::clone(self);
        let work = async move { uploads.receive(found, append, acknowledged).await };
        let done = self.appends.spawn(work.in_current_span());
        done.await.map_err(|error| UploadError::Internal(error.into()))?
    }

    async fn receive<S>(
        self: Arc<Self>,
        found: FoundUpload,
        append: Append<S>,
        acknowledged: impl Fn(u64) + Send + Sync,
    ) -> Result<Progress, UploadError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send,
    {
        let Append { caller, offset, is_last, ends_at_length, length, digest, claimed, body } = append;
        let turn = self.turns.take(found.0.id).await?;
        // Dropped before the turn ends, so that the next request can claim it.
        let claimed = claimed;
        let row = self.current(&found).await?;
        match &row.state {
            UploadState::Receiving => {}
            UploadState::Finished(_) | UploadState::InDraft(..) | UploadState::Ingested(_) => {
                return Err(UploadError::Completed { offset: row.offset });
            }
            UploadState::Failed(reason) => return Err(UploadError::Refused(reason.clone())),
        }
        if row.offset != offset {
            return Err(UploadError::OffsetMismatch { expected: row.offset, provided: offset });
        }
        if row.length.is_some() && length.is_some() && row.length != length {
            return Err(UploadError::InconsistentLength);
        }
        let request = UploadRequest::read(&row.request)?;
        let length = row.length.or(length);
        self.refuse_longer(&request, length)?;
        if length.is_some_and(|length| length < offset) {
            return Err(UploadError::InconsistentLength);
        }
        let row = self.claim(row).await?;
        if row.offset != offset {
            return Err(UploadError::OffsetMismatch { expected: row.offset, provided: offset });
        }
        if offset > 0 {
            self.counts.resumed.inc();
        }
        let at = Resumption { epoch: row.writer, offset };
        let writer = match self.partial.append(row.id, &row.layout, at).await {
            Err(error @ PartialError::TooManyResumptions) => {
                // Nothing continues it: its client begins anew, also under the same Idempotency-Key.
                self.catalog.remove_upload(row.id, None).await?;
                self.partial.remove(row.id, row.writer).await?;
                return Err(error.into());
            }
            writer => writer?,
        };
        let reader = self.reader(caller, &row, &request).await?;
        // From here on a later request waits until this one has ended.
        acknowledged(offset);
        let mut appender = Appender {
            uploads: &self,
            caller,
            row,
            length,
            request: &request,
            writer,
            reader,
            digester: digest.as_ref().map(Digest::digester),
            charged: 0,
        };
        let received = appender.receive(body, turn.superseded(), &acknowledged).await;
        let (end, length) = (appender.end(), appender.length);
        let is_complete = is_last || (ends_at_length && length == Some(end));
        let is_consistent = !is_complete || length.is_none_or(|length| length == end);
        let ends_photo = is_complete && is_consistent && matches!(appender.reader, Reader::Photo { .. });
        // Whatever ended the request: what it brought is acknowledged, unless its digest says nothing of a part.
        let kept = match (&received, &digest) {
            // The writer is of no more use.
            (Err(UploadError::Partial(_) | UploadError::Catalog(_)), _) | (Err(_), Some(_)) => Ok(()),
            (Ok(()), Some(digest)) if !appender.has(digest) => Err(UploadError::DigestMismatch),
            (Ok(()), _) if ends_photo => Ok(()),
            (Ok(()), Some(_)) | (_, None) => appender.acknowledge(&acknowledged).await,
        };
        let claim = (appender.row.id, appender.row.writer);
        let received = received.and(kept);
        // The ends are boxed, so that an upload that receives takes no memory for them.
        if received.is_ok() && ends_photo {
            let done = Box::pin(self.finish(appender, &acknowledged)).await;
            return self.or_superseded(claim, done).await;
        }
        let Appender { row, writer, reader, .. } = appender;
        // Before its bytes are read or removed.
        drop(writer);
        if let Err(error) = received {
            let error = self.refuse_if_final(&row, error).await?;
            self.park(reader, &row);
            return Err(error);
        }
        if !is_consistent {
            return Err(UploadError::InconsistentLength);
        }
        let mut form = match reader {
            Reader::Form(form) if is_complete => form,
            reader => {
                self.park(reader, &row);
                return Ok(Progress::Receiving(row));
            }
        };
        let done = Box::pin(self.finish_form(caller, &row, &mut form, claimed)).await;
        match self.or_superseded(claim, done).await {
            Ok(progress) => Ok(progress),
            Err(error) => {
                let error = self.refuse_if_final(&row, error).await?;
                self.park_form(*form, &row);
                Err(error)
            }
        }
    }

    /// Returns what the end of an upload came to. If it failed because another instance has removed the bytes meanwhile, for a
    /// request that begins anew, it was superseded.
    async fn or_superseded(
        &self,
        (id, writer): (UploadId, u64),
        done: Result<Progress, UploadError>,
    ) -> Result<Progress, UploadError> {
        match done {
            Err(UploadError::Partial(error)) => {
                let row = self.catalog.upload(id).await?;
                let is_writer = row.is_some_and(|row| row.writer == writer);
                Err(if is_writer { error.into() } else { UploadError::Superseded })
            }
            done => done,
        }
    }

    /// Reads the row of an upload again.
    async fn current(&self, found: &FoundUpload) -> Result<UploadRow, UploadError> {
        self.catalog.upload(found.0.id).await?.ok_or(UploadError::NotFound)
    }

    /// Becomes the writer of an upload.
    async fn claim(&self, mut row: UploadRow) -> Result<UploadRow, UploadError> {
        loop {
            let (offset, expires) = (row.offset, self.expiry());
            let layout = self.partial.layout(&row.layout, Resumption { epoch: row.writer + 1, offset });
            let claim = UploadChange::Claim { offset, layout, expires };
            if let Some(claimed) = self.catalog.change_upload(row.id, row.writer, claim).await? {
                return Ok(claimed);
            }
            // A writer of another instance has acknowledged more bytes since the row was read, or there is a newer one.
            let now = self.catalog.upload(row.id).await?.ok_or(UploadError::NotFound)?;
            if now.writer != row.writer || now.offset == offset {
                return Err(UploadError::Superseded);
            }
            row = now;
        }
    }

    /// Returns when an upload that is continued now may be removed: after a whole minute, so that an index of these times seldom
    /// changes.
    fn expiry(&self) -> Timestamp {
        let expiry = Timestamp::now().plus(self.rules.lifetime).millis();
        Timestamp::from_millis(expiry - expiry % 60_000)
    }

    fn refuse_longer(&self, request: &UploadRequest, length: Option<u64>) -> Result<(), UploadError> {
        let max = self.max_length(request);
        match length {
            Some(length) if length > max && request.form.is_some() => {
                Err(UploadError::Body(PartsError::TooLarge { max }))
            }
            Some(length) if length > max => Err(UploadError::TooLong { max }),
            _ => Ok(()),
        }
    }
}
