//! Reads TIFF directories (TIFF 6.0 section 2), the structure of TIFF files and of EXIF blocks in any container.
//!
//! This reader is our own, because general EXIF libraries looped or aborted on a few hostile bytes. A value outside of the file
//! counts as absent. A read follows one offset at a time and looks at a bounded number of entries, and allocates nothing.

/// Most entries of a directory that are read. Cameras write up to about a hundred, and a file may have many directories.
const MAX_ENTRIES: u16 = 512;
/// Bytes of an entry: tag, type, count, and the value or its offset.
const ENTRY_BYTES: usize = 12;
/// Bytes of the header. A directory cannot begin within it.
const HEADER_BYTES: usize = 8;

/// The bytes of a TIFF file or EXIF block, in the byte order that their header declares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

/// A directory (IFD) of a [`Block`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    block: Block<'a>,
    offset: u32,
}

/// A tag with its value, which is not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    block: Block<'a>,
    pub(super) tag: u16,
    kind: u16,
    count: u32,
    /// Offset of the four bytes that hold the value, or the offset of the value.
    field: usize,
}

/// Types of values (TIFF 6.0 section 2, Exif 3.0 section 4.6.2).
const BYTE: u16 = 1;
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const SIGNED_BYTE: u16 = 6;
const UNDEFINED: u16 = 7;
const SIGNED_SHORT: u16 = 8;
const SIGNED_LONG: u16 = 9;
const SIGNED_RATIONAL: u16 = 10;
const IFD: u16 = 13;
const UTF8: u16 = 129;

/// Longest text field that is read, including padding.
const MAX_TEXT_FIELD: u32 = 1024;

impl<'a> Block<'a> {
    /// Reads the header. Returns `None` if the bytes do not begin with one.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.get(..4)? {
            b"II*\0" => Some(Self { bytes, is_big_endian: false }),
            b"MM\0*" => Some(Self { bytes, is_big_endian: true }),
            _ => None,
        }
    }

    /// Returns the first directory, IFD0. If its offset is outside of the block, it has no entries.
    pub(super) fn first(self) -> Option<Directory<'a>> {
        Some(Directory { block: self, offset: self.u32(4)? })
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes: [u8; 2] = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

impl<'a> Directory<'a> {
    pub(super) fn offset(&self) -> u32 {
        self.offset
    }

    /// Returns whether numbers are stored with their most significant byte first.
    pub(super) fn is_big_endian(&self) -> bool {
        self.block.is_big_endian
    }

    /// Returns the directory that follows this one in the chain, or `None` at the end. A chain may contain a loop.
    pub(super) fn next(&self) -> Option<Self> {
        let start = self.offset as usize;
        let end = start.checked_add(2 + ENTRY_BYTES * usize::from(self.block.u16(start)?))?;
        let offset = self.block.u32(end).filter(|next| *next != 0)?;
        Some(Self { block: self.block, offset })
    }

    /// Returns the directory at `offset` of the same block.
    pub(super) fn at(&self, offset: u32) -> Self {
        Self { block: self.block, offset }
    }

    /// Returns the first [`MAX_ENTRIES`] entries that lie in the block.
    pub(super) fn entries(self) -> impl Iterator<Item = Entry<'a>> {
        self.all_entries().take(usize::from(MAX_ENTRIES))
    }

    /// Returns all entries that lie in the block: at most 65,535. A caller may use it for one directory only.
    pub(super) fn all_entries(self) -> impl Iterator<Item = Entry<'a>> {
        let (block, start) = (self.block, self.offset as usize);
        let count = if start < HEADER_BYTES { None } else { block.u16(start) };
        (0..count.unwrap_or(0)).map_while(move |n| {
            let at = start.checked_add(2 + ENTRY_BYTES * usize::from(n))?;
            block.bytes.get(at..at.checked_add(ENTRY_BYTES)?)?;
            let (tag, kind, count) = (block.u16(at)?, block.u16(at + 2)?, block.u32(at + 4)?);
            Some(Entry { block, tag, kind, count, field: at + 8 })
        })
    }

    /// Returns the first entry with this tag.
    pub(super) fn entry(self, tag: u16) -> Option<Entry<'a>> {
        self.entries().find(|entry| entry.tag == tag)
    }

    /// Returns the first number of the entry with this tag.
    pub(super) fn number(self, tag: u16) -> Option<u32> {
        self.entry(tag)?.number(0)
    }

    /// Returns all numbers of the entry with this tag.
    pub(super) fn numbers(self, tag: u16) -> impl Iterator<Item = u32> {
        let entry = self.entry(tag);
        (0..).map_while(move |index| entry?.number(index))
    }
}

impl<'a> Entry<'a> {
    /// Returns the directory that the value points to.
    pub(super) fn directory(&self) -> Option<Directory<'a>> {
        let is_offset = matches!(self.kind, LONG | IFD) && self.count == 1;
        let offset = self.block.u32(self.field).filter(|_| is_offset)?;
        Some(Directory { block: self.block, offset })
    }

    /// Returns the value at `index` of an array of unsigned integers of any type.
    pub(super) fn number(&self, index: u32) -> Option<u32> {
        if index >= self.count {
            return None;
        }
        let size = match self.kind {
            BYTE => 1,
            SHORT => 2,
            LONG | IFD => 4,
            _ => return None,
        };
        let at = self.start(size)?.checked_add(size.checked_mul(usize::try_from(index).ok()?)?)?;
        match size {
            1 => self.block.bytes.get(at).map(|byte| u32::from(*byte)),
            2 => self.block.u16(at).map(u32::from),
            _ => self.block.u32(at),
        }
    }

    /// Returns the first integer of any type if it is stored in the entry itself. Further values violate the standard and are
    /// ignored. A negative number has no meaning: its bits are returned unchanged.
    pub(super) fn inline_number(&self) -> Option<u16> {
        let is_inline = |size: u32| (1..=4 / size).contains(&self.count);
        match self.kind {
            BYTE | SIGNED_BYTE if is_inline(1) => {
                self.block.bytes.get(self.field).map(|byte| u16::from(*byte))
            }
            SHORT | SIGNED_SHORT if is_inline(2) => self.block.u16(self.field),
            LONG | SIGNED_LONG if is_inline(4) => self.block.u32(self.field)?.try_into().ok(),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        matches!(self.kind, BYTE | UNDEFINED).then(|| self.value(1))?
    }

    pub(super) fn byte(&self) -> Option<u8> {
        if self.kind == BYTE && self.count == 1 { self.block.bytes.get(self.field).copied() } else { None }
    }

    /// Returns the only 16-bit number. A second one, which violates the standard, is ignored.
    pub(super) fn short(&self) -> Option<u16> {
        (self.kind == SHORT && matches!(self.count, 1 | 2)).then(|| self.block.u16(self.field))?
    }

    /// Returns the text up to its first NUL, trimmed and not empty: ASCII, or UTF-8, which cameras write under either type.
    pub(super) fn text(&self) -> Option<&'a str> {
        if !matches!(self.kind, ASCII | UTF8) || self.count > MAX_TEXT_FIELD {
            return None;
        }
        let field = self.value(1)?;
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        let text = std::str::from_utf8(field.get(..end)?).ok()?.trim_matches(' ');
        (!text.is_empty()).then_some(text)
    }

    /// Returns exactly `N` pairs of numerator and denominator. Signed numbers are returned as their bits.
    pub(super) fn rationals<const N: usize>(&self, is_signed: bool) -> Option<[[u32; 2]; N]> {
        let kind = if is_signed { SIGNED_RATIONAL } else { RATIONAL };
        if self.kind != kind || usize::try_from(self.count).ok()? != N {
            return None;
        }
        let start = self.block.u32(self.field)? as usize;
        let mut pairs = [[0; 2]; N];
        for (n, pair) in pairs.iter_mut().enumerate() {
            let at = start.checked_add(8 * n)?;
            *pair = [self.block.u32(at)?, self.block.u32(at.checked_add(4)?)?];
        }
        Some(pairs)
    }

    /// Returns the bytes of the value, which consists of elements of `size` bytes.
    fn value(&self, size: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.count).ok()?.checked_mul(size)?;
        let start = self.start(size)?;
        self.block.bytes.get(start..start.checked_add(length)?)
    }

    /// Returns the offset of the value, which is stored in the entry itself if it fits.
    fn start(&self, size: usize) -> Option<usize> {
        let length = usize::try_from(self.count).ok()?.checked_mul(size)?;
        if length <= 4 { Some(self.field) } else { self.block.u32(self.field).map(|at| at as usize) }
    }
}
