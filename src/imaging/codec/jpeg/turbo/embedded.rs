//! Decodes the JPEGs in a TIFF (Technical Note 2), which may store their tables elsewhere, and defines their components.

use super::ffi::{self, Limits};
use super::strict;
use super::survey::Survey;
use crate::imaging::codec::jpeg::markers::{self, DHT, DQT, DRI, SOF_BASELINE, SOF_EXTENDED, SOS};
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::WorkBudget;

/// Quantisation and Huffman tables take about 600 bytes.
const MAX_TABLES_BYTES: usize = 64 << 10;
/// Bytes that the library needs besides the pixels: rows of samples, tables.
const WORKING_MEMORY: u64 = 4 << 20;

pub(in crate::imaging) struct Embedded {
    /// The start of each file: Adobe's segment, which defines the meaning of the components, and the shared tables.
    head: Vec<u8>,
    components: u32,
    file: Vec<u8>,
    size: (u32, u32),
}

impl Embedded {
    /// Creates a decoder. `tables` is a JPEG without frame and scan. If `is_ycbcr`, three components are luma and chroma;
    /// otherwise they are decoded unchanged, as in libtiff. Fails if the tables are too long.
    pub(in crate::imaging) fn new(
        tables: &[u8],
        is_ycbcr: bool,
        components: u32,
    ) -> Result<Self, ImageError> {
        let mut head = markers::START.to_vec();
        head.extend(b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0");
        head.push(u8::from(is_ycbcr));
        append(&mut head, tables, &[DHT, DQT]);
        if head.len() > MAX_TABLES_BYTES {
            return Err(ImageError::Corrupt);
        }
        Ok(Self { head, components, file: Vec::new(), size: (0, 0) })
    }

    /// Returns the most bytes that decoding a JPEG of `length` bytes holds in addition to the pixels.
    pub(in crate::imaging) fn memory(length: u64) -> u64 {
        // The file with its tables, and the tidied copy that `strict` may make.
        WORKING_MEMORY + 2 * (length + MAX_TABLES_BYTES as u64)
    }

    /// Reads the header of `jpeg` and returns its width and height. Fails if the JPEG is corrupt, or of a kind that writers of
    /// TIFF do not emit: they write one sequential scan of all components.
    pub(in crate::imaging) fn open(&mut self, jpeg: &[u8]) -> Result<(u32, u32), ImageError> {
        let frame = markers::frame(jpeg).ok_or(ImageError::Corrupt)?;
        if u32::from(frame.components) != self.components {
            return Err(ImageError::Corrupt);
        }
        if !frame.is_sequential || !markers::has_one_scan(jpeg) {
            return Err(ImageError::Unsupported);
        }
        self.file.clear();
        self.file.reserve_exact(self.head.len() + jpeg.len());
        self.file.extend_from_slice(&self.head);
        append(&mut self.file, jpeg, &[SOF_BASELINE, SOF_EXTENDED, DHT, DQT, DRI, SOS]);
        self.size = (frame.width.into(), frame.height.into());
        Ok(self.size)
    }

    /// Decodes the opened JPEG into `pixels`, one byte a component. Fails if the JPEG is corrupt, truncated or empty, or if
    /// `budget` does not admit the longest time that it can take.
    pub(in crate::imaging) fn decode(
        &mut self,
        pixels: &mut [u8],
        budget: &WorkBudget<'_>,
    ) -> Result<(), ImageError> {
        let (width, height) = self.size;
        let channels = self.components as usize;
        if pixels.len() != width as usize * height as usize * channels || pixels.is_empty() {
            return Err(ImageError::Empty);
        }
        let survey = Survey::new(&self.file, budget)?;
        let count = u64::from(width) * u64::from(height);
        let limits = Limits { scans: 1, pixels: count, memory: WORKING_MEMORY };
        strict::decode(&self.file, &survey, survey.longest_with_pixels(count), budget, |file| {
            ffi::decode_pixels(file, 1, channels, &limits, pixels)
        })
    }
}

/// Appends the segments of `jpeg` with one of these markers, and everything after the start of its scan.
fn append(file: &mut Vec<u8>, jpeg: &[u8], wanted: &[u8]) {
    for segment in markers::segments(jpeg).filter(|segment| wanted.contains(&segment.marker)) {
        // The length came from a field of two bytes, which counts itself.
        let length = u16::try_from(segment.payload.len() + 2).unwrap_or(u16::MAX);
        file.extend([0xFF, segment.marker]);
        file.extend(length.to_be_bytes());
        file.extend(segment.payload);
        if segment.marker == SOS {
            file.extend(segment.rest);
        }
    }
}
