//! Reads every row with a valid checksum from a catalog that may be damaged. Writes nothing.
//!
//! It ignores the tree structure, which may be lost: it scans all messages of the log and keeps the latest version of
//! each key. Key and value show what kind of row it is.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::path::Path;

use super::codec::{self, Data, Kind, Link, Message, Node, SEGMENT_HEADER, SLOT};
use super::damaged;
use super::files::Files;
use crate::catalog::sled::restore::PARTIAL;
use crate::catalog::sled::rows::{DraftValue, NEXT_DRAFT_ID, NEXT_MEDIA_ID, decode, next_id};
use crate::catalog::sled::watermark::Acknowledged;
use crate::catalog::{CatalogError, Identity, IdentityRow, Row, SourceRow, State};
use crate::model::{DraftId, Media, MediaId, SourceId};

/// Key length of media and drafts: ids.
const ID_LENGTH: usize = 8;
/// Key length of lookup trees: digests.
const DIGEST_LENGTH: usize = 32;
/// Key length of users of identity providers: a letter and an id.
const IDENTITY_LENGTH: usize = 9;

/// First bytes of media rows, draft rows and users of identity providers.
const MEDIA_START: &[u8] = b"{\"id\":";
const DRAFT_START: &[u8] = b"{\"title\":";
const IDENTITY_START: &[u8] = b"{\"user\":";

/// Counts what a salvage could not read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SalvageReport {
    /// Number of unreadable ranges in the files.
    pub places: u64,
    /// Number of bytes in these ranges.
    pub bytes: u64,
    /// Rows with a valid checksum that this version cannot parse.
    pub unknown: u64,
    /// The counters are unreadable. The next ids are set above all rows that were read.
    pub lost_counters: bool,
    /// The catalog was damaged during an import, and contains only a part of the export.
    pub is_partial: bool,
}

/// A version of a row, and the location of its value.
#[derive(Debug, Clone, Copy)]
struct Version {
    position: i64,
    at: ValueAt,
}

#[derive(Debug, Clone, Copy)]
enum ValueAt {
    Log {
        at: u64,
        length: usize,
    },
    Blob {
        id: i64,
        at: usize,
        length: usize,
    },
    /// The row was removed.
    Removed,
}

/// What is known of a page of a tree.
#[derive(Debug, Default)]
struct PageFacts {
    /// Its lowest key, if a full version of the page was read.
    low: Option<Box<[u8]>>,
    /// The kind of its rows, if one was read.
    kind: Option<RowKind>,
    /// Its last full version with a row of media or drafts.
    leaf: Option<LeafFacts>,
}

/// The rows of a full version of a page.
#[derive(Debug)]
struct LeafFacts {
    position: i64,
    kind: RowKind,
    /// Ids from the first on, and before the second.
    bounds: (u64, u64),
    /// Ascending.
    ids: Vec<u64>,
}

impl LeafFacts {
    fn of(node: &Node<'_>, kind: RowKind, position: i64) -> Option<Self> {
        let Data::Leaf(items) = &node.data else { return None };
        let bound = |key: &[u8], unbounded| if key.is_empty() { Some(unbounded) } else { id_of(key) };
        let id = |(key, _): &(&[u8], &[u8])| id_of(&[&node.low[..node.prefix], *key].concat());
        let ids = items.iter().map(id).collect::<Option<_>>()?;
        Some(Self { position, kind, bounds: (bound(node.low, 0)?, bound(node.high, u64::MAX)?), ids })
    }
}

/// The kinds of rows that are salvaged. Indexes, references and attempts are made again or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowKind {
    Media,
    Draft,
    Identity,
    Lookup,
}

impl RowKind {
    /// Returns the kind of a row with this value.
    fn of(value: &[u8]) -> Option<Self> {
        match value {
            _ if value.starts_with(MEDIA_START) => Some(Self::Media),
            _ if value.starts_with(DRAFT_START) => Some(Self::Draft),
            _ if value.starts_with(IDENTITY_START) => Some(Self::Identity),
            _ if value.len() == ID_LENGTH => Some(Self::Lookup),
            _ => None,
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::Media | Self::Draft => ID_LENGTH,
            Self::Identity => IDENTITY_LENGTH,
            Self::Lookup => DIGEST_LENGTH,
        }
    }
}

/// The rows that could be read; see the module.
#[derive(Debug)]
pub struct Salvage {
    files: Files,
    acknowledged: Option<Acknowledged>,
    pages: HashMap<u64, PageFacts>,
    media: BTreeMap<u64, Version>,
    drafts: BTreeMap<u64, Version>,
    /// By user.
    identities: BTreeMap<u64, Version>,
    /// The ids after the highest media row and draft, removed ones included.
    lowest: (u64, u64),
    /// The position of the last full version of the page of the counters, and whether it has the marker of an import.
    counters_page: Option<(i64, bool)>,
    /// Media key or source id → media id.
    lookups: BTreeMap<[u8; DIGEST_LENGTH], (i64, Option<u64>)>,
    counters: BTreeMap<&'static [u8], (i64, Option<u64>)>,
    report: SalvageReport,
}

/// The counters that are exported.
const COUNTERS: [&[u8]; 3] = [NEXT_MEDIA_ID, NEXT_DRAFT_ID, PARTIAL];

impl Salvage {
    /// Scans the catalog in `dir` for rows. Blocks.
    ///
    /// # Errors
    /// There is no log, another process has it open, or the disk failed.
    pub(in crate::catalog::sled) fn read(dir: &Path) -> Result<Self, CatalogError> {
        let acknowledged = Acknowledged::read(dir).ok().flatten();
        let files = Files::open(dir)?.ok_or_else(|| damaged("its file db is gone"))?;
        let mut salvage = Self {
            files,
            acknowledged,
            pages: HashMap::new(),
            media: BTreeMap::new(),
            drafts: BTreeMap::new(),
            identities: BTreeMap::new(),
            lowest: (1, 1),
            counters_page: None,
            lookups: BTreeMap::new(),
            counters: BTreeMap::new(),
            report: SalvageReport::default(),
        };
        // A change needs to know its page, which may be written later.
        salvage.scan(Self::remember_page, true)?;
        salvage.scan(Self::take, false)?;
        salvage.remove_overwritten();
        let above = |rows: &BTreeMap<u64, Version>| rows.keys().next_back().map_or(1, |last| last + 1);
        salvage.lowest = (above(&salvage.media), above(&salvage.drafts));
        for rows in [&mut salvage.media, &mut salvage.drafts, &mut salvage.identities] {
            rows.retain(|_, version| !matches!(version.at, ValueAt::Removed));
        }
        salvage.report.lost_counters =
            [NEXT_MEDIA_ID, NEXT_DRAFT_ID].iter().any(|name| salvage.counter(name).is_none())
                && !(salvage.media.is_empty() && salvage.drafts.is_empty());
        salvage.report.is_partial = salvage.counter(PARTIAL).is_some();
        Ok(salvage)
    }

    /// Returns what could not be read.
    pub fn report(&self) -> &SalvageReport {
        &self.report
    }

    /// Returns the next ids, which are above all rows, the watermark and the counters.
    pub fn state(&self) -> State {
        let (media, drafts) = self.lowest;
        let acknowledged = self.acknowledged.map_or(1, |acknowledged| acknowledged.next_draft());
        State {
            next_media_id: next_id(self.counter(NEXT_MEDIA_ID), media),
            next_draft_id: next_id(self.counter(NEXT_DRAFT_ID), drafts.max(acknowledged)),
            is_partial: false,
        }
    }

    fn counter(&self, name: &[u8]) -> Option<u64> {
        self.counters.get(name)?.1
    }

    /// Passes each row to `visit`: media, drafts, sources, users of identity providers, each in ascending order. A row that turns out to be
    /// unreadable is skipped and counted.
    ///
    /// # Errors
    /// The disk or `visit` failed.
    pub fn rows<E: From<CatalogError>>(
        &mut self,
        mut visit: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        for (id, version) in mem::take(&mut self.media) {
            match self.value(version).map_err(E::from)?.and_then(|value| decode::<Media>(&value).ok()) {
                Some(row) if row.id.0 == id => {
                    // The catalog creates this lookup again from the row.
                    if self.lookups.get(row.key.as_bytes()).is_some_and(|(_, media)| *media == Some(id)) {
                        self.lookups.remove(row.key.as_bytes());
                    }
                    self.media.insert(id, version);
                    visit(Row::Media(row))?;
                }
                _ => self.report.unknown += 1,
            }
        }
        for (id, version) in mem::take(&mut self.drafts) {
            match self.value(version).map_err(E::from)?.and_then(|value| decode::<DraftValue>(&value).ok()) {
                Some(row) => {
                    self.drafts.insert(id, version);
                    visit(Row::Draft(row.row(DraftId(id))))?;
                }
                None => self.report.unknown += 1,
            }
        }
        for (digest, (_, media)) in &self.lookups {
            // A source without its media row is useless.
            if let Some(id) = media.filter(|id| self.media.contains_key(id)) {
                let (source, media) = (SourceId::from_digest(*digest), MediaId(id));
                visit(Row::Source(SourceRow { source, media }))?;
            }
        }
        let mut subjects = BTreeMap::<Identity, (i64, IdentityRow)>::new();
        for (id, version) in mem::take(&mut self.identities) {
            let row = self.value(version).map_err(E::from)?;
            match row.and_then(|row| decode::<IdentityRow>(&row).ok()).filter(|row| row.user.get() == id) {
                // An erased subject that came back has two rows if sled has overwritten the removal of the first.
                Some(row) => match subjects.entry(row.identity()) {
                    Entry::Occupied(known) if known.get().0 > version.position => {}
                    known => drop(known.insert_entry((version.position, row))),
                },
                None => self.report.unknown += 1,
            }
        }
        let mut rows: Vec<_> = subjects.into_values().map(|(_, row)| row).collect();
        rows.sort_by_key(|row| row.user);
        rows.into_iter().try_for_each(|row| visit(Row::Identity(row)))
    }

    fn value(&self, version: Version) -> Result<Option<Vec<u8>>, CatalogError> {
        Ok(match version.at {
            ValueAt::Log { at, length } => {
                let mut value = vec![0; length];
                self.files.read(at, &mut value)?;
                Some(value)
            }
            ValueAt::Blob { id, at, length } => {
                self.files.blob(id)?.flatten().and_then(|body| Some(body.get(at..at + length)?.to_vec()))
            }
            ValueAt::Removed => None,
        })
    }

    /// Passes every message with a valid checksum to `visit`.
    fn scan(&mut self, visit: impl Fn(&mut Self, &Found<'_>), counts: bool) -> Result<(), CatalogError> {
        let mut slot = Vec::new();
        let mut newest = (0, (0, 0));
        for index in 0..self.files.slots() {
            self.files.slot(index, &mut slot)?;
            let segment = segment_of(&slot);
            if codec::segment_header(&slot).is_none() && counts {
                self.report.add(&slot[..slot.len().min(SEGMENT_HEADER)]);
            }
            let (mut at, mut rest) = (SEGMENT_HEADER, (0, 0));
            while codec::has_room(at) && at < slot.len() {
                let is_own = |number| segment.is_none_or(|segment| number >= segment);
                let message = codec::message(&slot, at).filter(|message| is_own(message.segment));
                let found = match message {
                    Some(message) => Some((at, message)),
                    None => codec::find_message(&slot, at, is_own),
                };
                let Some((start, message)) = found else {
                    rest = (index, at);
                    break;
                };
                if counts {
                    self.report.add(&slot[at..start]);
                }
                at = message.body.end;
                if message.kind == Kind::Cap {
                    break;
                }
                self.visit(&slot, index, start, &message, &visit, counts)?;
            }
            // Bytes after the newest message are remains of a crash or of the slot's previous segment.
            let segment = segment.unwrap_or_default();
            let not_newest =
                if segment >= newest.0 { mem::replace(&mut newest, (segment, rest)).1 } else { rest };
            if counts && not_newest.1 > 0 {
                self.files.slot(not_newest.0, &mut slot)?;
                self.report.add(&slot[not_newest.1..]);
            }
        }
        Ok(())
    }

    fn visit(
        &mut self,
        slot: &[u8],
        index: u64,
        start: usize,
        message: &Message,
        visit: impl Fn(&mut Self, &Found<'_>),
        counts: bool,
    ) -> Result<(), CatalogError> {
        let offset = i64::try_from(start).unwrap_or(0);
        let position = i64::try_from(message.segment).unwrap_or(0).saturating_mul(SLOT as i64) + offset;
        let in_slot = &slot[message.body.clone()];
        let Some(id) = Files::blob_of(message, slot) else {
            let place = BodyLocation::Log(index * SLOT as u64 + message.body.start as u64);
            visit(self, &Found { kind: message.kind, page: message.page, position, body: in_slot, place });
            return Ok(());
        };
        match self.files.blob(id)? {
            Some(Some(body)) => {
                let place = BodyLocation::Blob(id);
                visit(self, &Found { kind: message.kind, page: message.page, position, body: &body, place });
            }
            Some(None) if counts => self.report.add(in_slot),
            Some(None) | None => {}
        }
        Ok(())
    }

    fn remember_page(&mut self, found: &Found<'_>) {
        let (low, kind) = match found.kind {
            Kind::Page | Kind::PageBlob => {
                let Some(node) = found.node() else { return };
                let kind = match &node.data {
                    Data::Leaf(items) => items.iter().find_map(|(_, value)| RowKind::of(value)),
                    Data::Index(_) => None,
                };
                if let Data::Leaf(items) = &node.data
                    && items.iter().any(|(key, _)| *key == NEXT_DRAFT_ID)
                    && self.counters_page.is_none_or(|(position, _)| position <= found.position)
                {
                    let is_partial = items.iter().any(|(key, _)| *key == PARTIAL);
                    self.counters_page = Some((found.position, is_partial));
                }
                let page = self.pages.entry(found.page).or_default();
                if page.leaf.as_ref().is_none_or(|leaf| leaf.position <= found.position) {
                    page.leaf = kind.and_then(|kind| LeafFacts::of(&node, kind, found.position));
                }
                (Some(node.low.into()), kind)
            }
            Kind::Link | Kind::LinkBlob => match codec::link(found.body) {
                Some(Link::Set(_, value)) => (None, RowKind::of(value)),
                Some(Link::Remove(_) | Link::Merge) | None => return,
            },
            Kind::Canceled | Kind::Cap | Kind::Batch | Kind::Free => return,
        };
        let page = self.pages.entry(found.page).or_default();
        page.low = low.or(page.low.take());
        page.kind = kind.or(page.kind);
    }

    /// Removes rows that a later full version of their page does not have any more. sled may have overwritten the message
    /// that removed them.
    fn remove_overwritten(&mut self) {
        if let Some((position, false)) = self.counters_page
            && self.counters.get(PARTIAL).is_some_and(|(known, _)| *known < position)
        {
            self.counters.remove(PARTIAL);
        }
        for leaf in self.pages.values().filter_map(|page| page.leaf.as_ref()) {
            let rows = match leaf.kind {
                RowKind::Media => &mut self.media,
                RowKind::Draft => &mut self.drafts,
                // Their pages have keys of another kind, too.
                RowKind::Identity | RowKind::Lookup => continue,
            };
            let (first, end) = leaf.bounds;
            for (_, version) in rows.range_mut(first..end.max(first)).filter(|(id, version)| {
                version.position < leaf.position && leaf.ids.binary_search(id).is_err()
            }) {
                version.at = ValueAt::Removed;
            }
        }
    }

    fn take(&mut self, found: &Found<'_>) {
        match found.kind {
            Kind::Page | Kind::PageBlob => {
                let Some(node) = found.node() else { return };
                if let Data::Leaf(items) = node.data {
                    for (key, value) in items {
                        let key = [&node.low[..node.prefix], key].concat();
                        self.take_row(&key, found, value);
                    }
                }
            }
            Kind::Link | Kind::LinkBlob => match codec::link(found.body) {
                Some(Link::Set(key, value)) => match RowKind::of(value) {
                    _ if COUNTERS.contains(&key) => self.take_row(key, found, value),
                    None => {}
                    Some(kind) => match self.whole_key(found.page, key, kind.key_length()) {
                        Some(key) => self.take_row(&key, found, value),
                        None => self.report.unknown += 1,
                    },
                },
                Some(Link::Remove(key)) => self.remove(key, found),
                Some(Link::Merge) | None => {}
            },
            Kind::Canceled | Kind::Cap | Kind::Batch | Kind::Free => {}
        }
    }

    /// Returns the full key, with the prefix that the page omits.
    fn whole_key(&self, page: u64, key: &[u8], length: usize) -> Option<Vec<u8>> {
        match self.pages.get(&page).and_then(|page| page.low.as_deref()) {
            // A page without a lowest key omits no prefix.
            Some(low) if !low.is_empty() => {
                let missing = length.checked_sub(key.len())?;
                Some([low.get(..missing)?, key].concat())
            }
            Some(_) => Some(key.to_vec()),
            None => (key.len() == length).then(|| key.to_vec()),
        }
    }

    fn take_row(&mut self, key: &[u8], found: &Found<'_>, value: &[u8]) {
        let position = found.position;
        if let Some(name) = COUNTERS.into_iter().find(|name| *name == key) {
            // The marker of a partial catalog has no value.
            let value = value.try_into().map_or(0, u64::from_be_bytes);
            newer(&mut self.counters, name, position, Some(value));
            return;
        }
        let id = match key {
            [b'u', id @ ..] if value.starts_with(IDENTITY_START) => id_of(id),
            key => id_of(key),
        };
        let rows = match id {
            Some(_) if value.starts_with(IDENTITY_START) => &mut self.identities,
            Some(_) if value.starts_with(MEDIA_START) => &mut self.media,
            Some(_) if value.starts_with(DRAFT_START) => &mut self.drafts,
            _ => {
                if let (Ok(digest), Ok(media)) = (key.try_into(), value.try_into()) {
                    newer(&mut self.lookups, digest, position, Some(u64::from_be_bytes(media)));
                }
                return;
            }
        };
        let version = Version { position, at: found.value_at(value) };
        let id = id.unwrap_or_default();
        if rows.get(&id).is_none_or(|known| known.position <= position) {
            rows.insert(id, version);
        }
    }

    fn remove(&mut self, key: &[u8], found: &Found<'_>) {
        let position = found.position;
        if let Some(name) = COUNTERS.into_iter().find(|name| *name == key) {
            newer(&mut self.counters, name, position, None);
            return;
        }
        let Some(kind) = self.pages.get(&found.page).and_then(|page| page.kind) else { return };
        let Some(key) = self.whole_key(found.page, key, kind.key_length()) else { return };
        let rows = match kind {
            RowKind::Media => &mut self.media,
            RowKind::Draft => &mut self.drafts,
            RowKind::Identity => &mut self.identities,
            RowKind::Lookup => {
                if let Ok(digest) = key.as_slice().try_into() {
                    newer(&mut self.lookups, digest, position, None);
                }
                return;
            }
        };
        let id = if kind == RowKind::Identity { key.strip_prefix(b"u") } else { Some(key.as_slice()) };
        if let Some(id) = id.and_then(id_of)
            && rows.get(&id).is_none_or(|known| known.position <= position)
        {
            rows.insert(id, Version { position, at: ValueAt::Removed });
        }
    }
}

impl SalvageReport {
    /// Counts an unreadable range. Zeros are space that was never used.
    fn add(&mut self, place: &[u8]) {
        if place.iter().any(|byte| *byte != 0) {
            self.places += 1;
            self.bytes += place.len() as u64;
        }
    }
}

/// A message of the log.
struct Found<'a> {
    kind: Kind,
    page: u64,
    position: i64,
    body: &'a [u8],
    place: BodyLocation,
}

/// The location of a message's body.
enum BodyLocation {
    Log(u64),
    Blob(i64),
}

impl<'a> Found<'a> {
    fn node(&self) -> Option<Node<'a>> {
        matches!(self.kind, Kind::Page | Kind::PageBlob).then(|| codec::node(self.body)).flatten()
    }

    /// Returns the location of a part of the body.
    fn value_at(&self, value: &[u8]) -> ValueAt {
        let (offset, length) = (value.as_ptr().addr() - self.body.as_ptr().addr(), value.len());
        match self.place {
            BodyLocation::Log(at) => ValueAt::Log { at: at + offset as u64, length },
            BodyLocation::Blob(id) => ValueAt::Blob { id, at: offset, length },
        }
    }
}

/// Returns the segment in a slot, from its header or else from its first message.
fn segment_of(slot: &[u8]) -> Option<u64> {
    match codec::segment_header(slot) {
        Some(header) => u64::try_from(header.position / SLOT as i64).ok(),
        None => codec::find_message(slot, SEGMENT_HEADER, |_| true).map(|(_, message)| message.segment),
    }
}

fn id_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

fn newer<K: Ord>(known: &mut BTreeMap<K, (i64, Option<u64>)>, key: K, position: i64, value: Option<u64>) {
    let version = known.entry(key).or_insert((position, value));
    if version.0 <= position {
        *version = (position, value);
    }
}
