//! Chooses between SIMD and portable code by the processor.

use super::bands::{BandSink, RegularError};
use super::idct::portable;
use super::progressive::{self, Masks, Progressive, deposit, grow};
use super::sequential::Scan;

/// Returns whether this decoder has SIMD here, and so beats libjpeg-turbo. Portable code is several times slower.
pub(super) fn is_fast() -> bool {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let is_fast = crate::imaging::codec::jpeg::dct::has_simd();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let is_fast = false;
    is_fast
}

/// Decodes all of `scan` to blocks of `size` samples a side: 8, 4, 2 or 1.
pub(super) fn run(scan: Scan<'_>, size: usize, bands: &mut impl BandSink) -> Result<(), RegularError> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if is_fast() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the processor has all features that the function is compiled for; `is_fast` asked for them just now.
        return unsafe { run_simd(scan, size, bands) };
    }
    run_anywhere(scan, size, bands)
}

/// Decodes all of `scan` without SIMD.
pub(super) fn run_anywhere(
    scan: Scan<'_>,
    size: usize,
    bands: &mut impl BandSink,
) -> Result<(), RegularError> {
    match size {
        8 => scan.run::<8>(bands, portable::full),
        4 => scan.run::<4>(bands, portable::half),
        2 => scan.run::<2>(bands, portable::quarter),
        _ => scan.run::<1>(bands, portable::full),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,bmi1,bmi2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn run_simd(scan: Scan<'_>, size: usize, bands: &mut impl BandSink) -> Result<(), RegularError> {
    use super::idct::vector;
    match size {
        8 => scan
            .run::<8>(bands, |block, factors, samples, stride| vector::full(block, factors, samples, stride)),
        4 => scan
            .run::<4>(bands, |block, factors, samples, stride| vector::half(block, factors, samples, stride)),
        2 => scan.run::<2>(bands, |block, factors, samples, stride| {
            vector::quarter(block, factors, samples, stride)
        }),
        _ => scan.run::<1>(bands, portable::full),
    }
}

/// Decodes all of a progressive file to blocks of `size` samples a side: 8, 4, 2 or 1.
pub(super) fn run_progressive(
    file: Progressive<'_>,
    size: usize,
    bands: &mut impl BandSink,
) -> Result<(), RegularError> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if is_fast() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the processor has all features that the function is compiled for; `is_fast` asked for them just now.
        return unsafe { run_progressive_simd(file, size, bands) };
    }
    run_progressive_anywhere(file, size, bands)
}

/// Decodes all of a progressive file without SIMD.
pub(super) fn run_progressive_anywhere(
    file: Progressive<'_>,
    size: usize,
    bands: &mut impl BandSink,
) -> Result<(), RegularError> {
    let masks = Masks { deposit, grow };
    match size {
        8 => file.run::<8>(bands, &masks, |b, f, _, s, stride| portable::full(b, f, s, stride)),
        4 => file.run::<4>(bands, &masks, |b, f, _, s, stride| portable::half(b, f, s, stride)),
        2 => file.run::<2>(bands, &masks, |b, f, _, s, stride| portable::quarter(b, f, s, stride)),
        _ => file.run::<1>(bands, &masks, |_, _, _, _, _| true),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn run_progressive_simd(
    file: Progressive<'_>,
    size: usize,
    bands: &mut impl BandSink,
) -> Result<(), RegularError> {
    use super::idct::{Coefficients, vector};
    #[cfg(target_arch = "x86_64")]
    let deposit = |bits, places| std::arch::x86_64::_pdep_u64(bits, places);
    let masks = Masks {
        deposit,
        grow: |block: &mut Coefficients, grown, unit| progressive::vector::grow(block, grown, unit),
    };
    match size {
        8 => file.run::<8>(bands, &masks, |b, f, most, s, stride| {
            vector::is_within(b, most) && vector::full(b, f, s, stride)
        }),
        4 => file.run::<4>(bands, &masks, |b, f, most, s, stride| {
            vector::is_within(b, most) && vector::half(b, f, s, stride)
        }),
        2 => file.run::<2>(bands, &masks, |b, f, most, s, stride| {
            vector::is_within(b, most) && vector::quarter(b, f, s, stride)
        }),
        _ => file.run::<1>(bands, &masks, |_, _, _, _, _| true),
    }
}
