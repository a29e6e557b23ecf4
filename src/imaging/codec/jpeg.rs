//! JPEG by libjpeg-turbo.
//!
//! The library is asked to be strict: data that ends early or does not decode is an error here, though lenient decoders
//! paint grey and call it a success.

use std::borrow::Cow;

use turbojpeg::{Colorspace, Compressor, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp};

use super::{check_size, markers};
use crate::imaging::{ImageError, Recipe, Rgb, plan};

/// Most scans of a progressive JPEG. Cameras and optimisers write 3 to about 15; each costs a pass over the whole image,
/// so that 1,500 of them in a small file once took half a minute.
const MAX_SCANS: u64 = 100;
/// Scans that even the largest image may have.
const MIN_SCANS: u64 = 16;
/// Most pixels of all scans together: some seconds' work.
const MAX_SCANNED_PIXELS: u64 = 1_500_000_000;

/// A JPEG whose header was read.
pub(in crate::imaging) struct Jpeg<'a> {
    /// The file, or a tidied copy where the library stumbles over its header.
    file: Cow<'a, [u8]>,
    decoder: Decompressor,
    width: u32,
    height: u32,
    divisor: u32,
    is_cmyk: bool,
    profile: Option<Vec<u8>>,
    /// Bytes for the coefficients that must be held whole, because not all pixels are in one scan.
    coefficients: u64,
}

impl std::fmt::Debug for Jpeg<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jpeg({} x {} / {})", self.width, self.height, self.divisor)
    }
}

impl<'a> Jpeg<'a> {
    pub(super) fn open(bytes: &'a [u8], recipe: &Recipe) -> Result<Self, ImageError> {
        let mut decoder = Decompressor::new().map_err(|_| ImageError::Corrupt)?;
        let mut file = Cow::Borrowed(bytes);
        let header = match decoder.read_header(bytes) {
            Err(error) if is_harmless(&error) => {
                file = Cow::Owned(markers::tidied(bytes).ok_or(ImageError::Truncated)?);
                decoder.read_header(&file)
            }
            result => result,
        };
        let header = header.map_err(|error| classify(&error))?;
        let (width, height) = check_size(header.width as u64, header.height as u64, recipe.max_pixels)?;
        let is_cmyk = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
        let pixels = u64::from(width) * u64::from(height);
        let scans = (MAX_SCANNED_PIXELS / pixels).clamp(MIN_SCANS, MAX_SCANS);
        let scans = u32::try_from(scans).map_err(|_| ImageError::Corrupt)?;
        decoder.set_scan_limit(scans).map_err(|_| ImageError::Corrupt)?;
        let samples_per_2_pixels = match header.subsamp {
            Subsamp::Gray => 2,
            Subsamp::Sub2x2 | Subsamp::Sub4x1 | Subsamp::Sub1x4 => 3,
            Subsamp::Sub2x1 | Subsamp::Sub1x2 => 4,
            _ if is_cmyk => 8,
            _ => 6,
        };
        let coefficients = if markers::has_one_scan(bytes) { 0 } else { pixels * samples_per_2_pixels };
        let divisor = if header.is_lossless {
            1
        } else {
            plan::decode_divisor(width, height, recipe.max_dim, recipe.memory.saturating_sub(coefficients))
        };
        let factor = ScalingFactor::new(1, divisor as usize);
        decoder.set_scaling_factor(factor).map_err(|_| ImageError::Corrupt)?;
        let profile = markers::icc_profile(bytes);
        Ok(Self { file, decoder, width, height, divisor, is_cmyk, profile, coefficients })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(super) fn decoded_size(&self) -> (u32, u32) {
        (self.width.div_ceil(self.divisor), self.height.div_ceil(self.divisor))
    }

    pub(super) fn memory(&self) -> u64 {
        let (width, height) = self.decoded_size();
        let copy = if matches!(self.file, Cow::Owned(_)) { self.file.len() as u64 } else { 0 };
        copy + self.coefficients + u64::from(width) * u64::from(height) * if self.is_cmyk { 4 } else { 3 }
    }

    pub(super) fn decode(mut self) -> Result<(Rgb, Option<Vec<u8>>), ImageError> {
        let (width, height) = self.decoded_size();
        let (format, pixel) = if self.is_cmyk { (PixelFormat::CMYK, 4) } else { (PixelFormat::RGB, 3) };
        let pitch = width as usize * pixel;
        let mut pixels = vec![0; pitch * height as usize];
        let (width_px, height_px) = (width as usize, height as usize);
        self.decompress(Image {
            pixels: pixels.as_mut_slice(),
            width: width_px,
            pitch,
            height: height_px,
            format,
        })?;
        if self.is_cmyk {
            cmyk_to_rgb(&mut pixels);
        }
        Ok((Rgb { width, height, pixels }, self.profile))
    }

    /// Decodes strictly, but for what leaves all pixels intact.
    ///
    /// The library keeps the text of its first warning alone. So a harmless one is not simply passed over, for it would
    /// hide those that follow: its cause is removed, and the decoder must then find nothing else.
    fn decompress(&mut self, mut image: Image<&mut [u8]>) -> Result<(), ImageError> {
        let Err(error) = self.decoder.decompress(&self.file, image.as_deref_mut()) else { return Ok(()) };
        let has_end = markers::has_end(&self.file);
        // With a missing end the pixels may be whole, if they are in one scan; some cameras fill their last block with
        // zeros instead. In a file of several scans the last ones may be missing, and nothing would tell.
        let can_lack_end = has_end || markers::has_one_scan(&self.file);
        if is_behind_pixels(&error) && can_lack_end {
            return Ok(());
        }
        let is_worth_another = is_harmless(&error) || (!has_end && classify(&error) == ImageError::Truncated);
        if !is_worth_another || !can_lack_end {
            return Err(if is_worth_another { ImageError::Truncated } else { classify(&error) });
        }
        let tidied = markers::tidied(&self.file).ok_or(ImageError::Corrupt)?;
        match self.decoder.decompress(&tidied, image) {
            Err(error) if !is_behind_pixels(&error) => Err(classify(&error)),
            _ => Ok(()),
        }
    }
}

/// Whether a warning is about the header or the gaps between segments, of a kind seen in photos of real phones.
fn is_harmless(error: &turbojpeg::Error) -> bool {
    let turbojpeg::Error::TurboJpegError(text) = error else { return false };
    let harmless = [
        "extraneous bytes before marker",
        "unknown JFIF revision",
        "Unknown Adobe color",
        "Invalid SOS parameters",
        "bad ICC marker",
    ];
    harmless.iter().any(|part| text.contains(part))
}

/// Whether a warning, the first one, is about bytes between the last pixel and the end marker.
fn is_behind_pixels(error: &turbojpeg::Error) -> bool {
    let turbojpeg::Error::TurboJpegError(text) = error else { return false };
    text.contains("extraneous bytes before marker 0xd9")
}

/// Which of our errors one of the library's texts (libjpeg's `jerror.h`) means.
fn classify(error: &turbojpeg::Error) -> ImageError {
    let turbojpeg::Error::TurboJpegError(text) = error else {
        return ImageError::Corrupt;
    };
    let says = |part: &str| text.contains(part);
    if says("Premature end of") || says("premature end of") {
        ImageError::Truncated
    } else if says("Empty JPEG image") {
        ImageError::Empty
    } else if says("Unsupported JPEG") || says("data precision") || says("not supported") {
        ImageError::Unsupported
    } else if says("more than") && says("scans") {
        ImageError::TooSlow
    } else {
        ImageError::Corrupt
    }
}

/// Packs 4-byte CMYK pixels into 3-byte RGB in place. JPEG stores CMYK inverted, as Adobe began to: 255 is no ink.
fn cmyk_to_rgb(pixels: &mut Vec<u8>) {
    let count = pixels.len() / 4;
    for at in 0..count {
        let [c, m, y, k] = [0, 1, 2, 3].map(|ink| u32::from(pixels[4 * at + ink]));
        for (channel, ink) in [c, m, y].into_iter().enumerate() {
            // Both are at most 255, so the quotient is too.
            pixels[3 * at + channel] = u8::try_from((ink * k + 127) / 255).unwrap_or(u8::MAX);
        }
    }
    pixels.truncate(3 * count);
}

/// A baseline JPEG with 4:2:0 chroma, optimised Huffman tables and nothing but the image in it.
pub(in crate::imaging) fn encode(image: &Rgb, quality: u8) -> Result<Vec<u8>, ImageError> {
    let encode = || {
        let mut encoder = Compressor::new()?;
        encoder.set_quality(i32::from(quality))?;
        encoder.set_subsamp(Subsamp::Sub2x2)?;
        encoder.set_optimize(true)?;
        encoder.compress_to_vec(Image {
            pixels: image.pixels.as_slice(),
            width: image.width as usize,
            pitch: image.width as usize * 3,
            height: image.height as usize,
            format: PixelFormat::RGB,
        })
    };
    encode().map_err(|_| ImageError::Corrupt)
}
