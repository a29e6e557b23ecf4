//! The quarantine, `<root>/.quarantine`: for damaged photos, and for directories under the name of a photo. No reader sees
//! it, and nothing clears it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::files::{found, has_no_links};
use crate::disk;
use crate::media::MediaName;
use crate::model::MediaKey;

pub(super) const QUARANTINE: &str = ".quarantine";

/// Moves the file or directory at `path` into the quarantine under `root`, and returns its new path, or `None` if there is none. The removal
/// from the directory of the photos is not durable yet. Blocks.
pub(super) fn move_aside(path: &Path, root: &Path, key: MediaKey) -> io::Result<Option<PathBuf>> {
    let aside = &root.join(QUARANTINE);
    disk::create_dir(aside)?;
    // Other bytes of the same name may be in quarantine: a link, unlike a rename, never replaces them.
    for number in 0_u64.. {
        let target = aside.join(MediaName::from(key).tagged(number));
        match fs::hard_link(path, &target) {
            Ok(()) => {
                disk::sync_dir(aside)?;
                fs::remove_file(path)?;
                return Ok(Some(target));
            }
            // A directory, or a file system without hard links.
            Err(error) if has_no_links(&error) && found(fs::symlink_metadata(&target))?.is_none() => {
                fs::rename(path, &target)?;
                disk::sync_dir(aside)?;
                return Ok(Some(target));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists || has_no_links(&error) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
