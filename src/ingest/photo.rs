//! One photo on its way: received, judged, decoded, staged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::parts::Part;
use super::sniff::{HEAD_BYTES, Sniffed, sniff};
use super::spool::{Source, Spool};
use super::{Ingest, IngestError, PhotoError, Received};
use crate::budget::{Budget, Refused};
use crate::catalog::NewPhoto;
use crate::imaging::{self, Encoded, Failed, Format, ImageError, PoolError, Recipe, Turn};
use crate::media::Staged;

/// A photo that has arrived whole, nothing of it decoded.
pub(super) struct Arrived {
    source: Source,
    format: Format,
    mime: &'static str,
    bytes: u64,
    label: Label,
}

/// A photo that is encoded, in memory.
pub(super) struct Made {
    encoded: Encoded,
    mime: &'static str,
    bytes: u64,
    index: usize,
}

/// A photo that is staged under its key.
pub(super) struct Finished {
    pub(super) index: usize,
    pub(super) staged: Box<dyn Staged>,
    pub(super) photo: NewPhoto,
    pub(super) received: Received,
}

/// Who is to blame, for error messages.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) index: usize,
    pub(super) filename: Option<String>,
}

impl Label {
    fn blame(&self, reason: impl Into<PhotoError>) -> IngestError {
        IngestError::Photo { index: self.index, filename: self.filename.clone(), reason: reason.into() }
    }
}

impl Ingest {
    /// Reads one photo whole, judged by its first bytes before any of it is kept. `None` if it is empty, as browsers
    /// send for a form without a chosen file.
    pub(super) async fn receive(&self, mut part: Part, label: Label) -> Result<Option<Arrived>, IngestError> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let mut chunk = Bytes::new();
        while head.len() < HEAD_BYTES {
            let Some(next) = part.chunk().await? else { break };
            chunk = next;
            let take = chunk.len().min(HEAD_BYTES - head.len());
            head.extend_from_slice(&chunk.split_to(take));
        }
        if head.is_empty() {
            return Ok(None);
        }
        if label.index == self.limits.photos {
            return Err(IngestError::TooManyPhotos { max: self.limits.photos });
        }
        let (mime, format) = self.judge(sniff(&head)).map_err(|reason| label.blame(reason))?;
        imaging::check_declared(format, &head, &self.recipe).map_err(|error| label.blame(error))?;
        let max = self.limits.photo_bytes;
        let mut spool = Spool::new(Arc::clone(&self.spool_dir), &self.budget.sources, max);
        spool.write(&head).await?;
        let mut next = Some(chunk);
        while let Some(chunk) = next {
            if spool.len() + chunk.len() as u64 > max {
                return Err(label.blame(PhotoError::TooLarge { max }));
            }
            spool.write(&chunk).await?;
            next = part.chunk().await?;
        }
        let bytes = spool.len();
        Ok(Some(Arrived { source: spool.finish().await?, format, mime, bytes, label }))
    }

    fn judge(&self, sniffed: Sniffed) -> Result<(&'static str, Format), PhotoError> {
        let mime = sniffed.mime.ok_or(PhotoError::UnknownType)?;
        let allowed = self.limits.mime_prefixes.iter().any(|prefix| mime.starts_with(prefix.as_str()));
        let format = sniffed.format.filter(|_| allowed).ok_or(PhotoError::RefusedType { mime })?;
        Ok((mime, format))
    }

    /// Decodes and encodes one photo. May be abandoned at any time: a job that waits is then never begun.
    pub(super) async fn encode(&self, arrived: Arrived) -> Result<Made, IngestError> {
        let Arrived { source, format, mime, bytes, label } = arrived;
        let (budget, recipe, wait) = (self.budget.clone(), self.recipe, self.limits.memory_wait);
        match self.pool.run(move |turn| encode(source, format, &recipe, &budget, wait, turn)).await {
            Ok(Ok(encoded)) => Ok(Made { encoded, mime, bytes, index: label.index }),
            Ok(Err(Failure::Image(error))) => Err(label.blame(error)),
            Ok(Err(Failure::Busy)) | Err(PoolError::Busy) => Err(IngestError::Busy),
            Ok(Err(Failure::Disk(error))) => Err(error.into()),
            // A decoder that panics was fed something that no encoder wrote.
            Err(PoolError::Panicked) => Err(label.blame(ImageError::Corrupt)),
        }
    }

    /// Stages an encoded photo.
    pub(super) async fn stage(&self, made: Made) -> Result<Finished, IngestError> {
        let Made { encoded, mime, bytes, index } = made;
        let Encoded { bytes: jpeg, width, height } = encoded;
        let size_bytes = jpeg.len() as u64;
        let staged = self.store.stage(jpeg.into()).await?;
        let key = staged.key();
        let photo = NewPhoto { key, width, height, size_bytes };
        Ok(Finished { index, staged, photo, received: Received { key, mime, bytes } })
    }
}

/// Why a worker made nothing of a photo.
enum Failure {
    Image(ImageError),
    Busy,
    Disk(std::io::Error),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge => Self::Image(ImageError::TooMuchMemory),
            Refused::TimedOut => Self::Busy,
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// On a worker: loads a photo, borrows the memory that its header calls for, and encodes it.
fn encode(
    source: Source,
    format: Format,
    recipe: &Recipe,
    budget: &Budget,
    wait: Duration,
    turn: &mut Turn<'_>,
) -> Result<Encoded, Failure> {
    let load_cost = source.load_cost();
    let (bytes, _loan) = source.load().map_err(Failure::Disk)?;
    let mut inspected = imaging::inspect(format, &bytes, recipe)?;
    loop {
        // Asked for at once, a spilled source included though it is loaded already: a worker that waits for memory must
        // hold none that another one waits for. While it waits, at most one photo a worker is beyond the budget.
        let _memory = budget.images.reserve(load_cost + inspected.memory(), wait)?;
        match inspected.encode(turn) {
            Ok(encoded) => return Ok(encoded),
            Err(Failed::Image(error)) => return Err(error.into()),
            Err(Failed::Again(next)) => inspected = next,
        }
    }
}
