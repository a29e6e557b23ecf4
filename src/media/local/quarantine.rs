//! Where photos go whose bytes are not those of their name: `<root>/.quarantine`, which nobody reads and nothing clears.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::SUFFIX;
use crate::disk;
use crate::model::MediaKey;

/// Moves the photo at `path` into `aside`, and says where it is then; `None` if there is none. The loss of its name in the
/// photos' directory is not durable yet. Blocks.
pub(super) fn move_aside(path: &Path, aside: &Path, key: MediaKey) -> io::Result<Option<PathBuf>> {
    disk::create_dir(aside)?;
    // Other bytes under the same name may have been put here before: a link, unlike a rename, never replaces them.
    for number in 0_u64.. {
        let target = aside.join(format!("{key}.{number}{SUFFIX}"));
        match fs::hard_link(path, &target) {
            Ok(()) => {
                disk::sync_dir(aside)?;
                fs::remove_file(path)?;
                return Ok(Some(target));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
