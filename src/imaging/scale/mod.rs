//! Resizes one plane of 8-bit samples by Lanczos3, row by row as a decoder writes them.
//!
//! The scaler holds only the source rows that one target row needs, and some spare rows. The vertical pass runs first, because
//! it leaves fewer rows for the more expensive horizontal pass. Between the passes samples keep a sign and six fractional bits,
//! so that nothing is rounded or clamped twice.

//!
//! [`whole`] resizes pictures that lie whole in memory as interleaved pixels, with another library.

mod kernels;
pub(super) mod shrink;
mod taps;
pub(super) mod whole;

use std::rc::Rc;

use self::kernels::Kernels;
pub(super) use self::taps::Axis;
use self::taps::{LANES, Taps};
use super::plane::Plane;
use super::workspace::Workspace;

/// Rows of the window beyond those that one target row needs. More spare rows mean that rows are moved to its front less often.
const SPARE_ROWS: usize = 64;

#[derive(Debug)]
pub(super) struct Scaler {
    kernels: Kernels,
    rows: Rc<Taps>,
    columns: Rc<Taps>,
    source_rows: usize,
    source_width: usize,
    is_copy: bool,
    stride: usize,
    /// Source rows that are still needed, and space for more.
    window: Vec<u8>,
    /// Index of the window's first row in the source.
    window_first: usize,
    window_rows: usize,
    /// One row between the passes.
    between: Vec<i16>,
    target: Plane,
    done: usize,
}

impl Scaler {
    /// Returns a scaler with buffers from `workspace`. It shares the weights of `like` if they are equal.
    pub(super) fn new(columns: &Axis, rows: &Axis, like: Option<&Self>, workspace: &mut Workspace) -> Self {
        let weights = |axis: &Axis, multiple, shared: fn(&Self) -> &Rc<Taps>| {
            let shared = like.map(shared).filter(|taps| taps.axis == *axis);
            shared.map_or_else(|| Rc::new(Taps::new(axis, multiple)), Rc::clone)
        };
        let stride = stride(columns.source);
        let capacity = rows.reach() + SPARE_ROWS;
        let target = Plane {
            width: columns.target,
            height: rows.target,
            samples: workspace.take(columns.target * rows.target),
        };
        Self {
            kernels: Kernels::detect(),
            is_copy: columns.is_identity() && rows.is_identity(),
            rows: weights(rows, 2, |like| &like.rows),
            columns: weights(columns, LANES, |like| &like.columns),
            source_rows: rows.source,
            source_width: columns.source,
            stride,
            window: workspace.take(stride * (capacity + 1)),
            window_first: 0,
            window_rows: 0,
            between: vec![0; stride + columns.reach().next_multiple_of(LANES)],
            target,
            done: 0,
        }
    }

    /// Returns the bytes that [`new`](Self::new) allocates for such a plane.
    pub(super) fn memory(columns: &Axis, rows: &Axis) -> u64 {
        let stride = stride(columns.source);
        let window = stride * (rows.reach() + SPARE_ROWS) + 2 * stride;
        let taps = |axis: &Axis, multiple| axis.target * (8 + 2 * axis.reach().next_multiple_of(multiple));
        (window + columns.target * rows.target + taps(columns, LANES) + taps(rows, 2)) as u64
    }

    /// Returns a buffer for the next `rows` rows, and its stride in samples.
    pub(super) fn row_buffer(&mut self, rows: usize) -> (&mut [u8], usize) {
        let stride = self.stride;
        let needed_from = self.rows.first.get(self.done).copied().unwrap_or(self.source_rows);
        // One row more than is filled, because an odd number of weights is padded with a weight of zero.
        if (self.window_rows + rows + 1) * stride > self.window.len() {
            let gone = needed_from.saturating_sub(self.window_first).min(self.window_rows);
            self.window.copy_within(gone * stride..self.window_rows * stride, 0);
            self.window_first += gone;
            self.window_rows -= gone;
            let needed = (self.window_rows + rows + 1) * stride;
            if needed > self.window.len() {
                self.window.resize(needed, 0);
            }
        }
        (&mut self.window[self.window_rows * stride..(self.window_rows + rows) * stride], stride)
    }

    /// Takes component `component` of the next `rows` rows of interleaved pixels of `N` samples.
    pub(super) fn push_component<const N: usize>(&mut self, pixels: &[u8], component: usize, rows: usize) {
        let (kernels, width) = (self.kernels, self.source_width);
        let (buffer, stride) = self.row_buffer(rows);
        for (to, from) in buffer.chunks_exact_mut(stride).zip(pixels.chunks_exact(width * N)) {
            kernels.take_component::<N>(from, component, &mut to[..width]);
        }
        self.filled(rows);
    }

    /// Takes the first `rows` rows of the last [`row_buffer`](Self::row_buffer), and computes all target rows that they complete.
    pub(super) fn filled(&mut self, rows: usize) {
        self.window_rows = (self.window_rows + rows).min(self.window.len() / self.stride);
        let available = (self.window_first + self.window_rows).min(self.source_rows);
        while self.done < self.target.height {
            let first = self.rows.first[self.done];
            let weights = &self.rows.weights[self.done * self.rows.count..][..self.rows.count];
            let used = weights.iter().rposition(|weight| *weight != 0).map_or(1, |last| last + 1);
            if first + used > available {
                return;
            }
            let window = &self.window[(first - self.window_first) * self.stride..];
            let row = &mut self.target.samples[self.done * self.target.width..][..self.target.width];
            if self.is_copy {
                row.copy_from_slice(&window[..self.target.width]);
            } else {
                let between = &mut self.between[..self.stride];
                self.kernels.vertical(window, self.stride, &weights[..used.next_multiple_of(2)], between);
                // Samples after the last one are undefined, but their weights are zero.
                self.kernels.horizontal(&self.between, &self.columns, row);
            }
            self.done += 1;
        }
    }

    /// Returns the columns and rows of the source.
    pub(super) fn source_size(&self) -> (usize, usize) {
        (self.source_width, self.source_rows)
    }

    /// Returns the finished plane, or `None` if source rows are missing.
    pub(super) fn finish(self, workspace: &mut Workspace) -> Option<Plane> {
        workspace.give(self.window);
        (self.done == self.target.height).then_some(self.target)
    }
}

/// Returns the distance between rows. It has room for whole JPEG blocks and vectors after the last sample, and is not a
/// multiple of 1024, because such rows would compete for the same cache lines.
fn stride(width: usize) -> usize {
    let stride = width.next_multiple_of(64) + 64;
    if stride.is_multiple_of(1024) { stride + 64 } else { stride }
}

#[cfg(test)]
mod tests;
