//! One photo that no draft gets yet.

use std::future::Future;
use std::sync::Arc;

use tracing::Instrument;

use super::admission::InFlight;
use super::photo::{Label, PhotoBytes, Received};
use super::sniff::sniff;
use super::work::{Prepared, Work};
use super::{Ingest, IngestError, OnError, PhotoError};
use crate::catalog::{Catalog, CatalogError, ChangeError, NewPhoto};
use crate::imaging;
use crate::model::{Caller, ClientKey};

impl Ingest {
    /// Judges a photo by its first [`HEAD_BYTES`](super::sniff::HEAD_BYTES), or by all of a shorter one.
    ///
    /// # Errors
    /// The whole photo would be refused.
    pub(crate) fn judge_head(&self, head: &[u8]) -> Result<(), PhotoError> {
        let (_, format) = self.judge(sniff(head))?;
        Ok(imaging::check_declared(format, head, &self.recipe)?)
    }

    /// Counts an upload of `client` that stores bytes and decodes none yet, until what it returns is dropped.
    ///
    /// # Errors
    /// The client has its share of the uploads in flight.
    pub(crate) fn begin_receiving(&self, client: ClientKey) -> Result<InFlight, IngestError> {
        self.uploads.begin(client).ok_or_else(IngestError::busy)
    }

    /// Takes in one photo, and returns what `record` returned once that is durable.
    ///
    /// Dropping the future before it returns abandons the photo, unless its recording has begun, which then completes by itself.
    ///
    /// # Errors
    /// See [`IngestError`]. Nothing of the photo stays.
    pub(crate) async fn store_photo<T, F>(
        self: &Arc<Self>,
        caller: Caller,
        filename: Option<String>,
        bytes: impl PhotoBytes,
        record: impl FnOnce(Arc<dyn Catalog>, NewPhoto) -> F + Send + 'static,
    ) -> Result<T, IngestError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChangeError>> + Send + 'static,
    {
        let client = caller.client;
        let _in_flight = self.uploads.begin(client).ok_or_else(IngestError::busy)?;
        let mut work = Work::new(client, self.publisher.store().begin().into(), OnError::Fail);
        if let Err(error) = self.read_photo(bytes, filename, &mut work).await {
            work.abandon().await;
            return Err(error);
        }
        let Prepared { photos, staging, rejected: _ } = work.prepared();
        let ingest = Arc::clone(self);
        // A task of its own: a client that disconnects now must not leave a published photo without its row.
        let commit = async move {
            let record = |catalog, photos: Vec<NewPhoto>| async move {
                match photos[..] {
                    [photo] => record(catalog, photo).await,
                    _ => Err(CatalogError::Corrupt("one photo became several".into()).into()),
                }
            };
            ingest.publish(client, photos, &*staging, record).await
        };
        let committed = self.commits.spawn(commit.in_current_span());
        let (recorded, photos) = committed.await.map_err(|error| IngestError::Internal(error.into()))??;
        self.counts.committed(&photos);
        Ok(recorded)
    }

    async fn read_photo(
        self: &Arc<Self>,
        bytes: impl PhotoBytes,
        filename: Option<String>,
        work: &mut Work,
    ) -> Result<(), IngestError> {
        match self.receive(bytes, Label { index: 0, filename }).await? {
            Received::Photo(photo) => work.begin(Arc::clone(self), photo),
            Received::Empty(label) => return Err(label.blame(PhotoError::NoBytes)),
        }
        work.finish().await
    }
}
