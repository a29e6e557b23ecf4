//! Prepares the photos of one upload while its later parts still arrive.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::photo::{Output, ReadyPhoto, ReceivedPhoto};
use super::{Ingest, IngestError, OnError, PhotoError, Rejected};
use crate::media::Staging;
use crate::model::{ClientKey, SourceId};

/// The photos of one upload that are in progress. Dropping it abandons them without waiting; their staged files are removed a
/// moment later.
pub(super) struct Work {
    client: ClientKey,
    staging: Arc<dyn Staging>,
    on_error: OnError,
    /// `None` for a photo that was abandoned.
    tasks: JoinSet<Option<Result<ReadyPhoto, IngestError>>>,
    abandoned: CancellationToken,
    /// Positions of the photos that were begun, by their sources.
    begun: HashMap<SourceId, usize>,
    /// Photos that are ready, in the order in which they became so.
    ready: Vec<ReadyPhoto>,
    /// Photos that are left out.
    rejected: Vec<Rejected>,
}

/// The photos of an upload that is ready for its commit. Both lists are in the order of the upload.
pub(super) struct Prepared {
    /// At least one.
    pub(super) photos: Vec<ReadyPhoto>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) staging: Arc<dyn Staging>,
}

impl Work {
    /// Starts without photos.
    pub(super) fn new(client: ClientKey, staging: Arc<dyn Staging>, on_error: OnError) -> Self {
        Self {
            client,
            staging,
            on_error,
            tasks: JoinSet::new(),
            abandoned: CancellationToken::new(),
            begun: HashMap::new(),
            ready: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// Returns whether the upload has a photo, good or bad.
    pub(super) fn has_photos(&self) -> bool {
        !(self.begun.is_empty() && self.rejected.is_empty())
    }

    /// Leaves a photo out, if the upload may go on without it.
    ///
    /// # Errors
    /// `error` itself, if it is about more than one photo, or if one bad photo ends the upload.
    pub(super) fn reject(&mut self, error: IngestError) -> Result<(), IngestError> {
        match (error, self.on_error) {
            (IngestError::Photo { index, filename, reason }, OnError::Skip) => {
                self.rejected.push(Rejected { index, filename, reason });
                Ok(())
            }
            (error, _) => Err(error),
        }
    }

    /// Begins to recognise a photo, or to encode and stage it. A photo that occurred before in this upload is deduplicated.
    pub(super) fn begin(&mut self, ingest: Arc<Ingest>, photo: ReceivedPhoto) {
        let ReceivedPhoto { id, mime, bytes, .. } = photo;
        let index = photo.label.index;
        if let Some(first) = self.begun.get(&id) {
            let output = Output::Deduplicated { first: *first, filename: photo.label.filename };
            self.ready.push(ReadyPhoto { index, mime, bytes, output });
            return;
        }
        self.begun.insert(id, index);
        let (client, staging, abandoned) = (self.client, Arc::clone(&self.staging), self.abandoned.clone());
        let preparing = async move {
            let recognised = abandoned.run_until_cancelled(ingest.recognise(id)).await?;
            if let Some(stored) = recognised {
                let output = Output::Recognised(stored, Box::new(photo));
                return Some(Ok(ReadyPhoto { index, mime, bytes, output }));
            }
            // Staging is not abandoned half-way: once this task has ended, no staged file appears any more.
            Some(match abandoned.run_until_cancelled(ingest.encode(client, photo)).await? {
                Ok(photo) => ingest.stage(client, photo, &*staging).await,
                Err(error) => Err(error),
            })
        };
        self.tasks.spawn(preparing.in_current_span());
    }

    /// Runs one step of the upload. A photo that fails during it ends the upload immediately, not after its last byte.
    pub(super) async fn unless_photo_fails<T>(
        &mut self,
        step: impl Future<Output = T>,
    ) -> Result<T, IngestError> {
        tokio::pin!(step);
        loop {
            tokio::select! {
                out = &mut step => return Ok(out),
                Some(done) = self.tasks.join_next() => self.note(done)?,
            }
        }
    }

    /// Waits for all photos.
    ///
    /// # Errors
    /// A photo ends the upload, or none is good: then the error is that of the first.
    pub(super) async fn finish(&mut self) -> Result<(), IngestError> {
        while let Some(done) = self.tasks.join_next().await {
            self.note(done)?;
        }
        self.reject_duplicates();
        self.rejected.sort_by_key(|photo| photo.index);
        match self.rejected.first() {
            Some(Rejected { index, filename, reason }) if self.ready.is_empty() => {
                Err(IngestError::Photo { index: *index, filename: filename.clone(), reason: reason.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Rejects the duplicates of photos that were rejected.
    fn reject_duplicates(&mut self) {
        let reasons: HashMap<usize, PhotoError> =
            self.rejected.iter().map(|photo| (photo.index, photo.reason.clone())).collect();
        for photo in std::mem::take(&mut self.ready) {
            let index = photo.index;
            match photo.output {
                Output::Deduplicated { first, filename } if reasons.contains_key(&first) => {
                    self.rejected.push(Rejected { index, filename, reason: reasons[&first].clone() });
                }
                output => self.ready.push(ReadyPhoto { output, ..photo }),
            }
        }
    }

    /// Returns the photos of a finished upload.
    pub(super) fn prepared(mut self) -> Prepared {
        let mut photos = std::mem::take(&mut self.ready);
        photos.sort_by_key(|photo| photo.index);
        Prepared { photos, rejected: self.rejected, staging: self.staging }
    }

    /// Abandons all photos, and returns once their staged files are removed.
    pub(super) async fn abandon(mut self) {
        self.abandoned.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    fn note(
        &mut self,
        done: Result<Option<Result<ReadyPhoto, IngestError>>, JoinError>,
    ) -> Result<(), IngestError> {
        match done.map_err(|error| IngestError::Internal(error.into()))? {
            Some(Ok(photo)) => self.ready.push(photo),
            Some(Err(error)) => self.reject(error)?,
            None => {}
        }
        Ok(())
    }
}
