//! The arithmetic decoder (ITU-T H.265 section 9.3.4.3) on a window of 64 bits.
//!
//! The upper nine bits of the window are `ivlOffset` of the standard, and the bits that follow it lie below. The window is
//! refilled with four bytes at once, so most bins cost no read. Bypass bins are a division of the window by the range: up to 16
//! of them come from one multiplication with its reciprocal. Beyond the end of the data the decoder reads zeros; callers ask
//! [`Cabac::is_past_end`] after each coding tree unit.

use std::hint::select_unpredictable;

use super::Fault;

/// Bits of the window below the nine of the offset.
const BELOW: u32 = 55;

/// Values of `rangeTabLps` (table 9-52) by `pStateIdx` times two plus the more probable value. The four of a state are packed
/// into a word, each with the bits by which it is shifted to renormalise it in the byte above.
const LPS: [u64; 128] = {
    const TABLE: [[u8; 4]; 64] = [
        [128, 176, 208, 240],
        [128, 167, 197, 227],
        [128, 158, 187, 216],
        [123, 150, 178, 205],
        [116, 142, 169, 195],
        [111, 135, 160, 185],
        [105, 128, 152, 175],
        [100, 122, 144, 166],
        [95, 116, 137, 158],
        [90, 110, 130, 150],
        [85, 104, 123, 142],
        [81, 99, 117, 135],
        [77, 94, 111, 128],
        [73, 89, 105, 122],
        [69, 85, 100, 116],
        [66, 80, 95, 110],
        [62, 76, 90, 104],
        [59, 72, 86, 99],
        [56, 69, 81, 94],
        [53, 65, 77, 89],
        [51, 62, 73, 85],
        [48, 59, 69, 80],
        [46, 56, 66, 76],
        [43, 53, 63, 72],
        [41, 50, 59, 69],
        [39, 48, 56, 65],
        [37, 45, 54, 62],
        [35, 43, 51, 59],
        [33, 41, 48, 56],
        [32, 39, 46, 53],
        [30, 37, 43, 50],
        [29, 35, 41, 48],
        [27, 33, 39, 45],
        [26, 31, 37, 43],
        [24, 30, 35, 41],
        [23, 28, 33, 39],
        [22, 27, 32, 37],
        [21, 26, 30, 35],
        [20, 24, 29, 33],
        [19, 23, 27, 31],
        [18, 22, 26, 30],
        [17, 21, 25, 28],
        [16, 20, 23, 27],
        [15, 19, 22, 25],
        [14, 18, 21, 24],
        [14, 17, 20, 23],
        [13, 16, 19, 22],
        [12, 15, 18, 21],
        [12, 14, 17, 20],
        [11, 14, 16, 19],
        [11, 13, 15, 18],
        [10, 12, 15, 17],
        [10, 12, 14, 16],
        [9, 11, 13, 15],
        [9, 11, 12, 14],
        [8, 10, 12, 14],
        [8, 9, 11, 13],
        [7, 9, 11, 12],
        [7, 9, 10, 12],
        [7, 8, 10, 11],
        [6, 8, 9, 11],
        [6, 7, 9, 10],
        [6, 7, 8, 9],
        [2, 2, 2, 2],
    ];
    let mut packed = [0; 128];
    let mut n = 0;
    while n < 128 {
        let mut quarter = 0;
        while quarter < 4 {
            let lps = TABLE[n / 2][quarter] as u64;
            packed[n] |= (lps | (lps.leading_zeros() as u64 - 55) << 8) << (16 * quarter);
            quarter += 1;
        }
        n += 1;
    }
    packed
};

/// The next states after the more probable value and after the less probable one (table 9-53).
const NEXT: [[u8; 2]; 128] = {
    const AFTER_LPS: [u8; 64] = [
        0, 0, 1, 2, 2, 4, 4, 5, 6, 7, 8, 9, 9, 11, 11, 12, 13, 13, 15, 15, 16, 16, 18, 18, 19, 19, 21, 21,
        22, 22, 23, 24, 24, 25, 26, 26, 27, 27, 28, 29, 29, 30, 30, 30, 31, 32, 32, 33, 33, 33, 34, 34, 35,
        35, 35, 36, 36, 36, 37, 37, 37, 38, 38, 63,
    ];
    let mut next = [[0; 2]; 128];
    let mut n = 0;
    while n < 128 {
        let (state, likely) = (n / 2, (n % 2) as u8);
        let after = if state < 62 { state + 1 } else { state };
        let flipped = if state == 0 { 1 - likely } else { likely };
        next[n] = [(after as u8) << 1 | likely, AFTER_LPS[state] << 1 | flipped];
        n += 1;
    }
    next
};

const RECIPROCAL_BITS: u32 = 39;

/// The reciprocal of each range from 256 on, rounded up. A dividend of at most 25 bits gives the exact quotient, because the
/// error of the product stays under 2^25 * 2^9 / 2^39.
const RECIPROCALS: [u32; 256] = {
    let mut reciprocals = [0; 256];
    let mut n = 0;
    while n < 256 {
        reciprocals[n] = (1u64 << RECIPROCAL_BITS).div_ceil(256 + n as u64) as u32;
        n += 1;
    }
    reciprocals
};

/// Most bypass bins that are read at once.
pub(super) const MOST_BYPASS: u32 = 16;

/// Zeros that the data must have after its end, so that a read of four bytes that begins within it succeeds.
pub(in super::super) const PADDING: usize = 4;

#[derive(Debug, Clone, Copy)]
pub(super) struct Cabac<'a> {
    /// The data and its padding.
    data: &'a [u8],
    value: u64,
    range: u32,
    /// Valid bits of the window below the offset. At least 0 between calls.
    available: i32,
    /// Bytes read, with the zeros beyond the end.
    read: usize,
}

impl<'a> Cabac<'a> {
    /// Returns a decoder that has no data yet.
    pub(super) fn idle() -> Self {
        Self { data: &[], value: 0, range: 510, available: 0, read: 0 }
    }

    /// Starts at the beginning of `data`, which ends with [`PADDING`] zeros. An offset beyond the range, which the standard
    /// excludes, is refused, because all that follows takes it for granted that the offset is smaller.
    pub(super) fn new(data: &'a [u8]) -> Result<Self, Fault> {
        let mut cabac = Self { data, available: -9, ..Self::idle() };
        cabac.refill();
        if cabac.value >= u64::from(cabac.range) << BELOW { Err(Fault::Corrupt) } else { Ok(cabac) }
    }

    /// Adds four bytes to the window, in which at most 23 bits below the offset are valid.
    #[inline(always)]
    fn refill(&mut self) {
        let bytes = self.data.get(self.read..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 4]);
        let word = u32::from_be_bytes(*bytes);
        self.value |= u64::from(word) << (23 - self.available);
        self.available += 32;
        self.read += 4;
    }

    /// Decodes a bin with the context `state`.
    #[inline(always)]
    pub(super) fn bin(&mut self, state: &mut u8) -> u32 {
        let known = usize::from(*state & 127);
        let entry = LPS[known] >> (self.range >> 2 & 48);
        let (lps, lps_shift) = (entry as u32 & 255, (entry >> 8) as u32 & 255);
        let mps = self.range - lps;
        let mps_shift = mps >> 8 ^ 1;
        let scaled = u64::from(mps) << BELOW;
        let is_lps = self.value >= scaled;
        // A branch would be mispredicted in every fifth bin. Both outcomes are ready when the comparison is.
        let value = select_unpredictable(is_lps, self.value.wrapping_sub(scaled), self.value);
        let shift = select_unpredictable(is_lps, lps_shift, mps_shift);
        self.range = select_unpredictable(is_lps, lps << (lps_shift & 7), mps << (mps_shift & 1));
        let [after_mps, after_lps] = NEXT[known];
        *state = select_unpredictable(is_lps, after_lps, after_mps);
        self.value = value << (shift & 7);
        self.available -= shift as i32;
        if self.available < 0 {
            self.refill();
        }
        (known as u32 ^ u32::from(is_lps)) & 1
    }

    /// Decodes a bin with a context that is known by its number.
    #[inline(always)]
    pub(super) fn flag(&mut self, contexts: &mut super::contexts::Contexts, context: u8) -> bool {
        self.bin(&mut contexts[usize::from(context)]) == 1
    }

    /// Decodes the bin before the end of a slice segment, a substream or before raw samples.
    pub(super) fn terminate(&mut self) -> bool {
        self.range -= 2;
        if self.value >= u64::from(self.range) << BELOW {
            return true;
        }
        if self.range < 256 {
            self.range <<= 1;
            self.value <<= 1;
            self.available -= 1;
            if self.available < 0 {
                self.refill();
            }
        }
        false
    }

    /// Returns the next 16 bypass bins, the first in the highest of the bits.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> u32 {
        if self.available < MOST_BYPASS as i32 {
            self.refill();
        }
        let reciprocal = RECIPROCALS[(self.range & 255) as usize];
        (((self.value >> (BELOW - MOST_BYPASS)) * u64::from(reciprocal)) >> RECIPROCAL_BITS) as u32
    }

    /// Moves past the first `count` of the bins that [`Self::peek`] returned.
    #[inline(always)]
    pub(super) fn consume(&mut self, bins: u32, count: u32) {
        let quotient = u64::from(bins >> (MOST_BYPASS - count)) * u64::from(self.range);
        self.value = self.value.wrapping_sub(quotient << (BELOW - count)) << count;
        self.available -= count as i32;
    }

    /// Decodes up to 16 bypass bins.
    #[inline(always)]
    pub(super) fn bypass(&mut self, count: u32) -> u32 {
        let bins = self.peek();
        self.consume(bins, count);
        bins >> (MOST_BYPASS - count)
    }

    /// Decodes up to 32 bypass bins.
    pub(super) fn bypass_long(&mut self, count: u32) -> u32 {
        match count.checked_sub(MOST_BYPASS) {
            Some(more) => {
                let high = self.bypass(MOST_BYPASS);
                high << more | self.bypass(more)
            }
            None => self.bypass(count),
        }
    }

    /// Returns the bits that belong to the bins decoded so far, which include the last bit of the offset.
    fn consumed_bits(&self) -> usize {
        (8 * self.read).saturating_add_signed(-(self.available as isize))
    }

    /// Returns whether bins were decoded from bits beyond the end of the data.
    pub(super) fn is_past_end(&self) -> bool {
        self.consumed_bits() > 8 * self.data.len().saturating_sub(PADDING)
    }

    /// Returns the bytes after the one with the last bit of the offset, where raw samples or the next substream begin after
    /// a terminating bin (section 9.3.2.5).
    pub(super) fn following(&self) -> &'a [u8] {
        self.data.get(self.consumed_bits().div_ceil(8)..).unwrap_or_default()
    }
}
