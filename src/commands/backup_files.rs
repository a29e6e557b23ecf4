//! The files of a backup: `catalog.jsonl`, the export before it, and the photos that both name.
//!
//! A new export replaces the former one after all photos that it names are there. Until then the backup is the former one.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::disk;

const CURRENT: &str = "catalog.jsonl";
const FORMER: &str = "catalog.previous.jsonl";
/// Exports that are being written. A backup that was killed leaves them.
const PREFIX: &str = ".catalog-";
const SUFFIX: &str = ".part";

/// The directory of a backup.
pub(super) struct BackupFiles<'d> {
    dir: &'d Path,
    /// Locks the directory against other backups.
    _lock: Option<File>,
}

impl<'d> BackupFiles<'d> {
    /// Creates the directory if it does not exist, for this user only, and locks it. Removes what a killed backup left.
    pub(super) fn create(dir: &'d Path) -> Result<Self, String> {
        let opening = || {
            if !dir.is_dir() {
                disk::create_dir(dir)?;
                fs::set_permissions(dir, Permissions::from_mode(0o700))?;
            }
            let lock = File::open(dir)?;
            lock.try_lock().map_err(|_| io::Error::other("another backup into it runs"))?;
            for entry in fs::read_dir(dir)? {
                let name = entry?.file_name();
                let is_part = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
                if name.to_str().is_some_and(is_part) {
                    fs::remove_file(dir.join(name))?;
                }
            }
            Ok(lock)
        };
        let lock = opening().map_err(|error: io::Error| cannot(dir, &error))?;
        Ok(Self { dir, _lock: Some(lock) })
    }

    /// Opens an existing backup for reading.
    pub(super) fn existing(dir: &'d Path) -> Result<(Self, File), String> {
        let files = Self { dir, _lock: None };
        let export = File::open(files.current()).map_err(|error| {
            format!(
                "there is no backup at {}: {} cannot be read: {error}",
                dir.display(),
                files.current().display()
            )
        })?;
        Ok((files, export))
    }

    pub(super) fn dir(&self) -> &'d Path {
        self.dir
    }

    /// Returns the directory of the photos.
    pub(super) fn photos(&self) -> PathBuf {
        self.dir.join("photos")
    }

    pub(super) fn current(&self) -> PathBuf {
        self.dir.join(CURRENT)
    }

    /// Returns the export before the current one, if there is one.
    pub(super) fn former(&self) -> Result<Option<File>, String> {
        match File::open(self.dir.join(FORMER)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(self.dir, &error)),
        }
    }

    /// Returns a file for the new export, and an empty file without a name.
    pub(super) fn begin(&self) -> Result<(NamedTempFile, File), String> {
        let part = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(self.dir);
        let both = part.and_then(|part| Ok((part, tempfile::tempfile_in(self.dir)?)));
        both.map_err(|error| cannot(self.dir, &error))
    }

    /// Makes `part` the current export and the current one the former. At every moment there is a current one, if there was one.
    pub(super) fn keep(&self, part: NamedTempFile) -> Result<(), String> {
        let keeping = || {
            part.as_file().sync_all()?;
            let (current, spare) = (self.current(), self.dir.join(format!("{PREFIX}former{SUFFIX}")));
            if current.exists() {
                // A file system without hard links gets a copy.
                fs::hard_link(&current, &spare).or_else(|_| fs::copy(&current, &spare).map(drop))?;
                File::open(&spare)?.sync_all()?;
                fs::rename(&spare, self.dir.join(FORMER))?;
            }
            part.persist(&current)?;
            disk::sync_dir(self.dir)
        };
        keeping().map_err(|error| cannot(self.dir, &error))
    }
}

fn cannot(dir: &Path, error: &io::Error) -> String {
    format!("the backup at {} cannot be written: {error}", dir.display())
}
