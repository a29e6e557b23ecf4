//! The deblocking filter (ITU-T H.265 section 8.7.2). All blocks are intra blocks, so every marked edge has the boundary
//! strength 2.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
pub(super) mod luma;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

#[cfg(target_arch = "x86_64")]
pub(super) use self::avx2 as vector;
use self::luma::Limits;
#[cfg(target_arch = "aarch64")]
pub(super) use self::neon as vector;
use super::isa::{Isa, Kernel};
use super::maps::{Maps, edge};
use super::sample::{Plane, Sample};
use super::tables::chroma_qp;
use super::unfiltered::Unfiltered;
use crate::imaging::codec::heif::hevc::pps::{Deblocking, Pps};
use crate::imaging::codec::heif::hevc::sps::Sps;
use crate::imaging::codec::heif::picture::Chroma;

/// `β′` and `tC′` by quantiser (table 8-12).
const BETA: [u8; 52] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22,
    24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62, 64,
];
const TC: [u8; 54] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3,
    4, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10, 11, 13, 14, 16, 18, 20, 22, 24,
];

/// Filters the edges of a row of coding tree blocks, with that at its top.
pub(super) fn row<S: Sample, I: Isa>(isa: I, picture: &mut Unfiltered<'_, S>, row: usize) {
    let Unfiltered { sps, pps, maps, planes } = picture;
    isa.run(RowFilter { isa, sps, pps, maps, planes, row });
}

struct RowFilter<'f, S, I> {
    isa: I,
    sps: &'f Sps,
    pps: &'f Pps,
    maps: &'f Maps,
    planes: &'f mut [Plane<S>; 3],
    row: usize,
}

/// The edge of an 8 x 8 block of luma, at its left or at its top.
#[derive(Debug, Clone, Copy)]
struct Edge {
    /// In 8 x 8 blocks.
    column: usize,
    line: usize,
    /// Which halves are filtered.
    halves: [bool; 2],
    /// Mean of the quantisers at both sides.
    qp: i32,
    offsets: Deblocking,
    /// Whether the samples before and after the edge change.
    changes: [bool; 2],
}

impl<S: Sample, I: Isa> Kernel for RowFilter<'_, S, I> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        self.pass::<true>();
        self.pass::<false>();
    }
}

impl<S: Sample, I: Isa> RowFilter<'_, S, I> {
    #[inline(always)]
    fn pass<const VERTICAL: bool>(&mut self) {
        let eighths = self.sps.header.block as usize / 8;
        let first = if VERTICAL { edge::LEFT } else { edge::TOP };
        let maps = self.maps;
        let across = maps.across;
        let down = (self.sps.header.coded.1 as usize).div_ceil(8);
        let blocks = self.row * maps.tile_columns.len();
        let has_chroma = self.sps.header.chroma != Chroma::None;
        for line in self.row * eighths..((self.row + 1) * eighths).min(down) {
            let edges = maps.edges.get(line * across..(line + 1) * across).unwrap_or_default();
            for (block, edges) in edges.chunks(eighths).enumerate() {
                let offsets = maps.slice_of(blocks + block).map(|slice| slice.deblocking).unwrap_or_default();
                for (n, marks) in edges.iter().enumerate() {
                    if marks & (3 * first) == 0 {
                        continue;
                    }
                    let column = block * eighths + n;
                    let place = line * across + column;
                    let before = place.wrapping_sub(if VERTICAL { 1 } else { across });
                    let qp_at = |at: usize| maps.qp.get(at).copied().map_or(0, i32::from);
                    let changes = |at: usize| maps.exempt.get(at) != Some(&true);
                    let edge = Edge {
                        column,
                        line,
                        halves: [marks & first != 0, marks & (2 * first) != 0],
                        qp: (qp_at(place) + qp_at(before) + 1) >> 1,
                        offsets,
                        changes: [changes(before), changes(place)],
                    };
                    self.luma::<VERTICAL>(edge);
                    if has_chroma {
                        self.chroma::<VERTICAL>(edge);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn luma<const VERTICAL: bool>(&mut self, edge: Edge) {
        let depth = u32::from(self.sps.header.depth);
        let beta = i32::from(BETA[(edge.qp + edge.offsets.beta).clamp(0, 51) as usize]) << (depth - 8);
        let tc = i32::from(TC[(edge.qp + 2 + edge.offsets.tc).clamp(0, 53) as usize]) << (depth - 8);
        // No sample changes by more than a small multiple of tc.
        if beta == 0 || tc == 0 {
            return;
        }
        let plane = &mut self.planes[0];
        let stride = plane.width;
        let (x, y) = (8 * edge.column, 8 * edge.line);
        let before = if VERTICAL { 4 } else { 4 * stride };
        let Some(start) = (y * stride + x).checked_sub(before) else { return };
        let Some(samples) = plane.samples.get_mut(start..=start + 7 * stride + 7) else { return };
        let mut rows = [[S::default(); 8]; 8];
        for (row, line) in rows.iter_mut().zip(samples.chunks(stride)) {
            row.copy_from_slice(&line[..8]);
        }
        let mut limits = Limits { changes: edge.changes, most: (1 << depth) - 1, ..Limits::default() };
        for half in [0, 1] {
            if edge.halves[half] {
                // The first and the last of four lines decide for all.
                let line = |k: usize| {
                    let at = |n: usize| if VERTICAL { rows[k][n].get() } else { rows[n][k].get() };
                    [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]
                };
                limits.decide(half, line(4 * half), line(4 * half + 3), beta, tc);
            }
        }
        if !limits.is_any {
            return;
        }
        if VERTICAL {
            rows = self.isa.transpose8(rows);
        }
        self.isa.filter_edge(&mut rows, &limits);
        if VERTICAL {
            rows = self.isa.transpose8(rows);
        }
        for (row, line) in rows.iter().zip(samples.chunks_mut(stride)) {
            line[..8].copy_from_slice(row);
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
            let tc = i32::from(TC[(qp + 2 + edge.offsets.tc).clamp(0, 53) as usize]) << (depth - 8);
            if tc == 0 {
                continue;
            }
            let plane = &mut self.planes[component];
            let stride = plane.width;
            let (x, y) = ((8 * edge.column) >> right, (8 * edge.line) >> down);
            let (step, half) = if VERTICAL { (1, 4 >> down) } else { (stride, 4 >> right) };
            let Some(start) = (y * stride + x).checked_sub(2 * step) else { continue };
            let first = if edge.halves[0] { 0 } else { half };
            let last = if edge.halves[1] { 2 * half } else { half };
            let most = (1 << depth) - 1;
            let filter = |p1: S, p0: &mut S, q0: &mut S, q1: S| {
                let (before, after) = (p0.get(), q0.get());
                let delta = ((((after - before) << 2) + p1.get() - q1.get() + 4) >> 3).clamp(-tc, tc);
                if edge.changes[0] {
                    *p0 = S::new((before + delta).clamp(0, most));
                }
                if edge.changes[1] {
                    *q0 = S::new((after - delta).clamp(0, most));
                }
            };
            let samples = plane.samples.get_mut(start..).unwrap_or_default();
            if VERTICAL {
                for line in samples.chunks_mut(stride).take(last).skip(first) {
                    if let Some([p1, p0, q0, q1]) = line.first_chunk_mut() {
                        filter(*p1, p0, q0, *q1);
                    }
                }
            } else {
                let mut lines =
                    samples.chunks_mut(stride).map(|line| line.get_mut(first..last).unwrap_or_default());
                if let (Some(p1), Some(p0), Some(q0), Some(q1)) =
                    (lines.next(), lines.next(), lines.next(), lines.next())
                {
                    for (((p1, p0), q0), q1) in p1.iter().zip(p0).zip(q0).zip(q1.iter()) {
                        filter(*p1, p0, q0, *q1);
                    }
                }
            }
        }
    }
}
