//! Verifies a database before sled opens it, and reads its counters.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::codec::{self, Data, Link, Page, Pointer, SLOT};
use super::damaged;
use super::files::Files;
use super::replay::{Replayed, replay};
use crate::catalog::CatalogError;
use crate::catalog::sled::rows::{CENSUS, CREATED, Census, NEXT_DRAFT_ID, NEXT_MEDIA_ID};

/// The page that lists the roots of the trees.
const ROOTS_PAGE: u64 = 0;

/// The counters and recorded row counts of an intact catalog.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::catalog::sled) struct Found {
    /// Creation time.
    pub(in crate::catalog::sled) created: Option<u64>,
    /// Next draft id.
    pub(in crate::catalog::sled) next_draft: Option<u64>,
    /// The census, which may be outdated if an older version of this program wrote after it.
    pub(in crate::catalog::sled) census: Option<Census>,
    /// Number of rows, if they had to be counted.
    pub(in crate::catalog::sled) counted: Option<Counted>,
}

/// Number of rows in a catalog.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::catalog::sled) struct Counted {
    pub(in crate::catalog::sled) media: u64,
    pub(in crate::catalog::sled) drafts: u64,
    /// The highest draft id, or 0.
    pub(in crate::catalog::sled) last_draft: u64,
}

/// Verifies the catalog in `dir` without writing: reads all messages that sled would read, and those of the snapshot.
/// Returns `None` if there is no catalog.
///
/// # Errors
/// The catalog is damaged, another process has it open, or its files cannot be read.
pub(in crate::catalog::sled) fn verify(dir: &Path) -> Result<Option<Found>, CatalogError> {
    let Some(files) = Files::open(dir)? else { return Ok(None) };
    files.check_parameters()?;
    let replayed = replay(&files)?;
    check_snapshot_messages(&files, &replayed)?;
    Trees { files: &files, pages: &replayed.pages }.read_counters(replayed.is_gapless).map(Some)
}

/// Removes snapshots that a crash left incomplete. sled would treat one as the newest and refuse it.
pub(in crate::catalog::sled) fn remove_unfinished(dir: &Path) -> Result<(), CatalogError> {
    if let Some(files) = Files::open(dir)? {
        for path in files.unfinished()? {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Checks the messages to which the snapshot points. The replay has read all later ones.
fn check_snapshot_messages(files: &Files, replayed: &Replayed) -> Result<(), CatalogError> {
    let mut older: Vec<(Pointer, u64)> = Vec::new();
    for (number, page) in (0..).zip(&replayed.pages) {
        let pointers = page.pointers().filter(|pointer| pointer.position < replayed.read_from);
        older.extend(pointers.map(|pointer| (*pointer, number)));
    }
    older.sort_unstable_by_key(|(pointer, _)| pointer.at);
    let (mut slot, mut loaded) = (Vec::new(), None);
    for (pointer, page) in older {
        if let Some(id) = pointer.blob {
            if files.blob(id)?.flatten().is_none() {
                return Err(damaged(format!("its file blobs/{id} is damaged or gone")));
            }
            continue;
        }
        let index = pointer.at / SLOT as u64;
        if index >= files.slots() {
            return Err(damaged("its file db is cut"));
        }
        if loaded != Some(index) {
            files.slot(index, &mut slot)?;
            loaded = Some(index);
        }
        let at = usize::try_from(pointer.at % SLOT as u64).unwrap_or(SLOT);
        let message = codec::message(&slot, at).ok_or_else(|| damaged_record(&pointer))?;
        let segment = u64::try_from(pointer.position / SLOT as i64).unwrap_or(u64::MAX);
        if (message.page, message.segment) != (page, segment) {
            return Err(damaged_record(&pointer));
        }
    }
    Ok(())
}

/// Reads trees from the pages of the log.
pub(super) struct Trees<'a> {
    pub(super) files: &'a Files,
    pub(super) pages: &'a [Page],
}

/// A leaf page: its last full version and the changes to it.
struct Leaf<'a> {
    prefix: &'a [u8],
    rows: &'a [(&'a [u8], &'a [u8])],
    links: &'a [Pointer],
}

impl Trees<'_> {
    /// Reads counters and census. Counts the rows if the log has gaps or the census is outdated. Fails if the counted rows
    /// differ from the recorded ones.
    pub(super) fn read_counters(&self, is_gapless: bool) -> Result<Found, CatalogError> {
        if self.pages.is_empty() {
            return Ok(Found::default());
        }
        let mut roots = Vec::new();
        self.read(self.base(ROOTS_PAGE)?, &mut roots)?;
        let roots = codec::roots(&roots).ok_or_else(|| unreadable(ROOTS_PAGE))?;
        let root =
            |name: &str| roots.iter().find(|(tree, _)| *tree == name.as_bytes()).map(|(_, root)| *root);
        let mut counters: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        if let Some(root) = root("counters") {
            self.each_leaf(root, |leaf| {
                let whole = |key: &[u8]| [leaf.prefix, key].concat();
                counters.extend(leaf.rows.iter().map(|(key, value)| (whole(key), value.to_vec())));
                self.each_link(&leaf, |link| match link {
                    Link::Set(key, value) => drop(counters.insert(whole(key), value.to_vec())),
                    Link::Remove(key) => drop(counters.remove(&whole(key))),
                    Link::Merge => {}
                })
            })?;
        }
        let number = |name: &[u8]| {
            let bytes = counters.get(name)?.as_slice();
            bytes.try_into().ok().map(u64::from_be_bytes)
        };
        let (next_media, next_draft) = (number(NEXT_MEDIA_ID), number(NEXT_DRAFT_ID));
        let census = counters.get(CENSUS).and_then(|bytes| Census::read(bytes));
        let mut found = Found { created: number(CREATED), next_draft, census, counted: None };
        let fitting = census.filter(|census| census.fits(next_media, next_draft));
        // If a segment is missing, checksums cannot prove that no row is missing.
        if fitting.is_none() || !is_gapless {
            let (media, _) = self.count(root("media"))?;
            let (drafts, last) = self.count(root("drafts"))?;
            let last_draft = last.try_into().map_or(0, u64::from_be_bytes);
            found.counted = Some(Counted { media, drafts, last_draft });
            if let Some(census) = fitting
                && (media, drafts) != (census.media, census.drafts)
            {
                return Err(damaged(format!(
                    "it has {media} media rows and {drafts} drafts, but {} and {} were recorded",
                    census.media, census.drafts
                )));
            }
        }
        Ok(found)
    }

    /// Returns the number of rows in a tree, and the last key.
    fn count(&self, root: Option<u64>) -> Result<(u64, Vec<u8>), CatalogError> {
        let (mut count, mut last) = (0, Vec::new());
        // Keys that the leaf's changes added (true) or removed (false).
        let mut changed: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        if let Some(root) = root {
            self.each_leaf(root, |leaf| {
                changed.clear();
                self.each_link(&leaf, |link| match link {
                    Link::Set(key, _) => drop(changed.insert(key.to_vec(), true)),
                    Link::Remove(key) => drop(changed.insert(key.to_vec(), false)),
                    Link::Merge => {}
                })?;
                let kept = leaf.rows.iter().map(|(key, _)| *key).filter(|key| !changed.contains_key(*key));
                let added = changed.iter().filter(|(_, is_there)| **is_there).map(|(key, _)| key.as_slice());
                count += kept.clone().count() as u64 + added.clone().count() as u64;
                if let Some(key) = kept.chain(added).max() {
                    last = [leaf.prefix, key].concat();
                }
                Ok(())
            })?;
        }
        Ok((count, last))
    }

    /// Visits the leaves of a tree from left to right.
    fn each_leaf(
        &self,
        root: u64,
        mut visit: impl FnMut(Leaf<'_>) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        let (mut number, mut body) = (root, Vec::new());
        // A tree is not deeper than its number of pages, and has no more leaves than that. The bound ends a cycle of
        // damaged links.
        for _ in 0..=self.pages.len() * 2 {
            self.read(self.base(number)?, &mut body)?;
            let node = codec::node(&body).ok_or_else(|| unreadable(number))?;
            number = match &node.data {
                Data::Index(children) => children.first().copied().ok_or_else(|| unreadable(number))?,
                Data::Leaf(rows) => {
                    let links = match &self.pages[index(number)] {
                        Page::Present(_, links) => links.as_slice(),
                        Page::Unknown | Page::Free(_) => &[],
                    };
                    visit(Leaf { prefix: &node.low[..node.prefix], rows, links })?;
                    if node.next == 0 {
                        return Ok(());
                    }
                    node.next
                }
            };
        }
        Err(unreadable(root))
    }

    /// Visits the changes to a leaf, oldest first.
    fn each_link(&self, leaf: &Leaf<'_>, mut visit: impl FnMut(Link<'_>)) -> Result<(), CatalogError> {
        let mut body = Vec::new();
        for pointer in leaf.links {
            self.read(pointer, &mut body)?;
            visit(codec::link(&body).ok_or_else(|| damaged_record(pointer))?);
        }
        Ok(())
    }

    fn base(&self, number: u64) -> Result<&Pointer, CatalogError> {
        match self.pages.get(index(number)) {
            Some(Page::Present(base, _)) => Ok(base),
            _ => Err(unreadable(number)),
        }
    }

    fn read(&self, pointer: &Pointer, into: &mut Vec<u8>) -> Result<(), CatalogError> {
        if self.files.body(pointer, into)? { Ok(()) } else { Err(damaged_record(pointer)) }
    }
}

fn index(page: u64) -> usize {
    usize::try_from(page).unwrap_or(usize::MAX)
}

fn damaged_record(pointer: &Pointer) -> CatalogError {
    damaged(format!("a record at byte {} of its file db is damaged", pointer.at))
}

fn unreadable(page: u64) -> CatalogError {
    damaged(format!("its page {page} cannot be read"))
}
