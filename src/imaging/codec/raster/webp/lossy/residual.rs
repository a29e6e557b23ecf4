//! The coefficients of a block, and their inverse transforms (RFC 6386 sections 13, 14).

use super::bits::Bits;
use super::header::Tokens;
use super::tables::{CATEGORIES, ZIGZAG};

/// Coefficients or differences of 4 x 4 samples, row by row.
pub(super) type Block = [i32; 16];

/// Most by which the coefficients of a block may add up, so that its transform fits 32 bits. Photos stay far below.
const MAX_SUM: u32 = 16_000;

/// Coefficients of a block that were read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    /// The position after the last token.
    pub(super) end: usize,
    /// Sum of the absolute coefficients.
    pub(super) sum: u32,
}

/// Reads the coefficients from position `first` on, times the steps of DC and AC. `block` contains zeros.
#[inline(always)]
pub(super) fn read(
    bits: &mut Bits<'_>,
    tokens: &Tokens,
    context: usize,
    first: usize,
    [dc, ac]: [i32; 2],
    block: &mut Block,
) -> Read {
    let mut at = first;
    let mut sum = 0;
    let mut nodes = &tokens[at][context];
    bits.refill();
    if !bits.bit(nodes[0]) {
        return Read { end: at, sum };
    }
    while at < 16 {
        // No end may follow a zero, so its node is skipped.
        bits.refill();
        if !bits.bit(nodes[1]) {
            at += 1;
            nodes = &tokens[at][0];
            continue;
        }
        let (number, context) = if bits.bit(nodes[2]) { (large(bits, nodes), 2) } else { (1, 1) };
        let coefficient = bits.signed(number * if at == 0 { dc } else { ac });
        sum += coefficient.unsigned_abs();
        block[usize::from(ZIGZAG[at]) & 15] = coefficient;
        at += 1;
        nodes = &tokens[at][context];
        if at == 16 || !bits.bit(nodes[0]) {
            break;
        }
    }
    Read { end: at, sum }
}

/// Reads the rest of a number above one. Leaves at least two bits in the window.
#[inline(always)]
fn large(bits: &mut Bits<'_>, nodes: &[u8; 11]) -> i32 {
    if !bits.bit(nodes[3]) {
        if !bits.bit(nodes[4]) { 2 } else { 3 + i32::from(bits.bit(nodes[5])) }
    } else {
        // By value, or the window would stay in memory and not in registers.
        let number;
        (*bits, number) = category(*bits, nodes);
        number
    }
}

#[inline(never)]
fn category<'a>(mut bits: Bits<'a>, nodes: &[u8; 11]) -> (Bits<'a>, i32) {
    bits.refill();
    let number = if !bits.bit(nodes[6]) {
        if !bits.bit(nodes[7]) {
            5 + i32::from(bits.bit(159))
        } else {
            7 + 2 * i32::from(bits.bit(165)) + i32::from(bits.bit(145))
        }
    } else {
        let high = usize::from(bits.bit(nodes[8]));
        let category = 2 * high + usize::from(bits.bit(nodes[9 + high]));
        let mut further = 0;
        for probability in CATEGORIES[category] {
            bits.refill();
            further = 2 * further + i32::from(bits.bit(*probability));
        }
        3 + (8 << category) + further
    };
    bits.refill();
    (bits, number)
}

/// Turns coefficients into differences of samples.
#[inline(always)]
pub(super) fn transform(block: &mut Block, sum: u32) {
    if sum <= MAX_SUM {
        small(block);
    } else {
        exact(block);
    }
}

const A: i32 = 20_091;
const B: i32 = 35_468;

#[inline(always)]
fn small(block: &mut Block) {
    let (rows, _) = block.as_chunks::<4>();
    let columns = transpose(pass([rows[0], rows[1], rows[2], rows[3]], 0));
    // The sum of the last pass is rounded, which adds 4 to its first term.
    let rows = transpose(pass(columns, 4));
    for n in 0..16 {
        block[n] = rows[n / 4][n % 4] >> 3;
    }
}

#[inline(always)]
fn pass([a, b, c, d]: [[i32; 4]; 4], round: i32) -> [[i32; 4]; 4] {
    let mut out = [[0; 4]; 4];
    for n in 0..4 {
        let (even, odd) = (a[n] + c[n] + round, a[n] - c[n] + round);
        let low = ((b[n] * B) >> 16) - d[n] - ((d[n] * A) >> 16);
        let high = b[n] + ((b[n] * A) >> 16) + ((d[n] * B) >> 16);
        out[0][n] = even + high;
        out[1][n] = odd + low;
        out[2][n] = odd - low;
        out[3][n] = even - high;
    }
    out
}

#[inline(always)]
fn transpose(rows: [[i32; 4]; 4]) -> [[i32; 4]; 4] {
    let mut columns = [[0; 4]; 4];
    for n in 0..16 {
        columns[n / 4][n % 4] = rows[n % 4][n / 4];
    }
    columns
}

/// The same for coefficients that no encoder writes.
#[cold]
#[inline(never)]
fn exact(block: &mut Block) {
    let times = |number: i32, factor: i32| ((i64::from(number) * i64::from(factor)) >> 16) as i32;
    let pass = |a: i32, b: i32, c: i32, d: i32, round: i32| {
        let (even, odd) = (a + c + round, a - c + round);
        let low = times(b, B) - d - times(d, A);
        let high = b + times(b, A) + times(d, B);
        [even + high, odd + low, odd - low, even - high]
    };
    for x in 0..4 {
        let column = pass(block[x], block[4 + x], block[8 + x], block[12 + x], 0);
        column.into_iter().enumerate().for_each(|(y, sample)| block[4 * y + x] = sample);
    }
    for row in block.as_chunks_mut::<4>().0 {
        *row = pass(row[0], row[1], row[2], row[3], 4).map(|sample| sample >> 3);
    }
}

/// Turns the coefficients of the second transform into the DC of 16 blocks (section 14.3).
#[inline(always)]
pub(super) fn second(block: &mut Block) {
    for x in 0..4 {
        let column = sums(block[x], block[4 + x], block[8 + x], block[12 + x]);
        for y in 0..4 {
            block[4 * y + x] = column[y];
        }
    }
    for row in block.as_chunks_mut::<4>().0 {
        let sums = sums(row[0], row[1], row[2], row[3]);
        for x in 0..4 {
            row[x] = (sums[x] + 3) >> 3;
        }
    }
}

#[inline(always)]
fn sums(a: i32, b: i32, c: i32, d: i32) -> [i32; 4] {
    let (a, b, c, d) = (a + d, b + c, b - c, a - d);
    [a + b, c + d, a - b, d - c]
}
