//! Renditions on a local disk: `<root>/<sha256>/<longer side>.jpg`, beside `<root>/<sha256>.jpg`.
//!
//! They are written to the staging directory and renamed. Nothing is synced, so that a loss of power may cut a file off. Every
//! JPEG of this server ends with the marker EOI: a file that does not is absent for readers, and the next one replaces it.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempPath;

use super::files::{found, remove_file};
use super::{LocalStore, OpenFile, reading};
use crate::blocking::blocking;
use crate::media::{MediaError, MediaName, OpenRendition, RenditionName, RenditionStore, StoredRendition};
use crate::model::MediaKey;
use crate::page_cache;

/// The last bytes of a JPEG (ITU-T T.81, table B.1).
const EOI: [u8; 2] = [0xFF, 0xD9];

#[async_trait]
impl RenditionStore for LocalStore {
    async fn find_rendition(&self, name: RenditionName) -> Result<Option<StoredRendition>, MediaError> {
        Ok(self.open_whole(name).await?.map(|(_, stored)| stored))
    }

    async fn open_rendition(&self, name: RenditionName) -> Result<Option<OpenRendition>, MediaError> {
        let opened = self.open_whole(name).await?;
        Ok(opened.map(|(file, stored)| {
            let object = Box::new(OpenFile { file: Arc::new(file), length: stored.length });
            OpenRendition { stored, object }
        }))
    }

    async fn keep_rendition(&self, name: RenditionName, bytes: Bytes) -> Result<bool, MediaError> {
        self.directories.writable()?;
        let (store, photo) = (self.clone(), self.path(name.key));
        let keeping = move || {
            if !is_file(&photo)? {
                return Ok(false);
            }
            store.min_free.check(&store.root)?;
            StagedRendition::write(&store.directories.staging(), name, &bytes)?.publish(&store.root)?;
            // A removal between the two looks may have missed this rendition.
            if is_file(&photo)? {
                return Ok(true);
            }
            remove_all(&store.root, name.key)?;
            Ok::<_, io::Error>(false)
        };
        Ok(blocking(keeping).await?)
    }

    async fn remove_strays(&self, key: MediaKey) -> Result<u64, MediaError> {
        self.directories.writable()?;
        let (root, photo) = (Arc::clone(&self.root), self.path(key));
        let removing = move || {
            if is_file(&photo)? {
                return Ok(0);
            }
            remove_all(&root, key)
        };
        Ok(blocking(removing).await?)
    }
}

impl LocalStore {
    /// Opens a whole rendition of a photo that exists.
    async fn open_whole(&self, name: RenditionName) -> io::Result<Option<(File, StoredRendition)>> {
        let (photo, path) = (self.path(name.key), self.root.join(name.to_string()));
        if page_cache::open(&photo).is_some()
            && let Some((file, metadata)) = page_cache::open(&path)
            && let Some(end) = metadata.len().checked_sub(2)
            && page_cache::read(&file, end, 2).is_some_and(|end| *end == EOI)
        {
            return Ok(Some((file, stored(&metadata)?)));
        }
        blocking(move || {
            if !is_file(&photo)? {
                return Ok(None);
            }
            let Some((file, metadata)) = reading::open_photo(&path)? else { return Ok(None) };
            let (length, mut end) = (metadata.len(), [0; 2]);
            let is_whole = length >= 2 && file.read_exact_at(&mut end, length - 2).is_ok() && end == EOI;
            if !is_whole {
                return Ok(None);
            }
            Ok(Some((file, stored(&metadata)?)))
        })
        .await
    }
}

/// The version is length, time and inode. Files are replaced by other files, never written to, and the clock of files is
/// coarse: the inode differs from that of the file that is replaced.
fn stored(metadata: &Metadata) -> io::Result<StoredRendition> {
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let version = format!("{:x}-{:x}-{:x}", metadata.len(), modified.as_nanos(), metadata.ino());
    Ok(StoredRendition { length: metadata.len(), version })
}

fn is_file(photo: &Path) -> io::Result<bool> {
    Ok(found(fs::metadata(photo))?.is_some_and(|entry| entry.is_file()))
}

/// A rendition in the staging directory.
pub(super) struct StagedRendition {
    pub(super) name: RenditionName,
    /// Deletes the file when dropped.
    file: TempPath,
}

impl StagedRendition {
    /// Writes the file. Blocks.
    pub(super) fn write(staging: &Path, name: RenditionName, bytes: &[u8]) -> io::Result<Self> {
        let mut file = tempfile::Builder::new().prefix("rendition.").tempfile_in(staging)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
        Ok(Self { name, file: file.into_temp_path() })
    }

    /// Gives the file its name, atomically, in the place of an earlier rendition. Blocks.
    pub(super) fn publish(self, root: &Path) -> io::Result<()> {
        let path = root.join(self.name.to_string());
        match fs::rename(&self.file, &path) {
            // The first rendition of the photo.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), |dir| exists(fs::create_dir(dir)))?;
                fs::rename(&self.file, &path)?;
            }
            renamed => renamed?,
        }
        // There is no file of this name any more.
        let _never_fails = self.file.keep();
        Ok(())
    }

    /// Gives the file its name, unless there is one. It may have been cut off by a loss of power, and is then made again at
    /// the next request: one that is served keeps its ETag. Blocks.
    pub(super) fn publish_if_absent(self, root: &Path) -> io::Result<()> {
        if is_file(&root.join(self.name.to_string()))? { Ok(()) } else { self.publish(root) }
    }
}

fn exists(created: io::Result<()>) -> io::Result<()> {
    match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Removes the photo under `key` and its renditions. A crash in between leaves the photo, which is then removed again. Blocks.
pub(super) fn remove_with_photo(root: &Path, key: MediaKey) -> io::Result<()> {
    remove_all(root, key)?;
    remove_file(&root.join(MediaName::from(key).to_string()))?;
    // Those that were kept meanwhile.
    remove_all(root, key).map(drop)
}

/// Removes all renditions of a photo, and returns how many. Other files in their directory stay. Blocks.
pub(super) fn remove_all(root: &Path, key: MediaKey) -> io::Result<u64> {
    let dir = root.join(key.to_string());
    let names = match fs::read_dir(&dir) {
        // A foreign file.
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(0),
        names => match found(names)? {
            Some(names) => names,
            None => return Ok(0),
        },
    };
    let mut removed = 0;
    for entry in names {
        let path = entry?.path();
        if is_rendition(&path, key) {
            remove_file(&path)?;
            removed += 1;
        }
    }
    match fs::remove_dir(&dir) {
        // A rendition that is being kept, or a foreign file.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
        emptied => drop(found(emptied)?),
    }
    Ok(removed)
}

fn is_rendition(path: &Path, key: MediaKey) -> bool {
    let file = path.file_name().and_then(|name| name.to_str());
    file.is_some_and(|file| RenditionName::parse(&key.to_string(), file).is_some())
}
