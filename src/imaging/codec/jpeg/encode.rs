//! The JPEG that goes out: baseline, 4:2:0, optimised Huffman tables, and nothing but the image in it.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use super::encoder;
use crate::imaging::ImageError;
use crate::imaging::plane::Plane;
use crate::imaging::workspace::Workspace;

/// From luma and chroma of half its size each way, rounded up.
///
/// # Errors
/// The planes have other sizes.
pub(in crate::imaging) fn encode_ycbcr(
    planes: [Plane; 3],
    quality: u8,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
    let (width, height) = (planes[0].width, planes[0].height);
    let jpeg = encoder::encode(planes.each_ref(), width, height, quality, workspace);
    planes.into_iter().for_each(|plane| workspace.give_plane(plane));
    jpeg
}

/// From pixels of red, green and blue.
///
/// # Errors
/// The library fails.
pub(in crate::imaging) fn encode_rgb(
    pixels: &[u8],
    width: usize,
    height: usize,
    quality: u8,
) -> Result<Vec<u8>, ImageError> {
    let encode = || {
        let mut encoder = Compressor::new()?;
        encoder.set_quality(i32::from(quality))?;
        encoder.set_subsamp(Subsamp::Sub2x2)?;
        encoder.set_optimize(true)?;
        encoder.compress_to_vec(Image { pixels, width, pitch: width * 3, height, format: PixelFormat::RGB })
    };
    encode().map_err(|_: turbojpeg::Error| ImageError::Corrupt)
}
