//! Resizes interleaved pixels that lie whole in memory, all components at once, by fast_image_resize.
//!
//! 12 megapixels of RGB take 19 ms to 1600 pixels, and 23 ms by rows. The resizer by rows is faster for a single component
//! (7 ms to 9), and where rows would first have to be collected (24 ms to 29): docs/decisions/0036.
//!
//! The filter is the same. The library rounds to 8 bits between its passes, as Pillow does, so samples differ by at most 1
//! away from black and white.
//!
//! Only its typed interface is used. The other one compiles its code for all thirteen kinds of pixels, once for each caller: a
//! sixth of all machine code of this crate.

use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::{U8x3, U8x4};
use fir::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::{Axis, Scaler};
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::WorkBudget;
use crate::imaging::workspace::Workspace;

/// Source pixels of the bands that are resized at a time. The library cannot be stopped within a band: 7 ms. It computes its
/// weights anew for each band: with a quarter of this size 12 megapixels take 5 ms more.
const BAND_PIXELS: usize = 4 << 20;
/// The longest side whose weights may be held. The library's weights take six times as much memory as those of the resizer by
/// rows, which matters for pictures that are a million pixels long and some pixels high.
const MAX_SIDE: usize = 1 << 16;

/// Returns whether [`resize`] is faster for such planes than rows are.
pub(in crate::imaging) fn is_faster(scaler: &Scaler) -> bool {
    !scaler.is_copy && fits(&scaler.columns.axis, &scaler.rows.axis)
}

fn fits(columns: &Axis, rows: &Axis) -> bool {
    let is_inside = |axis: &Axis| axis.start == 0.0 && axis.source <= MAX_SIDE;
    is_inside(columns) && is_inside(rows)
}

/// Returns an upper bound of the bytes that [`resize`] holds besides the planes and the pixels.
pub(in crate::imaging) fn memory(columns: &Axis, rows: &Axis, components: usize) -> u64 {
    if !fits(columns, rows) {
        return 0;
    }
    let band = band_rows(columns, rows);
    // For each target sample: weights as `f64` and as `i16`, and the lists that refer to them.
    let weights = |axis: &Axis, targets: usize| targets * (10 * (axis.span() + 3) + 96);
    // The band at the width of the source, between the passes, and at the width of the target.
    let samples = band * (columns.source + columns.target) * components;
    (samples + weights(columns, columns.target) + weights(rows, band)) as u64
}

/// Returns how many target rows are resized at a time.
fn band_rows(columns: &Axis, rows: &Axis) -> usize {
    let source_pixels = columns.source * rows.source;
    (BAND_PIXELS * rows.target / source_pixels.max(1)).clamp(1, rows.target)
}

/// Resizes pixels of `N` components to the targets of `scalers`, which must be unused, equal and as many.
///
/// # Errors
/// There are fewer pixels than the scalers take, or the budget is used up.
pub(in crate::imaging) fn resize<const N: usize>(
    scalers: &mut [Scaler],
    pixels: &[u8],
    budget: &WorkBudget<'_>,
    workspace: &mut Workspace,
) -> Result<(), ImageError> {
    // Three or four equal components. Alpha was applied before, so the fourth one is black ink.
    if N == 3 {
        resize_pixels::<U8x3, N>(scalers, pixels, budget, workspace)
    } else {
        resize_pixels::<U8x4, N>(scalers, pixels, budget, workspace)
    }
}

fn resize_pixels<P: PixelTrait, const N: usize>(
    scalers: &mut [Scaler],
    pixels: &[u8],
    budget: &WorkBudget<'_>,
    workspace: &mut Workspace,
) -> Result<(), ImageError> {
    let (columns, rows) = (scalers[0].columns.axis, scalers[0].rows.axis);
    let source = TypedImageRef::<P>::from_buffer(side(columns.source)?, side(rows.source)?, pixels);
    let source = source.map_err(|_| ImageError::Truncated)?;
    let lanczos =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3)).use_alpha(false);
    let mut resizer = Resizer::new();
    let width = columns.target;
    let mut band = workspace.take(band_rows(&columns, &rows) * width * N);
    for first in (0..rows.target).step_by(band_rows(&columns, &rows)) {
        budget.check()?;
        let count = band_rows(&columns, &rows).min(rows.target - first);
        let band = &mut band[..count * width * N];
        let target = TypedImage::<P>::from_buffer(side(width)?, side(count)?, band);
        let mut target = target.map_err(|_| ImageError::Corrupt)?;
        // The weights of a band reach beyond it: the result is that of one call for all rows.
        let (left, across) = part(&columns, 0, width);
        let (top, down) = part(&rows, first, count);
        resizer
            .resize_typed(&source, &mut target, &lanczos.crop(left, top, across, down))
            .map_err(|_| ImageError::Corrupt)?;
        for (component, scaler) in scalers.iter_mut().enumerate() {
            let samples = &mut scaler.target.samples[first * width..][..count * width];
            scaler.kernels.take_component::<N>(band, component, samples);
            scaler.done += count;
        }
    }
    workspace.give(band);
    Ok(())
}

/// Returns where `count` target samples from `first` on start in the source, and what they cover, which is within the source.
fn part(axis: &Axis, first: usize, count: usize) -> (f64, f64) {
    let start = first as f64 * axis.step;
    (start, (count as f64 * axis.step).min(axis.source as f64 - start))
}

fn side(length: usize) -> Result<u32, ImageError> {
    u32::try_from(length).map_err(|_| ImageError::Corrupt)
}
