//! What must not be lost without being noticed: a few bytes beside sled's files.
//!
//! sled takes files that are gone for a new database, and ends its log in front of the first bytes that it cannot read. Both
//! look like a catalog that is well. So its moment of creation, which is also its name, and the number of drafts that were
//! acknowledged are kept in a file of their own, and compared at the start.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::rows::Trees;
use crate::catalog::CatalogError;
use crate::disk;

const FILE: &str = "acknowledged";
/// Behind the moment of creation.
const NEXT_DRAFT_AT: u64 = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    created: u64,
}

/// What the file says, before the database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    created: u64,
    next_draft: u64,
}

impl Mark {
    /// Reads what was noted; `None` if there is nothing yet. Called before sled is, which would create what is gone.
    pub(super) fn read(dir: &Path) -> Result<Option<Noted>, CatalogError> {
        let mut bytes = [0; 16];
        match File::open(dir.join(FILE)).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
            Ok(()) => {}
            // A file that is too short is one whose creation was cut off, together with that of the catalog.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        if !dir.join("db").exists() {
            return Err(CatalogError::Corrupt("its file db is gone".into()));
        }
        let [created, next_draft] = [&bytes[..8], &bytes[8..]].map(number);
        Ok(Some(Noted { created, next_draft }))
    }

    /// Compares what was noted with what is there, and goes on noting. `make_durable` is called after the first note.
    pub(super) fn open(
        dir: &Path,
        noted: Option<Noted>,
        trees: &Trees,
        make_durable: impl FnOnce() -> Result<(), CatalogError>,
    ) -> Result<Self, CatalogError> {
        let next_draft = trees.next_draft()?;
        let created = match (trees.created()?, noted) {
            (Some(created), Some(noted)) if noted.created == created => {
                if next_draft < noted.next_draft {
                    return Err(CatalogError::Corrupt(format!(
                        "drafts {next_draft} to {} were acknowledged and are gone",
                        noted.next_draft - 1
                    )));
                }
                created
            }
            (_, Some(_)) => {
                return Err(CatalogError::Corrupt("what was recorded in it is gone".into()));
            }
            (Some(created), None) => created,
            (None, None) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let created = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
                trees.set_created(created)?;
                created
            }
        };
        let path = dir.join(FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        if noted.is_none() {
            make_durable()?;
            let bytes = [created.to_be_bytes(), next_draft.to_be_bytes()].concat();
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            disk::sync_dir(dir)?;
        }
        Ok(Self { file, created })
    }

    /// Notes that drafts below this id are durable. Not synced: after a loss of power it may say less, never more.
    pub(super) fn acknowledge(&self, next_draft: u64) -> io::Result<()> {
        self.file.write_all_at(&next_draft.to_be_bytes(), NEXT_DRAFT_AT)
    }

    /// When the catalog was created.
    pub(super) fn created(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.created)
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
