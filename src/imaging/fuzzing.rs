//! Assertions of the fuzz targets that need the internals of this module.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fuzz target reports a finding by a panic")]

use super::codec;
#[cfg(feature = "heic")]
use super::codec::heif::Heif;
use super::codec::jpeg::decode::{BandSink, PlaneSize, Regular, RowBuffer};
use super::codec::jpeg::{self, markers};
use super::exif;
use super::orientation::Orientation;
use super::work_budget::WorkBudget;
use super::{Encoded, Format, ImageError, Recipe, Workspace, metadata, plan};

/// Bytes of an output that may be EXIF: one segment.
const MAX_SEGMENT: usize = 2 + 65_535;

/// Returns a workspace whose buffers hold the data of earlier photos.
pub(crate) fn used_workspace() -> Workspace {
    let mut workspace = Workspace::default();
    for len in [1 << 10, 1 << 14, 1 << 18, 1 << 22] {
        workspace.give(vec![0xA5; len]);
    }
    workspace
}

/// Asserts that the output has the size that follows from the declared one, for formats whose size is known without decoding.
pub(crate) fn assert_size_fits(format: Format, file: &[u8], made: &Encoded, recipe: &Recipe) {
    if format != Format::Jpeg {
        return;
    }
    let Some(frame) = markers::frame(file) else { return };
    let (width, height) = plan::fit(frame.width.into(), frame.height.into(), recipe.max_dim);
    let is_turned = exif::orientation_of(format, file).swaps_sides();
    let expected = if is_turned { (height, width) } else { (width, height) };
    assert_eq!((made.width, made.height), expected);
}

/// Asserts that the only application segments and comments are the JFIF header and, if allowed, EXIF.
pub(crate) fn assert_is_clean(jpeg: &[u8], may_have_exif: bool) {
    let extra: Vec<u8> = markers::segments(jpeg)
        .map(|segment| segment.marker)
        .filter(|marker| matches!(marker, 0xE0..=0xEF | 0xFE))
        .collect();
    assert!(extra == [0xE0] || (may_have_exif && extra == [0xE0, 0xE1]), "{extra:x?}");
    assert!(jpeg.ends_with(&[0xFF, 0xD9]));
}

/// Asserts that the EXIF written for a file is upright, fits a segment, and is kept completely when it is read again.
pub(crate) fn assert_metadata_survives(format: Format, file: &[u8]) {
    let block = exif::block(format, file);
    exif::orientation_of(format, file);
    let Some(segment) = block.and_then(|tiff| metadata::segment(tiff, 1200, 1600)) else { return };
    assert!(segment.len() <= MAX_SEGMENT);
    let jpeg = metadata::insert(
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xd9".to_vec(),
        segment.clone(),
    );
    let written = exif::block(Format::Jpeg, &jpeg).unwrap();
    assert_eq!(exif::orientation(written), Some(Orientation::Normal));
    assert_eq!(metadata::segment(written, 1200, 1600), Some(segment), "what is written is read again");
}

/// Asserts that our decoder of HEVC gives the same samples with and without SIMD.
#[cfg(feature = "heic")]
pub(crate) fn assert_hevc_paths_agree(file: &[u8], recipe: &Recipe) {
    let budget = WorkBudget::new(recipe, &|| false);
    if let Ok(heif) = Heif::open(&budget.input(file), recipe) {
        heif.assert_paths_agree();
    }
}

/// Asserts that our decoder of lossy WebP gives the samples of `image-webp`, with and without SIMD.
pub(crate) fn assert_webp_decoders_agree(file: &[u8], recipe: &Recipe) {
    let budget = WorkBudget::new(recipe, &|| false);
    codec::assert_webp_decoders_agree(&budget.input(file), recipe);
}

/// Returns true if libjpeg-turbo works without its SIMD code, as it does under AddressSanitizer. It reads the same variable.
///
/// Its C code takes ten bits of a sample before it clamps, so that samples outside -512..512 come out anywhere. Its SIMD code and
/// ours clamp all of a sample.
fn judge_has_no_simd() -> bool {
    std::env::var_os("JSIMD_FORCENONE").is_some_and(|value| value == "1")
}

/// Asserts that libjpeg-turbo decodes a file that our decoder accepts to the same samples without a warning.
pub(crate) fn assert_decoders_agree(file: &[u8], divisor: u8) {
    let Some(regular) = Regular::open(file) else { return };
    let (width, height) = regular.size();
    if u64::from(width) * u64::from(height) > 1 << 20 {
        return;
    }
    let mut ours = Collected::of(&regular, divisor);
    let mut portable = Collected::of(&regular, divisor);
    let result = Regular::open(file).unwrap().decode(divisor, &mut ours);
    assert_eq!(regular.decode_portably(divisor, &mut portable), result);
    if result.is_err() {
        return;
    }
    assert!(ours.samples == portable.samples, "SIMD and portable code differ");
    // Our decoder accepts a file whose end is missing if all its pixels are there.
    let file = &[file, b"\xff\xd9"].concat();
    let judge = jpeg::planes(file, u32::from(divisor), &mut Workspace::default());
    // It returns no planes of inks, of rare subsamplings, and of narrow scaled pictures.
    let Some((theirs, complaint)) = judge else { return };
    let is_harmless = |text: String| {
        // Padding before a restart or the end, or an undefined Adobe transform.
        text.contains("extraneous bytes before marker 0xd") || text.contains("Unknown Adobe color")
    };
    assert!(complaint.clone().is_none_or(is_harmless), "it was decoded nevertheless: {complaint:?}");
    assert_eq!(ours.planes.len(), theirs.len());
    let may_differ = judge_has_no_simd();
    for (component, theirs) in theirs.iter().enumerate() {
        let (columns, rows) = ours.in_blocks(file, component, divisor);
        let PlaneSize { width, height, padded, .. } = ours.planes[component];
        assert_eq!((width, height), (theirs.width, theirs.height));
        for (row, (ours, theirs)) in ours.samples[component]
            .chunks(padded)
            .zip(theirs.samples.chunks_exact(theirs.width))
            .take(rows)
            .enumerate()
        {
            for (column, (&ours, &theirs)) in ours.iter().zip(theirs).take(columns).enumerate() {
                assert!(
                    ours == theirs || (may_differ && matches!(ours, 0 | 255)),
                    "component {component}, column {column}, row {row}, 1/{divisor}: {ours}, not {theirs}"
                );
            }
        }
    }
}

/// Collects bands into whole planes.
struct Collected {
    planes: Vec<PlaneSize>,
    samples: [Vec<u8>; 4],
    rows: [usize; 4],
}

impl Collected {
    fn of(file: &Regular<'_>, divisor: u8) -> Self {
        let planes = (0..file.sampling().len()).map(|component| file.plane_size(component, divisor).unwrap());
        Self { planes: planes.collect(), samples: Default::default(), rows: [0; 4] }
    }

    /// Returns the columns and rows of a plane that lie within its blocks. A scaled plane can be one sample wider or higher
    /// than its blocks. libjpeg-turbo copies that sample from the memory after them; ours comes from the block that completes
    /// the MCU.
    fn in_blocks(&self, file: &[u8], component: usize, divisor: u8) -> (usize, usize) {
        let file = Regular::open(file).unwrap();
        let factors: Vec<(u8, u8)> = file.sampling().collect();
        let most = factors.iter().fold((1, 1), |most, of| (most.0.max(of.0), most.1.max(of.1)));
        let blocks = |side: u32, factor: u8, most: u8| {
            (side as usize * usize::from(factor)).div_ceil(8 * usize::from(most)) * usize::from(8 / divisor)
        };
        let PlaneSize { width, height, .. } = self.planes[component];
        let (full, of) = (file.size(), factors[component]);
        (width.min(blocks(full.0, of.0, most.0)), height.min(blocks(full.1, of.1, most.1)))
    }
}

impl BandSink for Collected {
    fn row_buffers(&mut self) -> [RowBuffer<'_>; 4] {
        let mut buffers: [RowBuffer<'_>; 4] = Default::default();
        for ((buffer, plane), (samples, rows)) in
            buffers.iter_mut().zip(&self.planes).zip(self.samples.iter_mut().zip(self.rows))
        {
            let start = rows * plane.padded;
            samples.resize(start + plane.band * plane.padded, 0);
            *buffer = RowBuffer { samples: &mut samples[start..], stride: plane.padded };
        }
        buffers
    }

    fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError> {
        self.rows[component] += rows;
        Ok(())
    }
}
