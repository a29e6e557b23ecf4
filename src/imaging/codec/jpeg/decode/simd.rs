//! Chooses between SIMD and portable code by the processor.

use super::bands::{BandSink, RegularError};
use super::idct::portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::idct::{Coefficients, vector};
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

/// What is to be decoded, with all tables.
#[derive(Debug)]
pub(super) enum Work<'a> {
    Sequential(Scan<'a>),
    Progressive(Progressive<'a>),
}

/// Decodes all of `work` to blocks of `size` samples a side: 8, 4, 2 or 1.
pub(super) fn run(work: Work<'_>, size: usize, bands: &mut impl BandSink) -> Result<(), RegularError> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if is_fast() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the processor has all features that the functions are compiled for; `is_fast` asked for them just now.
        return unsafe {
            match work {
                Work::Sequential(scan) => run_sequential(scan, size, bands),
                Work::Progressive(file) => run_progressive(file, size, bands),
            }
        };
    }
    run_anywhere(work, size, bands)
}

/// Decodes all of `work` without SIMD.
pub(super) fn run_anywhere(
    work: Work<'_>,
    size: usize,
    bands: &mut impl BandSink,
) -> Result<(), RegularError> {
    let masks = Masks { deposit, grow };
    match (work, size) {
        (Work::Sequential(scan), 8) => scan.run::<8>(bands, portable::full),
        (Work::Sequential(scan), 4) => scan.run::<4>(bands, portable::half),
        (Work::Sequential(scan), 2) => scan.run::<2>(bands, portable::quarter),
        (Work::Sequential(scan), _) => scan.run::<1>(bands, portable::full),
        (Work::Progressive(file), 8) => {
            file.run::<8>(bands, &masks, |b, _, s, stride| portable::full(b, s, stride))
        }
        (Work::Progressive(file), 4) => {
            file.run::<4>(bands, &masks, |b, _, s, stride| portable::half(b, s, stride))
        }
        (Work::Progressive(file), 2) => {
            file.run::<2>(bands, &masks, |b, _, s, stride| portable::quarter(b, s, stride))
        }
        (Work::Progressive(file), _) => file.run::<1>(bands, &masks, |_, _, _, _| true),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,bmi1,bmi2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn run_sequential(scan: Scan<'_>, size: usize, bands: &mut impl BandSink) -> Result<(), RegularError> {
    match size {
        8 => scan.run::<8>(bands, |block, samples, stride| vector::full(block, samples, stride)),
        4 => scan.run::<4>(bands, |block, samples, stride| vector::half(block, samples, stride)),
        2 => scan.run::<2>(bands, |block, samples, stride| vector::quarter(block, samples, stride)),
        _ => scan.run::<1>(bands, portable::full),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn run_progressive(
    file: Progressive<'_>,
    size: usize,
    bands: &mut impl BandSink,
) -> Result<(), RegularError> {
    #[cfg(target_arch = "x86_64")]
    let deposit = |bits, places| std::arch::x86_64::_pdep_u64(bits, places);
    let masks = Masks {
        deposit,
        grow: |block: &mut Coefficients, grown, unit| progressive::vector::grow(block, grown, unit),
    };
    match size {
        8 => file.run::<8>(bands, &masks, |b, most, s, stride| {
            vector::is_within(b.coefficients, most) && vector::full(b, s, stride)
        }),
        4 => file.run::<4>(bands, &masks, |b, most, s, stride| {
            vector::is_within(b.coefficients, most) && vector::half(b, s, stride)
        }),
        2 => file.run::<2>(bands, &masks, |b, most, s, stride| {
            vector::is_within(b.coefficients, most) && vector::quarter(b, s, stride)
        }),
        _ => file.run::<1>(bands, &masks, |_, _, _, _| true),
    }
}
