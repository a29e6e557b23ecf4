//! Reads and writes files of exports.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::config::{Database, Settings};
use crate::disk;

/// Stands for stdin or stdout.
const STANDARD: &str = "-";

/// An export that is being written.
pub(super) enum Output {
    Stdout(BufWriter<io::Stdout>),
    /// A temporary file in the same directory, so that an older export stays until the new one is complete and durable.
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl Output {
    pub(super) fn create(name: &str) -> Result<Self, String> {
        if name == STANDARD {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        let path = PathBuf::from(name);
        let file = tempfile::Builder::new().prefix(".export-").suffix(".part").tempfile_in(parent(&path));
        let file = file.map_err(|error| format!("{name} cannot be written: {error}"))?;
        Ok(Self::File(BufWriter::new(file), path))
    }

    pub(super) fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(out) => out,
            Self::File(out, _) => out,
        }
    }

    /// Returns an empty file without a name, for as many bytes as the export has.
    pub(super) fn spool(&self, settings: &Settings) -> Result<File, String> {
        let dir = match self {
            Self::Stdout(_) => spool([&settings.database]),
            Self::File(_, path) => parent(path).to_owned(),
        };
        nameless(&dir).map_err(|error| format!("{} cannot be written: {error}", dir.display()))
    }

    /// Gives the complete export its name.
    pub(super) fn keep(self) -> Result<(), String> {
        let Self::File(out, path) = self else { return Ok(()) };
        let keep = || {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            disk::sync_dir(parent(&path))
        };
        keep().map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

/// An export that can be read several times.
pub(super) struct Input {
    pub(super) file: File,
}

impl Input {
    /// Opens the export. Stdin or a pipe is copied to a file without a name in `spool`.
    pub(super) fn open(name: &str, spool: &Path) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("the export {name} cannot be read: {error}");
        if name == STANDARD {
            let file = copy(&mut io::stdin().lock(), spool).map_err(cannot)?;
            return Ok(Self { file });
        }
        let mut file = File::open(name).map_err(cannot)?;
        if !file.metadata().map_err(cannot)?.is_file() {
            file = copy(&mut file, spool).map_err(cannot)?;
        }
        Ok(Self { file })
    }
}

fn copy(from: &mut dyn io::Read, dir: &Path) -> io::Result<File> {
    let mut file = nameless(dir)?;
    io::copy(from, &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// Creates a file without a name in `dir`, which is created if it does not exist.
pub(super) fn nameless(dir: &Path) -> io::Result<File> {
    disk::create_dir(dir)?;
    tempfile::tempfile_in(dir)
}

/// Returns a directory for a temporary copy of one of these catalogs. Next to an embedded catalog there is room for a copy,
/// while the directory for temporary files may be in memory.
pub(super) fn spool<'d>(databases: impl IntoIterator<Item = &'d Database>) -> PathBuf {
    let embedded = databases.into_iter().find_map(Database::directory);
    embedded.map_or_else(std::env::temp_dir, |path| parent(path).to_owned())
}

pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
