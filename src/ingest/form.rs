//! Takes photos and title from the parts of a multipart form.

use std::sync::Arc;

use bytes::Bytes;

use super::parts::{Part, Parts};
use super::photo::{Label, PhotoBytes, Received};
use super::work::Work;
use super::{Ingest, IngestError, PhotoError};
use crate::listings::fields::{self, FieldError, MAX_TITLE_CHARS};

/// Name of the form field that carries photos.
pub(crate) const FILES_FIELD: &str = "files";
/// Name of the form field that carries the title.
pub(crate) const TITLE_FIELD: &str = "title";

impl PhotoBytes for Part<'_> {
    fn is_encoded(&self) -> bool {
        Part::is_encoded(self)
    }

    fn declared_bytes(&self) -> Option<u64> {
        None
    }

    async fn next(&mut self) -> Result<Option<Bytes>, IngestError> {
        Ok(self.chunk().await?)
    }
}

impl Ingest {
    /// Reads all parts, gives their photos to `work`, waits for them, and returns the title. Parts of other fields are skipped, and of several
    /// titles the last counts.
    ///
    /// # Errors
    /// There is no photo, a photo or the title is refused, or the body cannot be read.
    pub(super) async fn read_form(
        self: &Arc<Self>,
        mut parts: Parts,
        work: &mut Work,
    ) -> Result<String, IngestError> {
        let mut title = String::new();
        let (mut index, mut empty) = (0, Vec::new());
        while let Some(part) = work.unless_photo_fails(parts.next()).await?? {
            match part.name() {
                FILES_FIELD => {
                    let label = Label { index, filename: part.filename().map(str::to_owned) };
                    match work.unless_photo_fails(self.receive(part, label)).await? {
                        Ok(Received::Photo(photo)) => work.begin(Arc::clone(self), photo),
                        // A field of the form in which no file was chosen.
                        Ok(Received::Empty(label)) if label.filename.as_deref() == Some("") => continue,
                        Ok(Received::Empty(label)) => empty.push(label),
                        Err(error) => work.reject(error)?,
                    }
                    index += 1;
                    // If all parts are empty, the form has no photo. As soon as one has bytes, each empty part is one that was lost on the way.
                    if work.has_photos() {
                        for label in empty.drain(..) {
                            work.reject(label.blame(PhotoError::NoBytes))?;
                        }
                    }
                }
                TITLE_FIELD => title = work.unless_photo_fails(read_title(part)).await??,
                _ => work.unless_photo_fails(part.skip()).await??,
            }
        }
        if !work.has_photos() {
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
        // Stops early: a character takes at most four bytes. `fields::title` counts the characters.
        if bytes.len() + chunk.len() > 4 * MAX_TITLE_CHARS {
            let (field, max) = ("title", MAX_TITLE_CHARS);
            return Err(FieldError::TooLong { field, max }.into());
        }
        bytes.extend_from_slice(&chunk);
    }
    let title = String::from_utf8(bytes).map_err(|_| IngestError::TitleNotText)?;
    Ok(fields::title(title)?)
}
