//! Compares the decoder with that of the `image-webp` crate, and its vector code with portable code, for tests and fuzzing.
#![allow(clippy::panic, reason = "a fuzz target reports a finding by a panic")]

use image_webp::vp8::Vp8Decoder;

use super::{Frame, Planes};
use crate::imaging::error::ImageError;

/// The planes of a picture, in whole macroblocks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Collected {
    planes: [Vec<u8>; 3],
    widths: [usize; 3],
}

impl Planes for Collected {
    fn take(&mut self, plane: usize, samples: &[u8], stride: usize, rows: usize) -> Result<(), ImageError> {
        for row in samples.chunks(stride).take(rows) {
            self.planes[plane].extend_from_slice(&row[..self.widths[plane]]);
        }
        Ok(())
    }
}

/// Decodes a stream, with vector code or without.
pub(super) fn decode(
    stream: &[u8],
    width: u32,
    height: u32,
    portably: bool,
) -> Result<Collected, ImageError> {
    let across = width.div_ceil(16) as usize;
    let mut collected =
        Collected { planes: Default::default(), widths: [16 * across, 8 * across, 8 * across] };
    let frame = Frame::open(stream, width, height)?;
    if portably {
        frame.decode_portably(&mut collected)?;
    } else {
        frame.decode(&mut collected, || Ok(()))?;
    }
    Ok(collected)
}

/// Asserts that all decoders that accept a stream agree. Returns whether all accept it.
///
/// Ours may refuse a partition that no encoder writes, and theirs may notice the end of a stream a few bits earlier.
pub(in super::super) fn agree(stream: &[u8], width: u32, height: u32) -> bool {
    let (ours, portable) = (decode(stream, width, height, false), decode(stream, width, height, true));
    assert!(ours == portable, "vector code and portable code differ");
    let theirs = Vp8Decoder::decode_frame(stream);
    match (ours, theirs) {
        (Ok(Collected { planes, .. }), Ok(theirs)) => {
            for (n, (ours, theirs)) in planes.iter().zip([theirs.ybuf, theirs.ubuf, theirs.vbuf]).enumerate()
            {
                let at = ours.iter().zip(&theirs).position(|(a, b)| a != b);
                assert!(at.is_none() && ours.len() == theirs.len(), "plane {n} at {at:?}");
            }
            true
        }
        (Err(_), Err(_)) => false,
        // A partition that no encoder writes.
        (Err(ImageError::Corrupt), Ok(_)) => false,
        // Bits that a stream lacks are noticed a few bits later.
        (Ok(_), Err(_)) => false,
        (Err(error), Ok(_)) => panic!("only ours fails: {error:?}"),
    }
}
