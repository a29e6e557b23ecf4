//! Decodes regular JPEGs with our own decoder, band by band into the resizer, without a whole plane in between.

use super::turbo::TurboJpeg;
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::jpeg::decode::{BandSink, Regular, RegularError, RowBuffer};
use crate::imaging::codec::jpeg::markers::{self, Segment};
use crate::imaging::codec::picture::{DecodeError, Picture};
use crate::imaging::error::ImageError;
use crate::imaging::layout::{Component, Layout};
use crate::imaging::limits::check_size;
use crate::imaging::plan;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

#[derive(Debug)]
pub(super) struct RegularJpeg<'a> {
    input: Input<'a>,
    regular: Regular<'a>,
    layout: Layout,
    /// Rows of a band of each component.
    bands: [usize; 4],
    recipe: Recipe,
    profile: Option<Vec<u8>>,
}

impl<'a> RegularJpeg<'a> {
    /// Reads the header. Returns `None` if the file is not regular, or if libjpeg-turbo accepts it and is faster on this processor.
    ///
    /// # Errors
    /// The file declares too many pixels.
    pub(super) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Option<Self>, ImageError> {
        let file = input.whole()?;
        if !Regular::is_fast() && !has_padded_restarts(file) {
            return Ok(None);
        }
        let Some(regular) = Regular::open(file) else { return Ok(None) };
        let (width, height) = regular.size();
        let (width, height) = check_size(width.into(), height.into(), recipe.max_pixels)?;
        let model = regular.model();
        let divisor = plan::divisor_for_quality(width, height, recipe.max_dim);
        let (scaled_width, scaled_height) = (width.div_ceil(divisor), height.div_ceil(divisor));
        let factors: Vec<(u32, u32)> =
            regular.sampling().map(|(across, down)| (across.into(), down.into())).collect();
        let most = factors.iter().fold((1, 1), |most, of| (most.0.max(of.0), most.1.max(of.1)));
        let component = |of: &(u32, u32)| {
            Component::of(scaled_width, scaled_height, most.0 / of.0.max(1), most.1 / of.1.max(1))
        };
        let components = factors.iter().map(component).collect();
        let small = u8::try_from(divisor).unwrap_or(1);
        let bands = [0, 1, 2, 3].map(|at| regular.plane_size(at, small).map_or(0, |plane| plane.band));
        let layout = Layout { width, height, divisor, model, components };
        let profile = markers::icc_profile(file);
        Ok(Some(Self { input: *input, regular, layout, bands, recipe: *recipe, profile }))
    }
}

/// Returns whether a zero byte precedes a restart marker. libjpeg-turbo's warning of such padding hides later warnings.
fn has_padded_restarts(file: &[u8]) -> bool {
    let is_padded = |segment: Segment<'_>| {
        let before = file.len() - segment.rest.len() - 2;
        matches!(segment.marker, markers::RST0..=markers::RST7) && file[..before].ends_with(&[0])
    };
    markers::all(file).any(is_padded)
}

impl Picture for RegularJpeg<'_> {
    fn layout(&self) -> Layout {
        self.layout.clone()
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile.as_deref()
    }

    fn memory(&self) -> u64 {
        self.regular.memory()
    }

    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a,
    {
        canvas.budget().grant(self.memory())?;
        let divisor = u8::try_from(self.layout.divisor).unwrap_or(1);
        match self.regular.decode(divisor, &mut CanvasSink { canvas, bands: self.bands }) {
            Ok(()) => Ok(()),
            Err(RegularError::Stopped(error)) => Err(error.into()),
            Err(RegularError::Fallback(reason)) => {
                let general = TurboJpeg::open(&self.input, &self.recipe)?.after(reason);
                Err(DecodeError::Fallback(Box::new(general)))
            }
        }
    }
}

struct CanvasSink<'c, 'a> {
    canvas: &'c mut Canvas<'a>,
    bands: [usize; 4],
}

impl BandSink for CanvasSink<'_, '_> {
    fn row_buffers(&mut self) -> [RowBuffer<'_>; 4] {
        let mut buffers = <[RowBuffer<'_>; 4]>::default();
        for (buffer, (samples, stride)) in buffers.iter_mut().zip(self.canvas.row_buffers(self.bands)) {
            *buffer = RowBuffer { samples, stride };
        }
        buffers
    }

    fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError> {
        self.canvas.filled(component, rows)
    }
}
