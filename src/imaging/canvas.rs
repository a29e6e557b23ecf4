//! The canvas that decoders write rows to. It resizes each component to its final size while the rows arrive.

use super::error::ImageError;
use super::layout::{Layout, Model};
use super::orientation::Orientation;
use super::plane::Plane;
use super::scale::{Axis, Scaler, whole};
use super::work_budget::WorkBudget;
use super::workspace::Workspace;

/// Rows that the scaler gets at a time when the whole picture is already decoded.
const PUSHED_ROWS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Pixels across before the picture is turned.
    pub(super) width: u32,
    /// Pixels down before the picture is turned.
    pub(super) height: u32,
    /// How the picture is turned after the resize.
    pub(super) orientation: Orientation,
}

/// Resizes the components of one picture.
pub(super) struct Canvas<'a> {
    scalers: Vec<Scaler>,
    budget: &'a WorkBudget<'a>,
    workspace: &'a mut Workspace,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(
        layout: &Layout,
        target: &Target,
        budget: &'a WorkBudget<'a>,
        workspace: &'a mut Workspace,
    ) -> Self {
        let mut scalers: Vec<Scaler> = Vec::with_capacity(layout.components.len());
        for component in 0..layout.components.len() {
            let (columns, rows) = axes(layout, target, component);
            scalers.push(Scaler::new(&columns, &rows, scalers.last(), workspace));
        }
        Self { scalers, budget, workspace }
    }

    /// Returns an upper bound of the bytes that such a canvas holds.
    pub(super) fn memory(layout: &Layout, target: &Target) -> u64 {
        let axes = (0..layout.components.len()).map(|component| axes(layout, target, component));
        axes.map(|(columns, rows)| Scaler::memory(&columns, &rows)).sum()
    }

    /// Returns an upper bound of the bytes that [`push_whole`](Self::push_whole) holds besides the canvas and the pixels.
    pub(super) fn whole_memory(layout: &Layout, target: &Target) -> u64 {
        let (columns, rows) = axes(layout, target, 0);
        whole::memory(&columns, &rows, layout.components.len())
    }

    pub(super) fn workspace(&mut self) -> &mut Workspace {
        self.workspace
    }

    /// Returns the budget that the picture is charged to.
    pub(super) fn budget(&self) -> &'a WorkBudget<'a> {
        self.budget
    }

    /// Returns a buffer for the next `rows` rows of each component, and its stride in samples.
    pub(super) fn row_buffers(&mut self, rows: [usize; 4]) -> impl Iterator<Item = (&mut [u8], usize)> {
        self.scalers.iter_mut().zip(rows).map(|(scaler, rows)| scaler.row_buffer(rows))
    }

    /// Takes the first `rows` rows of the last buffer of `component`, without those below the picture. Fails without budget.
    pub(super) fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError> {
        self.scalers[component].filled(rows);
        self.budget.check()
    }

    /// Takes a whole plane, which may be wider and higher than the component. Fails if the budget is used up.
    pub(super) fn push(&mut self, component: usize, plane: &Plane) -> Result<(), ImageError> {
        let scaler = &mut self.scalers[component];
        let (width, height) = scaler.source_size();
        let rows = &plane.samples[..height * plane.width];
        for rows in rows.chunks(PUSHED_ROWS * plane.width) {
            self.budget.check()?;
            let (buffer, stride) = scaler.row_buffer(rows.len() / plane.width);
            for (to, from) in buffer.chunks_exact_mut(stride).zip(rows.chunks_exact(plane.width)) {
                to[..width].copy_from_slice(&from[..width]);
            }
            scaler.filled(rows.len() / plane.width);
        }
        Ok(())
    }

    /// Takes the next rows of interleaved pixels. All components must have the same size. Fails if the budget is used up.
    pub(super) fn push_pixels(&mut self, pixels: &[u8]) -> Result<(), ImageError> {
        match self.scalers.len() {
            1 => self.push_interleaved::<1>(pixels),
            3 => self.push_interleaved::<3>(pixels),
            _ => self.push_interleaved::<4>(pixels),
        }
    }

    /// Takes the next rows of interleaved pixels, whose last sample is alpha and is not used. Fails if the budget is used up.
    pub(super) fn push_pixels_with_alpha(&mut self, pixels: &[u8]) -> Result<(), ImageError> {
        match self.scalers.len() {
            1 => self.push_interleaved::<2>(pixels),
            _ => self.push_interleaved::<4>(pixels),
        }
    }

    /// Takes all interleaved pixels of a picture whose components all have the same size.
    ///
    /// # Errors
    /// The budget is used up.
    pub(super) fn push_whole(&mut self, pixels: &[u8]) -> Result<(), ImageError> {
        match self.scalers.as_mut_slice() {
            [first, ..] if !whole::is_faster(first) => self.push_pixels(pixels),
            scalers @ [_, _, _] => whole::resize::<3>(scalers, pixels, self.budget, self.workspace),
            scalers @ [_, _, _, _] => whole::resize::<4>(scalers, pixels, self.budget, self.workspace),
            _ => self.push_pixels(pixels),
        }
    }

    fn push_interleaved<const N: usize>(&mut self, pixels: &[u8]) -> Result<(), ImageError> {
        let (width, _) = self.scalers[0].source_size();
        for rows in pixels.chunks(PUSHED_ROWS * width * N) {
            self.budget.check()?;
            let count = rows.len() / (width * N);
            for (component, scaler) in self.scalers.iter_mut().enumerate() {
                scaler.push_component::<N>(rows, component, count);
            }
        }
        Ok(())
    }

    /// Returns the components at their final size. Fails if the decoder wrote fewer rows than its layout declares.
    pub(super) fn finish(self) -> Result<Vec<Plane>, ImageError> {
        let workspace = self.workspace;
        let planes = self.scalers.into_iter().map(|scaler| scaler.finish(workspace));
        planes.collect::<Option<_>>().ok_or(ImageError::Truncated)
    }
}

/// Returns how the columns and the rows of a component are resampled.
fn axes(layout: &Layout, target: &Target, component: usize) -> (Axis, Axis) {
    let shape = layout.components[component];
    // The encoder takes chroma at half size.
    let halved = layout.model == Model::YCbCr && component > 0;
    let (mirrors_columns, mirrors_rows) = target.orientation.mirrors();
    let axis = |source, covers: usize, full: u32, to: u32, mirrors: bool| {
        // Uses the exact size, because the decoded size may be rounded up.
        let pixel = f64::from(full) / f64::from(layout.divisor) / f64::from(to) / covers as f64;
        if !halved {
            return Axis { source, target: to as usize, start: 0.0, step: pixel };
        }
        // Two pixels share a chroma sample, counted from the left and the top of the upright picture. If a picture of odd size
        // is mirrored afterwards, its incomplete pair comes first here.
        let start = if mirrors && !to.is_multiple_of(2) { -pixel } else { 0.0 };
        Axis { source, target: to.div_ceil(2) as usize, start, step: 2.0 * pixel }
    };
    (
        axis(shape.width, shape.across, layout.width, target.width, mirrors_columns),
        axis(shape.height, shape.down, layout.height, target.height, mirrors_rows),
    )
}
