//! Scans that add one bit to a band of AC coefficients (T.81 G.1.2.3).
//!
//! A scan contains, in order of the coefficients, a bit for each that is not zero yet, and codes for those that become ±1. Runs
//! count only coefficients that were zero before. All of this works on masks of 64 bits instead of single coefficients.

use std::rc::Rc;

use super::first::{length_of_run, place, read_coefficients};
use super::header::ScanHeader;
use super::source::Source;
use super::{Channel, Coefficients};
use crate::imaging::codec::jpeg::decode::bands::{FallbackReason, OrFallback};
use crate::imaging::codec::jpeg::decode::bits::{Bits, Bytes};
use crate::imaging::codec::jpeg::decode::huffman::{AcTable, Codes, Definition};

/// Most bits that are read without a refill, after a symbol, its sign and the length of a run have been read.
const MOST_BITS: u32 = 24;

/// Operations on masks for which some processors have instructions.
#[derive(Debug)]
pub(in super::super) struct Masks<D: Fn(u64, u64) -> u64, G: Fn(&mut Coefficients, u64, i16)> {
    /// Moves the lowest bits to the places of the bits that are set in a mask, in the same order.
    pub(in super::super) deposit: D,
    /// Adds a number to the absolute values of coefficients, none of which is zero.
    pub(in super::super) grow: G,
}

#[derive(Debug)]
pub(super) struct Refinement {
    signs: Rc<SignTable>,
    table: Rc<AcTable>,
    /// The coefficients of the band, and the last of them in zigzag order.
    band: u64,
    last: u32,
    low: u32,
    /// The value of the bit that the scan adds.
    unit: i16,
    /// The blocks that follow and have no more coefficients.
    run: usize,
}

impl Refinement {
    pub(super) fn new(scan: &ScanHeader<'_>, signs: Rc<SignTable>, table: Rc<AcTable>) -> Self {
        let band = (u64::MAX >> scan.first) & (u64::MAX << (63 - scan.last));
        Self { signs, table, band, last: scan.last.into(), low: scan.low.into(), unit: 1 << scan.low, run: 0 }
    }

    /// Reads the first `rows` rows of blocks.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        source: &mut Source<'_>,
        channel: &mut Channel,
        rows: usize,
        masks: &Masks<impl Fn(u64, u64) -> u64, impl Fn(&mut Coefficients, u64, i16)>,
    ) -> OrFallback {
        let mut bits = source.bits;
        for row in 0..rows {
            let line = channel.line(row);
            let blocks = channel.blocks[line.clone()].iter_mut();
            for (block, nonzero) in blocks.zip(&mut channel.nonzero[line]) {
                if source.begin(&mut bits)?.1 {
                    self.run = 0;
                }
                source.count(1);
                let old = *nonzero & self.band;
                if self.run > 0 {
                    self.run -= 1;
                    if old == 0 {
                        continue;
                    }
                    source.prepare(&mut bits);
                    let bytes = source.window.bytes();
                    bits.refill(bytes);
                    let added = read_bits(&mut bits, bytes, 0, old);
                    (masks.grow)(block, (masks.deposit)(added, old), self.unit);
                } else {
                    source.prepare(&mut bits);
                    let bytes = source.window.bytes();
                    self.run = self.read_block(&mut bits, bytes, block, nonzero, masks)?;
                }
                source.check(bits)?;
            }
        }
        source.bits = bits;
        Ok(())
    }

    /// Reads a block. Returns how many blocks without more coefficients follow.
    #[inline(always)]
    fn read_block(
        &self,
        bits: &mut Bits,
        bytes: &Bytes,
        block: &mut Coefficients,
        nonzero: &mut u64,
        masks: &Masks<impl Fn(u64, u64) -> u64, impl Fn(&mut Coefficients, u64, i16)>,
    ) -> OrFallback<usize> {
        let old = *nonzero & self.band;
        let mut found = *nonzero;
        // A bit for each coefficient of `old` that was passed, in their order.
        let mut added = 0;
        // The coefficients that no code has passed yet.
        let mut left = self.band;
        while left & old != 0 {
            bits.refill(bytes);
            let (zeros, value) = match self.symbol(bits)? {
                Symbol::End(run) => {
                    added = read_bits(bits, bytes, added, left & old);
                    (masks.grow)(block, (masks.deposit)(added, old), self.unit);
                    *nonzero = found;
                    return Ok(run);
                }
                Symbol::Zeros(zeros, value) => (zeros, value),
            };
            let open = left & !old;
            // The code is for the zero after this many zeros, from the top.
            let from_below = open.count_ones().checked_sub(zeros + 1).ok_or(FallbackReason::Code)?;
            let target = (masks.deposit)(1 << from_below, open);
            let passed = left & old & !(target | (target - 1));
            left &= target - 1;
            added = read_bits(bits, bytes, added, passed);
            if value != 0 {
                block[place(target.leading_zeros())] = value;
                found |= target;
            }
        }
        (masks.grow)(block, (masks.deposit)(added, old), self.unit);
        *nonzero = found;
        if left == 0 {
            return Ok(0);
        }
        // None of the coefficients that are left was found before, so they are coded as in a first scan.
        let band = (left.leading_zeros() - 1, self.last);
        read_coefficients(&self.table, bits, bytes, band, self.low, block, nonzero)
    }

    /// Reads a symbol with the sign, or the length of the run, that follows it.
    #[inline(always)]
    fn symbol(&self, bits: &mut Bits) -> OrFallback<Symbol> {
        let entry = self.signs.fast[bits.peek::<TABLE_BITS>()];
        if entry != 0 {
            bits.take(entry.into());
            let number = u32::from(entry >> 8 & 15);
            // Plus or minus one, or zero for the end of the block.
            let sign = i16::from(entry.to_le_bytes()[1].cast_signed() >> 4);
            if sign == 0 {
                return Ok(Symbol::End(length_of_run(bits, number) - 1));
            }
            return Ok(Symbol::Zeros(number, self.unit * sign));
        }
        let (length, symbol) = self.signs.codes.find(bits.peek::<16>()).ok_or(FallbackReason::Code)?;
        bits.take(length);
        let zeros = u32::from(symbol >> 4);
        match symbol & 15 {
            0 if zeros < 15 => Ok(Symbol::End(length_of_run(bits, zeros) - 1)),
            0 => Ok(Symbol::Zeros(zeros, 0)),
            _ if bits.read(1) == 1 => Ok(Symbol::Zeros(zeros, self.unit)),
            _ => Ok(Symbol::Zeros(zeros, -self.unit)),
        }
    }
}

enum Symbol {
    /// No more coefficients in this block and this many blocks after it.
    End(usize),
    /// So many zeros, then a coefficient; zero in the middle of a longer run.
    Zeros(u32, i16),
}

const TABLE_BITS: u32 = 10;

/// Decodes a symbol and a sign with one lookup.
#[derive(Debug)]
pub(super) struct SignTable {
    /// Maps the next [`TABLE_BITS`] to the bits to consume (low six bits), the zeros (bits 8 to 11) and the sign (bits 12 to 15, signed),
    /// or, if the sign is zero, the bits of the length of a run that begins here. 0 if the code is longer or means 16 zeros.
    fast: [u16; 1 << TABLE_BITS],
    codes: Codes,
}

impl SignTable {
    /// Creates the table, or returns `None` if a refinement cannot have this definition: it adds only one bit.
    pub(super) fn new(definition: Definition<'_>) -> Option<Self> {
        definition.symbols.iter().all(|symbol| symbol & 15 <= 1).then_some(())?;
        let codes = Codes::new(definition)?;
        let mut fast = [0; 1 << TABLE_BITS];
        for (bits, entry) in (0_usize..).zip(&mut fast) {
            let Some((length, symbol)) = codes.find(bits << (16 - TABLE_BITS)) else { continue };
            let (number, size) = (symbol >> 4, symbol & 15);
            let (sign, taken) = match size {
                0 if number < 15 => (0, length),
                // A run of 16 zeros has no sign and is no end.
                0 => continue,
                _ => (
                    if bits >> (TABLE_BITS - 1).saturating_sub(length) & 1 == 1 { 1 } else { 15 },
                    length + 1,
                ),
            };
            if taken <= TABLE_BITS {
                *entry = sign << 12 | u16::from(number) << 8 | u16::try_from(taken).ok()?;
            }
        }
        Some(Self { fast, codes })
    }
}

/// Reads a bit for each coefficient of `passed`, and appends it to `added`.
#[inline(always)]
fn read_bits(bits: &mut Bits, bytes: &Bytes, mut added: u64, passed: u64) -> u64 {
    let mut count = passed.count_ones();
    while count > MOST_BITS {
        added = added << MOST_BITS | bits.read(MOST_BITS);
        bits.refill(bytes);
        count -= MOST_BITS;
    }
    added << count | bits.read(count)
}

/// Moves the lowest bits to the places of the bits that are set in `places`, in the same order. Starts at the highest place,
/// because the decoder mostly looks for one of the highest.
pub(in super::super) fn deposit(bits: u64, mut places: u64) -> u64 {
    let mut left = bits.checked_shl(64 - places.count_ones()).unwrap_or(0);
    let mut moved = 0;
    while left != 0 {
        let place = HIGHEST >> (places.leading_zeros() & 63);
        if left & HIGHEST != 0 {
            moved |= place;
        }
        (left, places) = (left << 1, places ^ place);
    }
    moved
}

const HIGHEST: u64 = 1 << 63;

/// Adds `unit` to the absolute values of the coefficients `grown`, none of which is zero.
pub(in super::super) fn grow(block: &mut Coefficients, mut grown: u64, unit: i16) {
    while grown != 0 {
        let at = grown.leading_zeros();
        grown &= !(1 << (63 - at));
        let coefficient = &mut block[place(at)];
        let sign = *coefficient >> 15;
        *coefficient += (unit ^ sign) - sign;
    }
}
