//! Unfinished uploads in the bucket of the photos: objects `uploads/<id>/<offset>-<epoch>`, each with the bytes from that offset
//! on that one writer wrote.
//!
//! Several processes share the bucket, and none can stop a request that another one has sent. So nothing is overwritten or
//! truncated: each writer has an epoch, which is in the names of its objects, and the [layout](Layout) says which epoch counts at
//! which offset. The late object of a writer that lost its claim has an epoch that does not count.
//!
//! Pieces are objects of their own, not parts of a multipart upload: those have at least 5 MiB, which a phone in a tunnel would
//! send again.

mod layout;
mod pieces;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::list::PaginatedListOptions;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

use self::layout::{InvalidLayout, Layout};
use self::pieces::{Part, Piece, UPLOADS};
use self::writer::PieceWriter;
use super::{PartialBytes, PartialError, PartialStore, PartialWriter, Resumption};
use crate::media::{AT_ONCE, Bucket, BucketStore, Fault};
use crate::model::UploadId;

/// Pieces that are sent to the bucket in parallel. Only these are in memory.
const PUTS: usize = 16;
/// The most ids that one answer of the service has.
const LARGEST_PAGE: usize = 1000;

/// Unfinished uploads in a bucket.
#[derive(Debug)]
pub(crate) struct BucketPartialStore {
    bucket: Arc<Bucket>,
    puts: Arc<Semaphore>,
}

impl BucketPartialStore {
    /// Returns the store in the bucket of `photos`.
    pub(crate) fn new(photos: &BucketStore) -> Self {
        Self { bucket: photos.bucket(), puts: Arc::new(Semaphore::new(PUTS)) }
    }
}

impl From<Fault> for PartialError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(cause) => Self::Full(io::Error::other(cause)),
            fault => Self::Unavailable(fault.into()),
        }
    }
}

impl From<InvalidLayout> for PartialError {
    fn from(error: InvalidLayout) -> Self {
        Self::Io(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// Returns the bytes of a part.
async fn get(bucket: Arc<Bucket>, id: UploadId, part: Part) -> Result<PartialBytes, PartialError> {
    let path = pieces::path(id, part.piece.offset, part.piece.epoch);
    let length = part.range.end - part.range.start;
    let range = (length < part.piece.length).then_some(GetRange::Bounded(part.range));
    let options = GetOptions { range, ..Default::default() };
    let object = match bucket.ask(bucket.client.get_opts(&path, options)).await {
        Err(Fault::Absent) => return Err(PartialError::Missing),
        object => object?,
    };
    let body = object.into_stream();
    let exact = stream::try_unfold((body, length), |(mut body, rest)| async move {
        let chunk: Option<Bytes> = body.try_next().await.map_err(Fault::from)?;
        match chunk {
            Some(chunk) if chunk.len() as u64 <= rest => {
                let rest = rest - chunk.len() as u64;
                Ok(Some((chunk, (body, rest))))
            }
            None if rest == 0 => Ok(None),
            // The object is not the one that was listed.
            Some(_) | None => Err(PartialError::Missing),
        }
    });
    Ok(exact.boxed())
}

#[async_trait]
impl PartialStore for BucketPartialStore {
    fn layout(&self, layout: &str, at: Resumption) -> String {
        // A text that is no layout stays one that `append` and `read` refuse.
        let Ok(mut next) = layout.parse::<Layout>() else { return layout.to_owned() };
        next.continue_at(at);
        next.to_string()
    }

    async fn append(
        &self,
        id: UploadId,
        layout: &str,
        at: Resumption,
    ) -> Result<Box<dyn PartialWriter>, PartialError> {
        let layout: Layout = layout.parse()?;
        if !layout.ends_with(at) {
            let error = "the layout does not end with this writer";
            return Err(PartialError::Io(io::Error::new(io::ErrorKind::InvalidInput, error)));
        }
        if layout.is_too_long(at.offset) {
            return Err(PartialError::TooManyResumptions);
        }
        let (bucket, puts) = (Arc::clone(&self.bucket), Arc::clone(&self.puts));
        Ok(Box::new(PieceWriter::new(bucket, puts, id, at)))
    }

    async fn read(
        &self,
        id: UploadId,
        layout: &str,
        range: Range<u64>,
    ) -> Result<PartialBytes, PartialError> {
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let layout: Layout = layout.parse()?;
        let pieces = pieces::find(&self.bucket, id, &layout, &range).await?;
        let parts = pieces::select(&layout, pieces, range).ok_or(PartialError::Missing)?;
        let bucket = Arc::clone(&self.bucket);
        let parts = stream::iter(parts.into_iter().map(Ok));
        Ok(parts.and_then(move |part| get(Arc::clone(&bucket), id, part)).try_flatten().boxed())
    }

    async fn remove(&self, id: UploadId, epoch: u64) -> Result<(), PartialError> {
        let mut answers = pin!(pieces::list(&self.bucket, id));
        while let Some(objects) = answers.try_next().await? {
            let removed =
                objects.iter().filter(|object| Piece::of(object).is_none_or(|piece| piece.epoch <= epoch));
            let removals = removed.map(|object| async {
                match self.bucket.ask(self.bucket.client.delete(&object.location)).await {
                    Ok(()) | Err(Fault::Absent) => Ok(()),
                    Err(fault) => Err(PartialError::from(fault)),
                }
            });
            stream::iter(removals.collect::<Vec<_>>()).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(())
    }

    async fn newest(&self, id: UploadId) -> Result<u64, PartialError> {
        let newest = pieces::list(&self.bucket, id).try_fold(0, async |newest, objects| {
            Ok(objects.iter().filter_map(Piece::of).map(|piece| piece.epoch).fold(newest, u64::max))
        });
        Ok(newest.await?)
    }

    async fn page(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>, PartialError> {
        let (mut page, mut token) = (Vec::new(), None);
        // 0 follows / in ASCII: all objects of that upload are before this name, and those of the next one after it.
        let offset = after.map(|after| format!("{UPLOADS}{after}0"));
        while page.len() < limit {
            let options = PaginatedListOptions {
                offset: offset.clone(),
                delimiter: Some("/".into()),
                max_keys: Some((limit - page.len()).min(LARGEST_PAGE)),
                page_token: token,
                ..Default::default()
            };
            let listed = self.bucket.ask(self.bucket.client.list_paginated(Some(UPLOADS), options)).await?;
            let prefixes = listed.result.common_prefixes.iter();
            page.extend(prefixes.filter_map(|prefix| prefix.filename()?.parse::<UploadId>().ok()));
            token = listed.page_token;
            if token.is_none() {
                break;
            }
        }
        Ok(page)
    }
}
