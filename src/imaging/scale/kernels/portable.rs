//! The kernels for every processor.

use crate::imaging::scale::taps::{Taps, WEIGHT_BITS};

/// Fractional bits of a sample between the passes.
const BETWEEN_BITS: u32 = 6;
pub(super) const VERTICAL_SHIFT: u32 = WEIGHT_BITS - BETWEEN_BITS;
pub(super) const HORIZONTAL_SHIFT: u32 = WEIGHT_BITS + BETWEEN_BITS;

#[inline(always)]
pub(super) fn take_component<const N: usize>(pixels: &[u8], component: usize, out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(pixels.as_chunks::<N>().0) {
        *out = pixel[component];
    }
}

pub(super) fn vertical(window: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
    const WIDTH: usize = 64;
    for (block, out) in out.chunks_exact_mut(WIDTH).enumerate() {
        let mut sums = [1i32 << (VERTICAL_SHIFT - 1); WIDTH];
        for (n, weight) in weights.iter().enumerate() {
            let row = &window[n * stride + block * WIDTH..][..WIDTH];
            for (sum, sample) in sums.iter_mut().zip(row) {
                *sum += i32::from(*sample) * i32::from(*weight);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = saturated(sum >> VERTICAL_SHIFT);
        }
    }
}

/// Computes the horizontal pass from target sample `from` on, without SIMD.
pub(super) fn horizontal(row: &[i16], taps: &Taps, from: usize, out: &mut [u8]) {
    let weights = taps.weights.chunks_exact(taps.count);
    for ((out, first), weights) in out.iter_mut().zip(&taps.first).zip(weights).skip(from) {
        let row = &row[*first..][..taps.count];
        let products = row.iter().zip(weights).map(|(a, b)| i32::from(*a) * i32::from(*b));
        let sum = products.sum::<i32>() + (1 << (HORIZONTAL_SHIFT - 1));
        *out = u8::try_from((sum >> HORIZONTAL_SHIFT).clamp(0, 255)).unwrap_or(u8::MAX);
    }
}

fn saturated(value: i32) -> i16 {
    i16::try_from(value.clamp(i16::MIN.into(), i16::MAX.into())).unwrap_or(i16::MAX)
}

/// Fractional bits of a weight of whole rows. The sum of 255 times all absolute weights fits an `i16`.
pub(in crate::imaging::scale) const ROW_BITS: u32 = 6;

/// Computes the weighted sum of rows from sample `from` on.
pub(super) fn weigh_rows(window: &[u8], stride: usize, weights: &[i8], from: usize, out: &mut [u8]) {
    const WIDTH: usize = 64;
    let width = out.len();
    let mut at = from;
    while at + WIDTH <= width {
        weigh_block::<WIDTH>(window, stride, weights, at, out);
        at += WIDTH;
    }
    while at < width {
        weigh_block::<1>(window, stride, weights, at, out);
        at += 1;
    }
}

#[inline(always)]
fn weigh_block<const N: usize>(window: &[u8], stride: usize, weights: &[i8], at: usize, out: &mut [u8]) {
    let mut sums = [1i16 << (ROW_BITS - 1); N];
    let mut from = at;
    for weight in weights {
        let Some(row) = window.get(from..).and_then(|row| row.first_chunk::<N>()) else { break };
        for (sum, sample) in sums.iter_mut().zip(row) {
            *sum += i16::from(*sample) * i16::from(*weight);
        }
        from += stride;
    }
    for (out, sum) in out.iter_mut().skip(at).zip(sums) {
        *out = (sum >> ROW_BITS).clamp(0, 255).to_le_bytes()[0];
    }
}

/// Side of the square tiles that are turned: a register of samples.
pub(super) const TILE: usize = 16;

/// Turns rows into columns, where `turned` does that with a tile.
#[inline(always)]
pub(super) fn turn(
    from: &[u8],
    width: usize,
    to: &mut [u8],
    turned: impl Fn([[u8; TILE]; TILE]) -> [[u8; TILE]; TILE],
) {
    let height = from.len() / width;
    let (whole_width, whole_height) = (width / TILE * TILE, height / TILE * TILE);
    for left in (0..whole_width).step_by(TILE) {
        let columns = to.get_mut(left * height..(left + TILE) * height).unwrap_or_default();
        for (top, rows) in (0..).step_by(TILE).zip(from.chunks_exact(TILE * width)) {
            let mut tile = [[0; TILE]; TILE];
            for (to, row) in tile.iter_mut().zip(rows.chunks_exact(width)) {
                *to = *row.get(left..).and_then(|row| row.first_chunk()).unwrap_or(to);
            }
            let tile = turned(tile);
            for (column, to) in tile.iter().zip(columns.chunks_exact_mut(height)) {
                if let Some(room) = to.get_mut(top..).and_then(|to| to.first_chunk_mut()) {
                    *room = *column;
                }
            }
        }
    }
    // The right and the lower border.
    for y in 0..height {
        for x in if y < whole_height { whole_width } else { 0 }..width {
            to[x * height + y] = from[y * width + x];
        }
    }
}

pub(super) fn turned(tile: [[u8; TILE]; TILE]) -> [[u8; TILE]; TILE] {
    std::array::from_fn(|x| std::array::from_fn(|y| tile[y][x]))
}
