//! Stores blocks as Huffman symbols with their extra bits (T.81 F.1.2) until all symbols are counted and the tables are built.
//!
//! A symbol takes four bytes: class and symbol in the low ten bits, the extra bits above. The second pass needs nothing else.

use super::fdct::PLACES;
use crate::imaging::workspace::Workspace;

const INDEX_BITS: u32 = 10;
pub(super) const INDICES: usize = 1 << INDEX_BITS;
/// Most symbols of one block: one for each coefficient. A symbol for a long run of zeros replaces 16 coefficients, and the end
/// of block replaces at least one, so they do not increase the number.
const MOST_IN_BLOCK: usize = 64;
/// Bytes of a segment, which stays in the second-level cache until its symbols are counted.
pub(super) const SEGMENT: usize = 256 << 10;

pub(super) const END_OF_BLOCK: u32 = 0x00;
pub(super) const SIXTEEN_ZEROS: u32 = 0xF0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    LumaDc,
    LumaAc,
    ChromaDc,
    ChromaAc,
}

/// All classes, in the order of their tables in the file.
pub(super) const CLASSES: [Class; 4] = [Class::LumaDc, Class::LumaAc, Class::ChromaDc, Class::ChromaAc];

impl Class {
    /// Returns the index of the class's first symbol.
    pub(super) fn start(self) -> usize {
        self.offset() as usize
    }

    #[inline]
    pub(super) fn offset(self) -> u32 {
        match self {
            Self::LumaDc => 0,
            Self::LumaAc => 0x100,
            Self::ChromaDc => 0x200,
            Self::ChromaAc => 0x300,
        }
    }
}

/// Maps the low 12 bits of a level to the number of its extra bits, and to their value shifted left by [`INDEX_BITS`].
static LEVELS: [u32; 4096] = {
    let mut levels = [0; 4096];
    let mut level: u32 = 1;
    while level < 2048 {
        let bits = level.ilog2() + 1;
        levels[level as usize] = bits | level << INDEX_BITS;
        levels[4096 - level as usize] = bits | (level ^ ((1 << bits) - 1)) << INDEX_BITS;
        level += 1;
    }
    levels
};

/// Splits a stored symbol into its index and its extra bits.
#[inline]
pub(super) fn split(symbol: [u8; 4]) -> (usize, u64) {
    let symbol = u32::from_le_bytes(symbol);
    (symbol as usize % INDICES, u64::from(symbol >> INDEX_BITS))
}

/// The number of occurrences of each symbol, by class and symbol.
pub(super) type Counts = [u32; INDICES];

/// A block of quantised coefficients, as the transform leaves it beside three others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    /// Those of this block are at the indices in [`PLACES`], plus `shift`.
    pub(super) coefficients: &'a [i16; 256],
    pub(super) shift: u8,
    /// A bit for each coefficient that is not zero, in zigzag order.
    pub(super) present: u64,
}

impl Block<'_> {
    /// Returns the difference to `level`, the DC level of the previous block, and replaces it with that of this block.
    #[inline(always)]
    pub(super) fn dc_difference(&self, level: &mut i16) -> i16 {
        let now = self.coefficients[usize::from(self.shift)];
        let difference = now.wrapping_sub(*level);
        *level = now;
        difference
    }

    /// Passes each AC coefficient that is not zero to `each`, with the number of zeros before it. Returns whether zeros follow the
    /// last one.
    #[inline(always)]
    pub(super) fn for_each_ac(&self, mut each: impl FnMut(u32, i16)) -> bool {
        let mut rest = self.present & !1;
        let mut next = 1;
        while rest != 0 {
            let index = rest.trailing_zeros();
            rest &= rest - 1;
            let place = PLACES[index as usize % PLACES.len()].wrapping_add(self.shift);
            each(index - next, self.coefficients[usize::from(place)]);
            next = index + 1;
        }
        next != 64
    }
}

/// Returns the number of extra bits of a level, and their value above [`INDEX_BITS`].
#[inline(always)]
pub(super) fn looked_up(level: i16) -> u32 {
    LEVELS[usize::from(level.cast_unsigned()) % LEVELS.len()]
}

/// Takes the blocks of a picture in the order of the file.
pub(super) trait Sink {
    /// Adds a block. Replaces `level`, the DC level of the previous block, with that of this block.
    fn add(&mut self, classes: [Class; 2], block: Block<'_>, level: &mut i16);

    /// Adds an empty block that completes an MCU: a DC difference of zero and no AC coefficients.
    fn add_dummy(&mut self, classes: [Class; 2]);
}

/// A buffer of symbols that is written once and read in the same order.
#[derive(Debug)]
pub(super) struct Symbols<'w> {
    workspace: &'w mut Workspace,
    /// The full segments, each with the number of bytes in use.
    full: Vec<(Vec<u8>, usize)>,
    segment: Vec<u8>,
    used: usize,
    counts: [Counts; 2],
}

impl<'w> Symbols<'w> {
    pub(super) fn new(workspace: &'w mut Workspace) -> Self {
        let segment = workspace.take(SEGMENT);
        Self { workspace, full: Vec::new(), segment, used: 0, counts: [[0; INDICES]; 2] }
    }

    /// Counts the symbols of a segment while they are in the cache, and begins the next segment.
    #[cold]
    fn seal(&mut self) {
        let next = self.workspace.take(SEGMENT);
        let full = std::mem::replace(&mut self.segment, next);
        let [even, odd] = &mut self.counts;
        let symbols = full.get(..self.used).unwrap_or_default().as_chunks().0;
        // Two sets of counters, because consecutive increments of one counter wait for each other.
        let (pairs, single) = symbols.as_chunks::<2>();
        for [first, second] in pairs {
            even[split(*first).0] += 1;
            odd[split(*second).0] += 1;
        }
        for symbol in single {
            even[split(*symbol).0] += 1;
        }
        self.full.push((full, self.used));
        self.used = 0;
    }

    /// Returns how often each symbol occurs. No symbol may be added afterwards.
    pub(super) fn counts(&mut self) -> Counts {
        self.seal();
        let [mut counts, other] = self.counts;
        counts.iter_mut().zip(other).for_each(|(count, other)| *count += other);
        counts
    }

    /// Returns a buffer of `len` bytes with undefined content.
    pub(super) fn scratch(&mut self, len: usize) -> Vec<u8> {
        self.workspace.take(len)
    }

    /// Passes the symbols to `segment`, and returns the memory to the workspace.
    #[inline(always)]
    pub(super) fn read(self, mut segment: impl FnMut(&[[u8; 4]])) -> &'w mut Workspace {
        for (full, used) in self.full {
            segment(full.get(..used).unwrap_or_default().as_chunks().0);
            self.workspace.give(full);
        }
        self.workspace.give(self.segment);
        self.workspace
    }
}

impl Sink for Symbols<'_> {
    #[inline(always)]
    fn add(&mut self, [dc, ac]: [Class; 2], block: Block<'_>, level: &mut i16) {
        if self.segment.len() - self.used < 4 * MOST_IN_BLOCK {
            self.seal();
        }
        let free = self.segment.get_mut(self.used..).unwrap_or_default();
        let Some(room) = free.as_chunks_mut().0.first_chunk_mut::<MOST_IN_BLOCK>() else { return };
        room[0] = (dc.offset() + looked_up(block.dc_difference(level))).to_le_bytes();
        let mut count = 1;
        let mut put = |symbol: u32| {
            // A block never has enough symbols to overwrite one.
            room[count % MOST_IN_BLOCK] = (ac.offset() + symbol).to_le_bytes();
            count += 1;
        };
        let has_zeros_at_end = block.for_each_ac(|mut run, level| {
            while run > 15 {
                put(SIXTEEN_ZEROS);
                run -= 16;
            }
            put((run << 4) + looked_up(level));
        });
        if has_zeros_at_end {
            put(END_OF_BLOCK);
        }
        self.used += 4 * count;
    }

    fn add_dummy(&mut self, [dc, ac]: [Class; 2]) {
        if self.segment.len() - self.used < 4 * MOST_IN_BLOCK {
            self.seal();
        }
        for symbol in [dc.offset(), ac.offset() + END_OF_BLOCK] {
            if let Some(room) = self.segment.get_mut(self.used..self.used + 4) {
                room.copy_from_slice(&symbol.to_le_bytes());
                self.used += 4;
            }
        }
    }
}
