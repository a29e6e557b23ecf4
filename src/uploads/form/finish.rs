//! The end of a form: its draft is recorded, or the form is refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{FormReader, FormRequest};
use crate::catalog::{ChangeError, ClaimedAttempt, Claiming, UploadChange, UploadRow, claim_attempt};
use crate::ingest::{IngestError, OnError, Rejected, Upload, UploadAttempt, Uploaded};
use crate::model::{AttemptId, Caller, Draft, UploadId};
use crate::uploads::{Progress, ResumableUploads, UploadError};

/// How long the end of a form waits for an earlier request with its attempt, which may not know yet that its client is gone.
const CLAIM_WAIT: Duration = Duration::from_secs(10);
/// How often it asks.
const CLAIM_POLL: Duration = Duration::from_millis(200);
/// Longest time for which an end that failed is not tried again.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What a request finds when the last byte of a form is acknowledged.
pub(in crate::uploads) enum Attempted {
    Claimed(ClaimedAttempt),
    /// An earlier request recorded the draft.
    Recorded(Draft, String),
}

/// Forms whose end failed for a reason that passes, and when it may be tried again. Each try decodes the whole form.
#[derive(Debug, Default)]
pub(in crate::uploads) struct Pauses(Mutex<HashMap<UploadId, Instant>>);

impl Pauses {
    fn check(&self, id: UploadId) -> Result<(), IngestError> {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        until.retain(|_, until| *until > now);
        match until.get(&id) {
            Some(until) => Err(IngestError::Busy { retry_after: *until - now }),
            None => Ok(()),
        }
    }

    fn begin(&self, id: UploadId, error: &IngestError) {
        if let Some(pause) = error.retry_after() {
            let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            until.insert(id, Instant::now() + pause.min(MAX_PAUSE));
        }
    }
}

impl ResumableUploads {
    /// Records the draft of a form whose bytes are all acknowledged. `claimed` is the attempt that the request began with.
    pub(in crate::uploads) async fn finish_form(
        &self,
        caller: Caller,
        row: &UploadRow,
        reader: &mut FormReader,
        claimed: Option<ClaimedAttempt>,
    ) -> Result<Progress, UploadError> {
        let attempted = match claimed {
            Some(claimed) => Attempted::Claimed(claimed),
            None => self.attempt(row.id, &reader.request).await?,
        };
        let claimed = match attempted {
            Attempted::Claimed(claimed) => claimed,
            Attempted::Recorded(draft, note) => return Ok(self.ingested(caller, row, draft, note).await),
        };
        self.pauses.check(row.id)?;
        let recorded = self.record_form(caller, row, reader, claimed).await;
        if let Err(UploadError::Ingest(error)) = &recorded {
            self.pauses.begin(row.id, error);
        }
        let (draft, note) = recorded?;
        Ok(self.ingested(caller, row, draft, note).await)
    }

    async fn record_form(
        &self,
        caller: Caller,
        row: &UploadRow,
        reader: &mut FormReader,
        claimed: ClaimedAttempt,
    ) -> Result<(Draft, String), UploadError> {
        let session = self.take_session(reader);
        self.feed_stored(reader.session.insert(session), row).await??;
        let read = self.take_session(reader).end().await?;
        let FormRequest { target, on_error, .. } = reader.request;
        let note = match on_error {
            OnError::Fail => |_: &[Rejected]| String::new(),
            OnError::Skip => self.rules.note,
        };
        let attempt = Some(UploadAttempt { claimed, note });
        // The draft belongs to the user who created the upload.
        let caller = Caller { user: row.owner, ..caller };
        let recorded = self.ingest.record(Upload { caller, target, on_error, attempt }, read).await;
        match recorded {
            Ok(Uploaded { draft, rejected, photos: _ }) => Ok((draft, note(&rejected))),
            // A request on another instance was faster.
            Err(IngestError::Draft(ChangeError::Repeated)) => Err(UploadError::InProgress),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims the attempt of a form, or returns the draft that it has made. Waits for an earlier request with it.
    pub(in crate::uploads) async fn attempt(
        &self,
        upload: UploadId,
        form: &FormRequest,
    ) -> Result<Attempted, UploadError> {
        let id = form.attempt.unwrap_or_else(|| AttemptId::of_upload(upload));
        let deadline = Instant::now() + CLAIM_WAIT;
        loop {
            let lifetime = self.rules.attempt_lifetime;
            match claim_attempt(&*self.catalog, id, form.head.clone(), lifetime).await? {
                Claiming::InWork if Instant::now() < deadline => sleep(CLAIM_POLL).await,
                Claiming::InWork => return Err(UploadError::InProgress),
                Claiming::Reused => return Err(UploadError::KeyReused),
                Claiming::Done(attempt) => return Ok(Attempted::Recorded(attempt.draft, attempt.note)),
                Claiming::Claimed(claimed) => return Ok(Attempted::Claimed(claimed)),
            }
        }
    }

    /// Notes that the draft of a form is recorded. A failure does not matter to the client: a later request for the
    /// upload finds the draft by its attempt.
    async fn ingested(&self, caller: Caller, row: &UploadRow, draft: Draft, note: String) -> Progress {
        let change = UploadChange::Ingest(draft.id);
        match self.catalog.change_upload(row.id, row.writer, change).await {
            Ok(Some(_)) => {
                self.refund(caller, row.offset);
                self.counts.finished.inc();
                self.remove_bytes(row).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(upload = %row.id, %error, "a form whose draft is recorded stays"),
        }
        Progress::Ingested { row: row.clone(), draft, note }
    }
}
