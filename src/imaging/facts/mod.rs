//! Facts about the pixels of a photo, computed from the planes that are encoded: a placeholder, a perceptual hash, and measures.
//!
//! Each plane is read once. The hashes are computed from a copy of at most 100 pixels, as
//! [ThumbHash](https://evanw.github.io/thumbhash) asks for.

mod luma;
mod perceptual_hash;
mod shrink;
#[cfg(test)]
mod tests;
mod thumbhash;
mod waves;

use self::luma::Measures;
use self::shrink::Shrink;
use super::plan;
use super::plane::Plane;
use super::ycbcr::{parts_of_chroma, with_luma};
use crate::model::PhotoFacts;

/// The longer side of the small copy.
const SMALL_SIDE: u32 = 100;

/// Computes the facts of a picture in sRGB: luma, and chroma of half the width and height, rounded up. Chroma may extend to the
/// right. Returns `None` if luma has no sample or a plane is too small.
///
/// With AVX2 if the processor has it. It gives the same facts in two thirds of the time.
pub(super) fn of(planes: [&Plane; 3]) -> Option<PhotoFacts> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the line above checked that the processor has all features that the function is compiled for.
        return unsafe { of_avx2(planes) };
    }
    of_anywhere(planes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn of_avx2(planes: [&Plane; 3]) -> Option<PhotoFacts> {
    of_anywhere(planes)
}

#[inline(always)]
fn of_anywhere([luma, blue, red]: [&Plane; 3]) -> Option<PhotoFacts> {
    let (width, height) = (luma.width, luma.height);
    let (across, down) = plan::fit(u32::try_from(width).ok()?, u32::try_from(height).ok()?, SMALL_SIDE);
    let small = (usize::try_from(across).ok()?, usize::try_from(down).ok()?);
    let halved = (width.div_ceil(2), height.div_ceil(2));
    let mut measures = Measures::default();
    let (shrunk, sum) = Shrink::new(luma, (width, height), small)?.run(Some(&mut measures));
    let (blue, _) = Shrink::new(blue, halved, small)?.run(None);
    let (red, _) = Shrink::new(red, halved, small)?.run(None);
    let parts = blue.iter().zip(&red).map(|(blue, red)| parts_of_chroma(*blue, *red));
    let pixels = shrunk.iter().zip(parts).map(|(luma, parts)| parts.map(|part| with_luma(*luma, part)));
    let thumbhash = thumbhash::of(pixels, small)?;
    Some(measures.facts(sum, thumbhash, perceptual_hash::of(&shrunk, small)))
}
