//! Implements the transforms without SIMD, for every processor.

use super::fix::*;
use super::{CONST_BITS, MOST_IN_COLUMN, PASS1_BITS, Quantised, place};

type Line = [i32; 8];

/// Returns the dequantised columns of a block, or `None` if their sums are too large.
fn dequantise(Quantised { coefficients, factors }: Quantised<'_>) -> Option<[Line; 8]> {
    let mut columns = [[0; 8]; 8];
    for (at, column) in columns.iter_mut().enumerate() {
        for (row, value) in column.iter_mut().enumerate() {
            let place = place(row, at);
            *value = i32::from(coefficients[place]) * i32::from(factors[place]);
        }
        if column.iter().map(|value| value.unsigned_abs()).sum::<u32>() > u32::from(MOST_IN_COLUMN) {
            return None;
        }
    }
    Some(columns)
}

fn pass8(line: Line, shift: i32) -> [i32; 8] {
    let [f_0_541, f_0_899, f_1_175, f_2_562] = [F_0_541, F_0_899, F_1_175, F_2_562].map(i32::from);
    let rounding = 1 << (shift - 1);
    let even0 = ((line[0] + line[4]) << CONST_BITS) + rounding;
    let even1 = ((line[0] - line[4]) << CONST_BITS) + rounding;
    let even2 = line[2] * f_0_541 + line[6] * (f_0_541 - i32::from(F_1_847));
    let even3 = line[2] * (f_0_541 + i32::from(F_0_765)) + line[6] * f_0_541;
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];
    let (z3, z4) = (line[7] + line[3], line[1] + line[5]);
    let sum3 = z3 * (f_1_175 - i32::from(F_1_961)) + z4 * f_1_175;
    let sum4 = z3 * f_1_175 + z4 * (f_1_175 - i32::from(F_0_390));
    let odd = [
        line[1] * (i32::from(F_1_501) - f_0_899) - line[7] * f_0_899 + sum4,
        line[3] * (i32::from(F_3_072) - f_2_562) - line[5] * f_2_562 + sum3,
        line[5] * (i32::from(F_2_053) - f_2_562) - line[3] * f_2_562 + sum4,
        line[7] * (i32::from(F_0_298) - f_0_899) - line[1] * f_0_899 + sum3,
    ];
    std::array::from_fn(|index| {
        let sum = if index < 4 { even[index] + odd[index] } else { even[7 - index] - odd[7 - index] };
        sum >> shift
    })
}

fn pass4(line: Line, shift: i32) -> [i32; 4] {
    let even0 = (line[0] << (CONST_BITS + 1)) + (1 << (shift - 1));
    let even2 = line[2] * i32::from(F_1_847) - line[6] * i32::from(F_0_765);
    let odd0 = line[1] * i32::from(F_2_562) + line[3] * i32::from(F_0_899)
        - line[5] * i32::from(F_0_601)
        - line[7] * i32::from(F_0_509);
    let odd1 = line[1] * i32::from(F_1_061) - line[3] * i32::from(F_2_172) + line[5] * i32::from(F_1_451)
        - line[7] * i32::from(F_0_211);
    let sums = [even0 + even2 + odd0, even0 - even2 + odd1, even0 - even2 - odd1, even0 + even2 - odd0];
    sums.map(|sum| sum >> shift)
}

fn pass2(line: Line, shift: i32) -> [i32; 2] {
    let even = (line[0] << (CONST_BITS + 2)) + (1 << (shift - 1));
    let odd = line[1] * i32::from(F_3_624) - line[3] * i32::from(F_1_272) + line[5] * i32::from(F_0_850)
        - line[7] * i32::from(F_0_720);
    [(even + odd) >> shift, (even - odd) >> shift]
}

/// Runs both passes of a transform and writes the samples. Returns false if the block was refused or the buffer is too small.
#[inline(always)]
fn transform<const SIZE: usize>(
    block: Quantised<'_>,
    samples: &mut [u8],
    stride: usize,
    pass: fn(Line, i32) -> [i32; SIZE],
    extra: i32,
) -> bool {
    let Some(columns) = dequantise(block) else { return false };
    let between = columns.map(|column| pass(column, CONST_BITS - PASS1_BITS + extra));
    for row in 0..SIZE {
        let line = pass(between.map(|column| column[row]), CONST_BITS + PASS1_BITS + 3 + extra);
        let Some(room) = samples.get_mut(row * stride..row * stride + SIZE) else { return false };
        room.copy_from_slice(&line.map(sample));
    }
    true
}

/// Converts a value around zero to a sample.
pub(in super::super) fn sample(value: i32) -> u8 {
    u8::try_from((value + 128).clamp(0, 255)).unwrap_or(0)
}

/// Transforms a block to all 64 samples. Returns true if it succeeded.
pub(in super::super) fn full(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    transform(block, samples, stride, pass8, 0)
}

/// Transforms a block to 4 x 4 samples. Returns true if it succeeded.
pub(in super::super) fn half(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    transform(block, samples, stride, pass4, 1)
}

/// Transforms a block to 2 x 2 samples. Returns true if it succeeded.
pub(in super::super) fn quarter(block: Quantised<'_>, samples: &mut [u8], stride: usize) -> bool {
    transform(block, samples, stride, pass2, 2)
}
