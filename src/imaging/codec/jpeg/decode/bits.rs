//! Reads the bits of one scan. Byte stuffing is removed in bulk, so that the bit reader needs no checks for markers.
//!
//! This module reports no errors. The caller asks whether more bits were read than the data has, and which marker ended it.

/// Bytes of the window. It fits the first-level cache together with the tables.
const WINDOW: usize = 1 << 13;
/// Most bytes of one MCU: ten blocks of 64 coefficients of 31 bits (16 of code, 15 of value).
const MOST_IN_MCU: usize = 10 * 64 * 31 / 8;
/// Bits that [`Bits::refill`] guarantees.
const GUARANTEED: u64 = 56;

const PREFIX: u8 = 0xFF;

/// A buffer with the next data of an entropy-coded segment, without its stuffing.
#[derive(Debug)]
pub(super) struct Window<'a> {
    bytes: Box<Bytes>,
    /// Number of bytes that are data. The bytes after them are left from earlier.
    filled: usize,
    /// The file from the first byte that is not in the window yet.
    rest: &'a [u8],
    /// True if `rest` begins with a marker or is empty, so that the segment has no more data.
    is_ended: bool,
}

/// A window with room for a whole word at its end.
pub(super) type Bytes = [u8; WINDOW + 8];

impl<'a> Window<'a> {
    /// Creates a window on the entropy-coded segment at the start of `data`.
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { bytes: Box::new([0; WINDOW + 8]), filled: 0, rest: data, is_ended: false }
    }

    #[inline(always)]
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Refills the window if it may contain less than an MCU and the segment has more data.
    #[inline(always)]
    pub(super) fn prepare(&mut self, bits: &mut Bits) {
        if !self.is_ended && self.filled.wrapping_sub(bits.at) < MOST_IN_MCU {
            self.slide(bits.at);
            bits.at = 0;
        }
    }

    /// Moves the bytes from `at` on to the front and refills the window.
    #[cold]
    #[inline(never)]
    fn slide(&mut self, at: usize) {
        // The reservoir may contain bytes that `count` does not cover. They are read again, so they stay in the window.
        self.bytes.copy_within(at.min(self.filled)..self.filled, 0);
        self.filled = self.filled.saturating_sub(at);
        while self.filled < WINDOW {
            let room = &mut self.bytes[self.filled..WINDOW];
            let most = room.len().min(self.rest.len());
            let plain = find_prefix(&self.rest[..most]).unwrap_or(most);
            room[..plain].copy_from_slice(&self.rest[..plain]);
            self.rest = &self.rest[plain..];
            self.filled += plain;
            if self.filled == WINDOW {
                break;
            }
            let [PREFIX, 0, rest @ ..] = self.rest else {
                self.is_ended = true;
                break;
            };
            self.bytes[self.filled] = PREFIX;
            self.filled += 1;
            self.rest = rest;
        }
    }

    /// Returns the number of bits in the window that were not read; negative if more were read than it has.
    fn left(&self, bits: Bits) -> i64 {
        // Both are at most some thousands.
        let [filled, at] = [self.filled, bits.at].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX / 16));
        8 * (filled - at) + (bits.count & 63).cast_signed()
    }

    /// Returns true if more bits were read than the segment has.
    #[inline(always)]
    pub(super) fn is_overrun(&self, bits: Bits) -> bool {
        bits.at > self.filled && self.left(bits) < 0
    }

    /// Returns the marker that ends the segment, if all of it was read except padding: bits of its last byte, or whole bytes.
    pub(super) fn end(&mut self, mut bits: Bits) -> Option<u8> {
        self.prepare(&mut bits);
        match self.rest {
            [PREFIX, marker, ..] if self.is_ended && (0..8).contains(&self.left(bits)) => Some(*marker),
            _ => self.end_of_padding(bits),
        }
    }

    /// Returns the marker that ends the segment, if all its unread bytes are 0x00 or all are 0xFF. Some webcams write zeros
    /// before each restart marker. libjpeg-turbo skips them too, with a warning.
    #[cold]
    #[inline(never)]
    fn end_of_padding(&mut self, bits: Bits) -> Option<u8> {
        if self.left(bits) < 0 {
            return None;
        }
        let count = bits.count & 63;
        let reservoir = (bits.reservoir << (count % 8)).to_be_bytes();
        // The reservoir may hold bytes from past the end of the segment.
        let held = usize::try_from(count / 8).ok()?.checked_sub(bits.at.saturating_sub(self.filled))?;
        let mut padding = None;
        let mut is_padding = |bytes: &[u8]| {
            bytes.iter().all(|byte| matches!(*byte, 0 | 0xFF) && *padding.get_or_insert(*byte) == *byte)
        };
        if !is_padding(reservoir.get(..held)?) {
            return None;
        }
        let mut at = bits.at.min(self.filled);
        while is_padding(self.bytes.get(at..self.filled)?) {
            if self.is_ended {
                while self.rest.starts_with(&[PREFIX, PREFIX]) {
                    self.rest = &self.rest[1..];
                }
                return if let [PREFIX, marker, ..] = self.rest { Some(*marker) } else { None };
            }
            self.slide(self.filled);
            at = 0;
        }
        None
    }

    /// Returns whether the segment ends here, except for padding bits of its last byte.
    pub(super) fn is_at_end(&mut self, mut bits: Bits) -> bool {
        self.prepare(&mut bits);
        self.is_ended && (0..8).contains(&self.left(bits))
    }

    /// Returns the file after the window, and whether all of the window was read except padding bits of its last byte.
    pub(super) fn unread(&self, bits: Bits) -> (bool, &'a [u8]) {
        (self.left(bits) < 8, self.rest)
    }

    /// Continues after the marker that [`end`](Self::end) returned.
    pub(super) fn restart(&mut self) {
        self.rest = self.rest.get(2..).unwrap_or(&[]);
        (self.filled, self.is_ended) = (0, false);
    }
}

/// Reads bits, most significant first. Functions that are not inlined get a copy, see
/// [`with_register_copy`](Self::with_register_copy), so that the reader stays in registers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bits {
    /// The next bits of the data, from the most significant bit on. It may contain more of them than `count` says.
    reservoir: u64,
    /// The number of valid bits in `reservoir`, in the low six bits; the other bits have no meaning. A `u64`, because the compiler
    /// does not keep structs with padding in registers.
    count: u64,
    /// Offset in the window after the bytes that `count` covers.
    at: usize,
}

impl Bits {
    /// Runs `run` on a copy of this reader, and stores the copy back. If the address of `self` escaped to a function that is not
    /// inlined, the compiler would keep `self` in memory instead of registers.
    #[inline(always)]
    pub(super) fn with_register_copy<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let mut copy = Self { reservoir: self.reservoir, count: self.count, at: self.at };
        let result = run(&mut copy);
        (self.reservoir, self.count, self.at) = (copy.reservoir, copy.count, copy.at);
        result
    }

    /// Makes [`GUARANTEED`] bits available. Beyond the end of the data they are arbitrary, which [`Window::is_overrun`] detects.
    #[inline(always)]
    pub(super) fn refill(&mut self, bytes: &Bytes) {
        let valid = self.count & 63;
        // `at` exceeds the window only if the MCU is longer than the data.
        let next =
            bytes.get(self.at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_be_bytes(*word));
        self.reservoir |= next >> valid;
        // At most 7.
        self.at += usize::try_from((valid ^ 63) >> 3).unwrap_or(0);
        self.count |= GUARANTEED;
    }

    /// Returns the next `N` bits without consuming them.
    #[inline(always)]
    pub(super) fn peek<const N: u32>(self) -> usize {
        // At most 16 bits.
        usize::try_from(self.reservoir >> (64 - N)).unwrap_or(0)
    }

    /// Consumes as many bits as the low six bits of `entry` say. Its other bits have no effect.
    #[inline(always)]
    pub(super) fn take(&mut self, entry: u32) {
        self.reservoir <<= entry & 63;
        self.count = self.count.wrapping_sub(entry.into());
    }

    /// Reads `size` bits, 0..=32, of those that [`refill`](Self::refill) made available.
    #[inline(always)]
    pub(super) fn read(&mut self, size: u32) -> u64 {
        // Two shifts, because a shift by 64 is not defined.
        let bits = self.reservoir >> 1 >> (63 - size);
        self.take(size);
        bits
    }

    /// Reads a value of `size` bits, 1..=11, as T.81 F.2.2.1 extends it.
    #[inline(always)]
    pub(super) fn value(&mut self, size: u32) -> i16 {
        // At most 11 bits.
        let raw = i16::try_from(self.reservoir >> (64 - size)).unwrap_or(0);
        // Without a leading one, the value is negative.
        let offset = if self.reservoir.cast_signed() < 0 { 0 } else { 1 - (1 << size) };
        self.take(size);
        raw + offset
    }
}

/// Returns the index of the first 0xFF. Compares eight bytes at a time.
fn find_prefix(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let inverted = !u64::from_le_bytes(*word);
        // The lowest bit that is set marks the first zero byte of the inverted word.
        let zeros = inverted.wrapping_sub(LOW) & !inverted & HIGH;
        if zeros != 0 {
            return Some(8 * index + (zeros.trailing_zeros() / 8) as usize);
        }
    }
    let in_tail = tail.iter().position(|byte| *byte == PREFIX)?;
    Some(8 * words.len() + in_tail)
}
