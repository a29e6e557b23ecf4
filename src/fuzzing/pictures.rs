//! Fuzz targets for images: any input yields an error or a clean JPEG of the right size.

use super::net::caught;
use crate::imaging::fuzzing as probe;
use crate::imaging::{self, Effort, Encoded, Format, ImageError, Recipe, Workspace};

/// Small limits, so that the fuzzer tries many files instead of large ones. Time limits have no effect, because the fuzzer has
/// its own, and because they would make two runs on a busy machine differ.
pub(super) const RECIPE: Recipe = Recipe {
    max_dim: 64,
    quality: 80,
    effort: Effort::Standard,
    max_pixels: 1 << 20,
    memory: 64 << 20,
    keep_exif: false,
    timeout: std::time::Duration::from_secs(3600),
    processor_time: std::time::Duration::from_secs(3600),
};

/// Maximum sides of the output; the last byte of the file chooses.
const SIDES: [u32; 4] = [64, 16, 200, 1000];

/// Processes a JPEG through the whole pipeline, and compares our decoder with libjpeg-turbo.
pub fn jpeg_pipeline(data: &[u8]) {
    let choice = data.last().copied().unwrap_or(0);
    picture(Format::Jpeg, data, choice);
    probe::assert_decoders_agree(data, 1 << (choice >> 3 & 3));
}

/// Processes a file of the format that the first byte selects through the whole pipeline.
pub fn png_webp_gif_tiff(data: &[u8]) {
    let Some((choice, file)) = data.split_first() else { return };
    const FORMATS: [Format; 6] =
        [Format::Png, Format::WebP, Format::Gif, Format::Tiff, Format::Bmp, Format::Ico];
    let format = FORMATS[usize::from(choice % 6)];
    picture(format, file, choice / 6);
    if format == Format::WebP {
        probe::assert_webp_decoders_agree(file, &RECIPE);
    }
}

/// Processes a HEIC or AVIF file through the whole pipeline.
pub fn heic_avif(data: &[u8]) {
    let Some(format) = Format::from_mime("image/heif") else { return };
    picture(format, data, data.last().copied().unwrap_or(0));
    #[cfg(feature = "heic")]
    probe::assert_hevc_paths_agree(data, &RECIPE);
}

/// Reads the orientation of a file whose container the first byte selects, and checks that its EXIF survives writing.
pub fn exif_orientation(data: &[u8]) {
    let Some((choice, file)) = data.split_first() else { return };
    const FORMATS: [Format; 4] = [Format::Tiff, Format::Jpeg, Format::Png, Format::WebP];
    probe::assert_metadata_survives(FORMATS[usize::from(choice % 4)], file);
}

/// Processes `file` and checks the invariants of the output.
fn picture(format: Format, file: &[u8], choice: u8) {
    let recipe = Recipe { max_dim: SIDES[usize::from(choice & 3)], keep_exif: choice & 4 != 0, ..RECIPE };
    let make = |workspace: &mut Workspace| {
        caught(|| imaging::make(format, file, &recipe, workspace)).unwrap_or(Err(ImageError::Corrupt))
    };
    let Ok(made) = make(&mut Workspace::default()) else { return };
    // Reused buffers contain old data, which must not appear in the output.
    assert_eq!(
        make(&mut probe::used_workspace()),
        Ok(made.clone()),
        "the result depends on an earlier photo"
    );
    check_invariants(&made, &recipe);
    probe::assert_size_fits(format, file, &made, &recipe);
}

fn check_invariants(made: &Encoded, recipe: &Recipe) {
    let Encoded { bytes, width, height, renditions: _ } = made;
    assert!((1..=recipe.max_dim).contains(width) && (1..=recipe.max_dim).contains(height));
    let image = turbojpeg::decompress(bytes, turbojpeg::PixelFormat::RGB).expect("the output must decode");
    assert_eq!((image.width, image.height), (*width as usize, *height as usize));
    probe::assert_is_clean(bytes, recipe.keep_exif);
}
