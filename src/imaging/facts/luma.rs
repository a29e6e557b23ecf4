//! Sharpness, brightness and clipping, from rows of luma.
//!
//! The Laplacian of a pixel is four times its luma less that of the pixels left, right, above and below. Its variance is a common
//! measure of focus: a blurred picture has few edges. Pixels at the border have no Laplacian.

use crate::imaging::plane::Plane;
use crate::model::{PerceptualHash, PhotoFacts, ThumbHash};

/// A luma up to this one is dark. Resizing and compression move few pixels that were black further from 0.
const DARK: u8 = 3;
/// A luma from this one on is light.
const LIGHT: u8 = u8::MAX - DARK;
/// Pixels that 8 bits count.
const COUNTED: usize = 240;
/// Pixels whose squares are summed in 32 bits: a Laplacian is at most 1,020.
const SQUARED: usize = 1024;

/// Sums over rows of luma.
#[derive(Debug, Default)]
pub(super) struct Measures {
    pixels: u64,
    dark: u64,
    light: u64,
    /// Pixels with a Laplacian, the sum of these and of their squares.
    inner: u64,
    laplacians: i64,
    squares: u64,
}

impl Measures {
    /// Adds row `y` of `luma`.
    #[inline(always)]
    pub(super) fn add_row(&mut self, luma: &Plane, y: usize) {
        let row_at = |y: usize| luma.samples.get(y * luma.width..)?.get(..luma.width);
        let Some(row) = row_at(y) else { return };
        self.pixels += row.len() as u64;
        for samples in row.chunks(COUNTED) {
            self.dark += count(samples, |sample| sample <= DARK);
            self.light += count(samples, |sample| sample >= LIGHT);
        }
        let (Some(above), Some(below)) = (y.checked_sub(1).and_then(row_at), row_at(y + 1)) else { return };
        let Some(count) = row.len().checked_sub(2) else { return };
        self.inner += count as u64;
        // In the sum of all Laplacians a pixel cancels its neighbours, but at the borders.
        let sum = |row: &[u8]| row[1..=count].iter().map(|sample| i64::from(*sample)).sum::<i64>();
        self.laplacians +=
            i64::from(row[1]) - i64::from(row[0]) + i64::from(row[count]) - i64::from(row[count + 1]);
        for (is_border, beyond) in [(y == 1, above), (y + 2 == luma.height, below)] {
            if is_border {
                self.laplacians += sum(row) - sum(beyond);
            }
        }
        let mut laplacians = [0; SQUARED];
        for from in (0..count).step_by(SQUARED) {
            let end = count.min(from + SQUARED);
            let places = [(row, 1), (row, 0), (row, 2), (above, 1), (below, 1)];
            let laplacians = &mut laplacians[..end - from];
            differentiate(places.map(|(row, at)| &row[from + at..end + at]), laplacians);
            let squares = laplacians.iter().map(|it| i32::from(*it) * i32::from(*it)).sum::<i32>();
            self.squares += u64::from(squares.cast_unsigned());
        }
    }

    /// Returns the facts that these sums are, with the sum of all luma and the hashes of the picture.
    pub(super) fn facts(
        &self,
        sum: u64,
        thumbhash: ThumbHash,
        perceptual_hash: PerceptualHash,
    ) -> PhotoFacts {
        let Self { pixels, dark, light, inner, laplacians, squares } = *self;
        let share = |count, parts| narrow(divided(u128::from(count) * parts, pixels));
        // The variance is the mean of the squares less the square of the mean.
        let sum_squared = u128::from(laplacians.unsigned_abs()).pow(2);
        let variance = (u128::from(squares) * u128::from(inner) * 100).saturating_sub(sum_squared * 100);
        let sharpness = divided(divided(variance, inner), inner);
        PhotoFacts {
            thumbhash,
            sharpness: u32::try_from(sharpness).unwrap_or(u32::MAX),
            brightness: share(sum, 100),
            dark: share(dark, 10_000),
            light: share(light, 10_000),
            perceptual_hash,
        }
    }
}

/// Computes Laplacians from the samples of their pixels, and of those left, right, above and below.
#[inline(always)]
fn differentiate(samples: [&[u8]; 5], laplacians: &mut [i16]) {
    let [centre, left, right, above, below] = samples;
    let neighbours = left.iter().zip(right).zip(above.iter().zip(below));
    for (laplacian, (centre, ((left, right), (above, below)))) in
        laplacians.iter_mut().zip(centre.iter().zip(neighbours))
    {
        let [centre, left, right, above, below] =
            [centre, left, right, above, below].map(|at| i16::from(*at));
        *laplacian = 4 * centre - (left + right) - (above + below);
    }
}

/// Counts samples, at most [`COUNTED`].
#[inline(always)]
fn count(samples: &[u8], is_counted: impl Fn(u8) -> bool) -> u64 {
    u64::from(samples.iter().map(|sample| u8::from(is_counted(*sample))).sum::<u8>())
}

/// Divides and rounds to nearest. Nothing divided by nothing is 0.
fn divided(number: u128, by: u64) -> u128 {
    (number + u128::from(by) / 2).checked_div(u128::from(by)).unwrap_or_default()
}

fn narrow(number: u128) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
