//! Readers of bytes, bits and boxes (ISO/IEC 14496-12 section 4.2).
//!
//! A box that extends beyond its parent is refused, and every step moves forward, so the number of bytes bounds the cost of
//! reading. The number of boxes is limited as well, because a file can consist of boxes of eight bytes.

use std::iter;

use crate::imaging::error::ImageError;

/// A cursor over bytes. Reading past their end is [`ImageError::Corrupt`]: the box is too short for its declarations.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ImageError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ImageError::Corrupt)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ImageError::Corrupt)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ImageError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ImageError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ImageError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn kind(&mut self) -> Result<[u8; 4], ImageError> {
        self.array()
    }

    /// Reads a number of 0, 4 or 8 bytes, as in `iloc`.
    pub(super) fn sized(&mut self, bytes: u8) -> Result<u64, ImageError> {
        match bytes {
            0 => Ok(0),
            4 => Ok(self.u32()?.into()),
            8 => self.array().map(u64::from_be_bytes),
            _ => Err(ImageError::Corrupt),
        }
    }

    /// Reads a 16-bit number, or a 32-bit one if `wide`. Later versions of boxes have wider ids and counts.
    pub(super) fn number(&mut self, wide: bool) -> Result<u32, ImageError> {
        if wide { self.u32() } else { self.u16().map(u32::from) }
    }

    /// Reads version and flags of a full box.
    pub(super) fn full(&mut self) -> Result<(u8, u32), ImageError> {
        let word = self.u32()?;
        let [version, ..] = word.to_be_bytes();
        Ok((version, word & 0xFF_FFFF))
    }

    /// Reads the next box. Returns `None` at the end.
    fn next_box(&mut self) -> Result<Option<(BoxKind, &'a [u8])>, ImageError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let whole = self.0.len();
        let size = self.u32()?;
        let kind = self.kind()?;
        let size = match size {
            // 0 means to the end of the file.
            0 => whole,
            1 => usize::try_from(self.sized(8)?).map_err(|_| ImageError::Truncated)?,
            size => size as usize,
        };
        let header = whole - self.0.len();
        let payload = size.checked_sub(header).ok_or(ImageError::Corrupt)?;
        if payload > self.0.len() {
            return Err(ImageError::Truncated);
        }
        Ok(Some((kind, self.take(payload)?)))
    }
}

/// Four characters that identify a box, an item type or a reference.
pub(super) type BoxKind = [u8; 4];

/// Most siblings of boxes that each occur once. Files have up to a dozen.
pub(super) const MAX_SIBLINGS: usize = 1024;

/// Returns the boxes in `parent`. More than `most` of them are [`ImageError::Unsupported`]. Callers stop at the first error.
pub(super) fn children(
    parent: &[u8],
    most: usize,
) -> impl Iterator<Item = Result<(BoxKind, &[u8]), ImageError>> {
    let mut reader = Reader::new(parent);
    let mut room = most;
    iter::from_fn(move || {
        let child = reader.next_box().transpose()?;
        Some(match room.checked_sub(1) {
            None => Err(ImageError::Unsupported),
            Some(left) => {
                room = left;
                child
            }
        })
    })
}

/// Returns the first box of this kind in `parent`.
pub(super) fn find<'a>(parent: &'a [u8], kind: &BoxKind) -> Result<Option<&'a [u8]>, ImageError> {
    for child in children(parent, MAX_SIBLINGS) {
        let (found, payload) = child?;
        if found == *kind {
            return Ok(Some(payload));
        }
    }
    Ok(None)
}

/// A cursor over bits, most significant first. Reading past the end is [`ImageError::Corrupt`].
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn flag(&mut self) -> Result<bool, ImageError> {
        let byte = self.bytes.get(self.at / 8).ok_or(ImageError::Corrupt)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// Reads a number of up to 32 bits.
    pub(super) fn read(&mut self, count: u32) -> Result<u32, ImageError> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), ImageError> {
        self.at = self.at.saturating_add(count);
        if self.at > 8 * self.bytes.len() { Err(ImageError::Corrupt) } else { Ok(()) }
    }

    /// Returns the number of bits that were read or skipped.
    #[cfg(feature = "heic")]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Reads an unsigned Exp-Golomb number (ITU-T H.265 section 9.2); AV1's `uvlc` is the same.
    pub(super) fn golomb(&mut self) -> Result<u32, ImageError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros == 32 {
                return Err(ImageError::Corrupt);
            }
        }
        Ok((1 << zeros) - 1 + self.read(zeros)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_beyond_its_parent_is_refused() {
        let mut file =
            Reader::new(b"\0\0\0\x0cabcd1234\0\0\0\x01efgh\0\0\0\0\0\0\0\x12xy\0\0\0\0restto the end");
        assert_eq!(file.next_box(), Ok(Some((*b"abcd", &b"1234"[..]))));
        assert_eq!(file.next_box(), Ok(Some((*b"efgh", &b"xy"[..]))));
        assert_eq!(file.next_box(), Ok(Some((*b"rest", &b"to the end"[..]))));
        assert_eq!(file.next_box(), Ok(None));
        for (bytes, error) in [
            (&b"\0\0\0\x07abcd"[..], ImageError::Corrupt),
            (b"\0\0\0\x09abcd", ImageError::Truncated),
            (b"\0\0\0\x01abcd\xff\xff\xff\xff\xff\xff\xff\xff", ImageError::Truncated),
            (b"\0\0\0\x01abcd\0\0\0\0\0\0\0\x0f", ImageError::Corrupt),
            (b"\0\0\0\x09abc", ImageError::Corrupt),
        ] {
            assert_eq!(Reader::new(bytes).next_box(), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn exp_golomb_numbers_are_read() {
        // The codes 1, 010, 011, 00100 and 00111.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0011, 0b1000_0000]);
        let read: Vec<u32> = (0..5).map(|_| bits.golomb().unwrap()).collect();
        assert_eq!(read, [0, 1, 2, 3, 6]);
        assert_eq!(Bits::new(&[0; 8]).golomb(), Err(ImageError::Corrupt));
        assert_eq!(Bits::new(&[0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).golomb(), Ok(u32::MAX - 1));
    }
}
