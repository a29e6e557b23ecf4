//! The two passes of the resizer, and the step before them that takes pixels apart, with the vectors of the processor. Portable and
//! vector code give equal results.

mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", path = "avx2.rs")]
#[cfg_attr(target_arch = "aarch64", path = "neon.rs")]
mod vector;

pub(super) use self::portable::ROW_BITS;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::taps::LANES;
use super::taps::Taps;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernels {
    Portable,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Vector,
}

impl Kernels {
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Vector;
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Vector;
        }
        Self::Portable
    }

    /// Copies sample `component` of each pixel of `N` samples, until `out` is full or the pixels end.
    #[allow(unsafe_code)]
    pub(super) fn take_component<const N: usize>(self, pixels: &[u8], component: usize, out: &mut [u8]) {
        match self {
            Self::Portable => portable::take_component::<N>(pixels, component, out),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            // SAFETY: `detect` returns this variant only if the processor has AVX2 or NEON.
            Self::Vector => unsafe { vector::take_component::<N>(pixels, component, out) },
        }
    }

    /// Computes the weighted sum of rows: `out[x]` is the sum of `window[n * stride + x] * weights[n]` in 1/64. The length of
    /// `out` is a multiple of 64, at most `stride`. The number of weights is even, with all their rows in `window`.
    #[allow(unsafe_code)]
    pub(super) fn vertical(self, window: &[u8], stride: usize, weights: &[i16], out: &mut [i16]) {
        match self {
            Self::Portable => portable::vertical(window, stride, weights, out),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            // SAFETY: `detect` returns this variant only if the processor has AVX2 or NEON.
            Self::Vector => unsafe { vector::vertical(window, stride, weights, out) },
        }
    }

    /// Computes the weighted sum of rows: `out[x]` is the sum of `window[n * stride + x] * weights[n]`, rounded and clamped. Weights
    /// have six fractional bits and are at most one; all their rows are in `window`.
    #[allow(unsafe_code)]
    pub(super) fn weigh_rows(self, window: &[u8], stride: usize, weights: &[i8], out: &mut [u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` returns this variant only if the processor has AVX2.
            Self::Vector => unsafe { vector::weigh_rows(window, stride, weights, out) },
            // The compiler makes vectors of this for NEON, which is in the baseline of aarch64.
            _ => portable::weigh_rows(window, stride, weights, 0, out),
        }
    }

    /// Turns rows of `width` samples into columns. Both slices have the same length, a multiple of `width`.
    #[allow(unsafe_code)]
    pub(super) fn turn(self, from: &[u8], width: usize, to: &mut [u8]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` returns this variant only if the processor has AVX2.
            Self::Vector => unsafe { vector::turn(from, width, to) },
            _ => portable::turn(from, width, to, portable::turned),
        }
    }

    /// Computes weighted sums of neighbours in a row: `out[n]` is the sum of `row[first[n] + k] * weights[n][k]`, rounded and
    /// clamped. `row` has a whole group of samples from each first sample on.
    #[allow(unsafe_code)]
    pub(super) fn horizontal(self, row: &[i16], taps: &Taps, out: &mut [u8]) {
        match self {
            Self::Portable => portable::horizontal(row, taps, 0, out),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            // SAFETY: `detect` returns this variant only if the processor has AVX2 or NEON.
            Self::Vector => unsafe { horizontal_vector(row, taps, out) },
        }
    }
}

/// Calls the function for the number of weights. The compiler knows that number, because a loop over it takes twice as long.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn horizontal_vector(row: &[i16], taps: &Taps, out: &mut [u8]) {
    match taps.count / LANES {
        1 => vector::horizontal::<1>(row, taps, out),
        2 => vector::horizontal::<2>(row, taps, out),
        3 => vector::horizontal::<3>(row, taps, out),
        _ => portable::horizontal(row, taps, 0, out),
    }
}
