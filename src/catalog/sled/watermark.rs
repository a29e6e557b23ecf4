//! The watermark: a small file beside those of sled that shows whether acknowledged drafts were lost.
//!
//! sled takes missing files for a new database, and ends its log before the first bytes that it cannot read. Both look like
//! an intact catalog. So the time of creation, which also identifies the catalog, and the number of acknowledged
//! transactions are in a file of their own. They are compared with the log before sled opens it.

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
/// Older versions, without a census, wrote only the first two numbers.
const OLDER_LENGTH: usize = 16;

/// The watermark of an open catalog.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    created: u64,
    position: Mutex<Position>,
}

/// The content of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted {
    created: u64,
    position: Position,
}

impl Noted {
    /// Reads the file. Returns `None` if there is none, or none that can be read.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, CatalogError> {
        let bytes = match fs::read(dir.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A file that is too short was not created completely, and neither was the catalog.
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

    /// Returns an id above those of all acknowledged drafts.
    pub(super) fn next_draft(&self) -> u64 {
        self.position.next_draft
    }

    /// Checks that everything acknowledged is in the log.
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
        // A counter may be damaged. The highest row, if it was determined, is more reliable.
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
    /// Opens the file for writing. A catalog without a time of creation gets one. `make_durable` is called before the first
    /// write.
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

    /// Records that all transactions up to this position are durable. Not synced: after a loss of power it may be too low,
    /// never too high.
    pub(super) fn acknowledge(&self, position: Position) -> io::Result<()> {
        let mut noted = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        // Positions may arrive out of order.
        noted.transactions = noted.transactions.max(position.transactions);
        noted.next_draft = noted.next_draft.max(position.next_draft);
        let mut bytes = [self.created, noted.next_draft, noted.transactions].map(u64::to_be_bytes).concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    /// Returns when the catalog was created.
    pub(super) fn created(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.created)
    }
}
