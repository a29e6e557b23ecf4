//! Reads a bit stream whose first bit is the lowest one of the first byte.

use crate::imaging::error::ImageError;

#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits. Bits above `count` are zero, or the ones that follow in the stream.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, count: 0 }
    }

    /// Loads at least 56 bits, or all that are left.
    #[inline]
    pub(super) fn refill(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if let Some(next) = rest.first_chunk() {
            self.buffer |= u64::from_le_bytes(*next) << self.count;
            self.at += (63 - self.count) as usize / 8;
            self.count |= 56;
        } else {
            for byte in rest.iter().take((63 - self.count) as usize / 8) {
                self.buffer |= u64::from(*byte) << self.count;
                self.at += 1;
                self.count += 8;
            }
        }
    }

    /// Returns the next bits, at least [`count`](Self::count) of them.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        self.buffer
    }

    /// Returns the number of loaded bits.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Skips `count` loaded bits. Fails if the stream ends before them.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) -> Result<(), ImageError> {
        self.count = self.count.checked_sub(count).ok_or(ImageError::Truncated)?;
        self.buffer >>= count;
        Ok(())
    }

    /// Reads a number of up to 24 bits. Fails if the stream ends before them.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<usize, ImageError> {
        if self.count < count {
            self.refill();
        }
        let number = self.buffer & ((1 << count) - 1);
        self.skip(count)?;
        // At most 24 bits.
        Ok(number as usize)
    }

    /// Reads one bit. Fails if the stream ends before it.
    pub(super) fn flag(&mut self) -> Result<bool, ImageError> {
        Ok(self.take(1)? == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_equal_the_bits_of_the_stream(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            counts in proptest::collection::vec(0u32..=24, 0..60),
        ) {
            let bit = |at: usize| bytes.get(at / 8).map(|byte| usize::from(byte >> (at % 8) & 1));
            let mut bits = Bits::new(&bytes);
            let mut at = 0;
            for count in counts {
                let count_bits = count as usize;
                let expected: Option<usize> =
                    (0..count_bits).map(|n| bit(at + n).map(|bit| bit << n)).sum();
                prop_assert_eq!(bits.take(count).ok(), expected);
                if expected.is_none() {
                    break;
                }
                at += count_bits;
            }
        }
    }
}
