//! One request that appends to an upload: it writes what arrives, reads it along, charges the client, and acknowledges.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::reader::Reader;
use super::{Digest, Digester, ResumableUploads, UploadError, UploadRequest};
use crate::catalog::{UploadChange, UploadRow};
use crate::ingest::parts::StreamError;
use crate::model::Caller;
use crate::partial::PartialWriter;

/// Bytes that are acknowledged together, unless the request ends before. A crash costs the client at most as many.
const STEP: u64 = 4 << 20;
/// How often a writer that waits for its client asks whether another instance has taken over the upload.
const LOOK_AROUND: Duration = Duration::from_secs(5);
/// Bytes for which a client is charged together.
const CHARGE: u64 = 64 << 10;

/// A request that appends to an upload.
pub(super) struct Appender<'u> {
    pub(super) uploads: &'u ResumableUploads,
    pub(super) caller: Caller,
    pub(super) row: UploadRow,
    pub(super) length: Option<u64>,
    pub(super) request: &'u UploadRequest,
    pub(super) writer: Box<dyn PartialWriter>,
    pub(super) reader: Reader,
    pub(super) digester: Option<Digester>,
    /// Bytes since the last acknowledgement for which the client is charged.
    pub(super) charged: u64,
}

impl Appender<'_> {
    /// Takes bytes until the body ends, fails or is superseded.
    pub(super) async fn receive<S>(
        &mut self,
        body: S,
        superseded: &CancellationToken,
        acknowledged: &(impl Fn(u64) + Sync),
    ) -> Result<(), UploadError>
    where
        S: Stream<Item = Result<Bytes, StreamError>> + Send,
    {
        let mut body = pin!(body);
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK_AROUND, LOOK_AROUND);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let chunk = tokio::select! {
                biased;
                () = superseded.cancelled() => return Err(UploadError::Superseded),
                _ = looks.tick() => {
                    self.acknowledge_if_open(acknowledged).await?;
                    continue;
                }
                refused = self.reader.refused(self.uploads) => return Err(refused),
                chunk = body.next() => chunk,
            };
            let Some(chunk) = chunk.transpose()? else { return Ok(()) };
            self.take(chunk.clone()).await?;
            // Boxed, so that photos take no memory for it.
            if self.digester.is_none() && matches!(self.reader, Reader::Form(_)) {
                Box::pin(self.read(chunk, superseded, acknowledged)).await?;
            }
            if self.writer.pending() >= STEP && self.digester.is_none() {
                self.acknowledge(acknowledged).await?;
            }
        }
    }

    /// Returns the offset after all bytes that were taken.
    pub(super) fn end(&self) -> u64 {
        self.row.offset + self.writer.pending()
    }

    async fn take(&mut self, chunk: Bytes) -> Result<(), UploadError> {
        let end = self.end() + chunk.len() as u64;
        if self.length.is_some_and(|length| end > length) {
            return Err(UploadError::InconsistentLength);
        }
        self.uploads.refuse_longer(self.request, Some(end))?;
        self.reader.judge(&chunk, &self.uploads.ingest)?;
        if let Some(digester) = &mut self.digester {
            digester.update(&chunk);
        }
        // Whatever becomes of the bytes, they are on the disk until the upload goes on, ends or expires.
        let missing = (self.writer.pending() + chunk.len() as u64).saturating_sub(self.charged);
        if missing > 0 {
            let step = missing.div_ceil(CHARGE) * CHARGE;
            self.uploads.charge(self.caller, step).await?;
            self.charged += step;
        }
        Ok(self.writer.write(chunk).await?)
    }

    /// Reads bytes of a form that are written already.
    async fn read(
        &mut self,
        chunk: Bytes,
        superseded: &CancellationToken,
        acknowledged: &(impl Fn(u64) + Sync),
    ) -> Result<(), UploadError> {
        let position = self.end() - chunk.len() as u64;
        let Reader::Form(form) = &mut self.reader else { return Ok(()) };
        let taken = superseded.run_until_cancelled(form.take(self.uploads, position, chunk)).await;
        if taken.ok_or(UploadError::Superseded)?? {
            return Ok(());
        }
        // Not cancelled: what is acknowledged must be known in the end.
        self.acknowledge(acknowledged).await?;
        let Reader::Form(form) = &mut self.reader else { return Ok(()) };
        let caught_up = superseded.run_until_cancelled(self.uploads.catch_up(form, &self.row)).await;
        caught_up.ok_or(UploadError::Superseded)?
    }

    /// Acknowledges what arrived while the client pauses, or finds out that another instance has taken over.
    async fn acknowledge_if_open(&mut self, acknowledged: &(impl Fn(u64) + Sync)) -> Result<(), UploadError> {
        if self.writer.pending() > 0 && self.digester.is_none() {
            return self.acknowledge(acknowledged).await;
        }
        let row = self.uploads.catalog.upload(self.row.id).await?.ok_or(UploadError::NotFound)?;
        if row.writer == self.row.writer { Ok(()) } else { Err(UploadError::Superseded) }
    }

    /// Makes all bytes durable, and acknowledges them.
    pub(super) async fn acknowledge(
        &mut self,
        acknowledged: &(impl Fn(u64) + Sync),
    ) -> Result<(), UploadError> {
        let pending = self.writer.pending();
        let is_new_length = self.length.is_some() && self.row.length.is_none();
        if pending == 0 && !is_new_length {
            return Ok(());
        }
        let offset = self.writer.sync().await?;
        let expires = self.uploads.expiry();
        let change = UploadChange::Advance { offset, length: self.length, expires };
        let changed = self.uploads.catalog.change_upload(self.row.id, self.row.writer, change).await?;
        self.row = changed.ok_or(UploadError::Superseded)?;
        self.charged = self.charged.saturating_sub(pending);
        acknowledged(offset);
        Ok(())
    }

    /// Returns whether the bytes of the request have this digest.
    pub(super) fn has(&mut self, digest: &Digest) -> bool {
        self.digester.take().is_some_and(|digester| digester.matches(digest))
    }
}
