//! Writes the pieces of an upload.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStoreExt;
use tokio::sync::Semaphore;

use super::pieces;
use crate::blocking::blocking;
use crate::disk;
use crate::media::Bucket;
use crate::model::UploadId;
use crate::partial::tail::{SMALL_STEP, Tail};
use crate::partial::{PartialError, PartialWriter, Resumption, broken};

/// The largest piece. A phone at 1 Mbit/s sends it in 8 seconds, and it is in memory while it is sent to the bucket. A photo is
/// then a few objects, which cost about as much as the requests for it.
const PIECE: u64 = 1 << 20;

/// Writes one upload. Bytes wait in a file without a name until they are sent as a piece, so that slow uploads take no memory.
pub(super) struct PieceWriter {
    bucket: Arc<Bucket>,
    /// Permits for pieces in memory.
    puts: Arc<Semaphore>,
    id: UploadId,
    epoch: u64,
    /// The offset of the piece that is not in the bucket yet.
    start: u64,
    /// The beginning of that piece, in the file if there is one.
    file: Option<Arc<File>>,
    /// The rest of it.
    tail: Tail,
    /// The offset that the last sync returned.
    synced: u64,
    /// Set by an error, and while a write runs: its future may be dropped.
    is_broken: bool,
}

impl PieceWriter {
    pub(super) fn new(
        bucket: Arc<Bucket>,
        puts: Arc<Semaphore>,
        id: UploadId,
        Resumption { epoch, offset }: Resumption,
    ) -> Self {
        let tail = Tail::at(0);
        Self { bucket, puts, id, epoch, start: offset, file: None, tail, synced: offset, is_broken: false }
    }

    /// Adds bytes to the piece that is not sent yet.
    async fn buffer(&mut self, bytes: Bytes) -> Result<(), PartialError> {
        let Some(run) = self.tail.push(bytes, SMALL_STEP) else { return Ok(()) };
        let (file, dir, min_free) =
            (self.file.take(), Arc::clone(&self.bucket.scratch), self.bucket.min_free);
        let writing = blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(disk::scratch_file(&dir)?),
            };
            min_free.check(&dir)?;
            run.write_to(&file)?;
            Ok::<_, io::Error>(file)
        });
        self.file = Some(writing.await?);
        Ok(())
    }

    /// Sends the piece to the bucket, and begins the next one.
    async fn put(&mut self) -> Result<(), PartialError> {
        let length = self.tail.end();
        if length == 0 {
            return Ok(());
        }
        // The semaphore is never closed, so this never fails.
        let _turn = self.puts.acquire().await.map_err(io::Error::other)?;
        let (file, tail) = (self.file.clone(), std::mem::replace(&mut self.tail, Tail::at(0)));
        let reading = blocking(move || {
            let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            let written = piece.len() - tail.bytes().len();
            if let Some(file) = file {
                file.read_exact_at(&mut piece[..written], 0)?;
            }
            piece[written..].copy_from_slice(tail.bytes());
            Ok::<_, io::Error>(Bytes::from(piece))
        });
        let piece = reading.await?;
        let path = pieces::path(self.id, self.start, self.epoch);
        self.bucket.ask(self.bucket.client.put(&path, piece.into())).await?;
        self.start += length;
        Ok(())
    }
}

#[async_trait]
impl PartialWriter for PieceWriter {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), PartialError> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(broken());
        }
        while !bytes.is_empty() {
            let room = usize::try_from(PIECE - self.tail.end()).map_err(io::Error::other)?;
            self.buffer(bytes.split_to(room.min(bytes.len()))).await?;
            if self.tail.end() == PIECE {
                self.put().await?;
            }
        }
        self.is_broken = false;
        Ok(())
    }

    async fn flush(&mut self) -> Result<u64, PartialError> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(broken());
        }
        self.put().await?;
        self.is_broken = false;
        Ok(self.start)
    }

    async fn sync(&mut self) -> Result<u64, PartialError> {
        // What is in the bucket is durable.
        self.synced = self.flush().await?;
        Ok(self.synced)
    }

    fn pending(&self) -> u64 {
        self.start + self.tail.end() - self.synced
    }
}
