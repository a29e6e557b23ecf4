//! Prediction of samples from those above and on the left (RFC 6386 section 12).

use super::modes::{Mode, Whole};
use super::residual::Block;

/// Columns before the samples of a [`Work`]: the last one is the column on the left.
pub(super) const LEFT: usize = 16;
/// The samples of a macroblock below the row above it. Columns after them are those above on the right.
pub(super) type Work = [[u8; 40]; 17];

/// Predicts all `N` x `N` samples. `edges` says whether the picture has samples above and on the left.
#[inline(always)]
pub(super) fn whole<const N: usize>(work: &mut Work, mode: Whole, edges: [bool; 2]) {
    let mut above = [0; N];
    above.copy_from_slice(&work[0][LEFT..LEFT + N]);
    match mode {
        Whole::Mean => {
            let mean = mean::<N>(work, edges);
            for row in &mut work[1..=N] {
                row[LEFT..LEFT + N].copy_from_slice(&[mean; N]);
            }
        }
        Whole::Above => {
            for row in &mut work[1..=N] {
                row[LEFT..LEFT + N].copy_from_slice(&above);
            }
        }
        Whole::Left => {
            for row in &mut work[1..=N] {
                let left = row[LEFT - 1];
                row[LEFT..LEFT + N].copy_from_slice(&[left; N]);
            }
        }
        Whole::Sum => {
            let corner = i16::from(work[0][LEFT - 1]);
            let mut steps = [0; N];
            for n in 0..N {
                steps[n] = i16::from(above[n]) - corner;
            }
            for row in &mut work[1..=N] {
                let left = i16::from(row[LEFT - 1]);
                let mut sums = [0; N];
                for n in 0..N {
                    sums[n] = (left + steps[n]).clamp(0, 255) as u8;
                }
                row[LEFT..LEFT + N].copy_from_slice(&sums);
            }
        }
    }
}

#[inline(always)]
fn mean<const N: usize>(work: &Work, [has_above, has_left]: [bool; 2]) -> u8 {
    let (mut sum_above, mut sum_left) = (0, 0);
    for n in 0..N {
        sum_above += u32::from(work[0][LEFT + n]);
        sum_left += u32::from(work[1 + n][LEFT - 1]);
    }
    let size = N as u32;
    let mean = match (has_above, has_left) {
        (true, true) => (sum_above + sum_left + size) / (2 * size),
        (true, false) => (sum_above + size / 2) / size,
        (false, true) => (sum_left + size / 2) / size,
        (false, false) => 128,
    };
    mean as u8
}

/// Predicts the block at row `y` and column `x` of blocks.
#[inline(always)]
pub(super) fn block(work: &mut Work, [x, y]: [usize; 2], mode: Mode) {
    let (top, left) = (4 * y, LEFT + 4 * x);
    let mut above = [0; 9];
    above.copy_from_slice(&work[top][left - 1..left + 8]);
    // The samples around the block, from the lowest one on the left to the last one above on the right, which is repeated.
    let mut edge = [0; 16];
    for n in 0..4 {
        edge[n] = work[top + 4 - n][left - 1];
    }
    edge[4..13].copy_from_slice(&above);
    edge[13..].fill(above[8]);
    let rows: [[u8; 4]; 4] = match mode {
        Mode::Mean => {
            let mut sum = 0;
            for n in 0..4 {
                sum += u32::from(edge[n]) + u32::from(edge[5 + n]);
            }
            [[((sum + 4) >> 3) as u8; 4]; 4]
        }
        Mode::Sum => {
            let mut rows = [[0; 4]; 4];
            for y in 0..4 {
                let left = i16::from(edge[3 - y]) - i16::from(edge[4]);
                for x in 0..4 {
                    rows[y][x] = (left + i16::from(edge[5 + x])).clamp(0, 255) as u8;
                }
            }
            rows
        }
        Mode::Above => [row(&threes(&edge), 4); 4],
        Mode::Left => {
            // The lowest sample is repeated.
            let lowest = ((u16::from(edge[1]) + 3 * u16::from(edge[0]) + 2) >> 2) as u8;
            let threes = threes(&edge);
            [[threes[2]; 4], [threes[1]; 4], [threes[0]; 4], [lowest; 4]]
        }
        Mode::DownLeft => {
            let threes = threes(&edge);
            [row(&threes, 5), row(&threes, 6), row(&threes, 7), row(&threes, 8)]
        }
        Mode::DownRight => {
            let threes = threes(&edge);
            [row(&threes, 3), row(&threes, 2), row(&threes, 1), row(&threes, 0)]
        }
        Mode::VerticalRight => {
            let (twos, threes) = (twos(&edge), threes(&edge));
            let (first, second) = (row(&twos, 4), row(&threes, 3));
            [first, second, joined(threes[2], first), joined(threes[1], second)]
        }
        Mode::VerticalLeft => {
            let (twos, threes) = (twos(&edge), threes(&edge));
            let (first, second) = (row(&twos, 5), row(&threes, 5));
            let [_, b, c, d] = first;
            let [_, f, g, h] = second;
            [first, second, [b, c, d, threes[9]], [f, g, h, threes[10]]]
        }
        Mode::HorizontalDown => {
            let (twos, threes) = (twos(&edge), threes(&edge));
            [
                [twos[3], threes[3], threes[4], threes[5]],
                [twos[2], threes[2], twos[3], threes[3]],
                [twos[1], threes[1], twos[2], threes[2]],
                [twos[0], threes[0], twos[1], threes[1]],
            ]
        }
        Mode::HorizontalUp => {
            let (twos, threes) = (twos(&edge), threes(&edge));
            let lowest = edge[0];
            let last = ((u16::from(edge[1]) + 3 * u16::from(lowest) + 2) >> 2) as u8;
            [
                [twos[2], threes[1], twos[1], threes[0]],
                [twos[1], threes[0], twos[0], last],
                [twos[0], last, lowest, lowest],
                [lowest; 4],
            ]
        }
    };
    for (to, row) in work[top + 1..top + 5].iter_mut().zip(rows) {
        to[left..left + 4].copy_from_slice(&row);
    }
}

#[inline(always)]
fn row(samples: &[u8; 16], from: usize) -> [u8; 4] {
    [samples[from], samples[from + 1], samples[from + 2], samples[from + 3]]
}

#[inline(always)]
fn joined(first: u8, [a, b, c, _]: [u8; 4]) -> [u8; 4] {
    [first, a, b, c]
}

/// Returns the means of each two neighbours.
#[inline(always)]
fn twos(edge: &[u8; 16]) -> [u8; 16] {
    let mut means = [0; 16];
    for n in 0..15 {
        means[n] = ((u16::from(edge[n]) + u16::from(edge[n + 1]) + 1) >> 1) as u8;
    }
    means
}

/// Returns the means of each three neighbours; the one in the middle counts twice.
#[inline(always)]
fn threes(edge: &[u8; 16]) -> [u8; 16] {
    let mut means = [0; 16];
    for n in 0..14 {
        let sum = u16::from(edge[n]) + 2 * u16::from(edge[n + 1]) + u16::from(edge[n + 2]);
        means[n] = ((sum + 2) >> 2) as u8;
    }
    means
}

/// Adds differences to the block at row `y` and column `x` of blocks.
#[inline(always)]
pub(super) fn add(work: &mut Work, [x, y]: [usize; 2], differences: &Block) {
    let left = LEFT + 4 * x;
    let rows = work[4 * y + 1..4 * y + 5].iter_mut();
    for (row, differences) in rows.zip(differences.as_chunks::<4>().0) {
        let samples = &mut row[left..left + 4];
        for n in 0..4 {
            samples[n] = (i32::from(samples[n]) + differences[n]).clamp(0, 255) as u8;
        }
    }
}

/// Adds the same difference to all samples of a block.
#[inline(always)]
pub(super) fn add_flat(work: &mut Work, at: [usize; 2], difference: i32) {
    add(work, at, &[difference; 16]);
}
