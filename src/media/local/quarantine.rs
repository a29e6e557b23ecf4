//! Where damaged photos go, and what else stands in the place of a photo: `<root>/.quarantine`, which nobody reads and nothing
//! clears.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::found;
use super::publish::has_no_links;
use crate::disk;
use crate::media::MediaName;
use crate::model::MediaKey;

/// Moves what is at `path`, a photo or anything else, into `aside`, and says where it is then; `None` if there is none. The loss of its name in the
/// photos' directory is not durable yet. Blocks.
pub(super) fn move_aside(path: &Path, aside: &Path, key: MediaKey) -> io::Result<Option<PathBuf>> {
    disk::create_dir(aside)?;
    // Other bytes under the same name may have been put here before: a link, unlike a rename, never replaces them.
    for number in 0_u64.. {
        let target = aside.join(MediaName::from(key).tagged(number));
        match fs::hard_link(path, &target) {
            Ok(()) => {
                disk::sync_dir(aside)?;
                fs::remove_file(path)?;
                return Ok(Some(target));
            }
            // A directory, or a file system that knows one name a file.
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
