//! What must not be lost without being noticed: a few bytes beside sled's files.
//!
//! sled takes files that are gone for a new database, and ends its log in front of the first bytes that it cannot read. Both
//! look like a catalog that is well. So its moment of creation, which is also its name, and how much was acknowledged are
//! kept in a file of their own. They are compared with what is in the log before sled opens it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::DB_FILE;
use super::ondisk::Found;
use super::rows::{Position, Trees, counter};
use crate::catalog::CatalogError;
use crate::disk;
use crate::model::MAX_ID;

const FILE: &str = "acknowledged";
/// Three numbers (creation, next draft, transactions) and their checksum.
const LENGTH: usize = 28;
const SUMMED: usize = 24;
/// Versions of before there was a census wrote the first two numbers alone.
const OLDER_LENGTH: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    created: u64,
    position: Mutex<Position>,
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    created: u64,
    position: Position,
}

impl Noted {
    /// Reads what was noted; `None` if there is nothing yet, or nothing that can be read.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, CatalogError> {
        let bytes = match fs::read(dir.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A file that is too short is one whose creation was cut off, together with that of the catalog.
        if bytes.len() < OLDER_LENGTH {
            return Ok(None);
        }
        if !dir.join(DB_FILE).exists() {
            return Err(CatalogError::Corrupt("its file db is gone".into()));
        }
        let noted = Self::parse(&bytes);
        if noted.is_none() {
            tracing::warn!("the file {FILE} of the catalog is damaged, and is written again");
        }
        Ok(noted)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 8).map(counter);
        let (created, next_draft) = (number(0)?, number(8)?);
        if bytes.len() == OLDER_LENGTH {
            let position = Position { transactions: 0, next_draft };
            return (next_draft <= MAX_ID).then_some(Self { created, position });
        }
        let is_whole = bytes.get(SUMMED..LENGTH)? == crc32fast::hash(&bytes[..SUMMED]).to_be_bytes();
        let position = Position { transactions: number(16)?, next_draft };
        is_whole.then_some(Self { created, position })
    }

    /// The id that no acknowledged draft has, nor has a higher one.
    pub(super) fn next_draft(&self) -> u64 {
        self.position.next_draft
    }

    /// Whether all of what was noted is in what was found.
    pub(super) fn check(&self, found: &Found) -> Result<(), CatalogError> {
        let corrupt = |what: String| Err(CatalogError::Corrupt(what));
        if found.created != Some(self.created) {
            return corrupt("what was recorded in it is gone".into());
        }
        let (noted, census) = (self.position, found.census.unwrap_or_default());
        if census.transactions < noted.transactions {
            return corrupt(format!(
                "its log ends too early: it has {} of {} transactions that were acknowledged",
                census.transactions, noted.transactions
            ));
        }
        // A counter may be damaged. The highest row is the better witness, where it was looked for.
        let last = found.counted.map_or(0, |counted| counted.last_draft);
        let next_draft = found.next_draft.unwrap_or(1).max(last.saturating_add(1));
        if noted.transactions == 0 && next_draft < noted.next_draft {
            return corrupt(format!(
                "drafts {next_draft} to {} were acknowledged and are gone",
                noted.next_draft - 1
            ));
        }
        Ok(())
    }
}

impl Watermark {
    /// Goes on noting, from what was noted. A catalog without a moment of creation gets one. `make_durable` is called before
    /// the first note.
    pub(super) fn open(
        dir: &Path,
        noted: Option<Noted>,
        found: &Found,
        trees: &Trees,
        make_durable: impl FnOnce() -> Result<(), CatalogError>,
    ) -> Result<Self, CatalogError> {
        let created = match found.created {
            Some(created) => created,
            None => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let created = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
                trees.set_created(created)?;
                created
            }
        };
        if found.census.is_none() || found.counted.is_some() {
            let counted = found.counted.unwrap_or_default();
            trees.set_census(counted.media, counted.drafts)?;
        }
        let path = dir.join(FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let position = noted.map(|noted| noted.position).unwrap_or_default();
        let watermark = Self { file, created, position: Mutex::new(position) };
        if noted.is_none() {
            make_durable()?;
            watermark.acknowledge(Position { transactions: 0, next_draft: trees.lowest_draft })?;
            watermark.file.sync_all()?;
            disk::sync_dir(dir)?;
        }
        Ok(watermark)
    }

    /// Notes that everything up to this position is durable. Not synced: after a loss of power it may say less, never more.
    pub(super) fn acknowledge(&self, position: Position) -> io::Result<()> {
        let mut noted = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        // Who recorded first may be made durable last.
        noted.transactions = noted.transactions.max(position.transactions);
        noted.next_draft = noted.next_draft.max(position.next_draft);
        let mut bytes = [self.created, noted.next_draft, noted.transactions].map(u64::to_be_bytes).concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    /// When the catalog was created.
    pub(super) fn created(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.created)
    }
}
