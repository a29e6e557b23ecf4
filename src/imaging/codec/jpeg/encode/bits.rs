//! Writes symbols as bits. Byte stuffing (a zero after 0xFF) follows a segment at a time, which makes the search cheap.

use super::huffman::Table;
use super::symbols::{CLASSES, Counts, INDICES, split};

/// Most bits of a symbol: code and extra bits.
const MOST_BITS: usize = 16 + 11;
/// Bytes that are tested together.
const TOGETHER: usize = 32;

/// Holds for each symbol its code, shifted left by the number of extra bits, and in five bits the length of both.
#[derive(Debug)]
pub(super) struct Codes([u32; INDICES]);

impl Default for Codes {
    fn default() -> Self {
        Self([0; INDICES])
    }
}

impl Codes {
    /// Returns the codes of the tables of [`CLASSES`].
    pub(super) fn of(tables: &[Table; 4]) -> Self {
        let mut codes = Self::default();
        for (class, table) in CLASSES.into_iter().zip(tables) {
            for (symbol, code, length) in table.codes() {
                codes.set(class.start() + usize::from(symbol), code, length);
            }
        }
        codes
    }

    /// Sets the code of the symbol at `index`. The lower four bits of `index` are the number of extra bits.
    pub(super) fn set(&mut self, index: usize, code: u32, length: u32) {
        let extra = u32::from(index.to_le_bytes()[0] % 16);
        if let Some(place) = self.0.get_mut(index) {
            *place = code << (extra + 5) | (length + extra);
        }
    }

    /// Returns the bytes of all symbols before byte stuffing.
    pub(super) fn bytes(&self, counts: &Counts) -> usize {
        let bits: usize =
            self.0.iter().zip(counts).map(|(code, count)| (code % 32) as usize * *count as usize).sum();
        bits.div_ceil(8)
    }

    #[inline(always)]
    pub(super) fn look_up(&self, symbol: [u8; 4]) -> (u64, u32) {
        let (index, extra) = split(symbol);
        let code = self.0[index];
        (u64::from(code >> 5) | extra, code % 32)
    }
}

/// Holds the bits that do not fill a byte yet, and a buffer for whole bytes.
#[derive(Debug)]
pub(super) struct Writer {
    /// The bits, from the highest bit down.
    bits: u64,
    /// The number of these bits; 0 to 7 between calls.
    count: u32,
    raw: Vec<u8>,
}

impl Writer {
    /// Creates a writer with a buffer of [`Self::room`] bytes, for the largest number of symbols that is written at once.
    pub(super) fn new(raw: Vec<u8>) -> Self {
        Self { bits: 0, count: 0, raw }
    }

    /// Returns the bytes that the bits of `symbols` need.
    pub(super) fn room(symbols: usize) -> usize {
        symbols * MOST_BITS / 8 + 16
    }

    /// Appends the bits of `symbols` to `out`.
    #[inline(always)]
    pub(super) fn write(&mut self, symbols: &[[u8; 4]], codes: &Codes, out: &mut Vec<u8>) {
        let mut at = 0;
        let (pairs, single) = symbols.as_chunks::<2>();
        for [first, second] in pairs {
            let (first, second) = (codes.look_up(*first), codes.look_up(*second));
            at = self.put(first.0 << second.1 | second.0, first.1 + second.1, at);
        }
        for symbol in single {
            let (bits, count) = codes.look_up(*symbol);
            at = self.put(bits, count, at);
        }
        stuff(self.raw.get(..at).unwrap_or_default(), out);
    }

    /// Appends 1 to 54 bits to the waiting ones, and writes whole bytes at `at` in the buffer. Returns the next offset.
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32, at: usize) -> usize {
        let filled = self.count + count;
        let all = self.bits | bits << ((64 - filled) % 64);
        if let Some(room) = self.raw.get_mut(at..at + 8) {
            room.copy_from_slice(&all.to_be_bytes());
        }
        self.bits = all << (filled & !7);
        self.count = filled % 8;
        at + (filled / 8) as usize
    }

    /// Fills the last byte with ones and returns the buffer.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Vec<u8> {
        if self.count > 0 {
            stuff(&[self.bits.to_be_bytes()[0] | u8::MAX >> self.count], out);
        }
        self.raw
    }
}

/// Appends `raw` with a zero after every 0xFF, which would otherwise look like the start of a marker.
#[inline(always)]
pub(super) fn stuff(raw: &[u8], out: &mut Vec<u8>) {
    let (groups, rest) = raw.as_chunks::<TOGETHER>();
    let one_by_one = |bytes: &[u8], out: &mut Vec<u8>| {
        for piece in bytes.split_inclusive(|byte| *byte == u8::MAX) {
            out.extend_from_slice(piece);
            if piece.ends_with(&[u8::MAX]) {
                out.push(0);
            }
        }
    };
    for group in groups {
        if group.iter().fold(false, |any, byte| any | (*byte == u8::MAX)) {
            one_by_one(group, out);
        } else {
            out.extend_from_slice(group);
        }
    }
    one_by_one(rest, out);
}
