//! Reads the files of a sled database.
//!
//! A slot is a region of 512 KiB in the file `db`. A segment is a region of the same size in the log; a slot holds one
//! segment at a time.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::codec::{self, Kind, Message, Pointer, SLOT, Snapshot};
use super::damaged;
use crate::catalog::CatalogError;

/// sled's data file, which also carries its lock.
pub(in crate::catalog::sled) const DB_FILE: &str = "db";
/// Content of `conf`, before its checksum.
const PARAMETERS: &[u8] = b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n";
/// sled treats a `conf` of this length or less as incomplete and rewrites it.
const UNFINISHED_CONF: u64 = 8;

/// Bytes to read at first for a message; most are not longer.
const USUAL_MESSAGE: usize = 2048;

/// Name suffix of a snapshot that is being written.
const UNFINISHED: &str = ".generating";

/// The files of one database. Holds sled's lock.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    log: File,
    length: u64,
}

impl Files {
    /// Opens the files in `dir` and locks them, or returns `None` if there is no log.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, CatalogError> {
        let log = match File::open(dir.join(DB_FILE)) {
            Ok(log) => log,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match log.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CatalogError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let length = log.metadata()?.len();
        Ok(Some(Self { dir: dir.to_owned(), log, length }))
    }

    /// Returns the number of slots. The last one may be incomplete.
    pub(super) fn slots(&self) -> u64 {
        self.length.div_ceil(SLOT as u64)
    }

    /// Reads a slot. The last slot of the file may be shorter.
    pub(super) fn slot(&self, index: u64, into: &mut Vec<u8>) -> io::Result<()> {
        let start = index * SLOT as u64;
        let length = self.length.saturating_sub(start).min(SLOT as u64);
        into.resize(usize::try_from(length).unwrap_or(SLOT), 0);
        self.log.read_exact_at(into, start)
    }

    /// Reads the first bytes of a slot.
    pub(super) fn slot_start(&self, index: u64) -> io::Result<[u8; codec::SEGMENT_HEADER]> {
        let mut start = [0; codec::SEGMENT_HEADER];
        let at = index * SLOT as u64;
        let length = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let length = length.min(start.len());
        self.log.read_exact_at(&mut start[..length], at)?;
        Ok(start)
    }

    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.log.read_exact_at(into, at)
    }

    /// Reads the body of a message, from the log or from its blob file. Returns false if the checksum does not match.
    pub(super) fn body(&self, pointer: &Pointer, into: &mut Vec<u8>) -> io::Result<bool> {
        if let Some(id) = pointer.blob {
            let body = self.blob(id)?.flatten();
            let is_whole = body.is_some();
            *into = body.unwrap_or_default();
            return Ok(is_whole);
        }
        let room = SLOT as u64 - pointer.at % SLOT as u64;
        let room = self.length.saturating_sub(pointer.at).min(room);
        let room = usize::try_from(room).unwrap_or(SLOT);
        into.resize(room.min(USUAL_MESSAGE), 0);
        self.read(pointer.at, into)?;
        let Some(length) = codec::message_length(into).filter(|length| *length <= room) else {
            return Ok(false);
        };
        if length > into.len() {
            into.resize(length, 0);
            self.read(pointer.at, into)?;
        }
        let Some(message) = codec::message(into, 0) else { return Ok(false) };
        into.truncate(message.body.end);
        into.drain(..message.body.start);
        Ok(true)
    }

    /// Reads the body of a blob file: `None` if there is no file, `Some(None)` if the checksum does not match.
    pub(super) fn blob(&self, id: i64) -> io::Result<Option<Option<Vec<u8>>>> {
        let mut bytes = match fs::read(self.dir.join("blobs").join(id.to_string())) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((crc, rest)) = bytes.split_first_chunk::<4>() else { return Ok(Some(None)) };
        let holds = !rest.is_empty() && crc32fast::hash(rest) == u32::from_le_bytes(*crc);
        Ok(Some(holds.then(|| bytes.split_off(5))))
    }

    /// Returns the id of the blob file of a message, or `None` if its body is in the log.
    pub(super) fn blob_of(message: &Message, slot: &[u8]) -> Option<i64> {
        let is_blob = matches!(message.kind, Kind::PageBlob | Kind::LinkBlob);
        is_blob.then(|| codec::Cursor(&slot[message.body.clone()]).i64()).flatten()
    }

    /// Reads the newest complete snapshot. Returns an empty one if there is none.
    pub(super) fn snapshot(&self) -> Result<Snapshot, CatalogError> {
        let newest = self.snapshots()?.into_iter().filter(|name| !name.ends_with(UNFINISHED)).max();
        let Some(name) = newest else { return Ok(Snapshot::default()) };
        let bytes = fs::read(self.dir.join(&name))?;
        codec::snapshot(&bytes).ok_or_else(|| damaged(format!("its file {name} is damaged")))
    }

    /// Returns the paths of incomplete snapshots. sled would treat one as the newest.
    pub(super) fn unfinished(&self) -> io::Result<Vec<PathBuf>> {
        let names = self.snapshots()?.into_iter().filter(|name| name.ends_with(UNFINISHED));
        Ok(names.map(|name| self.dir.join(name)).collect())
    }

    fn snapshots(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("snap.") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Checks that the format parameters in `conf` are the ones that this module reads. A missing or incomplete `conf` is
    /// accepted, because sled writes a new one.
    pub(super) fn check_parameters(&self) -> Result<(), CatalogError> {
        let bytes = match fs::read(self.dir.join("conf")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_known = bytes.strip_suffix(&crc32fast::hash(PARAMETERS).to_le_bytes()) == Some(PARAMETERS);
        if is_known || bytes.len() as u64 <= UNFINISHED_CONF {
            return Ok(());
        }
        Err(damaged("its file conf is damaged"))
    }
}
