//! Lists the photos a page at a time, in bounded memory.

use std::fs::ReadDir;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::files::{found, stored};
use crate::blocking::blocking;
use crate::media::{MediaError, MediaName, Stored};

/// Directory entries that are read for one page, foreign files included.
const PAGE: usize = 256;

enum At {
    Start(Arc<Path>),
    Within(ReadDir),
    End,
}

pub(super) fn pages(root: Arc<Path>) -> BoxStream<'static, Result<Vec<Stored>, MediaError>> {
    stream::try_unfold(At::Start(root), |at| async move {
        let reading = match at {
            At::End => return Ok(None),
            at => blocking(move || read(at)).await?,
        };
        Ok(Some(reading))
    })
    .boxed()
}

fn read(at: At) -> io::Result<(Vec<Stored>, At)> {
    let mut page = Vec::new();
    let mut names = match at {
        At::Start(root) => root.read_dir()?,
        At::Within(names) => names,
        At::End => return Ok((page, At::End)),
    };
    for _ in 0..PAGE {
        let Some(entry) = names.next() else {
            return Ok((page, At::End));
        };
        let entry = entry?;
        let name = entry.file_name();
        let name: Option<MediaName> = name.to_str().and_then(|name| name.parse().ok());
        // Symbolic links are not followed: this store makes none.
        if let Some(name) = name
            && let Some(file) = found(entry.metadata())?
            && file.is_file()
        {
            page.push(stored(name.key(), &file)?);
        }
    }
    Ok((page, At::Within(names)))
}
