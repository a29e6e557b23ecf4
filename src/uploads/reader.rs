//! Reads the bytes of an upload while they arrive: a photo is judged by its first ones, a form is read as one that comes whole.

use super::form::FormReader;
use super::head::HeadCheck;
use super::{ResumableUploads, UploadError, UploadRequest};
use crate::catalog::UploadRow;
use crate::ingest::{InFlight, Ingest};
use crate::model::Caller;

/// What reads the bytes of an upload.
pub(super) enum Reader {
    /// One photo, which is read once it is whole.
    Photo {
        /// Judges the first bytes.
        head: HeadCheck,
        /// Counts the request among the uploads in flight, until the photo is stored and counts itself.
        in_flight: Option<InFlight>,
    },
    /// A form.
    Form(Box<FormReader>),
}

impl Reader {
    /// Judges a photo by its first bytes.
    pub(super) fn judge(&mut self, chunk: &[u8], ingest: &Ingest) -> Result<(), UploadError> {
        match self {
            Self::Photo { head, .. } => head.take(chunk, ingest),
            Self::Form(_) => Ok(()),
        }
    }

    /// Does not count the request of a photo any more.
    pub(super) fn stop_counting(&mut self) {
        if let Self::Photo { in_flight, .. } = self {
            *in_flight = None;
        }
    }

    /// Returns once a form was refused while its bytes arrive.
    pub(super) async fn refused(&mut self, uploads: &ResumableUploads) -> UploadError {
        match self {
            Self::Photo { .. } => std::future::pending().await,
            Self::Form(form) => form.refused(uploads).await,
        }
    }
}

impl ResumableUploads {
    /// Returns what reads the bytes that a request brings.
    pub(super) async fn reader(
        &self,
        caller: Caller,
        row: &UploadRow,
        request: &UploadRequest,
    ) -> Result<Reader, UploadError> {
        match &request.form {
            None => {
                let in_flight = Some(self.ingest.begin_receiving(caller.client)?);
                Ok(Reader::Photo { head: self.head_check(row).await?, in_flight })
            }
            Some(form) => {
                let (form, digest) = (form.clone(), request.digest.clone());
                Ok(Reader::Form(Box::new(self.form_reader(caller, row, form, digest)?)))
            }
        }
    }

    /// Keeps what read an upload for the next request, if there is something to keep.
    pub(super) fn park(&self, reader: Reader, row: &UploadRow) {
        if let Reader::Form(form) = reader {
            self.park_form(*form, row);
        }
    }

    /// Records that an upload is refused, if `error` says that it would be refused again. Returns the error for the client.
    pub(super) async fn refuse_if_final(
        &self,
        row: &UploadRow,
        error: UploadError,
    ) -> Result<UploadError, UploadError> {
        match error {
            UploadError::RefusedHead(reason) => self.refuse_photo(row, &reason).await,
            UploadError::Ingest(error) if error.is_final() => {
                let (reason, text) = (error.to_string(), (self.rules.describe_form)(error));
                self.refuse(row, &reason, text).await
            }
            error => Ok(error),
        }
    }
}
