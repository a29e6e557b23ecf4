//! The JPEG that goes out: baseline, 4:2:0, optimised Huffman tables, and nothing but the image in it.

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
/// There are not as many pixels.
pub(in crate::imaging) fn encode_rgb(
    pixels: &[u8],
    width: usize,
    height: usize,
    quality: u8,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
    encoder::encode_rgb(pixels, width, height, quality, workspace)
}
