//! Photos of commits whose outcome is not known.
//!
//! A catalog that fails while it records a draft may have recorded it. Its photos stay until the catalog answers again and
//! says which of them it refers to; if this process ends before, the next one asks.

use std::sync::{Mutex, PoisonError};

use super::{Ingest, IngestError};
use crate::media::Publication;
use crate::model::MediaKey;

/// See the module. A catalog that fails lets no further commits begin, so these are few.
#[derive(Default)]
pub(super) struct Doubts(Mutex<Vec<Box<dyn Publication>>>);

impl Doubts {
    pub(super) fn add(&self, publication: Box<dyn Publication>) {
        self.lock().push(publication);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Publication>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ingest {
    /// Asks the catalog about the photos of commits whose outcome was not known, and removes those that it does not refer
    /// to. Gives the number of those that were removed.
    ///
    /// # Errors
    /// The catalog or the store does not answer; to be tried again later.
    pub async fn settle_doubts(&self) -> Result<usize, IngestError> {
        let mut removed = 0;
        loop {
            let Some(publication) = self.in_doubt.lock().pop() else {
                return Ok(removed);
            };
            match self.remove_unreferenced(&*publication).await {
                Ok(count) => {
                    removed += count;
                    publication.settle().await;
                }
                Err(error) => {
                    self.in_doubt.add(publication);
                    return Err(error);
                }
            }
        }
    }

    async fn remove_unreferenced(&self, publication: &dyn Publication) -> Result<usize, IngestError> {
        let created: Vec<MediaKey> = publication.created().to_vec();
        let _held = self.hold(created.iter().copied()).await?;
        let unreferenced = self.catalog.without_row(&created).await?;
        if !unreferenced.is_empty() {
            self.store.remove(&unreferenced).await?;
        }
        Ok(unreferenced.len())
    }
}
