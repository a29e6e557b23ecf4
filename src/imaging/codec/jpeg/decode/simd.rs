//! Chooses between SIMD and portable code by the processor.

use super::bands::{BandSink, RegularError};
use super::idct::portable;
use super::progressive::{self, Masks, Progressive, deposit, grow};
use super::sequential::Scan;

/// Returns whether this decoder has SIMD here, and so beats libjpeg-turbo. Portable code is several times slower.
pub(super) fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    let is_fast = crate::imaging::codec::jpeg::dct::has_avx2();
    #[cfg(not(target_arch = "x86_64"))]
    let is_fast = false;
    is_fast
}

/// Decodes all of `scan` to blocks of `size` samples a side: 8, 4, 2 or 1.
pub(super) fn run(scan: Scan<'_>, size: usize, bands: &mut impl BandSink) -> Result<(), RegularError> {
    #[cfg(target_arch = "x86_64")]
    if is_fast() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the processor has all features that the function is compiled for; `is_fast` asked for them just now.
        return unsafe { run_avx2(scan, size, bands) };
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn run_avx2(scan: Scan<'_>, size: usize, bands: &mut impl BandSink) -> Result<(), RegularError> {
    use super::idct::avx2;
    match size {
        8 => scan
            .run::<8>(bands, |block, factors, samples, stride| avx2::full(block, factors, samples, stride)),
        4 => scan
            .run::<4>(bands, |block, factors, samples, stride| avx2::half(block, factors, samples, stride)),
        2 => scan.run::<2>(bands, |block, factors, samples, stride| {
            avx2::quarter(block, factors, samples, stride)
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
    #[cfg(target_arch = "x86_64")]
    if is_fast() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the processor has all features that the function is compiled for; `is_fast` asked for them just now.
        return unsafe { run_progressive_avx2(file, size, bands) };
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn run_progressive_avx2(
    file: Progressive<'_>,
    size: usize,
    bands: &mut impl BandSink,
) -> Result<(), RegularError> {
    use std::arch::x86_64::_pdep_u64;

    use super::idct::{Coefficients, avx2};
    let masks = Masks {
        deposit: |bits, places| _pdep_u64(bits, places),
        grow: |block: &mut Coefficients, grown, unit| progressive::avx2::grow(block, grown, unit),
    };
    match size {
        8 => file.run::<8>(bands, &masks, |b, f, most, s, stride| {
            avx2::is_within(b, most) && avx2::full(b, f, s, stride)
        }),
        4 => file.run::<4>(bands, &masks, |b, f, most, s, stride| {
            avx2::is_within(b, most) && avx2::half(b, f, s, stride)
        }),
        2 => file.run::<2>(bands, &masks, |b, f, most, s, stride| {
            avx2::is_within(b, most) && avx2::quarter(b, f, s, stride)
        }),
        _ => file.run::<1>(bands, &masks, |_, _, _, _, _| true),
    }
}
