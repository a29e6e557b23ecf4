//! Writes blocks while they are transformed, with Huffman tables that are known beforehand. The encoder stores, counts and then
//! writes symbols for photos, whose files are worth that time: these files are about one per cent longer.

use super::bits::{Codes, stuff};
use super::symbols::{Block, Class, END_OF_BLOCK, SIXTEEN_ZEROS, Sink, looked_up};

/// Bytes that are collected before zeros are stuffed into them.
const SEGMENT: usize = 32 << 10;
/// More bytes than one block can have: 64 symbols of at most 27 bits, and those that waited.
const MOST_IN_BLOCK: usize = 256;

/// Takes blocks and writes their bits.
#[derive(Debug)]
pub(super) struct Direct<'a> {
    codes: &'a Codes,
    short: [Short; 2],
    bits: Bits,
    raw: Vec<u8>,
    used: usize,
    out: Vec<u8>,
}

impl<'a> Direct<'a> {
    /// Appends to `out`. `raw` is a buffer of [`Self::room`] bytes.
    pub(super) fn new(codes: &'a Codes, raw: Vec<u8>, out: Vec<u8>) -> Self {
        let short = [Class::LumaAc, Class::ChromaAc].map(|class| Short::new(codes, class));
        Self { codes, short, bits: Bits::default(), raw, used: 0, out }
    }

    pub(super) fn room() -> usize {
        SEGMENT + MOST_IN_BLOCK
    }

    /// Fills the last byte with ones. Returns the file and the buffer.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        let (last, length) = self.bits.filled_with_ones();
        if let Some(room) = self.raw.get_mut(self.used..self.used + 8) {
            room.copy_from_slice(&last);
            self.used += length;
        }
        self.flush();
        (self.out, self.raw)
    }

    #[cold]
    fn flush(&mut self) {
        stuff(self.raw.get(..self.used).unwrap_or_default(), &mut self.out);
        self.used = 0;
    }
}

/// Bits that do not fill a word yet, and where whole words go.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    /// The last bits are the waiting ones. What is above them was written already.
    bits: u64,
    /// The number of waiting bits: at most 63.
    count: u32,
    at: usize,
}

impl Bits {
    /// Appends 1 to 27 bits.
    #[inline(always)]
    fn put(&mut self, (code, length): (u64, u32), room: &mut [u8; MOST_IN_BLOCK]) {
        let filled = self.count + length;
        if filled < 64 {
            self.bits = self.bits << length | code;
            self.count = filled;
            return;
        }
        // One symbol in twelve: rare enough for a branch.
        let word = self.bits << (64 - self.count) | code >> (filled - 64);
        if let Some(room) = room.get_mut(self.at..self.at + 8) {
            room.copy_from_slice(&word.to_be_bytes());
        }
        self.bits = code;
        self.count = filled - 64;
        self.at += 8;
    }

    /// Returns the waiting bits, with ones up to the end of the word, and the number of bytes that have some.
    fn filled_with_ones(self) -> ([u8; 8], usize) {
        let ones = u64::MAX.wrapping_shr(self.count);
        let bits = self.bits.checked_shl(64 - self.count).unwrap_or_default();
        ((bits | ones).to_be_bytes(), self.count.div_ceil(8) as usize)
    }
}

/// The levels whose codes are looked up together with the run before them: -16 to 15.
const SHORT: usize = 32;

/// The codes of a run of zeros and a small level after it, with the bits of the level, as [`Codes`] has them.
#[derive(Debug)]
pub(super) struct Short([[u32; SHORT]; 16]);

impl Short {
    pub(super) fn new(codes: &Codes, class: Class) -> Self {
        let mut short = [[0; SHORT]; 16];
        for (run, levels) in (0..).zip(&mut short) {
            for (level, place) in (-16..16).zip(levels) {
                if level != 0 {
                    let (code, length) =
                        codes.look_up((class.offset() + (run << 4) + looked_up(level)).to_le_bytes());
                    *place = u32::try_from(code << 5).unwrap_or_default() | length;
                }
            }
        }
        Self(short)
    }
}

impl Sink for Direct<'_> {
    #[inline(always)]
    fn add(&mut self, [dc, ac]: [Class; 2], block: Block<'_>, level: &mut i16) {
        if self.used > SEGMENT {
            self.flush();
        }
        let Some(room) =
            self.raw.get_mut(self.used..).and_then(|room| room.first_chunk_mut::<MOST_IN_BLOCK>())
        else {
            return;
        };
        let short = &self.short[usize::from(ac == Class::ChromaAc)].0;
        let mut bits = Bits { at: 0, ..self.bits };
        let first = dc.offset() + looked_up(block.dc_difference(level));
        bits.put(self.codes.look_up(first.to_le_bytes()), room);
        let has_zeros_at_end = block.for_each_ac(|mut run, level| {
            let small = usize::from(level.wrapping_add(16).cast_unsigned());
            if let Some(code) = short.get(run as usize).and_then(|levels| levels.get(small)) {
                bits.put((u64::from(code >> 5), code % 32), room);
                return;
            }
            while run > 15 {
                bits.put(self.codes.look_up((ac.offset() + SIXTEEN_ZEROS).to_le_bytes()), room);
                run -= 16;
            }
            bits.put(self.codes.look_up((ac.offset() + (run << 4) + looked_up(level)).to_le_bytes()), room);
        });
        if has_zeros_at_end {
            bits.put(self.codes.look_up((ac.offset() + END_OF_BLOCK).to_le_bytes()), room);
        }
        self.bits = bits;
        self.used += bits.at;
    }

    fn add_dummy(&mut self, classes: [Class; 2]) {
        self.add(classes, Block { coefficients: &[0; 256], shift: 0, present: 0 }, &mut 0);
    }
}
