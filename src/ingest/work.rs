//! The photos of one upload that are made ready while later parts arrive.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::photo::{Arrived, Made, Prepared};
use super::{Ingest, IngestError};
use crate::model::{ClientKey, SourceId};

/// See the module. Dropping it abandons them without waiting; what was staged is gone a moment later.
pub(super) struct Work {
    client: ClientKey,
    /// `None` for a photo that was abandoned.
    tasks: JoinSet<Option<Result<Prepared, IngestError>>>,
    abandoned: CancellationToken,
    /// Positions of the photos that were begun.
    begun: HashMap<SourceId, usize>,
    /// Photos that are ready, in the order in which they were.
    pub(super) prepared: Vec<Prepared>,
}

impl Work {
    /// Nothing yet, of a client.
    pub(super) fn of(client: ClientKey) -> Self {
        let (tasks, abandoned) = (JoinSet::new(), CancellationToken::new());
        Self { client, tasks, abandoned, begun: HashMap::new(), prepared: Vec::new() }
    }

    /// Begins to recognise a photo, or to decode and stage it. One that came before in this upload is not begun again.
    pub(super) fn begin(&mut self, ingest: Arc<Ingest>, arrived: Arrived) {
        let Arrived { id, mime, bytes, .. } = arrived;
        let index = arrived.label.index;
        if let Some(first) = self.begun.get(&id) {
            self.prepared.push(Prepared { index, mime, bytes, made: Made::Repeat(*first) });
            return;
        }
        self.begun.insert(id, index);
        let (client, abandoned) = (self.client, self.abandoned.clone());
        let preparing = async move {
            let known = abandoned.run_until_cancelled(ingest.recognise(id)).await?;
            if let Some(photo) = known {
                let made = Made::Known(photo, Box::new(arrived));
                return Some(Ok(Prepared { index, mime, bytes, made }));
            }
            // Staging is not abandoned half-way, so that whoever waits for this task knows that no file comes after it.
            Some(match abandoned.run_until_cancelled(ingest.encode(client, arrived)).await? {
                Ok(photo) => ingest.stage(client, photo).await,
                Err(error) => Err(error),
            })
        };
        self.tasks.spawn(preparing.in_current_span());
    }

    /// Runs one step of the upload. A photo that turns out bad meanwhile ends it at once, not after the last byte.
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

    /// Gives up, and returns once nothing that was staged is left.
    pub(super) async fn abandon(mut self) {
        self.abandoned.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    fn note(
        &mut self,
        done: Result<Option<Result<Prepared, IngestError>>, JoinError>,
    ) -> Result<(), IngestError> {
        if let Some(result) = done.map_err(|error| IngestError::Internal(error.into()))? {
            self.prepared.push(result?);
        }
        Ok(())
    }
}
