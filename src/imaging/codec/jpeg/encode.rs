//! The JPEG that goes out: baseline, 4:2:0, optimised Huffman tables, and nothing but the image in it.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use super::planar;
use crate::imaging::ImageError;
use crate::imaging::plane::Plane;
use crate::imaging::workspace::Workspace;

/// From luma and chroma of half its size each way, rounded up.
///
/// # Errors
/// The library fails.
pub(in crate::imaging) fn encode_ycbcr(
    planes: [Plane; 3],
    quality: u8,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
    let (width, height) = (planes[0].width, planes[0].height);
    let [luma, blue, red] = planes;
    let luma = even(luma, workspace);
    let jpeg = planar::encode([&luma, &blue, &red], width, height, quality, workspace);
    for plane in [luma, blue, red] {
        workspace.give_plane(plane);
    }
    jpeg.map_err(|_| ImageError::Corrupt)
}

/// The plane with its last column and row repeated where its sides are odd.
fn even(plane: Plane, workspace: &mut Workspace) -> Plane {
    let (width, height) = (plane.width.next_multiple_of(2), plane.height.next_multiple_of(2));
    if (width, height) == (plane.width, plane.height) {
        return plane;
    }
    let mut samples = workspace.take(width * height);
    let rows = plane.rows().chain(plane.rows().next_back());
    for (to, from) in samples.chunks_exact_mut(width).zip(rows) {
        to[..plane.width].copy_from_slice(from);
        to[plane.width..].fill(from[plane.width - 1]);
    }
    workspace.give_plane(plane);
    Plane { width, height, samples }
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
