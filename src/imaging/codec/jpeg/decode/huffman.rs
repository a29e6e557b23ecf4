//! Huffman tables that decode up to two coefficients with one lookup.
//!
//! A definition is refused if libjpeg does not accept it as a prefix code, or if it has a symbol that no baseline scan uses.

use super::bands::{FallbackReason, OrFallback};
use super::bits::{Bits, Bytes};
use super::idct::{Block, PLACE};

pub(super) const AC_BITS: u32 = 12;
const DC_BITS: u32 = 10;
const CODE_BITS: u32 = 9;
/// Last coefficient of a block, in zigzag order.
const LAST: u32 = 63;

/// A Huffman table as a DHT segment defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Definition<'a> {
    /// The number of codes of each length 1..=16.
    pub(super) counts: &'a [u8; 16],
    /// The symbols in order of their codes.
    pub(super) symbols: &'a [u8],
}

/// Decodes one symbol at a time.
#[derive(Debug)]
pub(super) struct Codes {
    /// Maps the next [`CODE_BITS`] to length << 8 | symbol, or to 0 if the code is longer.
    short: [u16; 1 << CODE_BITS],
    /// Maps a length to the first value of 16 bits that is greater than all codes of this length.
    ends: [u32; 17],
    /// Maps a length to the difference of a symbol's index and its code, modulo 2^32.
    offsets: [u32; 17],
    symbols: [u8; 256],
}

impl Codes {
    /// Creates the table, or returns `None` if the definition is no prefix code.
    pub(super) fn new(definition: Definition<'_>) -> Option<Self> {
        let mut codes =
            Self { short: [0; 1 << CODE_BITS], ends: [0; 17], offsets: [0; 17], symbols: [0; 256] };
        codes.symbols.get_mut(..definition.symbols.len())?.copy_from_slice(definition.symbols);
        let (mut code, mut index) = (0_u32, 0_u32);
        for (length, count) in (1_u32..).zip(definition.counts) {
            codes.offsets[length as usize] = index.wrapping_sub(code);
            for _ in 0..*count {
                let symbol = *definition.symbols.get(index as usize)?;
                if length <= CODE_BITS {
                    let spare = CODE_BITS - length;
                    let range = (code << spare) as usize..((code + 1) << spare) as usize;
                    codes.short.get_mut(range)?.fill(u16::try_from(length).ok()? << 8 | u16::from(symbol));
                }
                (code, index) = (code + 1, index + 1);
            }
            // No code may be all ones. libjpeg checks this for every length that has codes, and so does this.
            if *count > 0 && code >= 1 << length {
                return None;
            }
            codes.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(codes)
    }

    /// Returns length and symbol of the code at the start of the 16 bits `bits`.
    #[inline(always)]
    pub(super) fn find(&self, bits: usize) -> Option<(u32, u8)> {
        let short = self.short[(bits >> (16 - CODE_BITS)) & ((1 << CODE_BITS) - 1)];
        if short != 0 {
            let [length, symbol] = short.to_be_bytes();
            return Some((u32::from(length), symbol));
        }
        self.find_long(bits)
    }

    #[cold]
    #[inline(never)]
    fn find_long(&self, bits: usize) -> Option<(u32, u8)> {
        let bits = u32::try_from(bits).ok()?;
        let length = (CODE_BITS + 1..=16).find(|length| bits < self.ends[*length as usize])?;
        let index = (bits >> (16 - length)).wrapping_add(self.offsets[length as usize]);
        Some((length, *self.symbols.get(index as usize)?))
    }
}

#[derive(Debug)]
pub(super) struct DcTable {
    /// Maps the next [`DC_BITS`] to the bits to consume (low six bits) and the difference (upper 16), or to 0 if too few.
    fast: [u32; 1 << DC_BITS],
    codes: Codes,
}

impl DcTable {
    /// Creates the table, or returns `None` if a baseline file cannot have this definition.
    pub(super) fn new(definition: Definition<'_>) -> Option<Self> {
        if definition.symbols.iter().any(|symbol| *symbol > 11) {
            return None;
        }
        let codes = Codes::new(definition)?;
        let mut fast = [0; 1 << DC_BITS];
        for (bits, entry) in (0_u32..).zip(&mut fast) {
            let Some((length, size)) = codes.find((bits << (16 - DC_BITS)) as usize) else { continue };
            let taken = length + u32::from(size);
            if taken <= DC_BITS {
                let difference = magnitude(bits, DC_BITS - taken, size.into());
                *entry = u32::from(difference.cast_unsigned()) << 16 | taken;
            }
        }
        Some(Self { fast, codes })
    }

    /// Reads the next difference. The caller must have called [`Bits::refill`] before.
    #[inline(always)]
    pub(super) fn next(&self, bits: &mut Bits) -> OrFallback<i32> {
        let entry = self.fast[bits.peek::<DC_BITS>()];
        if entry != 0 {
            bits.take(entry);
            return Ok(entry.cast_signed() >> 16);
        }
        bits.with_register_copy(|bits| self.next_slow(bits))
    }

    #[cold]
    #[inline(never)]
    fn next_slow(&self, bits: &mut Bits) -> OrFallback<i32> {
        let (length, size) = self.codes.find(bits.peek::<16>()).ok_or(FallbackReason::Code)?;
        bits.take(length);
        let difference = if size == 0 { 0 } else { i32::from(bits.value(size.into())) };
        Ok(difference)
    }
}

#[derive(Debug)]
pub(super) struct AcTable {
    pub(super) fast: [u32; 1 << AC_BITS],
    pub(super) codes: Codes,
}

/// The entry for bits that the table cannot decode. Its advance goes beyond the end of every block, where the slow path continues.
pub(super) const SLOW: u32 = LAST << 6;

/// Marks entries with a code but no coefficient: the coefficient does not fit into the lookup bits or into a byte. Bits 16 to
/// 19 store its size instead. The advance is that of [`SLOW`].
pub(super) const LONG: u32 = LAST << 6 | 1 << 20;

/// Marks entries with the code of a run of blocks without coefficients. Bits 12 to 15 store how many bits of its length follow.
pub(super) const RUN: u32 = LAST << 6 | 1 << 21;

/// Packs an entry of one or two coefficients:
///
/// - bits 0 to 5: the number of bits to consume
/// - bits 6 to 11: the advance in zigzag order, to the last coefficient
/// - bits 12 to 15: the run of zeros before the first coefficient
/// - bits 16 to 23: the first coefficient, signed
/// - bits 24 to 31: the last coefficient, signed. It equals the first if there is only one.
///
/// An end of block counts as a last coefficient of zero that advances by one. Storing this zero is harmless, because the block is
/// zero there. No other coefficient is zero, so a last coefficient of zero means the end of the block.
fn pack(taken: u32, advance: u32, run: u32, first: i8, last: i8) -> u32 {
    let byte = |value: i8| u32::from(value.cast_unsigned());
    byte(last) << 24 | byte(first) << 16 | run << 12 | advance << 6 | taken
}

enum Step {
    Coefficient { run: u32, value: i8 },
    End,
}

impl AcTable {
    /// Creates the table, or returns `None` if a baseline file cannot have this definition.
    pub(super) fn new(definition: Definition<'_>) -> Option<Self> {
        let is_useful = |symbol: u8| symbol == 0 || symbol == 0xF0 || (1..=10).contains(&(symbol & 15));
        definition.symbols.iter().all(|symbol| is_useful(*symbol)).then(|| Self::for_band(definition))?
    }

    /// Creates the table for a band of a progressive file, or returns `None` if the definition is no prefix code. The values of
    /// symbols are not checked.
    pub(super) fn for_band(definition: Definition<'_>) -> Option<Self> {
        let codes = Codes::new(definition)?;
        // Decodes the first code and its value. Two steps make one entry.
        let step = |bits: u32, available: u32| -> Option<(u32, Step)> {
            let (length, symbol) = codes.find((bits << (16 - AC_BITS)) as usize)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            let taken = length + size;
            if taken > available {
                return None;
            }
            match (run, size) {
                (0, 0) => Some((taken, Step::End)),
                (_, 0) => None,
                _ => {
                    let value = i8::try_from(magnitude(bits, AC_BITS - taken, size)).ok()?;
                    Some((taken, Step::Coefficient { run, value }))
                }
            }
        };
        let mut fast = [SLOW; 1 << AC_BITS];
        for (bits, entry) in (0_u32..).zip(&mut fast) {
            *entry = match step(bits, AC_BITS) {
                None => codes.find((bits << (16 - AC_BITS)) as usize).map_or(SLOW, |(length, symbol)| {
                    let [run, size] = [symbol >> 4, symbol & 15].map(u32::from);
                    match (run, size) {
                        _ if length > AC_BITS => SLOW,
                        (0 | 15, 0) => SLOW,
                        // Only progressive scans have these.
                        (_, 0) => RUN | run << 12 | length,
                        _ => LONG | size << 16 | run << 12 | length,
                    }
                }),
                Some((taken, Step::End)) => pack(taken, 1, 0, 0, 0),
                Some((taken, Step::Coefficient { run, value })) => {
                    let behind = (bits << taken) & ((1 << AC_BITS) - 1);
                    match step(behind, AC_BITS - taken) {
                        None => pack(taken, run + 1, run, value, value),
                        Some((more, Step::End)) => pack(taken + more, run + 2, run, value, 0),
                        Some((more, Step::Coefficient { run: next, value: last })) => {
                            pack(taken + more, run + next + 2, run, value, last)
                        }
                    }
                }
            };
        }
        Some(Self { fast, codes })
    }

    /// Reads the AC coefficients of a zero block, into `block` if `STORE`. Returns an upper bound of their zigzag indices.
    #[inline(always)]
    pub(super) fn read<const STORE: bool>(
        &self,
        bits: &mut Bits,
        bytes: &Bytes,
        block: &mut Block,
        limits: &[u16; 64],
    ) -> OrFallback<usize> {
        let mut at = 0_u32;
        bits.refill(bytes);
        loop {
            // Four lookups take 48 of the 56 bits.
            for _ in 0..4 {
                let entry = self.fast[bits.peek::<AC_BITS>()];
                let next = at + ((entry >> 6) & 63);
                if next >= LAST {
                    if entry & LONG == LONG {
                        bits.refill(bytes);
                        bits.take(entry);
                        let (run, size) = ((entry >> 12) & 15, (entry >> 16) & 15);
                        at = self.put::<STORE>(bits, block, limits, at + run + 1, size)?;
                    } else {
                        at = bits.with_register_copy(|bits| {
                            self.read_one::<STORE>(bits, bytes, block, limits, at)
                        })?;
                    }
                    if at >= LAST {
                        return Ok((at & LAST) as usize);
                    }
                    break;
                }
                if STORE {
                    let first = PLACE[((at + ((entry >> 12) & 15) + 1) & LAST) as usize];
                    block[usize::from(first)] = i16::from(entry.to_le_bytes()[2].cast_signed());
                    block[usize::from(PLACE[next as usize])] =
                        i16::from(entry.to_le_bytes()[3].cast_signed());
                }
                bits.take(entry);
                at = next;
                if entry < 1 << 24 {
                    return Ok(at as usize);
                }
            }
            bits.refill(bytes);
        }
    }

    /// Reads one coefficient, or one run of 16 zeros. Returns its index, or `LAST + 1 + index` at the end of the block.
    #[inline(never)]
    fn read_one<const STORE: bool>(
        &self,
        bits: &mut Bits,
        bytes: &Bytes,
        block: &mut Block,
        limits: &[u16; 64],
        at: u32,
    ) -> OrFallback<u32> {
        bits.refill(bytes);
        let (length, symbol) = self.codes.find(bits.peek::<16>()).ok_or(FallbackReason::Code)?;
        bits.take(length);
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            return match run {
                0 => Ok(LAST + 1 + at),
                _ if at + 16 <= LAST => Ok(at + 16),
                _ => Err(FallbackReason::Code),
            };
        }
        self.put::<STORE>(bits, block, limits, at + run + 1, size)
    }

    /// Reads a value of `size` bits into the coefficient `at`, and returns `at`.
    #[inline(always)]
    fn put<const STORE: bool>(
        &self,
        bits: &mut Bits,
        block: &mut Block,
        limits: &[u16; 64],
        at: u32,
        size: u32,
    ) -> OrFallback<u32> {
        let value = bits.value(size);
        if at > LAST {
            return Err(FallbackReason::Code);
        }
        if STORE {
            if u32::from(value.unsigned_abs()) > u32::from(limits[at as usize & 63]) {
                return Err(FallbackReason::Range);
            }
            block[usize::from(PLACE[at as usize & 63])] = value;
        }
        Ok(at)
    }
}

/// Returns the value of the `size` bits above the lowest `spare` bits of `bits`, extended as T.81 F.2.2.1 says.
fn magnitude(bits: u32, spare: u32, size: u32) -> i16 {
    let raw = (bits >> spare) & ((1 << size) - 1);
    let value =
        if size > 0 && raw < 1 << (size - 1) { i64::from(raw) + 1 - (1 << size) } else { i64::from(raw) };
    // Sizes are at most 11 bits.
    i16::try_from(value).unwrap_or(0)
}
