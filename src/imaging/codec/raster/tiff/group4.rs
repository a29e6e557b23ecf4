//! Decodes CCITT Group 4 (ITU-T T.6): black and white, each row coded by its differences from the previous row.
//!
//! The code tables are those of the `fax` crate. Its decoder allows a row to move backwards, which can take quadratic time.
//! Here each code moves the row forward, so a row has at most as many codes as pixels.

use fax::ByteReader;
use fax::maps::{Mode, black, mode, white};

use crate::imaging::error::ImageError;

/// After a run of this length or more, another run continues it.
const MAKE_UP: u16 = 64;

/// Decodes the rows of one strip or tile.
pub(super) struct Group4<I> {
    bits: ByteReader<I>,
    width: u32,
    /// Where the colour changes in the previous row, strictly ascending. A row begins white.
    reference: Vec<u32>,
    current: Vec<u32>,
}

impl<I: Iterator<Item = Result<u8, ImageError>>> Group4<I> {
    /// Creates a decoder of rows of `width` pixels. Fails if `data` cannot be read.
    pub(super) fn new(data: I, width: u32) -> Result<Self, ImageError> {
        Ok(Self { bits: ByteReader::new(data)?, width, reference: Vec::new(), current: Vec::new() })
    }

    /// Returns the most bytes that a decoder of this width allocates.
    pub(super) fn memory(width: u32) -> u64 {
        // Two lists of changes, each with up to twice the needed capacity. While one grows, both its buffers exist.
        let change = size_of::<u32>() as u64;
        (2 + 3) * change * (u64::from(width) + 1)
    }

    /// Reads a row of one bit a pixel; 1 is black. Fails if the data ends, is corrupt or unreadable.
    pub(super) fn read(&mut self, row: &mut [u8]) -> Result<(), ImageError> {
        std::mem::swap(&mut self.reference, &mut self.current);
        self.current.clear();
        // The first position that is not coded yet, and the index of the first later change in the previous row.
        let (mut position, mut next) = (0, 0);
        let (mut is_start, mut is_black) = (true, false);
        while position < self.width {
            let is_past = |change: &u32| *change > position || (is_start && *change == 0);
            while self.reference.get(next).is_some_and(|change| !is_past(change)) {
                next += 1;
            }
            // The first of these changes that goes from the present colour to the other one.
            let opposite = next + usize::from(next % 2 != usize::from(is_black));
            let change = |at: usize| self.reference.get(at).copied().unwrap_or(self.width);
            let end = match mode::decode(&mut self.bits).ok_or(ImageError::Corrupt)? {
                Mode::Pass => change(opposite + 1),
                Mode::Vertical(by) => {
                    let end = change(opposite).checked_add_signed(by.into()).ok_or(ImageError::Corrupt)?;
                    self.change(end)?;
                    is_black = !is_black;
                    end
                }
                Mode::Horizontal => {
                    let first = position.saturating_add(self.run(is_black)?);
                    let second = first.saturating_add(self.run(!is_black)?);
                    self.change(first)?;
                    self.change(second)?;
                    second
                }
                Mode::EOF => return Err(ImageError::Truncated),
                Mode::Extension => return Err(ImageError::Unsupported),
            };
            if end < position || (end == position && !is_start) {
                return Err(ImageError::Corrupt);
            }
            (position, is_start) = (end, false);
        }
        self.paint(row);
        Ok(())
    }

    /// Records a change of colour. Two changes at the same position cancel each other.
    fn change(&mut self, at: u32) -> Result<(), ImageError> {
        if at > self.width || self.current.last().is_some_and(|last| *last > at) {
            return Err(ImageError::Corrupt);
        }
        if self.current.last() == Some(&at) {
            self.current.pop();
        } else {
            self.current.push(at);
        }
        Ok(())
    }

    /// Reads the length of a run of one colour.
    fn run(&mut self, is_black: bool) -> Result<u32, ImageError> {
        let mut length = 0u32;
        loop {
            let part = if is_black { black::decode(&mut self.bits) } else { white::decode(&mut self.bits) };
            let part = part.ok_or(ImageError::Corrupt)?;
            length += u32::from(part);
            if part < MAKE_UP {
                return Ok(length);
            }
            if length > self.width {
                return Err(ImageError::Corrupt);
            }
        }
    }

    fn paint(&self, row: &mut [u8]) {
        row.fill(0);
        for black in self.current.chunks(2) {
            let (start, end) = (black[0], black.get(1).copied().unwrap_or(self.width));
            for at in start..end {
                if let Some(byte) = row.get_mut(at as usize / 8) {
                    *byte |= 0x80 >> (at % 8);
                }
            }
        }
    }
}
