//! Scans that add one bit to a band of AC coefficients (T.81 G.1.2.3).
//!
//! A scan contains, in order of the coefficients, a bit for each that is not zero yet, and codes for those that become ±1. Runs
//! count only coefficients that were zero before. All of this works on masks of 64 bits instead of single coefficients.

use std::rc::Rc;

use super::first::{length_of_run, place};
use super::header::ScanHeader;
use super::source::Source;
use super::{Channel, Coefficients};
use crate::imaging::codec::jpeg::decode::bands::FallbackReason;
use crate::imaging::codec::jpeg::decode::bits::{Bits, Bytes};
use crate::imaging::codec::jpeg::decode::huffman::{Codes, Definition};

/// Most bits that are read without a refill, after a symbol, its sign and the length of a run have been read.
const MOST_BITS: u32 = 24;

#[derive(Debug)]
pub(super) struct Refinement {
    table: Rc<SignTable>,
    /// The coefficients of the band.
    band: u64,
    /// The value of the bit that the scan adds.
    unit: i16,
    /// The blocks that follow and have no more coefficients.
    run: usize,
}

impl Refinement {
    pub(super) fn new(scan: &ScanHeader<'_>, table: Rc<SignTable>) -> Self {
        let band = (u64::MAX >> scan.first) & (u64::MAX << (63 - scan.last));
        Self { table, band, unit: 1 << scan.low, run: 0 }
    }

    /// Reads the blocks of a row of MCUs of the picture.
    #[inline(always)]
    pub(super) fn read_row(
        &mut self,
        source: &mut Source<'_>,
        channel: &mut Channel,
        mcu_row: usize,
        deposit: &impl Fn(u64, u64) -> u64,
    ) -> Result<(), FallbackReason> {
        let (columns, stride) = (channel.columns, channel.stride);
        let mut bits = source.bits;
        for row in 0..channel.rows_in(mcu_row) {
            let line = row * stride..row * stride + columns;
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
                    let grown = read_bits(&mut bits, bytes, old, deposit);
                    grow(block, grown, self.unit);
                } else {
                    source.prepare(&mut bits);
                    let bytes = source.window.bytes();
                    self.run = self.read(&mut bits, bytes, block, nonzero, deposit)?;
                }
                source.check(bits)?;
            }
        }
        source.bits = bits;
        Ok(())
    }

    /// Reads a block. Returns how many blocks without more coefficients follow.
    #[inline(always)]
    fn read(
        &self,
        bits: &mut Bits,
        bytes: &Bytes,
        block: &mut Coefficients,
        nonzero: &mut u64,
        deposit: &impl Fn(u64, u64) -> u64,
    ) -> Result<usize, FallbackReason> {
        let old = *nonzero & self.band;
        let (mut grown, mut found, mut run) = (0, *nonzero, 0);
        // The coefficients that no code has passed yet.
        let mut left = self.band;
        while left & old != 0 {
            bits.refill(bytes);
            let (zeros, value) = match self.symbol(bits)? {
                Symbol::End(more) => {
                    run = more;
                    grown |= read_bits(bits, bytes, left & old, deposit);
                    left = 0;
                    break;
                }
                Symbol::Zeros(zeros, value) => (zeros, value),
            };
            let open = left & !old;
            // The code is for the zero after this many zeros, from the top.
            let from_below = open.count_ones().checked_sub(zeros + 1).ok_or(FallbackReason::Code)?;
            let target = deposit(1 << from_below, open);
            let passed = left & old & !(target | (target - 1));
            left &= target - 1;
            grown |= read_bits(bits, bytes, passed, deposit);
            if value != 0 {
                block[place(target.leading_zeros())] = value;
                found |= target;
            }
        }
        // None of the coefficients that are left was found before, so the next bits are symbols only.
        while left != 0 {
            bits.refill(bytes);
            match self.symbol(bits)? {
                Symbol::End(more) => {
                    run = more;
                    break;
                }
                Symbol::Zeros(zeros, value) => {
                    let at = left.leading_zeros() + zeros;
                    let target = TOP >> (at & 63);
                    if at > 63 || left & target == 0 {
                        return Err(FallbackReason::Code);
                    }
                    left &= target - 1;
                    if value != 0 {
                        block[place(at)] = value;
                        found |= target;
                    }
                }
            }
        }
        grow(block, grown, self.unit);
        *nonzero = found;
        Ok(run)
    }

    /// Reads a symbol with the sign, or the length of the run, that follows it.
    #[inline(always)]
    fn symbol(&self, bits: &mut Bits) -> Result<Symbol, FallbackReason> {
        let entry = self.table.fast[bits.peek::<TABLE_BITS>()];
        if entry != 0 {
            bits.take(entry.into());
            // Plus or minus one.
            let sign = i16::from(entry.to_le_bytes()[1].cast_signed() >> 4);
            return Ok(Symbol::Zeros(u32::from(entry >> 8 & 15), self.unit * sign));
        }
        let (length, symbol) = self.table.codes.find(bits.peek::<16>()).ok_or(FallbackReason::Code)?;
        bits.take(length);
        let zeros = u32::from(symbol >> 4);
        match symbol & 15 {
            0 if zeros < 15 => Ok(Symbol::End(length_of_run(bits, zeros) - 1)),
            0 => Ok(Symbol::Zeros(zeros, 0)),
            1 if bits.read(1) == 1 => Ok(Symbol::Zeros(zeros, self.unit)),
            1 => Ok(Symbol::Zeros(zeros, -self.unit)),
            // Larger values are impossible, as this scan adds only one bit.
            _ => Err(FallbackReason::Code),
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
/// The bit of the first coefficient in a mask of coefficients.
const TOP: u64 = 1 << 63;

/// Decodes a symbol and a sign with one lookup.
#[derive(Debug)]
pub(super) struct SignTable {
    /// Maps the next [`TABLE_BITS`] to the bits to consume (low six bits), the zeros (bits 8 to 11) and the sign (bits 12 to 15, signed),
    /// or to 0 if the code is longer or has no sign.
    fast: [u16; 1 << TABLE_BITS],
    codes: Codes,
}

impl SignTable {
    pub(super) fn new(definition: Definition<'_>) -> Option<Self> {
        let codes = Codes::new(definition)?;
        let mut fast = [0; 1 << TABLE_BITS];
        for (bits, entry) in (0_usize..).zip(&mut fast) {
            let Some((length, symbol)) = codes.find(bits << (16 - TABLE_BITS)) else { continue };
            if symbol & 15 == 1 && length < TABLE_BITS {
                let sign = if bits >> (TABLE_BITS - 1 - length) & 1 == 1 { 0x1000 } else { 0xF000 };
                *entry = sign | u16::from(symbol >> 4) << 8 | u16::try_from(length + 1).ok()?;
            }
        }
        Some(Self { fast, codes })
    }
}

/// Reads a bit for each coefficient of `old`. Returns those whose bit is set.
#[inline(always)]
fn read_bits(bits: &mut Bits, bytes: &Bytes, old: u64, deposit: &impl Fn(u64, u64) -> u64) -> u64 {
    let mut count = old.count_ones();
    if count <= MOST_BITS {
        return deposit(bits.read(count), old);
    }
    let mut all = 0;
    while count > 0 {
        bits.refill(bytes);
        let some = count.min(MOST_BITS);
        all = all << some | bits.read(some);
        count -= some;
    }
    deposit(all, old)
}

/// Adds `unit` to the absolute values of the coefficients `grown`.
#[inline(always)]
fn grow(block: &mut Coefficients, mut grown: u64, unit: i16) {
    while grown != 0 {
        let at = grown.leading_zeros();
        grown &= !(1 << (63 - at));
        let coefficient = &mut block[place(at)];
        let sign = *coefficient >> 15;
        *coefficient += (unit ^ sign) - sign;
    }
}
