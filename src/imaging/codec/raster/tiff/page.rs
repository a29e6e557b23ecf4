//! Reads the first directory of a TIFF file (TIFF 6.0, and its Technical Notes 1 and 2), and rejects what is not supported.

use crate::imaging::codec::raster::pixel::Pixel;
use crate::imaging::error::ImageError;
use crate::imaging::limits::MAX_PROFILE_BYTES;
use crate::imaging::limits::check_size;
use crate::imaging::tiff_directory::{Block, Directory, Entry};

const NEW_SUBFILE_TYPE: u16 = 254;
const SUBFILE_TYPE: u16 = 255;
const IMAGE_WIDTH: u16 = 256;
const IMAGE_LENGTH: u16 = 257;
const BITS_PER_SAMPLE: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const MAKE: u16 = 271;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES_PER_PIXEL: u16 = 277;
const ROWS_PER_STRIP: u16 = 278;
const STRIP_BYTE_COUNTS: u16 = 279;
const PLANAR_CONFIGURATION: u16 = 284;
const PREDICTOR: u16 = 317;
const COLOR_MAP: u16 = 320;
const TILE_WIDTH: u16 = 322;
const TILE_LENGTH: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_BYTE_COUNTS: u16 = 325;
const SUB_IFDS: u16 = 330;
const INK_SET: u16 = 332;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
const JPEG_TABLES: u16 = 347;
const ICC_PROFILE: u16 = 34675;
const DNG_VERSION: u16 = 50706;

/// Values of PhotometricInterpretation that only camera RAW has: colour filter array and linear sensor data.
const RAW_PHOTOMETRICS: [u32; 2] = [32803, 34892];
/// Values of Compression that only camera RAW has: those of Sony, Epson, Samsung, Nikon, Kodak and Pentax.
const RAW_COMPRESSIONS: [u32; 6] = [32767, 32769, 32770, 34713, 65000, 65535];
/// Headers of Olympus and Panasonic RAW files, which differ from a TIFF only in the magic number.
const RAW_HEADERS: [&[u8; 4]; 4] = [b"IIRO", b"IIRS", b"MMOR", b"IIU\0"];
/// Offset of the first directory in a CR2 file. Its own mark precedes the directory.
const CR2_IFD: u32 = 16;
/// Most directories after the first one, and within it, that are searched for RAW data.
const MAX_SEARCHED: usize = 8;
/// Most samples of a pixel. Samples after the colours and alpha are ignored.
const MAX_SAMPLES: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Group4,
    Lzw,
    Deflate,
    PackBits,
    Jpeg,
}

/// The meaning of the samples of a pixel. The JPEG decoder returns YCbCr as RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Grey { is_white_zero: bool },
    Rgb,
    Palette,
    Cmyk,
}

/// The meaning of the first sample after the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    Straight,
    /// The colours are multiplied by it already.
    Premultiplied,
}

pub(super) struct Page<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bits of a sample: 1, 2, 4, 8 or 16. Less than 8 only if a pixel has one sample.
    pub(super) bits: u32,
    pub(super) is_big_endian: bool,
    /// Samples a pixel.
    pub(super) samples: u32,
    pub(super) colour: Colour,
    pub(super) alpha: Alpha,
    /// True if each sample has its own strips or tiles.
    pub(super) is_planar: bool,
    pub(super) compression: Compression,
    /// True if each sample is coded as its difference from that of the pixel to its left.
    pub(super) is_differenced: bool,
    /// True if each byte has its first pixel in its lowest bits.
    pub(super) is_bit_reversed: bool,
    /// True if the three samples of a JPEG are luma and chroma.
    pub(super) is_ycbcr: bool,
    /// Width and height of a tile or strip.
    pub(super) chunk: (u32, u32),
    pub(super) offsets: Entry<'a>,
    /// Lengths of the chunks. Without them, a chunk has the length that its pixels need.
    pub(super) lengths: Option<Entry<'a>>,
    pub(super) palette: Vec<[u8; 3]>,
    /// A JPEG without frame or scan, with the tables of all chunks.
    pub(super) tables: &'a [u8],
    pub(super) profile: Option<&'a [u8]>,
}

impl<'a> Page<'a> {
    pub(super) fn read(file: &'a [u8], max_pixels: u64) -> Result<Self, ImageError> {
        let block = Block::new(file).ok_or_else(|| not_a_tiff(file))?;
        let directory = block.first().ok_or(ImageError::Truncated)?;
        if directory.offset() as usize >= file.len() {
            return Err(ImageError::Truncated);
        }
        if directory.offset() == CR2_IFD && file.get(8..10) == Some(b"CR") {
            return Err(ImageError::CameraRaw);
        }
        refuse_raw(&directory)?;
        let (width, height) = size(&directory).ok_or(ImageError::Corrupt)?;
        let (width, height) = check_size(width.into(), height.into(), max_pixels)?;
        Self::of(&directory, width, height)
    }

    fn of(directory: &Directory<'a>, width: u32, height: u32) -> Result<Self, ImageError> {
        let samples = directory.number(SAMPLES_PER_PIXEL).unwrap_or(1);
        let compression = match directory.number(COMPRESSION).unwrap_or(1) {
            1 => Compression::None,
            4 => Compression::Group4,
            5 => Compression::Lzw,
            7 => Compression::Jpeg,
            8 | 32946 => Compression::Deflate,
            32773 => Compression::PackBits,
            _ => return Err(ImageError::Unsupported),
        };
        // libtiff uses these defaults if the tag is missing.
        let photometric = directory.number(PHOTOMETRIC).unwrap_or(match (samples, compression) {
            (3.., _) => 2,
            (_, Compression::Group4) => 0,
            _ => 1,
        });
        let colour = match photometric {
            0 => Colour::Grey { is_white_zero: true },
            1 => Colour::Grey { is_white_zero: false },
            2 => Colour::Rgb,
            3 => Colour::Palette,
            5 if directory.number(INK_SET).unwrap_or(1) == 1 => Colour::Cmyk,
            6 if compression == Compression::Jpeg && samples == 3 => Colour::Rgb,
            6 if compression == Compression::Jpeg && samples == 1 => Colour::Grey { is_white_zero: false },
            _ => return Err(ImageError::Unsupported),
        };
        let colours = colour.samples();
        if samples < colours {
            return Err(ImageError::Corrupt);
        }
        let bits = directory.number(BITS_PER_SAMPLE).unwrap_or(1);
        let is_planar = directory.number(PLANAR_CONFIGURATION) == Some(2) && samples > 1;
        let is_ycbcr = photometric == 6 && samples == 3;
        let is_even =
            |tag, fits: &dyn Fn(u32) -> bool| directory.numbers(tag).take(samples as usize).all(fits);
        // 4 means undefined, which is read as unsigned.
        let is_unsigned = is_even(SAMPLE_FORMAT, &|format| matches!(format, 1 | 4));
        let is_supported = match (compression, bits) {
            (Compression::Group4, bits) => bits == 1 && samples == 1,
            (Compression::Jpeg, bits) => {
                bits == 8 && if is_planar { !is_ycbcr } else { matches!(samples, 1 | 3 | 4) }
            }
            (_, 1 | 2 | 4) => samples == 1,
            (_, 8) => true,
            (_, 16) => colour != Colour::Palette,
            _ => false,
        };
        let is_uniform = is_even(BITS_PER_SAMPLE, &|other| other == bits);
        if !is_supported || !is_unsigned || !is_uniform || samples > MAX_SAMPLES {
            return Err(ImageError::Unsupported);
        }
        // Only these two compressions use the tag. libtiff ignores it with the others.
        let has_predictor = matches!(compression, Compression::Lzw | Compression::Deflate);
        let is_differenced = match directory.number(PREDICTOR).filter(|_| has_predictor) {
            None | Some(1) => false,
            Some(2) if bits >= 8 => true,
            _ => return Err(ImageError::Unsupported),
        };
        let is_tiled = directory.entry(TILE_OFFSETS).is_some();
        let (offsets, lengths) = match is_tiled {
            true => (TILE_OFFSETS, TILE_BYTE_COUNTS),
            false => (STRIP_OFFSETS, STRIP_BYTE_COUNTS),
        };
        let chunk = match is_tiled {
            true => directory.number(TILE_WIDTH).zip(directory.number(TILE_LENGTH)),
            false => Some((width, directory.number(ROWS_PER_STRIP).unwrap_or(height).min(height))),
        };
        let chunk = chunk.filter(|(width, height)| *width > 0 && *height > 0).ok_or(ImageError::Corrupt)?;
        Ok(Self {
            width,
            height,
            bits,
            is_big_endian: directory.is_big_endian(),
            samples,
            colour,
            alpha: alpha(directory, colour, samples),
            is_planar,
            compression,
            is_differenced,
            is_bit_reversed: directory.number(FILL_ORDER) == Some(2) && compression != Compression::Jpeg,
            is_ycbcr,
            chunk,
            offsets: directory.entry(offsets).ok_or(ImageError::Corrupt)?,
            lengths: directory.entry(lengths),
            palette: match colour {
                Colour::Palette => palette(directory, bits).ok_or(ImageError::Corrupt)?,
                _ => Vec::new(),
            },
            tables: directory.entry(JPEG_TABLES).and_then(|tables| tables.bytes()).unwrap_or_default(),
            profile: directory
                .entry(ICC_PROFILE)
                .and_then(|profile| profile.bytes())
                .filter(|profile| (1..=MAX_PROFILE_BYTES).contains(&profile.len())),
        })
    }

    /// Returns the number of used samples of a pixel: its colours and its alpha.
    pub(super) fn used_samples(&self) -> u32 {
        self.colour.samples() + u32::from(self.alpha != Alpha::None)
    }

    /// Returns the number of samples of each pixel of a chunk.
    pub(super) fn chunk_samples(&self) -> u32 {
        if self.is_planar { 1 } else { self.samples }
    }

    /// Returns the bytes of a decompressed row of a chunk.
    pub(super) fn row_bytes(&self) -> u64 {
        (u64::from(self.chunk.0) * u64::from(self.chunk_samples()) * u64::from(self.bits)).div_ceil(8)
    }

    /// Returns the number of chunks across and down.
    pub(super) fn grid(&self) -> (u32, u32) {
        (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1))
    }

    /// Returns the type of the decoded pixels.
    pub(super) fn pixel(&self) -> Pixel {
        match (self.colour, self.alpha) {
            (Colour::Grey { .. }, Alpha::None) => Pixel::Grey,
            (Colour::Grey { .. }, _) => Pixel::GreyAlpha,
            (Colour::Rgb | Colour::Palette, Alpha::None) => Pixel::Rgb,
            (Colour::Rgb | Colour::Palette, _) => Pixel::Rgba,
            (Colour::Cmyk, _) => Pixel::Cmyk,
        }
    }
}

impl Colour {
    /// Returns the number of samples that make up the colour of a pixel.
    fn samples(self) -> u32 {
        match self {
            Self::Grey { .. } | Self::Palette => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

/// Returns the declared width and height.
fn size(directory: &Directory<'_>) -> Option<(u32, u32)> {
    directory.number(IMAGE_WIDTH).zip(directory.number(IMAGE_LENGTH))
}

/// Returns whether the directory declares a smaller version of another directory's picture.
fn is_reduced(directory: &Directory<'_>) -> bool {
    directory.number(NEW_SUBFILE_TYPE).is_some_and(|kind| kind & 1 == 1)
        || directory.number(SUBFILE_TYPE) == Some(2)
}

fn has_raw_data(directory: &Directory<'_>) -> bool {
    let is_one_of = |tag, values: &[u32]| directory.number(tag).is_some_and(|value| values.contains(&value));
    is_one_of(PHOTOMETRIC, &RAW_PHOTOMETRICS) || is_one_of(COMPRESSION, &RAW_COMPRESSIONS)
}

/// Returns the error for a file without a TIFF header.
fn not_a_tiff(file: &[u8]) -> ImageError {
    match file.first_chunk::<4>() {
        None => ImageError::Truncated,
        Some(header) if RAW_HEADERS.contains(&header) => ImageError::CameraRaw,
        // BigTIFF, with offsets of 64 bits.
        Some(b"II+\0" | b"MM\0+") => ImageError::Unsupported,
        Some(_) => ImageError::Corrupt,
    }
}

/// Refuses camera RAW, whose first directory often has a thumbnail, and other files that begin with a smaller version.
fn refuse_raw(first: &Directory<'_>) -> Result<(), ImageError> {
    let within: Vec<Directory<'_>> =
        first.numbers(SUB_IFDS).take(MAX_SEARCHED).map(|offset| first.at(offset)).collect();
    let next = std::iter::successors(first.next(), Directory::next);
    let has_raw_data = first.entry(DNG_VERSION).is_some()
        || has_raw_data(first)
        || within.iter().any(has_raw_data)
        || next.take(MAX_SEARCHED).any(|directory| has_raw_data(&directory));
    let pixels = |directory: &Directory<'_>| {
        size(directory).map_or(0, |(width, height)| u64::from(width) * u64::from(height))
    };
    let is_larger = |other: &Directory<'_>| pixels(other) > pixels(first) && !is_reduced(other);
    let is_preview = is_reduced(first) || within.iter().any(is_larger);
    match (has_raw_data, is_preview) {
        (true, _) => Err(ImageError::CameraRaw),
        (false, true) if first.entry(MAKE).is_some() => Err(ImageError::CameraRaw),
        (false, true) => Err(ImageError::Unsupported),
        (false, false) => Ok(()),
    }
}

/// Returns the meaning of the first sample after the colours. Samples that are not declared as alpha are dropped. A single
/// further sample without a declaration is alpha, as in Pillow.
fn alpha(directory: &Directory<'_>, colour: Colour, samples: u32) -> Alpha {
    let further = samples - colour.samples();
    if further == 0 || colour == Colour::Cmyk {
        return Alpha::None;
    }
    match directory.number(EXTRA_SAMPLES) {
        Some(1) => Alpha::Premultiplied,
        Some(2) => Alpha::Straight,
        None if further == 1 => Alpha::Straight,
        _ => Alpha::None,
    }
}

/// Reads the colours of a palette: all reds, all greens, all blues, of 16 bits each.
fn palette(directory: &Directory<'_>, bits: u32) -> Option<Vec<[u8; 3]>> {
    let map = directory.entry(COLOR_MAP)?;
    let count = 1 << bits;
    let values: Vec<u32> = (0..3 * count).map(|index| map.number(index)).collect::<Option<_>>()?;
    // Some writers store 8-bit values there. libtiff detects them by the same rule.
    let shift = if values.iter().all(|value| *value < 256) { 0 } else { 8 };
    let channel = |index: u32, channel: u32| {
        let value = values.get((channel * count + index) as usize)? >> shift;
        u8::try_from(value).ok()
    };
    (0..count).map(|index| Some([channel(index, 0)?, channel(index, 1)?, channel(index, 2)?])).collect()
}
