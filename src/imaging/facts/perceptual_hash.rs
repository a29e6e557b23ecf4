//! The perceptual hash that is known as pHash: which low frequencies of luma are stronger than their median.

use super::waves::{coefficients, without_mean};
use crate::model::PerceptualHash;

/// Frequencies in each direction. The first is the mean, which is not used.
const FREQUENCIES: usize = 9;

/// Computes the hash of a small picture, row by row of frequencies from the highest bit. That of a flat picture is 0.
#[inline(always)]
pub(super) fn of(luma: &[u8], (width, _): (usize, usize)) -> PerceptualHash {
    let (samples, _) = without_mean(luma.iter().map(|sample| i32::from(*sample)));
    let rows = coefficients::<FREQUENCIES, FREQUENCIES>(&samples, width);
    let found: Vec<f64> = rows[1..].iter().flat_map(|row| row[1..].iter().copied()).collect();
    let mut sorted = found.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = f64::midpoint(sorted[sorted.len() / 2 - 1], sorted[sorted.len() / 2]);
    PerceptualHash::from_bits(found.iter().fold(0, |bits, value| bits << 1 | u64::from(*value > median)))
}
