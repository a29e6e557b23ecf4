//! Reads prefix codes as lengths of codes (RFC 9649 section 3.7.2), and looks symbols up in tables of two levels.

use super::bits::Bits;
use crate::imaging::error::ImageError;

const MAX_LENGTH: u32 = 15;
/// Most symbols of a code: the literals of green, the prefixes of lengths, and a colour cache of 11 bits.
pub(super) const MAX_SYMBOLS: usize = 256 + 24 + (1 << 11);
const ROOT_BITS: u32 = 8;
/// Bits of an entry for a symbol, or for the offset of a second level. The other bits are the length of the code.
const SYMBOL_BITS: u32 = 12;
/// Most entries of the tables of one code, so that an entry can contain the offset of every second level.
const MAX_ENTRIES: usize = 1 << SYMBOL_BITS;
/// The order in which the stream stores the lengths of the code of lengths.
const LENGTH_ORDER: [usize; 19] = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The position of a prefix code's tables among those of its group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Code {
    start: u16,
    /// Mask of the bits that the first level decides.
    mask: u16,
}

impl Code {
    /// Appends the tables of a code to those of its group. Fails if the lengths make no complete code.
    pub(super) fn build(lengths: &[u8], tables: &mut Vec<u16>) -> Result<Self, ImageError> {
        let counts = counted(lengths)?;
        // A group has five codes of at most 2^12 entries.
        let start = u16::try_from(tables.len()).map_err(|_| ImageError::Corrupt)?;
        let base = usize::from(start);
        if counts.iter().sum::<u32>() == 1 {
            tables.extend(codes(counts, lengths).map(|(symbol, ..)| entry(0, symbol)));
            return Ok(Self { start, mask: 0 });
        }
        let longest = (1..=MAX_LENGTH).rfind(|length| counts[*length as usize] > 0).unwrap_or(1);
        let root_bits = ROOT_BITS.min(longest);
        let mask = (1u16 << root_bits) - 1;
        tables.resize(base + (1 << root_bits), 0);
        // The longest code that starts with the bits of each entry of the first level.
        let mut longest = [0; 1 << ROOT_BITS];
        for (_, length, code) in codes(counts, lengths).filter(|(_, length, _)| *length > ROOT_BITS) {
            let longest = &mut longest[usize::from(code & mask)];
            *longest = length.max(*longest);
        }
        for (root, longest) in longest.into_iter().enumerate().filter(|(_, longest)| *longest > 0) {
            let level = tables.len() - base;
            let end = tables.len() + (1 << (longest - ROOT_BITS));
            if end - base > MAX_ENTRIES {
                return Err(ImageError::Corrupt);
            }
            tables[base + root] = entry(longest, level);
            tables.resize(end, 0);
        }
        let table = &mut tables[base..];
        for (symbol, length, code) in codes(counts, lengths) {
            let (level, bits, index, length_here) = if length <= ROOT_BITS {
                (0, root_bits, code, length)
            } else {
                let (longest, level) = parts(table[usize::from(code & mask)]);
                (level, longest - ROOT_BITS, code >> ROOT_BITS, length - ROOT_BITS)
            };
            for index in (usize::from(index)..1 << bits).step_by(1 << length_here) {
                table[level + index] = entry(length, symbol);
            }
        }
        Ok(Self { start, mask })
    }

    /// Reads a symbol, or fails if the stream ends within it. Otherwise 15 bits must be loaded, or all that are left.
    #[inline]
    pub(super) fn symbol(self, tables: &[u16], bits: &mut Bits<'_>) -> Result<usize, ImageError> {
        let window = bits.peek();
        let start = usize::from(self.start);
        let (mut length, mut symbol) = parts(tables[start + (window & u64::from(self.mask)) as usize]);
        if length > ROOT_BITS {
            let index = window >> ROOT_BITS & ((1 << (length - ROOT_BITS)) - 1);
            (length, symbol) = parts(tables[start + symbol + index as usize]);
        }
        bits.skip(length)?;
        Ok(symbol)
    }
}

/// Returns an error unless the lengths make a complete code.
pub(super) fn check(lengths: &[u8]) -> Result<(), ImageError> {
    counted(lengths).map(|_| ())
}

/// Returns the number of codes of each length.
fn counted(lengths: &[u8]) -> Result<[u32; MAX_LENGTH as usize + 1], ImageError> {
    let mut counts = [0; MAX_LENGTH as usize + 1];
    lengths.iter().for_each(|length| counts[usize::from(*length)] += 1);
    counts[0] = 0;
    let space: u32 = (1..=MAX_LENGTH).map(|length| counts[length as usize] << (MAX_LENGTH - length)).sum();
    // The only symbol of a code takes no bits at any declared length.
    match counts.iter().sum() {
        1 => Ok(counts),
        2.. if space == 1 << MAX_LENGTH => Ok(counts),
        0u32.. => Err(ImageError::Corrupt),
    }
}

/// Returns the symbols with the length of their code, and the code in the order of the stream: its first bit is the lowest one.
fn codes(counts: [u32; MAX_LENGTH as usize + 1], lengths: &[u8]) -> impl Iterator<Item = (usize, u32, u16)> {
    let mut next = [0u16; MAX_LENGTH as usize + 1];
    for length in 1..next.len() {
        // The code is complete or has a single symbol, so this fits 16 bits.
        next[length] = (next[length - 1] + u16::try_from(counts[length - 1]).unwrap_or(0)) << 1;
    }
    lengths.iter().enumerate().filter(|(_, length)| **length > 0).map(move |(symbol, length)| {
        let code = next[usize::from(*length)];
        next[usize::from(*length)] = code.wrapping_add(1);
        let length = u32::from(*length);
        (symbol, length, code.reverse_bits() >> (16 - length))
    })
}

fn entry(length: u32, symbol: usize) -> u16 {
    // At most 15 and below 2^12, see `Code::build`.
    (length << SYMBOL_BITS) as u16 | symbol as u16
}

#[inline]
fn parts(entry: u16) -> (u32, usize) {
    (u32::from(entry >> SYMBOL_BITS), usize::from(entry) & (MAX_ENTRIES - 1))
}

/// Reads the lengths of the codes of as many symbols as `lengths` has. Fails if the stream ends or has no such code.
pub(super) fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Result<(), ImageError> {
    lengths.fill(0);
    let is_simple = bits.flag()?;
    if is_simple {
        let count = 1 + bits.take(1)?;
        let first_bits = if bits.flag()? { 8 } else { 1 };
        for width in [first_bits, 8].into_iter().take(count) {
            *lengths.get_mut(bits.take(width)?).ok_or(ImageError::Corrupt)? = 1;
        }
        return Ok(());
    }
    let mut of_lengths = [0u8; LENGTH_ORDER.len()];
    let count = 4 + bits.take(4)?;
    for symbol in LENGTH_ORDER.iter().take(count) {
        of_lengths[*symbol] = bits.take(3)? as u8;
    }
    let mut tables = Vec::with_capacity(1 << 7);
    let code = Code::build(&of_lengths, &mut tables)?;
    let mut left = lengths.len();
    if bits.flag()? {
        let width = 2 + 2 * bits.take(3)?;
        left = 2 + bits.take(width as u32)?;
        if left > lengths.len() {
            return Err(ImageError::Corrupt);
        }
    }
    let (mut at, mut previous) = (0, 8);
    while at < lengths.len() && left > 0 {
        left -= 1;
        bits.refill();
        let (length, count) = match code.symbol(&tables, bits)? {
            16 => (previous, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length as u8, 1),
        };
        if length > 0 {
            previous = length;
        }
        lengths.get_mut(at..at + count).ok_or(ImageError::Corrupt)?.fill(length);
        at += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the lengths of a complete code, made by splitting leaves.
    fn complete(splits: &[usize]) -> Vec<u8> {
        let mut lengths = vec![1u8, 1];
        for split in splits {
            let at = split % lengths.len();
            if u32::from(lengths[at]) < MAX_LENGTH {
                lengths[at] += 1;
                lengths.insert(at, lengths[at]);
            }
        }
        lengths
    }

    proptest! {
        #[test]
        fn each_symbol_of_a_complete_code_is_read_back(
            splits in proptest::collection::vec(any::<usize>(), 0..MAX_SYMBOLS - 2),
            rotation in 0..MAX_SYMBOLS,
        ) {
            let mut lengths = complete(&splits);
            let count = lengths.len();
            lengths.rotate_left(rotation % count);
            let mut tables = vec![0; 3];
            let code = Code::build(&lengths, &mut tables).unwrap();
            for (symbol, length, bits) in codes(counted(&lengths).unwrap(), &lengths) {
                let stream = bits.to_le_bytes();
                let mut bits = Bits::new(&stream);
                bits.refill();
                prop_assert_eq!(code.symbol(&tables, &mut bits), Ok(symbol));
                prop_assert_eq!(16 - bits.count(), length);
            }
        }
    }

    #[test]
    fn incomplete_and_oversubscribed_codes_are_corrupt() {
        for lengths in [&[0, 0][..], &[1, 2], &[1, 1, 1], &[15, 15]] {
            assert_eq!(check(lengths), Err(ImageError::Corrupt), "{lengths:?}");
        }
        assert_eq!(check(&[0, 15, 0]), Ok(()), "a single symbol");
    }
}
