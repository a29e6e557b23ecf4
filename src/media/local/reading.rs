//! A look at photos of which another process is the master.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::LocalStore;
use super::names::Names;
use crate::disk::FreeDisk;

impl LocalStore {
    /// Opens the photos under `root` for reading alone, whoever else has them open: published photos are whole and never
    /// change. Nothing is created, and what an earlier process left in staging stays as it is and is not named.
    ///
    /// Whatever would change the store fails.
    ///
    /// # Errors
    /// There is no such directory, or it cannot be read.
    pub fn open_for_reading(root: &Path) -> io::Result<Self> {
        fs::read_dir(root)?;
        Ok(Self {
            root: root.into(),
            min_free: FreeDisk::Bytes(0),
            names: Arc::new(Names::open(root)?),
            leftovers: Arc::default(),
            lock: None,
        })
    }

    /// Whether this process may change anything.
    pub(super) fn writable(&self) -> io::Result<()> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for reading alone")),
        }
    }
}
