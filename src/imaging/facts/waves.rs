//! The low frequencies of a small picture: a discrete cosine transform (DCT-II).

use std::f64::consts::PI;

/// Returns the mean of `samples` times each wave: `coefficients[row][column]` for the first `DOWN` and `ACROSS` frequencies. The
/// picture has the given width, and at least one sample.
#[inline(always)]
pub(super) fn coefficients<const ACROSS: usize, const DOWN: usize>(
    samples: &[f64],
    width: usize,
) -> [[f64; ACROSS]; DOWN] {
    let (columns, rows) = (waves::<ACROSS>(width), waves::<DOWN>(samples.len() / width));
    let mut means = [[0.0; ACROSS]; DOWN];
    for (samples, of_row) in samples.chunks_exact(width).zip(rows) {
        // Sums of all frequencies grow together, so that no addition waits for another.
        let mut sums = [0.0; ACROSS];
        for (sample, of_column) in samples.iter().zip(&columns) {
            sums.iter_mut().zip(of_column).for_each(|(sum, wave)| *sum += sample * wave);
        }
        for (means, wave) in means.iter_mut().zip(of_row) {
            means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum * wave);
        }
    }
    let count = samples.len() as f64;
    means.as_flattened_mut().iter_mut().for_each(|mean| *mean /= count);
    means
}

/// Returns the waves of the first `N` frequencies at each of `length` samples.
fn waves<const N: usize>(length: usize) -> Vec<[f64; N]> {
    let at = |at| {
        std::array::from_fn(|frequency| (PI / length as f64 * frequency as f64 * (at as f64 + 0.5)).cos())
    };
    (0..length).map(at).collect()
}

/// Returns `samples` less their mean, and the mean. Those of a flat picture are exactly 0.
#[inline(always)]
pub(super) fn without_mean(samples: impl Iterator<Item = i32> + Clone) -> (Vec<f64>, f64) {
    let (count, sum) = samples.clone().fold((0, 0), |(count, sum), sample| (count + 1, sum + sample));
    let mean = f64::from(sum) / f64::from(count.max(1));
    (samples.map(|sample| f64::from(sample) - mean).collect(), mean)
}
