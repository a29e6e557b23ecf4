//! The source samples of each target sample, and their weights.
#![allow(clippy::cast_possible_truncation, reason = "of floats, in a range that was checked; `as` saturates")]

use std::f64::consts::PI;

/// Fractional bits of a weight. With 14 a weight of exactly 1 still fits an `i16`.
pub(super) const WEIGHT_BITS: u32 = 14;
/// Horizontal weights are in groups of this many: one vector register of 16-bit numbers.
pub(super) const LANES: usize = 16;
/// Most target samples after which weights are searched for a repetition. Cameras' sizes mostly repeat after 25.
const MOST_IN_PERIOD: usize = 64;
/// Lobes of the kernel: Lanczos3, which Pillow, libvips and sharp use.
const LOBES: f64 = 3.0;

/// Defines how one axis of a plane is resampled: target sample `n` covers `step` source samples from `start + n * step` on.
/// Fractions of a sample matter: the chroma of an odd-sized picture ends in half a sample, and must not be stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::imaging) struct Axis {
    pub(in crate::imaging) source: usize,
    pub(in crate::imaging) target: usize,
    /// Start of the first target sample, in source samples. It may lie outside of the source.
    pub(in crate::imaging) start: f64,
    /// Source samples that one target sample covers.
    pub(in crate::imaging) step: f64,
}

impl Axis {
    /// Returns whether each target sample equals its source sample.
    pub(super) fn is_identity(&self) -> bool {
        self.source == self.target && self.start == 0.0 && (self.step - 1.0).abs() < 1e-9
    }

    /// Returns the largest number of source samples of a target sample.
    pub(super) fn reach(&self) -> usize {
        if self.is_identity() { 1 } else { self.span().clamp(1, self.source) }
    }

    /// Returns the largest number of samples of a target sample, those outside of the source included.
    pub(super) fn span(&self) -> usize {
        // The number of integers that an interval of twice the support can contain.
        (2.0 * self.support()).ceil() as usize
    }

    /// Returns after how many target samples, and how many source samples, the weights repeat themselves.
    fn period(&self) -> Option<(usize, usize)> {
        let sources = |targets: usize| self.step * targets as f64;
        let is_whole = |targets: &usize| (sources(*targets) - sources(*targets).round()).abs() < 1e-9;
        let targets = (1..=MOST_IN_PERIOD).find(is_whole)?;
        Some((targets, sources(targets).round() as usize))
    }

    /// Returns whether all samples that target sample `n` can reach are inside of the source.
    fn is_inside(&self, n: usize) -> bool {
        let centre = self.start + (n as f64 + 0.5) * self.step;
        centre - self.support() >= 1.0 && centre + self.support() + 1.0 <= self.source as f64
    }

    fn support(&self) -> f64 {
        LOBES * self.step.max(1.0)
    }
}

#[derive(Debug)]
pub(super) struct Taps {
    pub(super) axis: Axis,
    /// The first source sample of each target sample.
    pub(super) first: Vec<usize>,
    /// `count` weights for each target sample; those beyond its reach are zero.
    pub(super) weights: Vec<i16>,
    pub(super) count: usize,
}

impl Taps {
    /// Computes the Lanczos weights of `axis`, in rows whose length is a multiple of `multiple`.
    pub(super) fn new(axis: &Axis, multiple: usize) -> Self {
        let count = axis.reach().next_multiple_of(multiple);
        let mut taps = Self {
            axis: *axis,
            first: Vec::with_capacity(axis.target),
            weights: vec![0; axis.target * count],
            count,
        };
        let mut exact = Vec::with_capacity(count);
        let period = axis.period();
        for n in 0..axis.target {
            let (before, weights) = taps.weights.split_at_mut(n * count);
            let weights = &mut weights[..count];
            if let Some((targets, sources)) = period.filter(|(targets, _)| axis.is_inside(n) && n >= *targets)
                && axis.is_inside(n - targets)
            {
                weights.copy_from_slice(&before[(n - targets) * count..][..count]);
                taps.first.push(taps.first[n - targets] + sources);
                continue;
            }
            taps.first.push(weigh(axis, n, &mut exact));
            quantise(&exact, weights);
        }
        taps
    }
}

/// Fills `weights` with the exact weights of target sample `n`. Returns the first source sample.
fn weigh(axis: &Axis, n: usize, weights: &mut Vec<f64>) -> usize {
    weights.clear();
    if axis.is_identity() {
        weights.push(1.0);
        return n;
    }
    // Target samples outside of the source repeat its border.
    let centre = (axis.start + (n as f64 + 0.5) * axis.step).clamp(0.0, axis.source as f64);
    let last = axis.source - 1;
    // Both are clamped into the source, so the casts are exact.
    let first = ((centre - axis.support() + 0.5).floor().max(0.0) as usize).min(last);
    let end = ((centre + axis.support() + 0.5).floor().max(0.0) as usize).clamp(first + 1, axis.source);
    let scale = axis.step.max(1.0);
    lanczos_from((first as f64 + 0.5 - centre) / scale, 1.0 / scale, end - first, weights);
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    first
}

/// Rounds weights to fixed point so that their sum stays exactly 1: a flat area keeps its value.
fn quantise(exact: &[f64], weights: &mut [i16]) {
    let one = f64::from(1 << WEIGHT_BITS);
    let mut left = 1 << WEIGHT_BITS;
    for (weight, exact) in weights.iter_mut().zip(exact) {
        // No weight of a normalised Lanczos kernel exceeds 1.3, so it fits. The cast rounds positive numbers down; unlike `round` it
        // is an instruction of every processor.
        *weight = ((exact * one + 32_768.5) as i32 - 32_768) as i16;
        left -= i32::from(*weight);
    }
    // The rounding error is added to the largest weight, where it matters least.
    let place = weights.iter().enumerate().max_by_key(|(_, weight)| **weight).map_or(0, |(at, _)| at);
    weights[place] = i16::try_from(i32::from(weights[place]) + left).unwrap_or(i16::MAX);
}

/// Appends the values of sinc(x) times sinc(x / 3) at `count` positions from `x` on, `distance` apart.
fn lanczos_from(x: f64, distance: f64, count: usize, values: &mut Vec<f64>) {
    // sin(x/3) is computed by rotating a vector, ten times as fast as calling sin. Over so few steps the error is negligible.
    // One sine gives both factors: sin 3a = 3 sin a - 4 sin^3 a.
    let (mut sin, mut cos) = (PI * x / LOBES).sin_cos();
    let (turn_sin, turn_cos) = (PI * distance / LOBES).sin_cos();
    values.extend((0..count).map(|n| {
        let x = x + n as f64 * distance;
        let value = if x.abs() < 1e-6 {
            1.0
        } else if x.abs() >= LOBES {
            0.0
        } else {
            LOBES * sin * sin * (3.0 - 4.0 * sin * sin) / (PI * PI * x * x)
        };
        (sin, cos) = (sin * turn_cos + cos * turn_sin, cos * turn_cos - sin * turn_sin);
        value
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kernel_is_lanczos() {
        let sinc = |x: f64| (PI * x).sin() / (PI * x);
        let mut values = Vec::new();
        lanczos_from(-3.995, 0.01, 800, &mut values);
        for (n, value) in values.iter().enumerate() {
            let x = -3.995 + 0.01 * n as f64;
            let expected = if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 };
            assert!((value - expected).abs() < 1e-9, "{x}: {value} {expected}");
        }
        values.clear();
        lanczos_from(0.0, 1.0, 1, &mut values);
        assert_eq!(values, [1.0]);
    }

    #[test]
    fn repeated_weights_are_those_that_are_computed() {
        for (source, target) in
            [(4032, 1600), (2016, 800), (3024, 1200), (4000, 1600), (4608, 1600), (1000, 999)]
        {
            let axis = Axis { source, target, start: 0.0, step: source as f64 / target as f64 };
            let taps = Taps::new(&axis, LANES);
            for (n, (first, weights)) in taps.first.iter().zip(taps.weights.chunks(taps.count)).enumerate() {
                let (mut exact, mut expected) = (Vec::new(), vec![0; taps.count]);
                let expected_first = weigh(&axis, n, &mut exact);
                quantise(&exact, &mut expected);
                // At the end of the kernel a weight of zero may belong to it or not.
                let all = |first: usize, weights: &[i16]| {
                    let mut all = vec![0; source + taps.count];
                    all[first..first + weights.len()].copy_from_slice(weights);
                    all
                };
                let pairs = all(*first, weights).into_iter().zip(all(expected_first, &expected));
                assert!(pairs.into_iter().all(|(a, b)| a.abs_diff(b) <= 1), "{source} {target} {n}");
            }
        }
    }

    proptest! {
        #[test]
        fn weights_stay_inside_and_sum_to_one(source in 1usize..5000, target in 1usize..200, start in -1.0f64..1.0, stretch in 0.9f64..1.1) {
            let axis = Axis { source, target, start, step: source as f64 / target as f64 * stretch };
            let taps = Taps::new(&axis, 2);
            for (first, weights) in taps.first.iter().zip(taps.weights.chunks(taps.count)) {
                let used = weights.iter().rposition(|weight| *weight != 0).unwrap() + 1;
                prop_assert!(first + used <= source);
                prop_assert_eq!(weights.iter().map(|weight| i32::from(*weight)).sum::<i32>(), 1 << WEIGHT_BITS);
            }
        }
    }
}
