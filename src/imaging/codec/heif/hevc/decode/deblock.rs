//! The deblocking filter (ITU-T H.265 section 8.7.2). All blocks are intra blocks, so every marked edge has the boundary
//! strength 2.

use super::isa::{Isa, Kernel};
use super::picture::{Maps, edge};
use super::sample::{Plane, Sample};
use super::unit::chroma_qp;
use crate::imaging::codec::heif::hevc::pps::Pps;
use crate::imaging::codec::heif::hevc::sps::Sps;
use crate::imaging::codec::heif::picture::Chroma;

/// `β′` and `tC′` by quantiser (table 8-12).
const BETA: [u8; 52] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 24, 26, 28, 30,
    32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62, 64,
];
const TC: [u8; 54] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5,
    6, 6, 7, 8, 9, 10, 11, 13, 14, 16, 18, 20, 22, 24,
];

/// Filters the edges of a row of coding tree blocks, with that at its top.
pub(super) fn row<S: Sample, I: Isa>(
    isa: I,
    sps: &Sps,
    pps: &Pps,
    maps: &Maps,
    planes: &mut [Plane<S>; 3],
    row: usize,
) {
    isa.run(RowFilter { sps, pps, maps, planes, row });
}

struct RowFilter<'f, S> {
    sps: &'f Sps,
    pps: &'f Pps,
    maps: &'f Maps,
    planes: &'f mut [Plane<S>; 3],
    row: usize,
}

/// Half of an edge of an 8 x 8 block of luma.
#[derive(Debug, Clone, Copy)]
struct Edge {
    /// In 8 x 8 blocks.
    column: usize,
    line: usize,
    /// 0 for the left or upper half, 1 for the other.
    half: usize,
    /// Mean of the quantisers at both sides.
    qp: i32,
    beta_offset: i32,
    tc_offset: i32,
    /// Whether the samples before and after the edge change.
    changes: [bool; 2],
}

impl<S: Sample> Kernel for RowFilter<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.pass::<true>();
        self.pass::<false>();
    }
}

impl<S: Sample> RowFilter<'_, S> {
    #[inline(always)]
    fn pass<const VERTICAL: bool>(&mut self) {
        let eighths = self.sps.header.block as usize / 8;
        let first = if VERTICAL { edge::LEFT } else { edge::TOP };
        let down = (self.sps.header.coded.1 as usize).div_ceil(8);
        let across = self.maps.across;
        let blocks_across = self.maps.tile_columns.len();
        for line in self.row * eighths..((self.row + 1) * eighths).min(down) {
            let edges = self.maps.edges.get(line * across..(line + 1) * across).unwrap_or_default();
            for (column, marks) in edges.iter().enumerate() {
                if marks & (3 * first) == 0 {
                    continue;
                }
                let place = line * across + column;
                let before = if VERTICAL { place.wrapping_sub(1) } else { place.wrapping_sub(across) };
                let qp_at = |at: usize| self.maps.qp.get(at).copied().map_or(0, i32::from);
                let changes = |at: usize| self.maps.exempt.get(at) != Some(&true);
                let slice = self.maps.slice_of(self.row * blocks_across + column / eighths);
                let offsets = slice.map(|slice| slice.deblocking).unwrap_or_default();
                for half in 0..2 {
                    if marks & first << half == 0 {
                        continue;
                    }
                    let edge = Edge {
                        column,
                        line,
                        half,
                        qp: (qp_at(place) + qp_at(before) + 1) >> 1,
                        beta_offset: offsets.beta,
                        tc_offset: offsets.tc,
                        changes: [changes(before), changes(place)],
                    };
                    self.luma::<VERTICAL>(edge);
                    if self.sps.header.chroma != Chroma::None {
                        self.chroma::<VERTICAL>(edge);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn luma<const VERTICAL: bool>(&mut self, edge: Edge) {
        let depth = u32::from(self.sps.header.depth);
        let beta = i32::from(BETA[(edge.qp + edge.beta_offset).clamp(0, 51) as usize]) << (depth - 8);
        let tc = i32::from(TC[(edge.qp + 2 + edge.tc_offset).clamp(0, 53) as usize]) << (depth - 8);
        // No sample changes by more than a small multiple of tc.
        if beta == 0 || tc == 0 {
            return;
        }
        let plane = &mut self.planes[0];
        let stride = plane.width;
        let (x, y) = if VERTICAL {
            (8 * edge.column, 8 * edge.line + 4 * edge.half)
        } else {
            (8 * edge.column + 4 * edge.half, 8 * edge.line)
        };
        let (step, along) = if VERTICAL { (1, stride) } else { (stride, 1) };
        let Some(start) = (y * stride + x).checked_sub(4 * step) else { return };
        let Some(samples) = plane.samples.get_mut(start..=start + 7 * step + 3 * along) else { return };
        // Four samples before the edge and four after it, of four lines.
        let mut lines = [[0i32; 4]; 8];
        for (n, line) in lines.iter_mut().enumerate() {
            for (k, sample) in line.iter_mut().enumerate() {
                *sample = samples[n * step + k * along].get();
            }
        }
        if !filter_luma(&mut lines, beta, tc, edge.changes, (1 << depth) - 1) {
            return;
        }
        for (n, line) in lines.iter().enumerate().take(7).skip(1) {
            for (k, sample) in line.iter().enumerate() {
                samples[n * step + k * along] = S::new(*sample);
            }
        }
    }

    #[inline(always)]
    fn chroma<const VERTICAL: bool>(&mut self, edge: Edge) {
        let format = self.sps.header.chroma;
        let (half_width, half_height) = format.halves();
        let (right, down) = (u32::from(half_width), u32::from(half_height));
        // Edges lie on a grid of 8 samples of chroma, too.
        let (at, halved) = if VERTICAL { (edge.column, half_width) } else { (edge.line, half_height) };
        if halved && at % 2 == 1 {
            return;
        }
        let depth = u32::from(self.sps.header.depth);
        for component in [1, 2] {
            let qp = chroma_qp(format, edge.qp + self.pps.chroma_qp[component - 1]);
            let tc = i32::from(TC[(qp + 2 + edge.tc_offset).clamp(0, 53) as usize]) << (depth - 8);
            if tc == 0 {
                continue;
            }
            let plane = &mut self.planes[component];
            let stride = plane.width;
            let (x, y) = if VERTICAL {
                (8 * edge.column >> right, 8 * edge.line + 4 * edge.half >> down)
            } else {
                (8 * edge.column + 4 * edge.half >> right, 8 * edge.line >> down)
            };
            let (step, along, count) =
                if VERTICAL { (1, stride, 4 >> down) } else { (stride, 1, 4 >> right) };
            let Some(start) = (y * stride + x).checked_sub(2 * step) else { continue };
            let Some(samples) = plane.samples.get_mut(start..=start + 3 * step + (count - 1) * along) else {
                continue;
            };
            let most = (1 << depth) - 1;
            for k in 0..count {
                let at = |n: usize| n * step + k * along;
                let [p1, p0, q0, q1] = [0, 1, 2, 3].map(|n| samples[at(n)].get());
                let delta = ((((q0 - p0) << 2) + p1 - q1 + 4) >> 3).clamp(-tc, tc);
                if edge.changes[0] {
                    samples[at(1)] = S::new((p0 + delta).clamp(0, most));
                }
                if edge.changes[1] {
                    samples[at(2)] = S::new((q0 - delta).clamp(0, most));
                }
            }
        }
    }
}

/// Filters four lines across an edge (sections 8.7.2.5.3 and 8.7.2.5.7). Returns false if nothing changes.
#[inline(always)]
fn filter_luma(lines: &mut [[i32; 4]; 8], beta: i32, tc: i32, changes: [bool; 2], most: i32) -> bool {
    let [p3, p2, p1, p0, q0, q1, q2, q3] = *lines;
    let bend = |a: [i32; 4], b: [i32; 4], c: [i32; 4], k: usize| (a[k] - 2 * b[k] + c[k]).abs();
    let (dp0, dp3) = (bend(p2, p1, p0, 0), bend(p2, p1, p0, 3));
    let (dq0, dq3) = (bend(q2, q1, q0, 0), bend(q2, q1, q0, 3));
    if dp0 + dq0 + dp3 + dq3 >= beta {
        return false;
    }
    let is_smooth = |k: usize, d: i32| {
        2 * d < beta >> 2
            && (p3[k] - p0[k]).abs() + (q0[k] - q3[k]).abs() < beta >> 3
            && (p0[k] - q0[k]).abs() < (5 * tc + 1) >> 1
    };
    if is_smooth(0, dp0 + dq0) && is_smooth(3, dp3 + dq3) {
        for k in 0..4 {
            let near = |value: i32, old: i32| value.clamp(old - 2 * tc, old + 2 * tc);
            let [p3, p2, p1, p0, q0, q1, q2, q3] = [p3[k], p2[k], p1[k], p0[k], q0[k], q1[k], q2[k], q3[k]];
            if changes[0] {
                lines[3][k] = near((p2 + 2 * p1 + 2 * p0 + 2 * q0 + q1 + 4) >> 3, p0);
                lines[2][k] = near((p2 + p1 + p0 + q0 + 2) >> 2, p1);
                lines[1][k] = near((2 * p3 + 3 * p2 + p1 + p0 + q0 + 4) >> 3, p2);
            }
            if changes[1] {
                lines[4][k] = near((p1 + 2 * p0 + 2 * q0 + 2 * q1 + q2 + 4) >> 3, q0);
                lines[5][k] = near((p0 + q0 + q1 + q2 + 2) >> 2, q1);
                lines[6][k] = near((p0 + q0 + q1 + 3 * q2 + 2 * q3 + 4) >> 3, q2);
            }
        }
        return true;
    }
    let side = (beta + (beta >> 1)) >> 3;
    let (deep_p, deep_q) = (dp0 + dp3 < side, dq0 + dq3 < side);
    for k in 0..4 {
        let [p2, p1, p0, q0, q1, q2] = [p2[k], p1[k], p0[k], q0[k], q1[k], q2[k]];
        let delta = (9 * (q0 - p0) - 3 * (q1 - p1) + 8) >> 4;
        if delta.abs() >= 10 * tc {
            continue;
        }
        let delta = delta.clamp(-tc, tc);
        if changes[0] {
            lines[3][k] = (p0 + delta).clamp(0, most);
            if deep_p {
                let delta = ((((p2 + p0 + 1) >> 1) - p1 + delta) >> 1).clamp(-(tc >> 1), tc >> 1);
                lines[2][k] = (p1 + delta).clamp(0, most);
            }
        }
        if changes[1] {
            lines[4][k] = (q0 - delta).clamp(0, most);
            if deep_q {
                let delta = ((((q2 + q0 + 1) >> 1) - q1 - delta) >> 1).clamp(-(tc >> 1), tc >> 1);
                lines[5][k] = (q1 + delta).clamp(0, most);
            }
        }
    }
    true
}
