//! From components of the final size to the finished file.

use super::ImageError;
use super::canvas::Model;
use super::codec::jpeg;
use super::colour::Conversion;
use super::plane::Plane;
use super::workspace::Workspace;

/// Luma or chroma of no colour.
const NEUTRAL: u8 = 128;

/// Upper estimate of the bytes that [`encode`] holds beside the planes that it is given.
pub(super) fn memory(width: u32, height: u32, has_conversion: bool) -> u64 {
    // The upright copy, the file's buffer and the coefficients whose Huffman tables are optimised.
    let encoder = 2 + 3 + 3;
    let pixels = if has_conversion { 6 } else { 3 };
    (encoder + pixels) * u64::from(width) * u64::from(height) + (1 << 20)
}

/// Converts to sRGB and encodes; `planes` are upright, and chroma is halved only where there is no conversion.
///
/// # Errors
/// The encoder fails.
pub(super) fn encode(
    planes: Vec<Plane>,
    model: Model,
    conversion: &Conversion,
    quality: u8,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
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
            jpeg::encode_ycbcr([luma, blue, red], quality, workspace)
        }
        (Model::YCbCr, Conversion::None, [Some(luma), Some(blue), Some(red), None]) => {
            jpeg::encode_ycbcr([luma, blue, red], quality, workspace)
        }
        (_, _, [Some(a), Some(b), Some(c), fourth]) => {
            let (width, height) = (a.width, a.height);
            let planes = [Some(&a), Some(&b), Some(&c), fourth.as_ref()];
            let mut pixels = match model {
                Model::YCbCr => interleave(planes, workspace, rgb_of_ycbcr),
                Model::Cmyk { is_inverted } => interleave(planes, workspace, inks(is_inverted)),
                Model::Ycck { is_inverted } => {
                    let inks = inks(is_inverted);
                    interleave(planes, workspace, |samples| inks(cmyk_of_ycck(samples)))
                }
                Model::Rgb | Model::Grey => interleave(planes, workspace, |[r, g, b, _]| [r, g, b]),
            };
            [Some(a), Some(b), Some(c), fourth]
                .into_iter()
                .flatten()
                .for_each(|plane| workspace.give_plane(plane));
            conversion.apply(&mut pixels, workspace);
            let file = jpeg::encode_rgb(&pixels, width, height, quality);
            workspace.give(pixels);
            file
        }
        _ => Err(ImageError::Corrupt),
    }
}

fn take(planes: Vec<Plane>) -> [Option<Plane>; 4] {
    let mut planes = planes.into_iter();
    [planes.next(), planes.next(), planes.next(), planes.next()]
}

/// Pixels of `N` bytes, made of the samples of up to four planes of one size.
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

/// JFIF 1.02: full-range BT.601, in 16 fractional bits.
fn rgb_of_ycbcr([luma, blue, red, _]: [u8; 4]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (luma, blue, red) = (i32::from(luma) << 16, i32::from(blue) - 128, i32::from(red) - 128);
    let channels = [luma + 91_881 * red, luma - 22_554 * blue - 46_802 * red, luma + 116_130 * blue];
    channels.map(|channel| ((channel + HALF) >> 16).clamp(0, 255) as u8)
}

/// The first three are the inks' complements, as luma and chroma.
fn cmyk_of_ycck(samples: [u8; 4]) -> [u8; 4] {
    let [red, green, blue] = rgb_of_ycbcr(samples);
    [!red, !green, !blue, samples[3]]
}

/// Makes 255 full ink.
fn inks(is_inverted: bool) -> impl Fn([u8; 4]) -> [u8; 4] {
    let mask = if is_inverted { u8::MAX } else { 0 };
    move |inks| inks.map(|ink| ink ^ mask)
}
