//! Renditions that the store could not keep. They are served from memory.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::budget::Reservation;
use crate::media::{MediaObject, OpenRendition, StoredRendition};

/// A rendition in memory.
#[derive(Debug)]
pub(super) struct Unkept {
    bytes: Bytes,
    version: String,
    /// Covers the bytes until no reader has them any more.
    _loan: Reservation,
}

impl Unkept {
    /// Describes the bytes by their hash.
    pub(super) fn new(bytes: Bytes, loan: Reservation) -> Self {
        let version = blake3::hash(&bytes).to_hex()[..32].to_owned();
        Self { bytes, version, _loan: loan }
    }

    pub(super) fn stored(&self) -> StoredRendition {
        StoredRendition { length: self.bytes.len() as u64, version: self.version.clone() }
    }

    pub(super) fn open(self: &Arc<Self>) -> OpenRendition {
        OpenRendition { stored: self.stored(), object: Box::new(InMemory(Arc::clone(self))) }
    }
}

struct InMemory(Arc<Unkept>);

impl MediaObject for InMemory {
    fn len(&self) -> u64 {
        self.0.bytes.len() as u64
    }

    fn read(self: Box<Self>, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let within = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let bytes = within.map_or_else(Bytes::new, |(start, end)| self.0.bytes.slice(start..end));
        // The reservation ends with the stream, after its only item is sent.
        stream::unfold(
            (Some(bytes), self.0),
            |(bytes, unkept)| async move { Some((Ok(bytes?), (None, unkept))) },
        )
        .boxed()
    }
}
