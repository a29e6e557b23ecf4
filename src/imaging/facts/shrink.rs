//! Shrinks a plane by averaging. The samples of the plane are shared out to those of the copy in whole numbers.

use std::ops::Range;

use super::luma::Measures;
use crate::imaging::plane::Plane;

/// Rows whose samples are summed in 16 bits.
const SUMMED: usize = 257;

/// A plane that is to be shrunk.
pub(super) struct Shrink<'a> {
    plane: &'a Plane,
    height: usize,
    /// Which columns become a column of the copy.
    columns: Vec<Range<usize>>,
    /// Rows of the copy.
    rows: usize,
    /// Sums of columns, over some rows.
    sums: Vec<u16>,
}

impl<'a> Shrink<'a> {
    /// Shrinks the first `from` columns and rows of `plane` to `to`. Where `to` is larger, samples are repeated. Returns `None` if
    /// the plane is smaller than `from`, or a side is 0.
    pub(super) fn new(plane: &'a Plane, from: (usize, usize), to: (usize, usize)) -> Option<Self> {
        let has_pixels = [from.0, from.1, to.0, to.1].iter().all(|side| *side > 0);
        let is_covered = from.0 <= plane.width && from.1 <= plane.height;
        if !has_pixels || !is_covered || plane.samples.len() < plane.width * plane.height {
            return None;
        }
        let columns = (0..to.0).map(|column| span(column, to.0, from.0)).collect();
        Some(Self { plane, height: from.1, columns, rows: to.1, sums: vec![0; from.0] })
    }

    /// Returns the samples of the copy, and the sum of those that were read. Measures each row that is read.
    //
    // No closure: those are compiled without the vectors that the caller may use.
    #[inline(always)]
    pub(super) fn run(mut self, mut measures: Option<&mut Measures>) -> (Vec<u8>, u64) {
        let mut copy = Vec::with_capacity(self.columns.len() * self.rows);
        let (mut totals, mut sum) = (vec![0; self.columns.len()], 0);
        for row in 0..self.rows {
            let rows = span(row, self.rows, self.height);
            totals.fill(0);
            for some in rows.clone().step_by(SUMMED) {
                let some = some..rows.end.min(some + SUMMED);
                self.sums.fill(0);
                for y in some {
                    if let Some(measures) = measures.as_deref_mut() {
                        measures.add_row(self.plane, y);
                    }
                    let samples = &self.plane.samples[y * self.plane.width..];
                    self.sums.iter_mut().zip(samples).for_each(|(sum, sample)| *sum += u16::from(*sample));
                }
                for (total, columns) in totals.iter_mut().zip(&self.columns) {
                    *total += self.sums[columns.clone()].iter().map(|sum| u32::from(*sum)).sum::<u32>();
                }
            }
            sum += totals.iter().map(|total| u64::from(*total)).sum::<u64>();
            let means = totals.iter().zip(&self.columns).map(|(total, columns)| {
                let count = columns.len() * rows.len();
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                // A mean of bytes is one.
                ((total + count / 2) / count).to_le_bytes()[0]
            });
            copy.extend(means);
        }
        (copy, sum)
    }
}

/// Returns which of `from` samples, at least one, become sample `at` of `to`.
fn span(at: usize, to: usize, from: usize) -> Range<usize> {
    let (start, end) = (at * from / to, (at + 1) * from / to);
    start..end.max(start + 1)
}
