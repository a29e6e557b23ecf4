//! The watermark: a small file beside sled's files that makes lost data noticeable.
//!
//! sled treats missing files as a new database, and ends its log before the first bytes that it cannot read. Both
//! look like an intact catalog. So the catalog's creation time, which also identifies it, and the last acknowledged
//! position are kept in a separate file. They are compared with the log before sled opens it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::ondisk::{DB_FILE, Found};
use super::rows::{Position, Trees, counter};
use crate::catalog::CatalogError;
use crate::disk;
use crate::model::MAX_ID;

const FILE: &str = "acknowledged";
/// Length of the file: three numbers (creation time, next draft id, number of transactions) and their checksum.
const LENGTH: usize = 28;
const CHECKED_LENGTH: usize = 24;
/// Length that versions before the census wrote: the first two numbers only.
const LEGACY_LENGTH: usize = 16;

/// The open watermark file; see the module.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    created: u64,
    position: Mutex<Position>,
}

/// The content of the watermark file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    created: u64,
    position: Position,
}

impl Acknowledged {
    /// Reads the watermark in `dir`, or `None` if it does not exist yet or is unreadable.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, CatalogError> {
        let bytes = match fs::read(dir.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A file that is too short was cut off while it and the catalog were created.
        if bytes.len() < LEGACY_LENGTH {
            return Ok(None);
        }
        if !dir.join(DB_FILE).exists() {
            return Err(CatalogError::Corrupt("its file db is gone".into()));
        }
        let acknowledged = Self::parse(&bytes);
        if acknowledged.is_none() {
            tracing::warn!("the file {FILE} of the catalog is damaged, and is written again");
        }
        Ok(acknowledged)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 8).map(counter);
        let (created, next_draft) = (number(0)?, number(8)?);
        if bytes.len() == LEGACY_LENGTH {
            let position = Position { transactions: 0, next_draft };
            return (next_draft <= MAX_ID).then_some(Self { created, position });
        }
        let is_whole =
            bytes.get(CHECKED_LENGTH..LENGTH)? == crc32fast::hash(&bytes[..CHECKED_LENGTH]).to_be_bytes();
        let position = Position { transactions: number(16)?, next_draft };
        is_whole.then_some(Self { created, position })
    }

    /// Returns the next draft id: all acknowledged drafts have lower ids.
    pub(super) fn next_draft(&self) -> u64 {
        self.position.next_draft
    }

    /// Checks that the catalog contains everything that was acknowledged.
    ///
    /// # Errors
    /// `Corrupt` if something is missing.
    pub(super) fn check(&self, found: &Found) -> Result<(), CatalogError> {
        let corrupt = |what: String| Err(CatalogError::Corrupt(what));
        if found.created != Some(self.created) {
            return corrupt("what was recorded in it is gone".into());
        }
        let (acknowledged, census) = (self.position, found.census.unwrap_or_default());
        if census.transactions < acknowledged.transactions {
            return corrupt(format!(
                "its log ends too early: it has {} of {} transactions that were acknowledged",
                census.transactions, acknowledged.transactions
            ));
        }
        // The counter itself may be damaged. The highest row is more reliable, where rows were counted.
        let last = found.counted.map_or(0, |counted| counted.last_draft);
        let next_draft = found.next_draft.unwrap_or(1).max(last.saturating_add(1));
        if acknowledged.transactions == 0 && next_draft < acknowledged.next_draft {
            return corrupt(format!(
                "drafts {next_draft} to {} were acknowledged and are gone",
                acknowledged.next_draft - 1
            ));
        }
        Ok(())
    }
}

impl Watermark {
    /// Opens or creates the watermark file. Sets the creation time of a catalog that has none. Calls `make_durable`
    /// before the first write.
    pub(super) fn open(
        dir: &Path,
        acknowledged: Option<Acknowledged>,
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
        let position = acknowledged.map(|acknowledged| acknowledged.position).unwrap_or_default();
        let watermark = Self { file, created, position: Mutex::new(position) };
        if acknowledged.is_none() {
            make_durable()?;
            watermark.acknowledge(Position { transactions: 0, next_draft: trees.lowest_draft })?;
            watermark.file.sync_all()?;
            disk::sync_dir(dir)?;
        }
        Ok(watermark)
    }

    /// Records that everything up to `position` is durable. The file is not synced: after a power failure it may
    /// contain an older position, never a newer one.
    pub(super) fn acknowledge(&self, position: Position) -> io::Result<()> {
        let mut acknowledged = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        // Positions may arrive out of order.
        acknowledged.transactions = acknowledged.transactions.max(position.transactions);
        acknowledged.next_draft = acknowledged.next_draft.max(position.next_draft);
        let mut bytes =
            [self.created, acknowledged.next_draft, acknowledged.transactions].map(u64::to_be_bytes).concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    /// Returns the creation time of the catalog.
    pub(super) fn created(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.created)
    }
}
