//! Prepares the photos of one upload while its later parts still arrive.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::photo::{Output, ReadyPhoto, ReceivedPhoto};
use super::{Ingest, IngestError};
use crate::media::Staging;
use crate::model::{ClientKey, SourceId};

/// Photos of one upload in work. Dropping it abandons them without waiting; their staged files are removed a moment later.
pub(super) struct Work {
    client: ClientKey,
    pub(super) staging: Arc<dyn Staging>,
    /// `None` for a photo that was abandoned.
    tasks: JoinSet<Option<Result<ReadyPhoto, IngestError>>>,
    abandoned: CancellationToken,
    /// Positions of the photos that were begun, by their sources.
    begun: HashMap<SourceId, usize>,
    /// Photos that are ready, in the order in which they became so.
    pub(super) ready: Vec<ReadyPhoto>,
}

impl Work {
    /// Starts without photos.
    pub(super) fn new(client: ClientKey, staging: Arc<dyn Staging>) -> Self {
        let (tasks, abandoned) = (JoinSet::new(), CancellationToken::new());
        Self { client, staging, tasks, abandoned, begun: HashMap::new(), ready: Vec::new() }
    }

    /// Begins to recognise a photo, or to encode and stage it. A photo that occurred before in this upload is deduplicated.
    pub(super) fn begin(&mut self, ingest: Arc<Ingest>, photo: ReceivedPhoto) {
        let ReceivedPhoto { id, mime, bytes, .. } = photo;
        let index = photo.label.index;
        if let Some(first) = self.begun.get(&id) {
            self.ready.push(ReadyPhoto { index, mime, bytes, output: Output::Deduplicated(*first) });
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

    /// Runs one step of the upload. A photo that fails meanwhile ends the upload at once, not after its last byte.
    pub(super) async fn meanwhile<T>(&mut self, step: impl Future<Output = T>) -> Result<T, IngestError> {
        tokio::pin!(step);
        loop {
            tokio::select! {
                out = &mut step => return Ok(out),
                Some(done) = self.tasks.join_next() => self.note(done)?,
            }
        }
    }

    /// Waits for all photos.
    pub(super) async fn finish(&mut self) -> Result<(), IngestError> {
        while let Some(done) = self.tasks.join_next().await {
            self.note(done)?;
        }
        Ok(())
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
        if let Some(result) = done.map_err(|error| IngestError::Internal(error.into()))? {
            self.ready.push(result?);
        }
        Ok(())
    }
}
