//! Makes one rendition from its photo.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::unkept::Unkept;
use super::{Made, RenditionError, Renditions};
use crate::blocking::blocking;
use crate::budget::{Refused, Reservation};
use crate::disk;
use crate::error_chain::error_chain;
use crate::imaging::{
    self, Cost, Encoded, Format, ImageError, PhotoFile, PoolError, Recipe, Spent, Step, Turn, WorkBudget,
};
use crate::media::RenditionName;
use crate::model::{ClientKey, MediaKey};

/// The bytes of a photo while they wait for a worker.
struct Source {
    file: Arc<File>,
    length: u64,
}

impl Renditions {
    /// Makes and keeps the rendition, unless another process, or a moment ago this one, did.
    pub(super) async fn make_now(
        &self,
        client: ClientKey,
        name: RenditionName,
    ) -> Result<Made, RenditionError> {
        if self.places.renditions.find_rendition(name).await?.is_some() {
            return Ok(Made::Kept);
        }
        let _in_progress = self.in_progress.begin(client).ok_or_else(RenditionError::busy)?;
        let wait = self.pool.expected_wait(client);
        if wait > self.pool.wait() {
            return Err(RenditionError::Busy { retry_after: wait - self.pool.wait() });
        }
        let source = self.source(name.key).await?.ok_or(RenditionError::NotFound)?;
        let head = source.head().await?;
        let (width, height) = imaging::stored_sides(&head).ok_or(RenditionError::Damaged)?;
        if width.max(height) <= name.side {
            return Err(RenditionError::NotFound);
        }
        let (encoded, loan) = self.encode(client, name, source, &head).await?;
        self.made.inc();
        self.keep(name, encoded.bytes.into(), loan).await
    }

    /// Opens a photo. One that is no file of this machine is copied to an unlinked file.
    async fn source(&self, key: MediaKey) -> Result<Option<Source>, RenditionError> {
        let Some(object) = self.places.photos.open(key).await? else { return Ok(None) };
        let length = object.len();
        if let Some(file) = object.file() {
            return Ok(Some(Source { file, length }));
        }
        let scratch = self.places.scratch.clone();
        let opening = move || {
            scratch.min_free.check(&scratch.dir)?;
            disk::scratch_file(&scratch.dir)
        };
        let file = Arc::new(blocking(opening).await?);
        let mut pieces = object.read(0..length);
        while let Some(piece) = pieces.try_next().await? {
            let file = Arc::clone(&file);
            blocking(move || (&*file).write_all(&piece)).await?;
        }
        Ok(Some(Source { file, length }))
    }

    async fn encode(
        &self,
        client: ClientKey,
        name: RenditionName,
        source: Source,
        head: &[u8],
    ) -> Result<(Encoded, Reservation), RenditionError> {
        let (recipe, wait, outputs) =
            (self.rules.recipe.rendition(name.side), self.pool.wait(), Arc::clone(&self.outputs));
        let time = imaging::estimated_cost(Format::Jpeg, head, source.length);
        let cost = Cost { time, memory: source.length };
        if cost.memory > recipe.memory {
            return Err(RenditionError::Image(ImageError::TooMuchMemory));
        }
        let mut spent = Spent::default();
        let job = move |turn: &mut Turn<'_>| {
            let work = WorkBudget::resumed(&recipe, spent, turn.is_abandoned);
            let step = encode(&source, name.key, &recipe, &work, turn);
            spent = work.spent();
            match step {
                Ok(Step::Done(encoded)) => {
                    let bytes = (encoded.bytes.len() as u64).min(outputs.limit());
                    let reserved = outputs.reserve(bytes, wait).map(|loan| (encoded, loan));
                    Step::Done(reserved.map_err(Failure::from))
                }
                Ok(Step::Postponed { memory }) => Step::Postponed { memory },
                Err(failure) => Step::Done(Err(failure)),
            }
        };
        match self.pool.run(client, cost, job).await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(Failure::Damaged)) => Err(RenditionError::Damaged),
            Ok(Err(Failure::Image(error))) => Err(RenditionError::Image(error)),
            Ok(Err(Failure::Disk(error))) => Err(error.into()),
            Ok(Err(Failure::Busy)) | Err(PoolError::Busy) => Err(RenditionError::busy()),
            Err(PoolError::Panicked) => {
                tracing::error!(key = %name.key, side = name.side, "a decoder panicked on a stored photo");
                Err(RenditionError::Image(ImageError::Corrupt))
            }
        }
    }

    /// Keeps what was made. A store that is full or does not answer is no reason to refuse the client.
    async fn keep(
        &self,
        name: RenditionName,
        bytes: Bytes,
        loan: Reservation,
    ) -> Result<Made, RenditionError> {
        if self.rules.keeps {
            match self.places.renditions.keep_rendition(name, bytes.clone()).await {
                Ok(true) => return Ok(Made::Kept),
                Ok(false) => return Err(RenditionError::NotFound),
                Err(error) => tracing::warn!(%name, error = %error_chain(&error), "a rendition was not kept"),
            }
        }
        self.not_kept.inc();
        Ok(Made::Unkept(Arc::new(Unkept::new(bytes, loan))))
    }
}

impl Source {
    /// Returns the first bytes of the photo, up to its first scan.
    async fn head(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX).min(imaging::COST_HEAD_BYTES);
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut head = vec![0; length];
            file.read_exact_at(&mut head, 0)?;
            Ok(head)
        })
        .await
    }
}

/// Why a worker could not make a rendition.
enum Failure {
    Damaged,
    Image(ImageError),
    Disk(io::Error),
    Busy,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge => Self::Image(ImageError::TooMuchMemory),
            Refused::TimedOut => Self::Busy,
        }
    }
}

/// Reads the photo, verifies its hash, so that damage is not copied, and makes the rendition. Runs on a worker.
fn encode(
    source: &Source,
    key: MediaKey,
    recipe: &Recipe,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step<Encoded>, Failure> {
    let too_large = |_| Failure::Image(ImageError::TooMuchMemory);
    let mut bytes = vec![0; usize::try_from(source.length).map_err(too_large)?];
    match source.file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Failure::Damaged),
        read => read.map_err(Failure::Disk)?,
    }
    if MediaKey::of(&bytes) != key {
        return Err(Failure::Damaged);
    }
    let photo = PhotoFile { format: Format::Jpeg, bytes: &bytes, held: source.length };
    imaging::encode_in_turn(photo, recipe, work, turn).map_err(Failure::Image)
}
