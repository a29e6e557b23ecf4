//! The boolean decoder of VP8 (RFC 6386 section 7).

use crate::imaging::error::ImageError;

/// Reads one partition. Bits after its end are zero; see [`is_past_end`](Self::is_past_end).
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Index of the next byte. Grows past the end.
    at: usize,
    /// The next bits, the first one at the top.
    window: u64,
    /// Bits of the window that were read.
    count: u32,
    /// The width of the interval, 128 to 255.
    range: u32,
}

impl<'a> Bits<'a> {
    /// Creates a reader. Fails if the first byte is 255, which is outside of the first interval: no encoder writes it.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, ImageError> {
        if bytes.first() == Some(&u8::MAX) {
            return Err(ImageError::Corrupt);
        }
        let mut bits = Self { bytes, at: 0, window: 0, count: 0, range: 255 };
        bits.refill();
        Ok(bits)
    }

    /// Fills the window, for the next seven bits.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        // Each bit takes at most 7 bits of the window, and compares 8.
        if self.count < 7 * 6 + 8 {
            self.load();
        }
    }

    #[inline(always)]
    fn load(&mut self) {
        let next = match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => last_bytes(self.bytes, self.at),
        };
        self.window |= next >> self.count;
        let whole = (63 - self.count) / 8;
        self.at += whole as usize;
        self.count += 8 * whole;
    }

    /// Returns the next bit, which is zero with `probability` / 256. The window must have been refilled.
    #[inline(always)]
    pub(super) fn bit(&mut self, probability: u8) -> bool {
        let split = 1 + (((self.range - 1) * u32::from(probability)) >> 8);
        let at_top = u64::from(split) << 56;
        let is_set = self.window >= at_top;
        if is_set {
            self.range -= split;
            self.window -= at_top;
        } else {
            self.range = split;
        }
        let shift = self.range.leading_zeros() - 24;
        self.range <<= shift;
        self.window <<= shift;
        self.count = self.count.wrapping_sub(shift);
        is_set
    }

    /// Returns `value`, or its negative if the next bit is set. The window must have been refilled.
    #[inline(always)]
    pub(super) fn signed(&mut self, value: i32) -> i32 {
        let split = self.range.div_ceil(2);
        let at_top = u64::from(split) << 56;
        let mask = -i32::from(self.window >= at_top);
        self.window -= at_top & mask as i64 as u64;
        let is_set = mask as u32;
        self.range = (split & !is_set) | ((self.range - split) & is_set);
        let shift = self.range.leading_zeros() - 24;
        self.range <<= shift;
        self.window <<= shift;
        self.count = self.count.wrapping_sub(shift);
        (value ^ mask) - mask
    }

    pub(super) fn flag(&mut self) -> bool {
        self.refill();
        self.bit(128)
    }

    /// Returns a number of up to eight bits.
    pub(super) fn number(&mut self, bits: u32) -> u8 {
        (0..bits).fold(0, |number, _| number << 1 | u8::from(self.flag()))
    }

    /// Returns a number of `bits` bits and a sign that follow a flag, or zero if the flag is not set.
    pub(super) fn optional(&mut self, bits: u32) -> i32 {
        if !self.flag() {
            return 0;
        }
        let number = i32::from(self.number(bits));
        if self.flag() { -number } else { number }
    }

    /// Returns whether bits were returned that the partition does not have. A byte after the end may be used in part.
    #[inline(always)]
    pub(super) fn is_past_end(&self) -> bool {
        // Bits that were taken out of the window.
        8 * self.at - self.count as usize > 8 * self.bytes.len() + 7
    }
}

#[cold]
#[inline(never)]
fn last_bytes(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(last)
}
