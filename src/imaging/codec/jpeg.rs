//! JPEG by libjpeg-turbo.
//!
//! The library is asked to be strict: data that ends early or does not decode is an error here, though lenient decoders
//! paint grey and call it a success.

use turbojpeg::{Colorspace, Compressor, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp};

use super::check_size;
use crate::imaging::{ImageError, Recipe, Rgb, plan};

/// Scans of a progressive JPEG. Cameras and optimisers write 3 to about 15; each costs a pass over the whole image, so
/// that 1,500 of them in a small file once took half a minute.
const MAX_SCANS: u32 = 100;

/// Marker of the segment that carries EXIF (and XMP).
pub(in crate::imaging) const APP1: u8 = 0xE1;
const SOF_BASELINE: u8 = 0xC0;
const SOF_EXTENDED: u8 = 0xC1;
const SOF_ARITHMETIC: u8 = 0xC9;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const TEM: u8 = 0x01;
const END: [u8; 2] = [0xFF, EOI];

/// A marker segment in front of the first scan (ITU-T T.81 annex B).
#[derive(Debug, Clone, Copy)]
pub(in crate::imaging) struct Segment<'a> {
    pub(in crate::imaging) marker: u8,
    /// The bytes behind the length field.
    pub(in crate::imaging) payload: &'a [u8],
    /// The file behind the segment.
    rest: &'a [u8],
}

/// The segments of `file` up to and with the first start of scan; ends early where they are malformed.
pub(in crate::imaging) fn segments(file: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = file.strip_prefix(&[0xFF, SOI]).unwrap_or(&[]);
    std::iter::from_fn(move || {
        loop {
            // Like the decoder, pass over fill bytes and over garbage between segments.
            let start = rest.iter().position(|byte| *byte == 0xFF)?;
            let fill = rest[start..].iter().position(|byte| *byte != 0xFF)?;
            let marker = rest[start + fill];
            rest = &rest[start + fill + 1..];
            if marker == EOI {
                rest = &[];
            }
            if matches!(marker, 0 | TEM | 0xD0..=EOI) {
                continue;
            }
            let length = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
            let payload = rest.get(2..length)?;
            let segment = Segment { marker, payload, rest: &rest[length..] };
            rest = if marker == SOS { &[] } else { segment.rest };
            return Some(segment);
        }
    })
}

/// Whether an end-of-image marker follows the first start of scan. In entropy-coded data 0xFF is always stuffed, so that
/// the pair FF D9 cannot occur by chance.
fn has_end(file: &[u8]) -> bool {
    let scan = segments(file).find(|segment| segment.marker == SOS);
    scan.is_some_and(|scan| scan.rest.windows(2).any(|pair| pair == END))
}

/// Whether all pixels of `file` are in its first scan. In other files whole scans may be missing and nothing tells.
fn has_one_scan(file: &[u8]) -> bool {
    let mut components = None;
    for segment in segments(file) {
        match segment.marker {
            SOF_BASELINE | SOF_EXTENDED | SOF_ARITHMETIC => components = segment.payload.get(5),
            SOS => return components.is_some() && segment.payload.first() == components,
            _ => {}
        }
    }
    false
}

/// A JPEG whose header was read.
pub(in crate::imaging) struct Jpeg<'a> {
    bytes: &'a [u8],
    decoder: Decompressor,
    width: u32,
    height: u32,
    divisor: u32,
    is_cmyk: bool,
    /// Bytes for the coefficients that a progressive decode must hold whole.
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
        decoder.set_scan_limit(MAX_SCANS).map_err(|_| ImageError::Corrupt)?;
        let header = decoder.read_header(bytes).map_err(|error| classify(&error))?;
        let (width, height) = check_size(header.width as u64, header.height as u64, recipe.max_pixels)?;
        let is_cmyk = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
        let divisor =
            if header.is_lossless { 1 } else { plan::decode_divisor(width, height, recipe.max_dim) };
        let factor = ScalingFactor::new(1, divisor as usize);
        decoder.set_scaling_factor(factor).map_err(|_| ImageError::Corrupt)?;
        let samples_per_2_pixels = match header.subsamp {
            Subsamp::Gray => 2,
            Subsamp::Sub2x2 | Subsamp::Sub4x1 | Subsamp::Sub1x4 => 3,
            Subsamp::Sub2x1 | Subsamp::Sub1x2 => 4,
            _ if is_cmyk => 8,
            _ => 6,
        };
        let coefficients = if header.is_progressive {
            u64::from(width) * u64::from(height) * samples_per_2_pixels
        } else {
            0
        };
        Ok(Self { bytes, decoder, width, height, divisor, is_cmyk, coefficients })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(super) fn decoded_size(&self) -> (u32, u32) {
        (self.width.div_ceil(self.divisor), self.height.div_ceil(self.divisor))
    }

    pub(super) fn memory(&self) -> u64 {
        let (width, height) = self.decoded_size();
        self.coefficients + u64::from(width) * u64::from(height) * if self.is_cmyk { 4 } else { 3 }
    }

    pub(super) fn decode(mut self) -> Result<Rgb, ImageError> {
        let (width, height) = self.decoded_size();
        let (format, pixel) = if self.is_cmyk { (PixelFormat::CMYK, 4) } else { (PixelFormat::RGB, 3) };
        let pitch = width as usize * pixel;
        let mut pixels = vec![0; pitch * height as usize];
        let image = Image {
            pixels: pixels.as_mut_slice(),
            width: width as usize,
            pitch,
            height: height as usize,
            format,
        };
        self.decompress(image)?;
        if self.is_cmyk {
            cmyk_to_rgb(&mut pixels);
        }
        Ok(Rgb { width, height, pixels })
    }

    /// Decodes strictly, but for what leaves all pixels intact.
    fn decompress(&mut self, mut image: Image<&mut [u8]>) -> Result<(), ImageError> {
        let Err(error) = self.decoder.decompress(self.bytes, image.as_deref_mut()) else {
            return Ok(());
        };
        if has_end(self.bytes) {
            return if is_harmless(&error) { Ok(()) } else { Err(classify(&error)) };
        }
        // The library keeps the text of its first warning alone, and for a missing end that is the same whether pixels
        // are missing too. With an end in place it tells: some cameras fill their last block with zeros instead.
        let may_be_whole = is_harmless(&error) || classify(&error) == ImageError::Truncated;
        if !may_be_whole || !has_one_scan(self.bytes) {
            return Err(if may_be_whole { ImageError::Truncated } else { classify(&error) });
        }
        let ended = [self.bytes, &END].concat();
        match self.decoder.decompress(&ended, image) {
            Err(error) if !is_harmless(&error) => Err(classify(&error)),
            _ => Ok(()),
        }
    }
}

/// Whether a warning leaves all pixels intact: strangeness in headers or between segments, seen in photos of real phones.
fn is_harmless(error: &turbojpeg::Error) -> bool {
    let turbojpeg::Error::TurboJpegError(text) = error else {
        return false;
    };
    [
        "extraneous bytes before marker",
        "unknown JFIF revision",
        "Unknown Adobe color",
        "Invalid SOS parameters",
        "bad ICC marker",
    ]
    .iter()
    .any(|harmless| text.contains(harmless))
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
