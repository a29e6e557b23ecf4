//! Reads the directories of a TIFF block (TIFF 6.0 section 2): those of a TIFF file, and those of EXIF.
//!
//! No offset of the block is trusted: a value that lies outside of the block counts as absent. Nothing is allocated.

/// Entries of one IFD that are looked at. Cameras write up to about a hundred.
const MAX_ENTRIES: u16 = 512;
/// Bytes of an entry: tag, type, count, and the value or its offset.
const ENTRY_BYTES: usize = 12;

/// Bytes in the byte order that their header names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

/// A tag with its value, unread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    block: Block<'a>,
    pub(super) tag: u16,
    kind: u16,
    count: u32,
    /// Where the value is, or its offset.
    field: usize,
}

/// Types of values (TIFF 6.0 section 2, Exif 3.0 section 4.6.2).
const BYTE: u16 = 1;
const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const RATIONAL: u16 = 5;
const SIGNED_RATIONAL: u16 = 10;
const UNDEFINED: u16 = 7;
const IFD: u16 = 13;
const UTF8: u16 = 129;

/// Longest field of text that is looked at, its padding included.
const MAX_TEXT_FIELD: u32 = 1024;

impl<'a> Block<'a> {
    /// A block by its header; `None` if it has none.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.get(..4)? {
            b"II*\0" => Some(Self { bytes, is_big_endian: false }),
            b"MM\0*" => Some(Self { bytes, is_big_endian: true }),
            _ => None,
        }
    }

    /// Offset of the first IFD.
    pub(super) fn ifd0(&self) -> Option<u32> {
        self.u32(4)
    }

    /// Whether numbers have their most significant byte first.
    pub(super) fn is_big_endian(&self) -> bool {
        self.is_big_endian
    }

    /// Offset of the IFD that follows the one at `offset`; `None` if there is none. The chain may contain a loop.
    pub(super) fn next_ifd(&self, offset: u32) -> Option<u32> {
        let start = offset as usize;
        let end = start.checked_add(2 + ENTRY_BYTES * usize::from(self.u16(start)?))?;
        self.u32(end).filter(|next| *next != 0)
    }

    /// The entries of the IFD at `offset`, as far as they lie in the block. The IFD that follows it is not read.
    pub(super) fn entries(self, offset: u32) -> impl Iterator<Item = Entry<'a>> {
        let start = offset as usize;
        // Within the header there is no IFD.
        let count = if start < 8 { None } else { self.u16(start) };
        (0..count.unwrap_or(0).min(MAX_ENTRIES)).map_while(move |n| {
            let at = start.checked_add(2 + ENTRY_BYTES * usize::from(n))?;
            self.bytes.get(at..at.checked_add(ENTRY_BYTES)?)?;
            let (tag, kind, count) = (self.u16(at)?, self.u16(at + 2)?, self.u32(at + 4)?);
            Some(Entry { block: self, tag, kind, count, field: at + 8 })
        })
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

impl<'a> Entry<'a> {
    /// The offset of another IFD.
    pub(super) fn offset(&self) -> Option<u32> {
        (matches!(self.kind, LONG | IFD) && self.count == 1).then(|| self.block.u32(self.field))?
    }

    /// The value at `index` of an array of unsigned integers of any type.
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

    /// The value of a field of bytes.
    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        matches!(self.kind, BYTE | UNDEFINED).then(|| self.value(1))?
    }

    /// The only byte.
    pub(super) fn byte(&self) -> Option<u8> {
        if self.kind == BYTE && self.count == 1 { self.block.bytes.get(self.field).copied() } else { None }
    }

    /// The only number of 16 bits. A second one, against the standard, is passed over.
    pub(super) fn short(&self) -> Option<u16> {
        (self.kind == SHORT && matches!(self.count, 1 | 2)).then(|| self.block.u16(self.field))?
    }

    /// Text up to its first NUL: ASCII, or UTF-8, which cameras write under either type. Trimmed, and not empty.
    pub(super) fn text(&self) -> Option<&'a str> {
        if !matches!(self.kind, ASCII | UTF8) || self.count > MAX_TEXT_FIELD {
            return None;
        }
        let field = self.value(1)?;
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        let text = std::str::from_utf8(field.get(..end)?).ok()?.trim_matches(' ');
        (!text.is_empty()).then_some(text)
    }

    /// Exactly `N` pairs of numerator and denominator; of signed ones the bits.
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

    /// The bytes of the value, which consists of elements of `size` bytes.
    fn value(&self, size: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.count).ok()?.checked_mul(size)?;
        let start = self.start(size)?;
        self.block.bytes.get(start..start.checked_add(length)?)
    }

    /// Where the value begins: in the entry itself if it fits there.
    fn start(&self, size: usize) -> Option<usize> {
        let length = usize::try_from(self.count).ok()?.checked_mul(size)?;
        if length <= 4 { Some(self.field) } else { self.block.u32(self.field).map(|at| at as usize) }
    }
}
