//! The states of one photo during an upload: received, then encoded and staged, or recognised, or deduplicated.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::quota::Charge;
use super::sniff::{HEAD_BYTES, Sniffed, sniff};
use super::spool::{Source, Spool};
use super::steps::Step as PhotoStep;
use super::{Ingest, IngestError, PhotoError};
use crate::budget::{Refused, Reservation};
use crate::catalog::NewPhoto;
use crate::imaging::{
    self, Cost, Encoded, Format, ImageError, PhotoFile, PoolError, Recipe, RenditionSizes, Spent, Step, Turn,
    WorkBudget,
};
use crate::media::Staging;
use crate::model::{ClientKey, Media, PhotoFacts, SourceId};

/// A photo that is received whole and not decoded.
pub(super) struct ReceivedPhoto {
    source: Source,
    pub(super) id: SourceId,
    format: Format,
    pub(super) mime: &'static str,
    pub(super) bytes: u64,
    pub(super) label: Label,
}

/// A photo that is encoded and in memory.
pub(super) struct EncodedPhoto {
    encoded: Encoded,
    facts: PhotoFacts,
    /// Covers the encoded bytes, those of the renditions included.
    loan: Reservation,
    id: SourceId,
    mime: &'static str,
    bytes: u64,
    index: usize,
}

/// A photo that is ready for the commit.
pub(super) struct ReadyPhoto {
    /// Its position among the photos of the upload.
    pub(super) index: usize,
    /// Sniffed type of the source.
    pub(super) mime: &'static str,
    /// Length of the source in bytes.
    pub(super) bytes: u64,
    pub(super) output: Output,
}

/// Where the bytes are that will be stored for a photo.
pub(super) enum Output {
    /// This upload encoded and staged them, and charged the client if they are new.
    Staged(NewPhoto, Option<Charge>),
    /// An earlier draft has them. The source is kept until the commit has verified that.
    Recognised(NewPhoto, Box<ReceivedPhoto>),
    /// They are those of the photo at position `first`, which comes before this one in the upload.
    Deduplicated { first: usize, filename: Option<String> },
}

impl Output {
    /// Returns the photo, or `None` if it is deduplicated.
    pub(super) fn photo(&self) -> Option<&NewPhoto> {
        match self {
            Self::Staged(photo, _) | Self::Recognised(photo, _) => Some(photo),
            Self::Deduplicated { .. } => None,
        }
    }

    /// Returns the photo if it is recognised.
    pub(super) fn recognised(&self) -> Option<NewPhoto> {
        match self {
            Self::Recognised(photo, _) => Some(*photo),
            Self::Staged(..) | Self::Deduplicated { .. } => None,
        }
    }
}

/// The bytes of one photo as they arrive, whatever brings them.
pub(crate) trait PhotoBytes: Send {
    /// Whether the bytes are a text that encodes those of the file.
    fn is_encoded(&self) -> bool;

    /// The length of the file, if it is declared. It may be wrong.
    fn declared_bytes(&self) -> Option<u64>;

    /// Returns the next bytes, at least one, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, IngestError>> + Send;
}

/// What arrived in the place of a photo.
pub(super) enum Received {
    Photo(ReceivedPhoto),
    /// 0 bytes.
    Empty(Label),
}

/// Position and file name of a photo, for error messages.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) index: usize,
    pub(super) filename: Option<String>,
}

impl Label {
    pub(super) fn blame(&self, reason: impl Into<PhotoError>) -> IngestError {
        IngestError::Photo { index: self.index, filename: self.filename.clone(), reason: reason.into() }
    }
}

impl Ingest {
    /// Reads one photo whole. Its type is checked from its first bytes, before any of it is spooled.
    pub(super) async fn receive(
        &self,
        mut incoming: impl PhotoBytes,
        label: Label,
    ) -> Result<Received, IngestError> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let mut begun = None;
        let mut chunk = Bytes::new();
        while head.len() < HEAD_BYTES {
            let Some(next) = incoming.next().await? else { break };
            begun.get_or_insert_with(Instant::now);
            chunk = next;
            let take = chunk.len().min(HEAD_BYTES - head.len());
            head.extend_from_slice(&chunk.split_to(take));
        }
        if head.is_empty() {
            return Ok(Received::Empty(label));
        }
        if label.index == self.limits.photos {
            return Err(IngestError::TooManyPhotos { max: self.limits.photos });
        }
        if incoming.is_encoded() {
            return Err(label.blame(PhotoError::Encoded));
        }
        let (mime, format) = self.judge(sniff(&head)).map_err(|reason| label.blame(reason))?;
        imaging::check_declared(format, &head, &self.recipe).map_err(|error| label.blame(error))?;
        let max = self.limits.photo_bytes;
        if incoming.declared_bytes().is_some_and(|bytes| bytes > max) {
            return Err(label.blame(PhotoError::TooLarge { max }));
        }
        let hasher = blake3::Hasher::new_keyed(&self.fingerprint);
        let mut spool =
            Spool::new(self.scratch.clone(), &self.budget.sources, Arc::clone(&self.page_pool), hasher);
        spool.write(head.into()).await?;
        let mut next = Some(chunk);
        while let Some(chunk) = next {
            if spool.len() + chunk.len() as u64 > max {
                return Err(label.blame(PhotoError::TooLarge { max }));
            }
            spool.write(chunk).await?;
            next = incoming.next().await?;
        }
        let bytes = spool.len();
        let (source, hash) = spool.finish().await?;
        self.steps.took(PhotoStep::Receive, mime, begun.map(|begun| begun.elapsed()).unwrap_or_default());
        let id = SourceId::from_digest(hash.into());
        Ok(Received::Photo(ReceivedPhoto { source, id, format, mime, bytes, label }))
    }

    pub(super) fn judge(&self, sniffed: Sniffed) -> Result<(&'static str, Format), PhotoError> {
        if let Some(kind) = sniffed.text {
            return Err(PhotoError::SentAsText { kind });
        }
        let mime = sniffed.mime.ok_or(PhotoError::UnknownType)?;
        let allowed = self.limits.mime_prefixes.iter().any(|prefix| mime.starts_with(prefix.as_str()));
        let format = sniffed.format.filter(|_| allowed).ok_or(PhotoError::RefusedType { mime })?;
        Ok((mime, format))
    }

    /// Returns the photo that an earlier draft has of this source, if any. The commit verifies its file once the key is
    /// locked. A failure here fails no upload: the photo is then encoded again.
    pub(super) async fn recognise(&self, id: SourceId) -> Option<NewPhoto> {
        let known = match self.publisher.catalog().media_of_source(id).await {
            Ok(known) => known?,
            Err(error) => {
                tracing::warn!(%error, "a photo cannot be looked up by its source");
                return None;
            }
        };
        let Media { id: _, key, width, height, size_bytes, owner: _, facts } = known;
        Some(NewPhoto { key, width, height, size_bytes, source: id, facts })
    }

    /// Decodes, encodes and stages one photo.
    pub(super) async fn encode_and_stage(
        &self,
        client: ClientKey,
        photo: ReceivedPhoto,
        staging: &dyn Staging,
    ) -> Result<ReadyPhoto, IngestError> {
        self.stage(client, self.encode(client, photo).await?, staging).await
    }

    /// Decodes and encodes one photo. The future may be dropped at any time: a job that still waits is then never run.
    pub(super) async fn encode(
        &self,
        client: ClientKey,
        photo: ReceivedPhoto,
    ) -> Result<EncodedPhoto, IngestError> {
        let ReceivedPhoto { source, id, format, mime, bytes, label } = photo;
        let (outputs, recipe, wait) =
            (Arc::clone(&self.budget.outputs), self.recipe, self.limits.memory_wait);
        let renditions = Arc::clone(&self.renditions);
        let head = source.head(imaging::COST_HEAD_BYTES).await?;
        let time = imaging::estimated_cost(format, &head, bytes);
        drop(head);
        let cost = Cost { time, memory: source.load_cost() };
        if cost.memory > recipe.memory {
            return Err(label.blame(ImageError::TooMuchMemory));
        }
        let mut spent = Spent::default();
        let steps = self.steps.clone();
        let mut entered = Some(Instant::now());
        let request = tracing::Span::current();
        let job = move |turn: &mut Turn<'_>| {
            // Steps and log lines of the worker belong to the request.
            let _request = request.enter();
            if let Some(entered) = entered.take() {
                steps.took(PhotoStep::Wait, mime, entered.elapsed());
            }
            let work = WorkBudget::resumed(&recipe, spent, turn.is_abandoned);
            let step = encode(&source, format, &recipe, &renditions, &work, turn);
            spent = work.spent();
            match step {
                Ok(Step::Done((encoded, facts))) => {
                    steps.took(PhotoStep::Decode, mime, spent.decoding);
                    steps.took(PhotoStep::Encode, mime, spent.wall.saturating_sub(spent.decoding));
                    // A photo that is larger than the whole share takes all of it.
                    let bytes = encoded.total_bytes().min(outputs.limit());
                    Step::Done(
                        outputs
                            .reserve(bytes, wait)
                            .map(|loan| (encoded, facts, loan))
                            .map_err(Failure::from),
                    )
                }
                Ok(Step::Postponed { memory }) => Step::Postponed { memory },
                Err(failure) => Step::Done(Err(failure)),
            }
        };
        let (encoded, facts, loan) = encoded(self.pool.run(client, cost, job).await, mime, &label)?;
        Ok(EncodedPhoto { encoded, facts, loan, id, mime, bytes, index: label.index })
    }

    /// Charges the client for an encoded photo, and stages it and its renditions, which cost nothing.
    pub(super) async fn stage(
        &self,
        client: ClientKey,
        photo: EncodedPhoto,
        staging: &dyn Staging,
    ) -> Result<ReadyPhoto, IngestError> {
        let EncodedPhoto { encoded, facts, loan: _loan, id, mime, bytes, index } = photo;
        let Encoded { bytes: jpeg, width, height, renditions } = encoded;
        let size_bytes = jpeg.len() as u64;
        let jpeg = Bytes::from(jpeg);
        let charge = self.charge(client, &jpeg).await?;
        let begun = Instant::now();
        let key = staging.stage(jpeg).await?;
        let renditions = renditions.into_iter().map(|made| (made.side, Bytes::from(made.bytes))).collect();
        self.publisher.stage_renditions(staging, key, renditions).await;
        self.steps.took(PhotoStep::Store, mime, begun.elapsed());
        let photo = NewPhoto { key, width, height, size_bytes, source: id, facts: Some(facts) };
        Ok(ReadyPhoto { index, mime, bytes, output: Output::Staged(photo, charge) })
    }
}

/// Turns the outcome of a worker's job into that of the photo.
pub(super) fn encoded<T>(
    done: Result<Result<T, Failure>, PoolError>,
    mime: &'static str,
    label: &Label,
) -> Result<T, IngestError> {
    match done {
        Ok(Ok(encoded)) => Ok(encoded),
        Ok(Err(Failure::Image(error))) => Err(label.blame(error)),
        Ok(Err(Failure::Busy)) | Err(PoolError::Busy) => Err(IngestError::busy()),
        Ok(Err(Failure::Disk(error))) => Err(error.into()),
        Err(PoolError::Panicked) => {
            tracing::error!(photo = label.index, mime, "a decoder panicked");
            // The photo is to blame: no encoder wrote such bytes.
            Err(label.blame(ImageError::Corrupt))
        }
    }
}

/// Why a worker could not encode a photo.
pub(super) enum Failure {
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

/// Loads and encodes the photo and its renditions. Runs on a worker.
fn encode(
    source: &Source,
    format: Format,
    recipe: &Recipe,
    renditions: &RenditionSizes,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step<(Encoded, PhotoFacts)>, Failure> {
    let bytes = source.load().map_err(Failure::Disk)?;
    let photo = PhotoFile { format, bytes: &bytes, held: source.load_cost() };
    Ok(imaging::encode_and_measure_in_turn(photo, recipe, renditions, work, turn)?)
}
