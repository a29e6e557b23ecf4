//! A photo in the staging directory.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempPath;

use crate::media::MediaName;
use crate::model::MediaKey;

/// A file in the staging directory.
pub(super) struct StagedFile {
    pub(super) key: MediaKey,
    pub(super) length: u64,
    /// Deletes the file when dropped.
    pub(super) path: TempPath,
}

impl StagedFile {
    /// Writes a durable file. Blocks.
    pub(super) fn write(staging: &Path, bytes: &[u8]) -> io::Result<Self> {
        let key = MediaKey::of(bytes);
        let (prefix, suffix) = (format!("{key}."), MediaName::from(key).extension());
        let mut file = tempfile::Builder::new().prefix(&prefix).suffix(suffix).tempfile_in(staging)?;
        file.write_all(bytes)?;
        // Readable by a web server in front, as the other files of a media root are.
        file.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
        file.as_file().sync_all()?;
        Ok(Self { key, length: bytes.len() as u64, path: file.into_temp_path() })
    }
}
