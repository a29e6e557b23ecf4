//! Photos that this server fetches itself, by their URLs.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::photo::{Label, PhotoBytes, Received};
use super::work::Work;
use super::{Ingest, IngestError, PhotoError};
use crate::fetch::{Fetched, Fetcher};

/// URLs of one upload that are fetched at the same time.
const AT_ONCE: usize = 4;

/// A photo that is being fetched.
struct FetchedPhoto {
    fetched: Fetched,
    label: Label,
}

impl PhotoBytes for FetchedPhoto {
    fn is_encoded(&self) -> bool {
        false
    }

    fn declared_bytes(&self) -> Option<u64> {
        self.fetched.declared_bytes()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, IngestError> {
        self.fetched.chunk().await.map_err(|error| self.label.blame(error))
    }
}

impl Ingest {
    /// Fetches all photos, gives them to `work`, and waits for them.
    pub(super) async fn read_urls(
        self: &Arc<Self>,
        fetcher: &Arc<Fetcher>,
        urls: Vec<String>,
        work: &mut Work,
    ) -> Result<(), IngestError> {
        let max = self.limits.photos;
        if urls.is_empty() {
            return Err(IngestError::NoPhoto { max });
        }
        if urls.len() > max {
            return Err(IngestError::TooManyPhotos { max });
        }
        let receiving = urls.into_iter().enumerate().map(|(index, url)| {
            let label = Label { index, filename: None };
            Arc::clone(self).receive_url(Arc::clone(fetcher), url, label)
        });
        // In the order of the upload, as the parts of a form.
        let mut received = stream::iter(receiving).buffered(AT_ONCE);
        while let Some(photo) = work.unless_photo_fails(received.next()).await? {
            match photo {
                Ok(Received::Photo(photo)) => work.begin(Arc::clone(self), photo),
                Ok(Received::Empty(label)) => work.reject(label.blame(PhotoError::NoBytes))?,
                Err(error) => work.reject(error)?,
            }
        }
        work.finish().await
    }

    async fn receive_url(
        self: Arc<Self>,
        fetcher: Arc<Fetcher>,
        url: String,
        label: Label,
    ) -> Result<Received, IngestError> {
        let fetched = fetcher.fetch(&url).await.map_err(|error| label.blame(error))?;
        self.receive(FetchedPhoto { fetched, label: label.clone() }, label).await
    }
}
