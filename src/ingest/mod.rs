//! The use case: a multipart body in, a draft with its photos out. All or nothing.
//!
//! Photos are decoded while later parts still arrive. Whatever fails before the commit point takes back what was staged;
//! from the commit point on nothing can fail. This room knows no HTTP: its input is a stream of bytes and a boundary.

pub mod boundary;
mod error;
mod keys;
pub mod parts;
pub mod sniff;
mod spool;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::task::{JoinError, JoinSet};

pub use self::error::{IngestError, PhotoError};
use self::keys::KeyLocks;
use self::parts::{Part, Parts, StreamError};
use self::sniff::{HEAD_BYTES, Sniffed, sniff};
use self::spool::{Source, Spool};
use crate::budget::{Budget, Refused};
use crate::catalog::{Catalog, NewDraft, NewPhoto};
use crate::imaging::{self, Encoded, Format, ImageError, Pool, PoolError, Recipe};
use crate::media::{MediaStore, Staged};
use crate::model::{Draft, MediaKey};

/// Name of the form field that carries photos.
const FILES_FIELD: &str = "files";
/// Name of the form field that carries the title.
const TITLE_FIELD: &str = "title";
/// Longest title in characters (Unicode scalar values).
pub const MAX_TITLE_CHARS: usize = 160;

/// Caps on one upload.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most photos.
    pub photos: usize,
    /// Longest photo in bytes.
    pub photo_bytes: u64,
    /// Longest body in bytes.
    pub body_bytes: u64,
    /// Prefixes of the sniffed types that are let in.
    pub mime_prefixes: Vec<String>,
    /// How long a photo waits for memory to decode in.
    pub memory_wait: Duration,
}

/// What a finished upload made.
#[derive(Debug)]
pub struct Uploaded {
    /// The draft, durable.
    pub draft: Draft,
    /// One for each photo, in order.
    pub photos: Vec<Received>,
}

/// What one photo was when it came, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Content address of the stored JPEG.
    pub key: MediaKey,
    /// Sniffed type of the source.
    pub mime: &'static str,
    /// Length of the source in bytes.
    pub bytes: u64,
}

/// Everything that an upload needs.
pub struct Ingest {
    /// Caps.
    pub limits: Limits,
    /// What to make of a photo.
    pub recipe: Recipe,
    /// Memory for sources and images.
    pub budget: Budget,
    /// Threads that decode.
    pub pool: Arc<Pool>,
    /// Where photos go.
    pub store: Arc<dyn MediaStore>,
    /// Where drafts go.
    pub catalog: Arc<dyn Catalog>,
    /// Directory for photos that do not fit the memory budget.
    pub spool_dir: Arc<Path>,
    /// Keys between publication and commit.
    pub publishing: Publishing,
}

/// Keys between publication and commit.
#[derive(Debug, Default, Clone)]
pub struct Publishing(KeyLocks);

/// A photo that is staged under its key.
struct Finished {
    index: usize,
    staged: Box<dyn Staged>,
    photo: NewPhoto,
    received: Received,
}

/// Who is to blame, for error messages.
#[derive(Debug, Clone)]
struct Label {
    index: usize,
    filename: Option<String>,
}

impl Label {
    fn blame(&self, reason: impl Into<PhotoError>) -> IngestError {
        IngestError::Photo {
            index: self.index,
            filename: self.filename.clone(),
            reason: reason.into(),
        }
    }
}

impl Ingest {
    /// Whether an upload could succeed now; asked before a body is read.
    ///
    /// # Errors
    /// The store is full or does not answer.
    pub async fn admit(&self) -> Result<(), IngestError> {
        Ok(self.store.check().await?)
    }

    /// Takes in one body and returns once its draft is durable.
    ///
    /// Dropping the future before it returns abandons the upload and leaves nothing behind, unless the commit has begun,
    /// which then completes by itself.
    ///
    /// # Errors
    /// See [`IngestError`]; no draft, row or file stays.
    pub async fn upload<S>(self: &Arc<Self>, body: S, boundary: &str) -> Result<Uploaded, IngestError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send + 'static,
    {
        let mut parts = Parts::new(body, boundary, self.limits.body_bytes, self.limits.photos);
        let mut title = String::new();
        let mut work = Work::default();
        let mut photos = 0;
        while let Some(part) = work.meanwhile(parts.next()).await?? {
            match part.name() {
                FILES_FIELD => {
                    let label = Label {
                        index: photos,
                        filename: part.filename().map(str::to_owned),
                    };
                    let received = work.meanwhile(self.receive(part, &label)).await??;
                    if let Some((source, format, mime, bytes)) = received {
                        photos += 1;
                        let ingest = Arc::clone(self);
                        work.tasks
                            .spawn(async move { ingest.finish(source, format, mime, bytes, &label).await });
                    }
                }
                TITLE_FIELD => title = work.meanwhile(read_title(part)).await??,
                _ => work.meanwhile(part.skip()).await??,
            }
        }
        if photos == 0 {
            return Err(IngestError::NoPhoto {
                max: self.limits.photos,
            });
        }
        let mut finished = work.finish().await?;
        finished.sort_by_key(|photo| photo.index);
        let ingest = Arc::clone(self);
        // A task of its own: a client that hangs up now must not leave a published photo without its row.
        let committed = tokio::spawn(async move { ingest.commit(title, finished).await });
        committed
            .await
            .map_err(|error| IngestError::Internal(error.into()))?
    }

    /// Reads one photo whole, judged by its first bytes before any of it is kept. `None` if it is empty, as browsers
    /// send for a form without a chosen file.
    async fn receive(
        &self,
        mut part: Part,
        label: &Label,
    ) -> Result<Option<(Source, Format, &'static str, u64)>, IngestError> {
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
            return Err(IngestError::TooManyPhotos {
                max: self.limits.photos,
            });
        }
        let (mime, format) = self.judge(sniff(&head)).map_err(|reason| label.blame(reason))?;
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
        Ok(Some((spool.finish().await?, format, mime, bytes)))
    }

    fn judge(&self, sniffed: Sniffed) -> Result<(&'static str, Format), PhotoError> {
        let mime = sniffed.mime.ok_or(PhotoError::UnknownType)?;
        let allowed = self
            .limits
            .mime_prefixes
            .iter()
            .any(|prefix| mime.starts_with(prefix.as_str()));
        let format = sniffed
            .format
            .filter(|_| allowed)
            .ok_or(PhotoError::RefusedType { mime })?;
        Ok((mime, format))
    }

    /// Decodes, encodes and stages one photo.
    async fn finish(
        &self,
        source: Source,
        format: Format,
        mime: &'static str,
        bytes: u64,
        label: &Label,
    ) -> Result<Finished, IngestError> {
        let (budget, recipe, wait) = (self.budget.clone(), self.recipe, self.limits.memory_wait);
        let encoded = self
            .pool
            .run(move || encode(source, format, &recipe, &budget, wait))
            .await;
        let encoded = match encoded {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(Failure::Image(error))) => return Err(label.blame(error)),
            Ok(Err(Failure::Busy)) | Err(PoolError::Busy) => return Err(IngestError::Busy),
            Ok(Err(Failure::Disk(error))) => return Err(error.into()),
            // A decoder that panics was fed something that no encoder wrote.
            Err(PoolError::Panicked) => return Err(label.blame(ImageError::Corrupt)),
        };
        let Encoded {
            bytes: jpeg,
            width,
            height,
        } = encoded;
        let size_bytes = jpeg.len() as u64;
        let staged = self.store.stage(jpeg.into()).await?;
        let key = staged.key();
        Ok(Finished {
            index: label.index,
            staged,
            photo: NewPhoto {
                key,
                width,
                height,
                size_bytes,
            },
            received: Received { key, mime, bytes },
        })
    }

    /// Publishes the photos, then records the draft.
    async fn commit(&self, title: String, finished: Vec<Finished>) -> Result<Uploaded, IngestError> {
        let mut batch = Vec::with_capacity(finished.len());
        let mut photos = Vec::with_capacity(finished.len());
        let mut received = Vec::with_capacity(finished.len());
        for photo in finished {
            batch.push(photo.staged);
            photos.push(photo.photo);
            received.push(photo.received);
        }
        let _held = self.publishing.0.hold(photos.iter().map(|photo| photo.key)).await;
        let created = self.store.publish(batch).await?;
        match self.catalog.create_draft(NewDraft { title, photos }).await {
            Ok(draft) => Ok(Uploaded {
                draft,
                photos: received,
            }),
            Err(error) => {
                // Nobody else builds on these: they did not exist before, and the keys are still held.
                if let Err(undo) = self.store.remove(&created).await {
                    tracing::error!(error = %undo, "photos of a failed upload could not be removed");
                }
                Err(error.into())
            }
        }
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
) -> Result<Encoded, Failure> {
    let load_cost = source.load_cost();
    // Given back before the rest is asked for: a worker that waits for memory holds none that another one waits for.
    drop(budget.images.reserve(load_cost, wait)?);
    let (bytes, _loan) = source.load().map_err(Failure::Disk)?;
    let inspected = imaging::inspect(format, &bytes, recipe)?;
    let _memory = budget.images.reserve(load_cost + inspected.memory(), wait)?;
    Ok(inspected.encode()?)
}

async fn read_title(mut part: Part) -> Result<String, IngestError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await? {
        // No character takes more than four bytes.
        if bytes.len() + chunk.len() > 4 * MAX_TITLE_CHARS {
            return Err(IngestError::TitleTooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    let title = String::from_utf8(bytes).map_err(|_| IngestError::TitleNotText)?;
    if title.chars().count() > MAX_TITLE_CHARS {
        return Err(IngestError::TitleTooLong);
    }
    // No database column of text takes it, and no form sends it.
    if title.contains('\0') {
        return Err(IngestError::TitleNotText);
    }
    Ok(title)
}

/// The photos of one upload that are decoded while later parts arrive. Dropping it abandons them.
#[derive(Default)]
struct Work {
    tasks: JoinSet<Result<Finished, IngestError>>,
    finished: Vec<Finished>,
}

impl Work {
    /// Runs one step of the upload. A photo that turns out bad meanwhile ends it at once, not after the last byte.
    async fn meanwhile<T>(&mut self, step: impl Future<Output = T>) -> Result<T, IngestError> {
        tokio::pin!(step);
        loop {
            tokio::select! {
                out = &mut step => return Ok(out),
                Some(done) = self.tasks.join_next() => self.note(done)?,
            }
        }
    }

    /// Waits for all photos.
    async fn finish(mut self) -> Result<Vec<Finished>, IngestError> {
        while let Some(done) = self.tasks.join_next().await {
            self.note(done)?;
        }
        Ok(self.finished)
    }

    fn note(&mut self, done: Result<Result<Finished, IngestError>, JoinError>) -> Result<(), IngestError> {
        self.finished
            .push(done.map_err(|error| IngestError::Internal(error.into()))??);
        Ok(())
    }
}
