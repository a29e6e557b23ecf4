//! Lists the photos a page at a time, in bounded memory.

use std::fs::{self, ReadDir};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::vec;

use futures_util::stream::{self, BoxStream, StreamExt};

use super::files::{found, stored};
use crate::blocking::blocking;
use crate::media::by_key::{Entry, Pages, Smallest};
use crate::media::{ListPage, MediaError, MediaName, Stored};
use crate::model::MediaKey;

/// Directory entries that are read for one page, foreign files included.
const PAGE: usize = 256;
/// Names that are in memory at the same time while the directory is sorted: 4 MB. A directory with more is read once for each so
/// many.
const SORTED: usize = 1 << 17;

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

/// A name in the directory. Photos come before their renditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    key: MediaKey,
    is_directory: bool,
}

/// The state of a listing in order of keys.
struct InOrder {
    root: Arc<Path>,
    pages: Pages,
    names: vec::IntoIter<Name>,
    /// Whether the directory has no later names.
    is_whole: bool,
    is_over: bool,
    sorted: usize,
}

pub(super) fn pages_by_key(
    root: Arc<Path>,
    after: Option<MediaKey>,
) -> BoxStream<'static, Result<ListPage, MediaError>> {
    pages_in_memory_for(SORTED, root, after)
}

/// Lists by key with memory for this many names.
fn pages_in_memory_for(
    sorted: usize,
    root: Arc<Path>,
    after: Option<MediaKey>,
) -> BoxStream<'static, Result<ListPage, MediaError>> {
    let (names, pages) = (Vec::new().into_iter(), Pages::after(after));
    let start = InOrder { root, pages, names, is_whole: false, is_over: false, sorted };
    stream::try_unfold(start, |mut at| async move {
        if at.is_over {
            return Ok(None);
        }
        let reading = blocking(move || at.next_page().map(|page| (page, at)));
        Ok(Some(reading.await?))
    })
    .boxed()
}

impl InOrder {
    /// Reads the next page. Blocks.
    fn next_page(&mut self) -> io::Result<ListPage> {
        if self.names.len() == 0 && !self.is_whole {
            self.read_names()?;
        }
        let (mut entries, mut last) = (Vec::new(), None);
        for Name { key, is_directory } in self.names.by_ref().take(PAGE) {
            last = Some(key);
            let entry = match is_directory {
                true => Some(Entry::Rendition(key)),
                false => photo(&self.root, key)?.map(Entry::Photo),
            };
            entries.extend(entry);
        }
        self.is_over = self.is_whole && self.names.len() == 0;
        let page = self.pages.page(entries, self.is_over);
        // Foreign entries under names of photos, too.
        last.into_iter().for_each(|key| self.pages.skip_to(key));
        Ok(page)
    }

    /// Reads the whole directory, and keeps the first names that are not in pages yet.
    fn read_names(&mut self) -> io::Result<()> {
        let mut smallest = Smallest::new(self.sorted);
        for entry in self.root.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let name = match name.parse::<MediaName>() {
                Ok(name) => Name { key: name.key(), is_directory: false },
                Err(_) => match name.parse() {
                    Ok(key) if entry.file_type()?.is_dir() => Name { key, is_directory: true },
                    _ => continue,
                },
            };
            if Some(name.key) > self.pages.last() {
                smallest.push(name);
            }
        }
        let (names, is_whole) = smallest.into_sorted();
        (self.names, self.is_whole) = (names.into_iter(), is_whole);
        Ok(())
    }
}

fn photo(root: &Path, key: MediaKey) -> io::Result<Option<Stored>> {
    // Symbolic links are not followed: this store makes none.
    match found(fs::symlink_metadata(root.join(MediaName::from(key).to_string())))? {
        Some(file) if file.is_file() => stored(key, &file).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    /// The memory of a million photos is bounded: the directory is read several times.
    #[tokio::test]
    async fn directory_with_more_names_than_memory_is_listed_once_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys: Vec<MediaKey> = (0..200_u32).map(|n| MediaKey::of(&n.to_le_bytes())).collect();
        for key in &keys {
            fs::write(dir.path().join(format!("{key}.jpg")), key.to_string()).unwrap();
            fs::create_dir(dir.path().join(key.to_string())).unwrap();
        }
        keys.sort_unstable();
        // Foreign entries, one of them under the name of a photo.
        let foreign = MediaKey::of(b"foreign").to_string();
        for name in
            ["README".to_owned(), format!("{}.jpg", foreign.to_uppercase()), format!("{foreign}.jpeg")]
        {
            fs::write(dir.path().join(name), "mine").unwrap();
        }
        std::os::unix::fs::symlink("README", dir.path().join(format!("{foreign}.jpg"))).unwrap();
        for sorted in [1, 2, 3, 255, 256, 257, 299, 300, 301] {
            let pages = pages_in_memory_for(sorted, dir.path().into(), Some(keys[49]));
            let pages: Vec<ListPage> = pages.try_collect().await.unwrap();
            let listed: Vec<MediaKey> =
                pages.iter().flat_map(|page| &page.photos).map(|photo| photo.key).collect();
            assert_eq!(listed, keys[50..], "{sorted}");
            assert!(pages.iter().all(|page| page.photos.len() <= PAGE && page.strays.is_empty()));
            let ends = pages.iter().filter(|page| page.is_end).count();
            assert!(ends == 1 && pages.last().unwrap().is_end, "{sorted}");
        }
    }
}
