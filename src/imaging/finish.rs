//! Converts the resized, upright planes to sRGB and encodes them in the format in which photos are stored.

use super::codec::jpeg;
use super::colour::Conversion;
use super::error::ImageError;
use super::facts;
use super::layout::Model;
use super::plane::Plane;
use super::recipe::Coding;
use super::strips;
use super::workspace::Workspace;
use super::ycbcr::{parts_of_chroma, with_luma};
use crate::model::PhotoFacts;

const NEUTRAL: u8 = 128;

/// Returns an upper bound of the bytes that [`convert`] and [`encode`] hold, without the given planes.
pub(super) fn memory(model: Model, width: u32, height: u32, has_profile: bool) -> u64 {
    // Two bytes a pixel for the upright copy or the planes made of pixels, three for the file, six for the Huffman symbols: at
    // most four bytes for each of 1.5 samples, and half a byte in photos.
    let encoder = 2 + 3 + 6;
    let pixels = match model {
        Model::Grey | Model::YCbCr => 0,
        // Four bytes before the conversion, three after it.
        _ if has_profile => 7,
        _ => 4,
    };
    (encoder + pixels) * u64::from(width) * u64::from(height) + (1 << 20)
}

/// Converts the upright `planes` to sRGB, as luma and both chromas at half size: what [`encode`] takes. Fails if a side is zero or
/// above 65,500.
pub(super) fn convert(
    planes: Vec<Plane>,
    model: Model,
    conversion: &Conversion,
    workspace: &mut Workspace,
) -> Result<[Plane; 3], ImageError> {
    match (model, conversion, take(planes)) {
        (Model::Grey, _, [Some(mut luma), ..]) => {
            if let Conversion::Grey(table) = conversion {
                luma.samples.iter_mut().for_each(|sample| *sample = table[usize::from(*sample)]);
            }
            let (width, height) = (luma.width.div_ceil(2), luma.height.div_ceil(2));
            let mut neutral = || {
                let mut samples = workspace.take(width * height);
                samples.fill(NEUTRAL);
                Plane { width, height, samples }
            };
            let (blue, red) = (neutral(), neutral());
            Ok([luma, blue, red])
        }
        (Model::YCbCr, conversion, [Some(luma), Some(blue), Some(red), None]) => {
            let mut planes = [luma, blue, red];
            if let Conversion::YCbCr(transform, slopes) = conversion {
                // A transform only fails for wrong buffer sizes, and these are right.
                let convert = |from: &[u8], to: &mut [u8]| drop(transform.transform(from, to));
                strips::convert(&mut planes, convert, slopes.as_ref(), workspace);
            }
            Ok(planes)
        }
        (_, _, [Some(a), Some(b), Some(c), fourth]) => {
            let (width, height) = (a.width, a.height);
            let planes = [Some(&a), Some(&b), Some(&c), fourth.as_ref()];
            let mut pixels = match model {
                Model::Cmyk { is_inverted } => interleave(planes, workspace, inks(is_inverted)),
                Model::Ycck { is_inverted } => {
                    let inks = inks(is_inverted);
                    interleave(planes, workspace, |samples| inks(cmyk_of_ycck(samples)))
                }
                Model::Rgb | Model::YCbCr | Model::Grey => {
                    interleave(planes, workspace, |[r, g, b, _]| [r, g, b])
                }
            };
            [Some(a), Some(b), Some(c), fourth]
                .into_iter()
                .flatten()
                .for_each(|plane| workspace.give_plane(plane));
            conversion.apply(&mut pixels, workspace);
            let planes = jpeg::planes_of_rgb(&pixels, width, height, workspace);
            workspace.give(pixels);
            planes
        }
        _ => Err(ImageError::Corrupt),
    }
}

/// Converts the upright `planes` to sRGB, and measures them.
pub(super) fn measure(
    planes: Vec<Plane>,
    model: Model,
    conversion: &Conversion,
    workspace: &mut Workspace,
) -> Result<PhotoFacts, ImageError> {
    let planes = convert(planes, model, conversion, workspace)?;
    let facts = facts::of(planes.each_ref()).ok_or(ImageError::Corrupt);
    planes.into_iter().for_each(|plane| workspace.give_plane(plane));
    facts
}

/// Encodes the planes that [`convert`] returned. Fails if the encoder fails.
pub(super) fn encode(
    planes: &[Plane; 3],
    coding: Coding,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
    jpeg::encode_ycbcr(planes, coding, workspace)
}

/// Returns the width and height that a stored photo declares. `head` must contain everything up to its first scan. Returns
/// `None` if the bytes are not a JPEG or declare more than one size.
pub(crate) fn stored_sides(head: &[u8]) -> Option<(u32, u32)> {
    jpeg::markers::frame(head).map(|frame| (frame.width.into(), frame.height.into()))
}

fn take(planes: Vec<Plane>) -> [Option<Plane>; 4] {
    let mut planes = planes.into_iter();
    [planes.next(), planes.next(), planes.next(), planes.next()]
}

/// Makes pixels of `N` bytes from the samples of up to four planes of equal size.
fn interleave<const N: usize>(
    planes: [Option<&Plane>; 4],
    workspace: &mut Workspace,
    pixel: impl Fn([u8; 4]) -> [u8; N],
) -> Vec<u8> {
    let count = planes[0].map_or(0, |plane| plane.samples.len());
    let mut pixels = workspace.take(count * N);
    let none: &[u8] = &[];
    let [a, b, c, d] = planes.map(|plane| plane.map_or(none, |plane| plane.samples.as_slice()));
    let triples = a.iter().zip(b).zip(c);
    let out = pixels.as_chunks_mut::<N>().0.iter_mut();
    if d.is_empty() {
        out.zip(triples).for_each(|(out, ((a, b), c))| *out = pixel([*a, *b, *c, 0]));
    } else {
        out.zip(triples).zip(d).for_each(|((out, ((a, b), c)), d)| *out = pixel([*a, *b, *c, *d]));
    }
    pixels
}

/// Converts YCCK to CMYK: its first three components are luma and chroma of the inverted inks.
fn cmyk_of_ycck(samples: [u8; 4]) -> [u8; 4] {
    let [luma, blue, red, black] = samples;
    // At most 255.
    let [red, green, blue] = parts_of_chroma(blue, red).map(|part| !with_luma(luma, part).to_le_bytes()[0]);
    [red, green, blue, black]
}

/// Returns a function that inverts inks if needed, so that 255 means full ink.
fn inks(is_inverted: bool) -> impl Fn([u8; 4]) -> [u8; 4] {
    let mask = if is_inverted { u8::MAX } else { 0 };
    move |inks| inks.map(|ink| ink ^ mask)
}
