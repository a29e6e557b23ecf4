//! Publishes staged files: gives each the name of its photo, and undoes that on rollback.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use tempfile::TempPath;

use super::files::{found, has_no_links, remove_file};
use super::staged_file::StagedFile;
use super::{LocalStore, quarantine, reading, renditions};
use crate::blocking::blocking;
use crate::disk;
use crate::media::{Integrity, MediaError, Publication};
use crate::model::MediaKey;

/// Published photos, with the staged names of their files.
pub(super) struct LocalPublication {
    store: LocalStore,
    created: Vec<MediaKey>,
    staged: Vec<TempPath>,
}

impl Drop for LocalPublication {
    fn drop(&mut self) {
        for name in self.staged.drain(..) {
            let _never_fails = name.keep();
        }
    }
}

impl LocalPublication {
    /// The publication of an upload that staged nothing, because all its photos are recognised.
    pub(super) fn empty(store: &LocalStore) -> Self {
        Self { store: store.clone(), created: Vec::new(), staged: Vec::new() }
    }

    /// Gives each staged file the name of its photo, and returns whether the directory has new names. Blocks.
    pub(super) fn link(store: &LocalStore, files: Vec<StagedFile>) -> io::Result<(Self, bool)> {
        let (mut created, mut has_new_names) = (Vec::new(), false);
        let mut staged = Vec::with_capacity(files.len());
        let linked = || {
            for file in files {
                let photo = store.path(file.key);
                match occupant(&photo, &file)? {
                    Occupant::SamePhoto => refresh(&photo),
                    // A damaged photo is replaced by the new file.
                    Occupant::Other { is_directory } => {
                        if is_directory {
                            quarantine::move_aside(&photo, &store.root, file.key)?;
                        }
                        staged.extend(replace(file.path, &photo)?);
                        has_new_names = true;
                    }
                    Occupant::None => {
                        staged.extend(give_name(file.path, &photo)?);
                        created.push(file.key);
                        has_new_names = true;
                    }
                }
            }
            Ok(())
        };
        if let Err(error) = linked() {
            for key in created {
                let _best_effort = renditions::remove_with_photo(&store.root, key);
            }
            return Err(error);
        }
        Ok((Self { store: store.clone(), created, staged }, has_new_names))
    }

    fn discard_staged(&mut self) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let staged = std::mem::take(&mut self.staged);
        // The next start removes files that cannot be removed now.
        move || {
            drop(staged);
            Ok(())
        }
    }
}

#[async_trait]
impl Publication for LocalPublication {
    fn created(&self) -> &[MediaKey] {
        &self.created
    }

    async fn commit(mut self: Box<Self>) {
        if !self.staged.is_empty() {
            let _never_fails = blocking(self.discard_staged()).await;
        }
    }

    async fn rollback(mut self: Box<Self>) -> Result<(), MediaError> {
        self.store.remove_files(&self.created).await?;
        // Only now: until the photos are removed durably, a crash leaves their staged files, which make them pending.
        Ok(blocking(self.discard_staged()).await?)
    }
}

/// The directory entry under the name of a photo that is about to be published.
enum Occupant {
    None,
    SamePhoto,
    Other { is_directory: bool },
}

/// Finds out what is under the name `photo`. A file of the photo's length is read whole; one that cannot be read is not the
/// photo. Blocks.
fn occupant(photo: &Path, file: &StagedFile) -> io::Result<Occupant> {
    let Some(entry) = found(fs::symlink_metadata(photo))? else { return Ok(Occupant::None) };
    let has_length = fs::metadata(photo).is_ok_and(|found| found.len() == file.length);
    match has_length.then(|| reading::verify(photo, file.key)) {
        Some(Ok(Integrity::Whole)) => Ok(Occupant::SamePhoto),
        Some(Err(error)) if disk::is_out_of_files(&error) => Err(error),
        _ => Ok(Occupant::Other { is_directory: entry.is_dir() }),
    }
}

/// Gives a staged file a free name. Returns its staged name if the file system has hard links, and the file both names.
fn give_name(staged: TempPath, photo: &Path) -> io::Result<Option<TempPath>> {
    match fs::hard_link(&staged, photo) {
        Ok(()) => Ok(Some(staged)),
        Err(error) if has_no_links(&error) => {
            staged.persist(photo)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Gives a staged file the name of another file, atomically: a reader sees one of the two. Returns as [`give_name`].
fn replace(staged: TempPath, photo: &Path) -> io::Result<Option<TempPath>> {
    let mut twin = staged.to_path_buf().into_os_string();
    twin.push(".twin");
    let twin = TempPath::try_from_path(PathBuf::from(twin))?;
    match fs::hard_link(&staged, &twin) {
        Ok(()) => {
            twin.persist(photo)?;
            Ok(Some(staged))
        }
        Err(error) if has_no_links(&error) => {
            staged.persist(photo)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Sets the modification time of a photo to now, so that the garbage collector leaves it alone. A file of another owner may
/// not be changed; the collector asks the catalog again before it removes a photo.
fn refresh(photo: &Path) {
    let times = FileTimes::new().set_modified(SystemTime::now());
    let _best_effort = File::open(photo).and_then(|file| file.set_times(times));
}

/// See [`MediaStore::reconcile`](crate::media::MediaStore::reconcile). `staged` are the staged files of the photo. Blocks.
pub(super) fn reconcile(photo: &Path, staged: &[PathBuf], keep: bool) -> io::Result<()> {
    let file =
        |path: &Path| Ok::<_, io::Error>(found(fs::metadata(path))?.map(|file| (file.dev(), file.ino())));
    if !keep && let Some(published) = file(photo)? {
        for staged in staged {
            if file(staged)? == Some(published) {
                remove_file(photo)?;
                break;
            }
        }
    }
    staged.iter().try_for_each(|staged| remove_file(staged))
}
