//! Writes the file of one upload.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blocking::blocking;
use crate::disk::{self, Scratch};
use crate::partial::tail::{SMALL_STEP, Tail};
use crate::partial::{PartialError, PartialWriter, broken};

/// The size of steps of an upload that arrives fast, of which each costs a change of threads.
const LARGE_STEP: usize = 256 * 1024;
/// Uploads that may write large steps at the same time: 8 MiB of memory.
pub(super) const LARGE_STEPS: usize = 32;

/// Appends to the file of an upload.
pub(super) struct FileWriter {
    /// Locked. Each write holds a reference, so that the lock ends with the last one.
    file: Arc<File>,
    /// The directory of all uploads, and the floor of free space.
    volume: Scratch,
    /// The directory of the file, until its name is durable.
    unsynced_dir: Option<Box<Path>>,
    tail: Tail,
    /// Permits for large steps.
    large_steps: Arc<Semaphore>,
    /// Held while the tail may have more than a small step.
    large_step: Option<OwnedSemaphorePermit>,
    /// The offset that the last sync returned.
    synced: u64,
    /// Set by an error, and while a write runs: its future may be dropped.
    is_broken: bool,
}

impl FileWriter {
    /// Appends to `file`, in the directory `dir` of the uploads in `volume`, which is `offset` bytes long.
    pub(super) fn new(
        file: File,
        dir: &Path,
        volume: Scratch,
        large_steps: Arc<Semaphore>,
        offset: u64,
    ) -> Self {
        // With acknowledged bytes the name is durable.
        let unsynced_dir = (offset == 0).then(|| dir.into());
        let tail = Tail::at(offset);
        Self {
            file: Arc::new(file),
            volume,
            unsynced_dir,
            tail,
            large_steps,
            large_step: None,
            synced: offset,
            is_broken: false,
        }
    }

    /// Returns the size of the steps that are written now. A client that sends a small step in one piece is fast.
    fn step(&mut self, chunk: usize) -> usize {
        if self.large_step.is_none() && chunk >= SMALL_STEP {
            self.large_step = Arc::clone(&self.large_steps).try_acquire_owned().ok();
        }
        if self.large_step.is_some() { LARGE_STEP } else { SMALL_STEP }
    }

    /// Runs `work` on the file, unless the volume is full. Breaks the writer if `work` fails or is not waited for.
    async fn run(
        &mut self,
        work: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), PartialError> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(broken());
        }
        let (file, volume) = (Arc::clone(&self.file), self.volume.clone());
        blocking(move || {
            volume.min_free.check(&volume.dir)?;
            work(&file)
        })
        .await?;
        self.is_broken = false;
        Ok(())
    }
}

#[async_trait]
impl PartialWriter for FileWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), PartialError> {
        let step = self.step(bytes.len());
        match self.tail.push(bytes, step) {
            Some(run) => self.run(move |file| run.write_to(file)).await,
            None if self.is_broken => Err(broken()),
            None => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<u64, PartialError> {
        if let Some(run) = self.tail.take() {
            self.run(move |file| run.write_to(file)).await?;
        }
        // The tail is empty.
        self.large_step = None;
        if self.is_broken { Err(broken()) } else { Ok(self.tail.end()) }
    }

    async fn sync(&mut self) -> Result<u64, PartialError> {
        if self.pending() == 0 && !self.is_broken {
            return Ok(self.synced);
        }
        let (run, dir) = (self.tail.take(), self.unsynced_dir.take());
        let sync = move |file: &File| {
            if let Some(run) = run {
                run.write_to(file)?;
            }
            file.sync_data()?;
            dir.map_or(Ok(()), |dir| disk::sync_dir(&dir))
        };
        self.run(sync).await?;
        self.synced = self.tail.end();
        // The tail is empty.
        self.large_step = None;
        Ok(self.synced)
    }

    fn pending(&self) -> u64 {
        self.tail.end() - self.synced
    }
}
