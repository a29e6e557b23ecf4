//! The photos of one upload that are decoded while later parts arrive.

use std::future::Future;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::photo::{Arrived, Finished};
use super::{Ingest, IngestError};

/// See the module. Dropping it abandons them without waiting; what was staged is gone a moment later.
#[derive(Default)]
pub(super) struct Work {
    /// `None` for a photo that was abandoned.
    tasks: JoinSet<Option<Result<Finished, IngestError>>>,
    abandoned: CancellationToken,
    /// Photos that are staged, in the order in which they were ready.
    pub(super) finished: Vec<Finished>,
}

impl Work {
    /// Begins to decode and stage a photo.
    pub(super) fn begin(&mut self, ingest: Arc<Ingest>, arrived: Arrived) {
        let abandoned = self.abandoned.clone();
        self.tasks.spawn(async move {
            // Staging is not abandoned half-way, so that whoever waits for this task knows that no file comes after it.
            Some(match abandoned.run_until_cancelled(ingest.encode(arrived)).await? {
                Ok(made) => ingest.stage(made).await,
                Err(error) => Err(error),
            })
        });
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
        done: Result<Option<Result<Finished, IngestError>>, JoinError>,
    ) -> Result<(), IngestError> {
        if let Some(result) = done.map_err(|error| IngestError::Internal(error.into()))? {
            self.finished.push(result?);
        }
        Ok(())
    }
}
