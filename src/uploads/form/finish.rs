//! The end of a form: its draft is recorded, or the form is refused.

use super::FormReader;
use crate::catalog::{Begun, ChangeError, ClaimedAttempt, NewAttempt, UploadChange, UploadRow};
use crate::ingest::{IngestError, OnError, Rejected, Upload, UploadAttempt, Uploaded};
use crate::model::{AttemptId, Caller, Draft, Timestamp};
use crate::uploads::{Progress, ResumableUploads, UploadError};

/// What a request finds when the last byte of a form is acknowledged.
enum Attempted {
    Claimed(ClaimedAttempt),
    /// An earlier request recorded the draft.
    Recorded(Draft, String),
}

impl ResumableUploads {
    /// Records the draft of a form whose bytes are all acknowledged. `claimed` is the attempt that the request began with.
    pub(in crate::uploads) async fn finish_form(
        &self,
        caller: Caller,
        row: UploadRow,
        mut reader: FormReader,
        claimed: Option<ClaimedAttempt>,
    ) -> Result<Progress, UploadError> {
        let id = reader.request.attempt.unwrap_or_else(|| AttemptId::of_upload(row.id));
        let attempted = match claimed {
            Some(claimed) => Attempted::Claimed(claimed),
            None => self.attempt(id, &reader).await?,
        };
        let claimed = match attempted {
            Attempted::Claimed(claimed) => claimed,
            Attempted::Recorded(draft, note) => return Ok(self.ingested(caller, row, draft, note).await),
        };
        self.catch_up(&mut reader, &row).await?;
        let FormReader { request, session: Some(session), .. } = reader else {
            return Err(UploadError::Internal("a form has no session".into()));
        };
        let read = session.end().await?;
        let note = match request.on_error {
            OnError::Fail => |_: &[Rejected]| String::new(),
            OnError::Skip => self.rules.note,
        };
        let attempt = Some(UploadAttempt { claimed, note });
        // The draft is that of whoever created the upload.
        let caller = Caller { user: row.owner, ..caller };
        let upload = Upload { caller, target: request.target, on_error: request.on_error, attempt };
        match self.ingest.record(upload, read).await {
            Ok(Uploaded { draft, rejected, photos: _ }) => {
                Ok(self.ingested(caller, row, draft, note(&rejected)).await)
            }
            // A request on another instance was faster.
            Err(IngestError::Draft(ChangeError::Repeated)) => Err(UploadError::InProgress),
            Err(error) => Err(error.into()),
        }
    }

    async fn attempt(&self, id: AttemptId, reader: &FormReader) -> Result<Attempted, UploadError> {
        let since = Timestamp::now().minus(self.rules.attempt_lifetime);
        match self.catalog.begin_attempt(id, since).await? {
            Begun::InWork => Err(UploadError::InProgress),
            Begun::Done(attempt) => Ok(Attempted::Recorded(attempt.draft, attempt.note)),
            Begun::Claimed(claim) => {
                let request = reader.request.head.clone();
                let attempt = NewAttempt { id, request, note: String::new(), since };
                Ok(Attempted::Claimed(ClaimedAttempt { attempt, claim }))
            }
        }
    }

    /// Notes that the draft of a form is recorded. A failure does not matter to the client: whoever continues the upload later
    /// finds the draft by its attempt.
    async fn ingested(&self, caller: Caller, row: UploadRow, draft: Draft, note: String) -> Progress {
        self.refund(caller, row.offset);
        self.counts.finished.inc();
        let change = UploadChange::Ingest(draft.id);
        match self.catalog.change_upload(row.id, row.writer, change).await {
            Ok(Some(_)) => self.remove_bytes(&row).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(upload = %row.id, %error, "a form whose draft is recorded stays"),
        }
        Progress::Ingested { row, draft, note }
    }
}
