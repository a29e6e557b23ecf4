//! Parsers of sled's file formats. They return `None` if the bytes are not valid.

use std::ops::Range;

/// Length of a slot in bytes.
pub(super) const SLOT: usize = 512 << 10;
/// Length of a segment header.
pub(super) const SEGMENT_HEADER: usize = 20;
/// Maximum length of a message header. No message starts in the last 32 bytes of a slot.
pub(super) const MESSAGE_HEADER: usize = 32;

/// Reads values from the front of a byte slice.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// Reads an integer whose first byte encodes its length.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = self.u8()?;
        Some(match first {
            0..=240 => u64::from(first),
            241..=248 => 240 + 256 * u64::from(first - 241) + u64::from(self.u8()?),
            249 => 2288 + 256 * u64::from(self.u8()?) + u64::from(self.u8()?),
            250..=255 => {
                let mut bytes = [0; 8];
                let length = usize::from(first - 247);
                bytes[..length].copy_from_slice(self.take(length)?);
                u64::from_le_bytes(bytes)
            }
        })
    }

    /// Reads bytes that are preceded by their length.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }
}

/// A segment header: the segment's position in the log, and the position up to which the log was on disk when the
/// segment began.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentHeader {
    pub(super) position: i64,
    pub(super) stable: i64,
}

pub(super) fn segment_header(slot: &[u8]) -> Option<SegmentHeader> {
    let header = slot.get(..SEGMENT_HEADER)?;
    let mut cursor = Cursor(header);
    let crc = cursor.u32()? ^ u32::MAX;
    let [position, stable] = [cursor.i64()? ^ i64::MAX, cursor.i64()? ^ i64::MAX];
    let is_whole = crc32fast::hash(&header[4..]) == crc && position >= 0 && position % SLOT as i64 == 0;
    is_whole.then_some(SegmentHeader { position, stable })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Never completed; skipped.
    Canceled,
    /// Padding to the end of the slot.
    Cap,
    /// The log position that must be on disk for the messages of a transaction to count.
    Batch,
    /// The page was freed.
    Free,
    /// A new version of a page.
    Page,
    /// A new version of a page, in a blob file.
    PageBlob,
    /// A change to a page.
    Link,
    /// A change to a page, in a blob file.
    LinkBlob,
}

fn kind(byte: u8) -> Option<Kind> {
    Some(match byte {
        1 => Kind::Canceled,
        2 => Kind::Cap,
        3 => Kind::Batch,
        4 => Kind::Free,
        5 | 6 | 8 => Kind::Page,
        7 | 9 => Kind::PageBlob,
        10 => Kind::Link,
        11 => Kind::LinkBlob,
        _ => return None,
    })
}

/// A message with a valid checksum.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) page: u64,
    /// The segment for which it was written.
    pub(super) segment: u64,
    /// Range of its body in the slot.
    pub(super) body: Range<usize>,
}

/// Parses the message at offset `at` of a slot.
pub(super) fn message(slot: &[u8], at: usize) -> Option<Message> {
    let bytes = slot.get(at..)?;
    let mut cursor = Cursor(bytes);
    let crc = cursor.u32()? ^ u32::MAX;
    let kind = kind(cursor.u8()?)?;
    let length = usize::try_from(cursor.varint()?).ok()?;
    let (segment, page) = (cursor.varint()?, cursor.varint()?);
    let header = bytes.len() - cursor.0.len();
    let body = cursor.take(length)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(&bytes[4..header]);
    let body = at + header..at + header + length;
    (hasher.finalize() == crc).then_some(Message { kind, page, segment, body })
}

/// Returns the length of the message at the start of `bytes` according to its header, header included.
pub(super) fn message_length(bytes: &[u8]) -> Option<usize> {
    let mut cursor = Cursor(bytes.get(5..)?);
    let length = usize::try_from(cursor.varint()?).ok()?;
    let (_segment, _page) = (cursor.varint()?, cursor.varint()?);
    length.checked_add(bytes.len() - cursor.0.len())
}

/// Returns true if a message may start at offset `at` of a slot.
pub(super) fn has_room(at: usize) -> bool {
    (SEGMENT_HEADER..=SLOT - MESSAGE_HEADER).contains(&at)
}

/// Searches byte by byte from `at` for the first message of a segment that `is_wanted` accepts.
pub(super) fn find_message(
    slot: &[u8],
    at: usize,
    is_wanted: impl Fn(u64) -> bool,
) -> Option<(usize, Message)> {
    let last = slot.len().min(SLOT - MESSAGE_HEADER + 1);
    (at.max(SEGMENT_HEADER)..last).find_map(|at| {
        // Most offsets fail here, before a checksum is computed.
        let mut cursor = Cursor(slot.get(at + 4..)?);
        kind(cursor.u8()?)?;
        let length = cursor.varint()?;
        if length > SLOT as u64 || !is_wanted(cursor.varint()?) {
            return None;
        }
        message(slot, at).map(|message| (at, message))
    })
}

/// The location of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    /// Its position in the log.
    pub(super) position: i64,
    /// Its offset in the file `db`.
    pub(super) at: u64,
    /// The blob file that contains its body, if any.
    pub(super) blob: Option<i64>,
}

/// The locations of a page's last version and of the changes to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Page {
    /// Nothing is known about it.
    #[default]
    Unknown,
    Free(Pointer),
    Present(Pointer, Vec<Pointer>),
}

impl Page {
    pub(super) fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        let (base, links): (_, &[Pointer]) = match self {
            Self::Unknown => (None, &[]),
            Self::Free(base) => (Some(base), &[]),
            Self::Present(base, links) => (Some(base), links),
        };
        base.into_iter().chain(links)
    }
}

/// The content of a file `snap.…`.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The log position that it covers.
    pub(super) stable: Option<i64>,
    pub(super) pages: Vec<Page>,
}

pub(super) fn snapshot(file: &[u8]) -> Option<Snapshot> {
    let (bytes, end) = file.split_at_checked(file.len().checked_sub(12)?)?;
    let crc = u32::from_le_bytes(end[8..].try_into().ok()?);
    if bytes.is_empty() || crc32fast::hash(bytes) != crc {
        return None;
    }
    let mut cursor = Cursor(bytes);
    // Stored plus one; 0 means none.
    let stable = cursor.i64()?;
    let _active_slot = cursor.varint()?;
    let mut pages = Vec::new();
    while !cursor.0.is_empty() {
        pages.push(match cursor.u8()? {
            0 => Page::Free(pointer(&mut cursor)?),
            count => {
                let mut sized = || {
                    let found = pointer(&mut cursor)?;
                    cursor.varint()?;
                    Some(found)
                };
                let base = sized()?;
                Page::Present(base, (1..count).map(|_| sized()).collect::<Option<_>>()?)
            }
        });
    }
    Some(Snapshot { stable: (stable != 0).then(|| stable - 1), pages })
}

fn pointer(cursor: &mut Cursor<'_>) -> Option<Pointer> {
    let position = cursor.i64()?;
    let is_blob = match cursor.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let at = cursor.varint()?;
    let blob = if is_blob { Some(cursor.i64()?) } else { None };
    Some(Pointer { position, at, blob })
}

/// A page of a tree, without the fields that only sled needs.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    /// The page to the right, or 0.
    pub(super) next: u64,
    /// Lower bound of its keys.
    pub(super) low: &'a [u8],
    /// Upper bound of its keys, or empty. The bound itself is on the next page.
    pub(super) high: &'a [u8],
    /// Number of leading bytes of `low` that are omitted from each key.
    pub(super) prefix: usize,
    pub(super) data: Data<'a>,
}

#[derive(Debug, Clone)]
pub(super) enum Data<'a> {
    /// Keys and values.
    Leaf(Vec<(&'a [u8], &'a [u8])>),
    /// Child pages, from left to right.
    Index(Vec<u64>),
}

pub(super) fn node(body: &[u8]) -> Option<Node<'_>> {
    let mut cursor = Cursor(body);
    let next = cursor.varint()?;
    let _merging_child = cursor.varint()?;
    let _is_merging = cursor.u8()?;
    let prefix = usize::from(cursor.u8()?);
    let (low, high) = (cursor.bytes()?, cursor.bytes()?);
    if prefix > low.len() {
        return None;
    }
    let is_index = match cursor.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let count = cursor.varint()?;
    let keys = (0..count).map(|_| cursor.bytes()).collect::<Option<Vec<_>>>()?;
    let data = if is_index {
        Data::Index(keys.iter().map(|_| cursor.varint()).collect::<Option<_>>()?)
    } else {
        Data::Leaf(keys.into_iter().map(|key| Some((key, cursor.bytes()?))).collect::<Option<_>>()?)
    };
    cursor.0.is_empty().then_some(Node { next, low, high, prefix, data })
}

/// A change to a leaf. Keys omit the prefix.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link<'a> {
    Set(&'a [u8], &'a [u8]),
    Remove(&'a [u8]),
    /// A merge of two pages. Changes no row.
    Merge,
}

pub(super) fn link(body: &[u8]) -> Option<Link<'_>> {
    let mut cursor = Cursor(body);
    Some(match cursor.u8()? {
        0 => Link::Set(cursor.bytes()?, cursor.bytes()?),
        1 => Link::Remove(cursor.bytes()?),
        2..=4 => Link::Merge,
        _ => return None,
    })
}

/// Parses the list of trees: name and root page of each.
pub(super) fn roots(body: &[u8]) -> Option<Vec<(&[u8], u64)>> {
    let mut cursor = Cursor(body);
    let mut roots = Vec::new();
    while !cursor.0.is_empty() {
        roots.push((cursor.bytes()?, cursor.varint()?));
    }
    Some(roots)
}
