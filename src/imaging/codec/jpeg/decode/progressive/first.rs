//! The first scan of a band of AC coefficients (T.81 G.1.2.2).

use std::rc::Rc;

use super::header::ScanHeader;
use super::source::Source;
use super::{Channel, Coefficients, PLACE};
use crate::imaging::codec::jpeg::decode::bands::{FallbackReason, OrFallback};
use crate::imaging::codec::jpeg::decode::bits::{Bits, Bytes};
use crate::imaging::codec::jpeg::decode::huffman::{AC_BITS, AcTable, Definition, LONG, RUN, SLOW};

/// The bit of the first coefficient in a mask of coefficients.
const TOP: u64 = 1 << 63;

#[derive(Debug)]
pub(super) struct First {
    table: Rc<AcTable>,
    /// First and last coefficient in zigzag order, 1..=63.
    first: u32,
    last: u32,
    low: u32,
    /// The blocks that follow and have no coefficients.
    run: usize,
}

impl First {
    /// Returns whether a scan that leaves the `low` lowest bits to later ones can have this table. Coefficients of 8-bit samples
    /// have at most 10 bits. With more than 14 bits in all, they might not fit 16 bits here.
    pub(super) fn accepts(definition: Definition<'_>, low: u8) -> bool {
        definition.symbols.iter().all(|symbol| symbol & 15 <= 14_u8.saturating_sub(low).min(10))
    }

    pub(super) fn new(scan: &ScanHeader<'_>, table: Rc<AcTable>) -> Self {
        Self { table, first: scan.first.into(), last: scan.last.into(), low: scan.low.into(), run: 0 }
    }

    /// Reads the first `rows` rows of blocks.
    #[inline(always)]
    pub(super) fn read(&mut self, source: &mut Source<'_>, channel: &mut Channel, rows: usize) -> OrFallback {
        let columns = channel.columns;
        let mut bits = source.bits;
        for row in 0..rows {
            let line = channel.line(row);
            let (blocks, nonzero) = (&mut channel.blocks[line.clone()], &mut channel.nonzero[line]);
            let mut at = 0;
            while at < columns {
                let (most, is_restarted) = source.begin(&mut bits)?;
                if is_restarted {
                    self.run = 0;
                }
                if self.run > 0 {
                    let empty = self.run.min(columns - at).min(most);
                    (self.run, at) = (self.run - empty, at + empty);
                    source.count(empty);
                    continue;
                }
                source.count(1);
                source.prepare(&mut bits);
                let (block, nonzero) = (&mut blocks[at], &mut nonzero[at]);
                let bytes = source.window.bytes();
                let band = (self.first - 1, self.last);
                self.run = read_coefficients(&self.table, &mut bits, bytes, band, self.low, block, nonzero)?;
                source.check(bits)?;
                at += 1;
            }
        }
        source.bits = bits;
        Ok(())
    }
}

/// Reads the coefficients of a block after the first one of `band` up to the last one. Before, they were all zero. Returns how
/// many blocks without coefficients follow.
#[inline(always)]
pub(super) fn read_coefficients(
    table: &AcTable,
    bits: &mut Bits,
    bytes: &Bytes,
    (mut at, last): (u32, u32),
    low: u32,
    block: &mut Coefficients,
    nonzero: &mut u64,
) -> OrFallback<usize> {
    let mut found = *nonzero;
    bits.refill(bytes);
    loop {
        // Four lookups take 48 of the 56 bits.
        for _ in 0..4 {
            let entry = table.fast[bits.peek::<AC_BITS>()];
            let next = at + ((entry >> 6) & 63);
            if next >= last && (next > last || entry & SLOW == SLOW) {
                if entry & RUN == RUN {
                    bits.refill(bytes);
                    bits.take(entry);
                    *nonzero = found;
                    return Ok(length_of_run(bits, (entry >> 12) & 15) - 1);
                }
                let (coefficient, value) = if entry & LONG == LONG {
                    bits.refill(bytes);
                    bits.take(entry);
                    (at + ((entry >> 12) & 15) + 1, bits.value((entry >> 16) & 15))
                } else {
                    match bits.with_register_copy(|bits| read_one(table, bits, bytes, at))? {
                        Symbol::End(run) => {
                            *nonzero = found;
                            return Ok(run - 1);
                        }
                        Symbol::Zeros => {
                            at += 16;
                            // Not even one coefficient may follow the last one.
                            if at >= last {
                                return Err(FallbackReason::Code);
                            }
                            break;
                        }
                        Symbol::Coefficient(coefficient, value) => (coefficient, value),
                    }
                };
                if coefficient > last {
                    return Err(FallbackReason::Code);
                }
                block[place(coefficient)] = value << low;
                found |= TOP >> coefficient;
                at = coefficient;
                if at == last {
                    *nonzero = found;
                    return Ok(0);
                }
                break;
            }
            let middle = at + ((entry >> 12) & 15) + 1;
            let [_, _, first, second] = entry.to_le_bytes();
            block[place(middle)] = i16::from(first.cast_signed()) << low;
            block[place(next)] = i16::from(second.cast_signed()) << low;
            found |= TOP >> (middle & 63) | TOP >> (next & 63);
            bits.take(entry);
            at = next;
            if entry < 1 << 24 {
                // The end of the block, which counts as a coefficient of zero.
                *nonzero = found & !(TOP >> (next & 63));
                return Ok(0);
            }
            if at == last {
                *nonzero = found;
                return Ok(0);
            }
        }
        bits.refill(bytes);
    }
}

/// Reads a symbol, and a coefficient or the length of a run if it says so.
#[inline(never)]
fn read_one(table: &AcTable, bits: &mut Bits, bytes: &Bytes, at: u32) -> OrFallback<Symbol> {
    bits.refill(bytes);
    let (length, symbol) = table.codes.find(bits.peek::<16>()).ok_or(FallbackReason::Code)?;
    bits.take(length);
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    Ok(match (run, size) {
        (15, 0) => Symbol::Zeros,
        (_, 0) => Symbol::End(length_of_run(bits, run)),
        _ => Symbol::Coefficient(at + run + 1, bits.value(size)),
    })
}

enum Symbol {
    /// No more coefficients in this block and those after it; this many in all.
    End(usize),
    /// 16 zeros.
    Zeros,
    Coefficient(u32, i16),
}

/// Reads the length of a run of blocks without more coefficients from `size` bits, 0..=14. The run includes the current block.
#[inline(always)]
pub(super) fn length_of_run(bits: &mut Bits, size: u32) -> usize {
    // At most 2^15 - 1.
    usize::try_from(1 << size | bits.read(size)).unwrap_or(1)
}

/// Returns the place in a block of the coefficient `at` in zigzag order.
#[inline(always)]
pub(super) fn place(at: u32) -> usize {
    usize::from(PLACE[at as usize & 63]) & 63
}
