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
use crate::imaging::codec::jpeg::decode::huffman::Codes;

/// Most bits that are read without a refill, after a symbol, its sign and the length of a run have been read.
const MOST_BITS: u32 = 24;

#[derive(Debug)]
pub(super) struct Refinement {
    codes: Rc<Codes>,
    /// The coefficients of the band.
    band: u64,
    /// The value of the bit that the scan adds.
    unit: i16,
    /// The blocks that follow and have no more coefficients.
    run: usize,
}

impl Refinement {
    pub(super) fn new(scan: &ScanHeader<'_>, codes: Rc<Codes>) -> Self {
        let band = (u64::MAX >> scan.first) & (u64::MAX << (63 - scan.last));
        Self { codes, band, unit: 1 << scan.low, run: 0 }
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
        while left != 0 {
            bits.refill(bytes);
            let (length, symbol) = self.codes.find(bits.peek::<16>()).ok_or(FallbackReason::Code)?;
            bits.take(length);
            let (zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            if size == 0 && zeros < 15 {
                run = length_of_run(bits, zeros) - 1;
                grown |= read_bits(bits, bytes, left & old, deposit);
                break;
            }
            // Larger values are impossible, as this scan adds only one bit.
            if size > 1 {
                return Err(FallbackReason::Code);
            }
            let value = if size == 1 && bits.read(1) == 1 { self.unit } else { -self.unit };
            let open = left & !old;
            // The code is for the zero after this many zeros, from the top.
            let from_below = open.count_ones().checked_sub(zeros + 1).ok_or(FallbackReason::Code)?;
            let target = deposit(1 << from_below, open);
            let passed = left & old & !(target | (target - 1));
            left &= target - 1;
            grown |= read_bits(bits, bytes, passed, deposit);
            if size == 1 {
                block[place(target.leading_zeros())] = value;
                found |= target;
            }
        }
        grow(block, grown, self.unit);
        *nonzero = found;
        Ok(run)
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
