//! The lossy coding of WebP: a key frame of VP8 (RFC 6386), which the `image-webp` crate decodes to planes. That decoder reads
//! the whole stream first, through the budget, and cannot be stopped after that, so the number of pixels bounds its time.

use image_webp::DecodingError;
use image_webp::vp8::{Frame, Vp8Decoder};

use crate::imaging::codec::raster::pixel::is_end;
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::{Input, WorkBudget};

/// Longest partition that the header can declare. The decoder allocates it before it reads.
const MAX_PARTITION: u64 = 1 << 24;
/// Bytes of planes for each macroblock.
const SAMPLES: u64 = 16 * 16 * 3 / 2;
/// Bytes that the decoder records for each macroblock, in a list that grows by doubling.
const NOTES: u64 = 3 * 32;

/// Returns an upper estimate of the bytes that decoding holds, without the rows that it returns.
pub(super) fn memory(width: u32, height: u32, stream: usize) -> u64 {
    let macroblocks = u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
    // The stream is read into a buffer that grows by doubling, and copied.
    (SAMPLES + NOTES) * macroblocks + 3 * stream as u64 + MAX_PARTITION + 16 * u64::from(width)
}

/// Decodes the stream to planes; chroma has half the size. Fails if it is corrupt, incomplete or of another size.
pub(super) fn decode(stream: &Input<'_>, width: u32, height: u32) -> Result<Frame, ImageError> {
    stream.budget().decode(u64::from(width) * u64::from(height))?;
    let frame = Vp8Decoder::decode_frame(stream.reader()).map_err(|error| match error {
        DecodingError::IoError(error) if is_end(&error) => ImageError::Truncated,
        _ => ImageError::Corrupt,
    })?;
    if (u32::from(frame.width), u32::from(frame.height)) != (width, height) {
        return Err(ImageError::Corrupt);
    }
    Ok(frame)
}

/// Passes the rows of RGB to `give`, with chroma interpolated as in libwebp. Fails if `give` fails or the budget is used up.
pub(super) fn rows(
    frame: &Frame,
    budget: &WorkBudget<'_>,
    mut give: impl FnMut(&[u8]) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let (width, height) = (usize::from(frame.width), usize::from(frame.height));
    // Planes consist of whole macroblocks.
    let luma_stride = width.next_multiple_of(16);
    let chroma_stride = luma_stride / 2;
    let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
    let (mut blue, mut red) = (vec![0; chroma_width], vec![0; chroma_width]);
    let mut rgb = vec![0; 3 * width];
    for (y, luma) in frame.ybuf.chunks_exact(luma_stride).take(height).enumerate() {
        budget.check()?;
        let near = y / 2;
        let far = if y % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(chroma_height - 1) };
        for (mixed, plane) in [(&mut blue, &frame.ubuf), (&mut red, &frame.vbuf)] {
            let row = |row: usize| plane[row * chroma_stride..].iter().map(|sample| u16::from(*sample));
            mixed.iter_mut().zip(row(near).zip(row(far))).for_each(|(to, (near, far))| *to = 3 * near + far);
        }
        for (x, (pixel, luma)) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(luma).enumerate() {
            let near = x / 2;
            let far = if x % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(chroma_width - 1) };
            let chroma = |plane: &[u16]| i32::from((3 * plane[near] + plane[far] + 8) / 16);
            *pixel = rgb_of(i32::from(*luma), chroma(&blue), chroma(&red));
        }
        give(&rgb)?;
    }
    Ok(())
}

/// Converts from limited-range BT.601, in the fixed point of libwebp.
#[inline]
fn rgb_of(luma: i32, blue: i32, red: i32) -> [u8; 3] {
    let scaled = |sample: i32, factor: i32| (sample * factor) >> 8;
    let luma = scaled(luma, 19_077);
    [
        luma + scaled(red, 26_149) - 14_234,
        luma - scaled(blue, 6_419) - scaled(red, 13_320) + 8_708,
        luma + scaled(blue, 33_050) - 17_685,
    ]
    .map(|colour| (colour >> 6).clamp(0, 255) as u8)
}
