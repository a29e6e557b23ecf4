//! Shrinks planes that lie whole in memory, with less precision and in half of the time of [`Scaler`](super::Scaler): for
//! renditions, which are encoded at once.
//!
//! The filter is the cubic of Catmull and Rom, which reaches two samples in place of Lanczos' three. Weights have six fractional
//! bits, so that sums fit 16 bits. Both passes add rows, which vectors do without shuffles; between them the plane is turned. So the
//! result is turned too: its rows are the columns of the picture.
#![allow(clippy::cast_possible_truncation, reason = "of floats, in a range that was checked; `as` saturates")]

use super::kernels::{Kernels, ROW_BITS};
use crate::imaging::plane::Plane;
use crate::imaging::workspace::Workspace;

/// Samples that the filter reaches to each side at a step of one.
const LOBES: f64 = 2.0;
/// Positions between two samples for which weights are computed.
const PHASES: usize = 64;

/// Shrinks the `columns` x `rows` samples of luma, and chroma of half that size rounded up. Planes may be wider. Returns planes
/// whose width is `to.1`, or half of that, because they are turned.
pub(in crate::imaging) fn shrink(
    planes: &[Plane; 3],
    (columns, rows): (usize, usize),
    to: (usize, usize),
    workspace: &mut Workspace,
) -> [Plane; 3] {
    let kernels = Kernels::detect();
    let weights = |covers: usize| {
        let axis = |from: usize, to: usize| {
            Weights::new(from.div_ceil(covers), to.div_ceil(covers), from as f64 / to as f64)
        };
        (axis(columns, to.0), axis(rows, to.1))
    };
    let (luma, chroma) = (weights(1), weights(2));
    let [y, blue, red] = planes;
    let half = columns.div_ceil(2);
    [(y, columns, &luma), (blue, half, &chroma), (red, half, &chroma)]
        .map(|(plane, columns, weights)| turned_and_shrunk(kernels, plane, columns, weights, workspace))
}

/// Returns an upper bound of the bytes that [`shrink`] holds besides source and result: between the passes a plane of luma twice,
/// and the weights.
pub(in crate::imaging) fn memory((columns, rows): (u32, u32), to: (u32, u32)) -> u64 {
    let (columns, rows, to) = (columns as usize, rows as usize, (to.0 as usize, to.1 as usize));
    let weights =
        |from: usize, to: usize| 2 * to * (16 + Weights::reach(from, from as f64 / to.max(1) as f64));
    (2 * columns * to.1 + weights(columns, to.0) + weights(rows, to.1)) as u64
}

fn turned_and_shrunk(
    kernels: Kernels,
    plane: &Plane,
    columns: usize,
    (across, down): &(Weights, Weights),
    workspace: &mut Workspace,
) -> Plane {
    let mut fewer_rows = workspace.take(columns * down.firsts.len());
    add_rows(kernels, &plane.samples, plane.width, down, &mut fewer_rows, columns);
    let width = down.firsts.len();
    let mut turned = workspace.take(columns * width);
    kernels.turn(&fewer_rows, columns, &mut turned);
    workspace.give(fewer_rows);
    let mut samples = workspace.take(across.firsts.len() * width);
    add_rows(kernels, &turned, width, across, &mut samples, width);
    workspace.give(turned);
    Plane { width, height: across.firsts.len(), samples }
}

/// Computes all target rows of `width` samples.
fn add_rows(
    kernels: Kernels,
    samples: &[u8],
    stride: usize,
    weights: &Weights,
    out: &mut [u8],
    width: usize,
) {
    let targets = weights.firsts.iter().zip(weights.weights.chunks_exact(weights.reach));
    for (out, (first, weights)) in out.chunks_exact_mut(width).zip(targets) {
        kernels.weigh_rows(samples.get(first * stride..).unwrap_or_default(), stride, weights, out);
    }
}

/// The source rows of each target row, and their weights.
struct Weights {
    /// Source rows of a target row.
    reach: usize,
    /// The first source row of each target row. `reach` rows from there on exist.
    firsts: Vec<usize>,
    /// `reach` for each target row, which sum up to one.
    weights: Vec<i8>,
}

impl Weights {
    fn reach(source: usize, step: f64) -> usize {
        // Small: a step is at most 65,500. A pair of rows costs as much as one.
        ((2.0 * LOBES * step.max(1.0)).ceil() as usize).next_multiple_of(2).min(source)
    }

    /// Target row `n` covers `step` source rows from `n * step` on.
    fn new(source: usize, target: usize, step: f64) -> Self {
        let (scale, reach) = (step.max(1.0), Self::reach(source, step));
        let support = LOBES * scale;
        // `part` is how much of row `first` lies before the filter begins.
        let exact = |part: f64, row: usize| cubic((row as f64 + 1.0 - part - support) / scale);
        let mut phases = Vec::with_capacity(PHASES * reach);
        for phase in 0..PHASES {
            let part = (phase as f64 + 0.5) / PHASES as f64;
            quantise((0..reach).map(|row| exact(part, row)), &mut phases);
        }
        let mut weights =
            Self { reach, firsts: Vec::with_capacity(target), weights: Vec::with_capacity(target * reach) };
        let last_first = source - reach;
        for n in 0..target {
            let start = (n as f64 + 0.5) * step - support + 0.5;
            let floor = start.floor();
            let part = start - floor;
            // The first row may lie before the source.
            let first = (floor.max(0.0) as usize).min(last_first);
            weights.firsts.push(first);
            if first as f64 == floor {
                let phase = ((part * PHASES as f64) as usize).min(PHASES - 1);
                weights.weights.extend_from_slice(&phases[phase * reach..][..reach]);
            } else {
                let at_edge = (0..reach)
                    .map(|row| cubic((first as f64 + row as f64 - floor + 1.0 - part - support) / scale));
                quantise(at_edge, &mut weights.weights);
            }
        }
        weights
    }
}

/// Appends weights in fixed point whose sum is exactly one: a flat area keeps its value.
fn quantise(exact: impl Iterator<Item = f64> + Clone, weights: &mut Vec<i8>) {
    let sum: f64 = exact.clone().sum();
    let start = weights.len();
    let one = f64::from(1 << ROW_BITS);
    // No weight exceeds one, and the filter is positive around its centre, which is inside of the source.
    weights.extend(exact.map(|weight| ((weight / sum * one + 128.5) as i32 - 128) as i8));
    let new = &mut weights[start..];
    let left = (1 << ROW_BITS) - new.iter().map(|weight| i32::from(*weight)).sum::<i32>();
    if let Some(largest) = new.iter_mut().max() {
        *largest = i8::try_from(i32::from(*largest) + left).unwrap_or(i8::MAX);
    }
}

/// The cubic of Catmull and Rom.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < LOBES {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}
