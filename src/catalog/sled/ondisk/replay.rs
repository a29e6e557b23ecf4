//! Replays the log as sled does when it opens the directory, without writing.
//!
//! It is stricter in one point: where sled skips the unreadable rest of a segment, this module checks whether a crash
//! can have caused it.

use std::collections::BTreeMap;

use super::codec::{self, Kind, Message, Page, Pointer, SEGMENT_HEADER, SLOT};
use super::damaged;
use super::files::Files;
use crate::catalog::CatalogError;

const SEGMENT: i64 = SLOT as i64;

/// Limit on page numbers, above that of any real catalog, so that a damaged number allocates no memory.
const MAX_PAGES: u64 = 1 << 32;

/// The page table that sled would build.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) pages: Vec<Page>,
    /// Pointers below this position come from the snapshot; their messages were not read.
    pub(super) read_from: i64,
    /// True if no segment since the snapshot is missing. A segment may be missing because its slot was reused.
    pub(super) is_gapless: bool,
}

pub(super) fn replay(files: &Files) -> Result<Replayed, CatalogError> {
    let snapshot = files.snapshot()?;
    let from = snapshot.stable.unwrap_or(0).max(0) / SEGMENT * SEGMENT;
    let segments = Segments::scan(files, from)?;
    let end = segments.contiguous_end(files)?;
    let mut pages = Pages(snapshot.pages);
    let stable = snapshot.stable.unwrap_or(-1);
    let tip = segments.apply(files, end, |message, pointer| {
        if pointer.position >= stable { pages.apply(&message, pointer) } else { Ok(()) }
    })?;
    match tip {
        Some(tip) if rounded(tip) < stable => {
            return Err(damaged("its log ends before what its file snap refers to"));
        }
        None if snapshot.stable.is_none() && !segments.slots.is_empty() => {
            return Err(damaged("its log has no beginning"));
        }
        _ => {}
    }
    segments.check_headless(files, tip.unwrap_or(stable))?;
    if pages.0.contains(&Page::Unknown) {
        return Err(damaged("its log refers to pages that are gone"));
    }
    Ok(Replayed { pages: pages.0, read_from: stable, is_gapless: segments.is_gapless(from) })
}

/// Rounds up to the next segment if no message fits into the rest of this one, as sled does.
fn rounded(tip: i64) -> i64 {
    let next = tip / SEGMENT * SEGMENT + SEGMENT;
    if next - tip <= codec::MESSAGE_HEADER as i64 { next } else { tip }
}

/// The segments of the log since the snapshot.
struct Segments {
    /// Position in the log → slot.
    slots: BTreeMap<i64, u64>,
    /// Slots that start with zeros instead of a header.
    headless: Vec<u64>,
    /// Everything before this segment was on disk when the last segment began. A crash may have left anything from
    /// here on.
    tail: i64,
}

impl Segments {
    fn scan(files: &Files, from: i64) -> Result<Self, CatalogError> {
        let (mut slots, mut headless, mut stable) = (BTreeMap::new(), Vec::new(), from);
        for slot in 0..files.slots() {
            let start = files.slot_start(slot)?;
            match codec::segment_header(&start) {
                Some(header) if header.position >= from => {
                    stable = stable.max(header.stable);
                    if slots.insert(header.position, slot).is_some() {
                        return Err(damaged(format!("slot {slot} of its file db is there twice")));
                    }
                }
                // The snapshot contains its pages, or they were replaced.
                Some(_) => {}
                None if start == [0; SEGMENT_HEADER] => headless.push(slot),
                None => return Err(damaged(format!("the header of slot {slot} of its file db is damaged"))),
            }
        }
        Ok(Self { slots, headless, tail: stable / SEGMENT * SEGMENT })
    }

    /// Returns the last position up to which the messages of the tail are contiguous.
    fn contiguous_end(&self, files: &Files) -> Result<i64, CatalogError> {
        let mut reader = Reader::new(files);
        let (mut position, mut expected) = (0, self.tail);
        let mut missing = None;
        let tail = self.slots.range(self.tail..).take_while(|(segment, _)| {
            let is_next = **segment == expected;
            missing = (!is_next).then_some(expected);
            expected += SEGMENT;
            is_next
        });
        let tail: Vec<(i64, u64)> = tail.map(|(segment, slot)| (*segment, *slot)).collect();
        'log: for (segment, slot) in tail {
            reader.begin(segment, slot)?;
            position = segment + SEGMENT_HEADER as i64;
            while let Some(read) = reader.next()? {
                let is_torn = match &read {
                    Read::Unreadable => true,
                    Read::Message(message, _) => {
                        message.kind == Kind::Batch
                            && missing.is_some_and(|missing| reader.batch_end(message) > missing)
                    }
                };
                if is_torn {
                    break 'log;
                }
                position = reader.position();
            }
        }
        Ok(position - 1)
    }

    /// Passes each message up to `end` to `apply`. Returns the position after the last message, or after the header of a
    /// segment without one. Returns `None` if no segment begins at or before `end`.
    fn apply(
        &self,
        files: &Files,
        end: i64,
        mut apply: impl FnMut(Message, Pointer) -> Result<(), CatalogError>,
    ) -> Result<Option<i64>, CatalogError> {
        let mut reader = Reader::new(files);
        let mut tip = None;
        for (&segment, &slot) in &self.slots {
            if segment > end {
                return Ok(tip);
            }
            reader.begin(segment, slot)?;
            tip = Some(segment + SEGMENT_HEADER as i64);
            loop {
                if reader.position() > end && codec::has_room(reader.at) {
                    return Ok(tip);
                }
                let Some(read) = reader.next()? else { break };
                let Read::Message(message, pointer) = read else {
                    if segment < self.tail {
                        self.check_unreadable(&reader)?;
                    }
                    break;
                };
                if message.kind == Kind::Batch && reader.batch_end(&message) > end {
                    return Ok(tip);
                }
                tip = Some(reader.position());
                if let Some(pointer) = pointer {
                    apply(message, pointer)?;
                }
            }
        }
        Ok(tip)
    }

    /// Fails if an unreadable message is damage. It is a crash artefact if the slot was free and the tail of a later segment
    /// was written into it before that segment's header.
    fn check_unreadable(&self, reader: &Reader<'_>) -> Result<(), CatalogError> {
        let tail = u64::try_from(self.tail / SEGMENT).unwrap_or(0);
        let later = codec::find_message(&reader.slot, reader.at, |segment| segment >= tail);
        let own = codec::find_message(&reader.slot, reader.at + 1, |segment| segment == reader.segment);
        if later.is_some() && own.is_none() {
            return Ok(());
        }
        let at = reader.slot_start + reader.at as u64;
        Err(damaged(format!("a record at byte {at} of its file db is damaged")))
    }

    /// Fails if a header is missing that a crash cannot have removed: a crash may lose only the header of the segment
    /// that was just begun.
    fn check_headless(&self, files: &Files, tip: i64) -> Result<(), CatalogError> {
        let last = u64::try_from(tip.max(0) / SEGMENT).unwrap_or(0);
        let mut bytes = Vec::new();
        for &slot in &self.headless {
            files.slot(slot, &mut bytes)?;
            if bytes.iter().any(|byte| *byte != 0)
                && codec::find_message(&bytes, SEGMENT_HEADER, |segment| segment <= last).is_some()
            {
                return Err(damaged(format!("the header of slot {slot} of its file db is gone")));
            }
        }
        Ok(())
    }

    fn is_gapless(&self, from: i64) -> bool {
        (from..=self.tail).step_by(SLOT).all(|segment| self.slots.contains_key(&segment))
    }
}

/// Reads the messages of one segment in order.
struct Reader<'a> {
    files: &'a Files,
    slot: Vec<u8>,
    /// Offset of the slot in the file.
    slot_start: u64,
    /// The number of the segment.
    segment: u64,
    /// Offset of the next message in the slot.
    at: usize,
}

enum Read {
    /// A message, with a pointer if it belongs to a page. A message whose blob file is gone has no pointer either.
    Message(Message, Option<Pointer>),
    /// Bytes that are not a message of this segment.
    Unreadable,
}

impl<'a> Reader<'a> {
    fn new(files: &'a Files) -> Self {
        Self { files, slot: Vec::new(), slot_start: 0, segment: 0, at: 0 }
    }

    fn begin(&mut self, segment: i64, slot: u64) -> Result<(), CatalogError> {
        self.files.slot(slot, &mut self.slot)?;
        self.slot_start = slot * SLOT as u64;
        self.segment = u64::try_from(segment / SEGMENT).unwrap_or(0);
        self.at = SEGMENT_HEADER;
        Ok(())
    }

    /// Returns the log position of the next message.
    fn position(&self) -> i64 {
        i64::try_from(self.segment * SLOT as u64 + self.at as u64).unwrap_or(i64::MAX)
    }

    /// Reads the next message, or `None` at the end of the segment.
    fn next(&mut self) -> Result<Option<Read>, CatalogError> {
        if !codec::has_room(self.at) {
            return Ok(None);
        }
        let message = codec::message(&self.slot, self.at).filter(|message| message.segment == self.segment);
        let Some(message) = message else { return Ok(Some(Read::Unreadable)) };
        if message.kind == Kind::Cap {
            return Ok(None);
        }
        let position = self.position();
        let mut pointer = Pointer { position, at: self.slot_start + self.at as u64, blob: None };
        let is_page = match message.kind {
            Kind::Canceled | Kind::Cap | Kind::Batch => false,
            Kind::Free | Kind::Page | Kind::Link => true,
            Kind::PageBlob | Kind::LinkBlob => {
                pointer.blob = Files::blob_of(&message, &self.slot);
                let Some(id) = pointer.blob else { return Ok(Some(Read::Unreadable)) };
                match self.files.blob(id)? {
                    // The message was replaced, and its file removed.
                    None => false,
                    Some(None) => return Ok(Some(Read::Unreadable)),
                    Some(Some(_)) => true,
                }
            }
        };
        self.at = message.body.end;
        Ok(Some(Read::Message(message, is_page.then_some(pointer))))
    }

    /// Returns the last position of a transaction.
    fn batch_end(&self, message: &Message) -> i64 {
        codec::Cursor(&self.slot[message.body.clone()]).i64().unwrap_or(i64::MAX)
    }
}

struct Pages(Vec<Page>);

impl Pages {
    fn apply(&mut self, message: &Message, pointer: Pointer) -> Result<(), CatalogError> {
        if message.page >= MAX_PAGES {
            return Err(damaged("its log has a page with an impossible number"));
        }
        let index = usize::try_from(message.page).unwrap_or(usize::MAX);
        let is_new = self.0.len() <= index;
        if is_new {
            self.0.resize(index + 1, Page::Unknown);
        }
        let page = &mut self.0[index];
        match message.kind {
            Kind::Page | Kind::PageBlob => *page = Page::Present(pointer, Vec::new()),
            Kind::Free => *page = Page::Free(pointer),
            Kind::Link | Kind::LinkBlob => match page {
                Page::Present(base, links) => {
                    if links.last().unwrap_or(base).position < pointer.position {
                        links.push(pointer);
                    }
                }
                // A change to a page that is rewritten later in the log.
                Page::Unknown | Page::Free(_) => {
                    if is_new {
                        self.0.pop();
                    }
                }
            },
            Kind::Canceled | Kind::Cap | Kind::Batch => {}
        }
        Ok(())
    }
}
