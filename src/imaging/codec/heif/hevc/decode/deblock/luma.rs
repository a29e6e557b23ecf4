//! The luma filter across one edge: how much it may change, and the change itself.

use crate::imaging::codec::heif::hevc::decode::sample::Sample;

/// How much samples may change in each half of an edge.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Limits {
    /// With the strong filter, three samples at each side. With the others these are 0.
    pub(in super::super) strong: [i32; 2],
    /// With the weak filter, the sample at the edge.
    pub(in super::super) near: [i32; 2],
    /// The samples beside it, before and after the edge.
    pub(in super::super) before: [i32; 2],
    pub(in super::super) after: [i32; 2],
    /// Whether the samples before and after the edge change at all.
    pub(in super::super) changes: [bool; 2],
    /// The largest sample.
    pub(in super::super) most: i32,
    /// Whether any sample changes.
    pub(in super::super) is_any: bool,
}

impl Limits {
    /// Decides about four lines by the first and the last of them (section 8.7.2.5.3).
    #[inline(always)]
    pub(super) fn decide(&mut self, half: usize, first: [i32; 8], last: [i32; 8], beta: i32, tc: i32) {
        let bends = |line: [i32; 8]| {
            let [_, p2, p1, p0, q0, q1, q2, _] = line;
            ((p2 - 2 * p1 + p0).abs(), (q2 - 2 * q1 + q0).abs())
        };
        let ((dp0, dq0), (dp3, dq3)) = (bends(first), bends(last));
        if dp0 + dq0 + dp3 + dq3 >= beta {
            return;
        }
        self.is_any = true;
        let is_smooth = |line: [i32; 8], d: i32| {
            let [p3, _, _, p0, q0, _, _, q3] = line;
            2 * d < beta >> 2
                && (p3 - p0).abs() + (q0 - q3).abs() < beta >> 3
                && (p0 - q0).abs() < (5 * tc + 1) >> 1
        };
        if is_smooth(first, dp0 + dq0) && is_smooth(last, dp3 + dq3) {
            self.strong[half] = 2 * tc;
            return;
        }
        let side = (beta + (beta >> 1)) >> 3;
        self.near[half] = tc;
        self.before[half] = if dp0 + dp3 < side { tc >> 1 } else { 0 };
        self.after[half] = if dq0 + dq3 < side { tc >> 1 } else { 0 };
    }
}

/// Filters eight lines across an edge (section 8.7.2.5.7): the rows are the samples at equal distances from it. Every line has
/// both filters and chooses one, so that the loop becomes vector code.
pub(in super::super) fn filter_edge<S: Sample>(rows: &mut [[S; 8]; 8], limits: &Limits) {
    let old = *rows;
    let lanes = |halves: [i32; 2]| -> [i32; 8] { std::array::from_fn(|k| halves[k / 4]) };
    let (strong, near) = (lanes(limits.strong), lanes(limits.near));
    let (before, after) = (lanes(limits.before), lanes(limits.after));
    let mut new = [[0; 8]; 6];
    for k in 0..8 {
        let [p3, p2, p1, p0, q0, q1, q2, q3] = [0, 1, 2, 3, 4, 5, 6, 7].map(|n: usize| old[n][k].get());
        // Not `clamp`, whose check of the limits keeps the loop from becoming vector code.
        let limited = |value: i32, limit: i32| value.min(limit).max(-limit);
        let within = |value: i32, old: i32| old + limited(value - old, strong[k]);
        let of_strong = [
            within((2 * p3 + 3 * p2 + p1 + p0 + q0 + 4) >> 3, p2),
            within((p2 + p1 + p0 + q0 + 2) >> 2, p1),
            within((p2 + 2 * p1 + 2 * p0 + 2 * q0 + q1 + 4) >> 3, p0),
            within((p1 + 2 * p0 + 2 * q0 + 2 * q1 + q2 + 4) >> 3, q0),
            within((p0 + q0 + q1 + q2 + 2) >> 2, q1),
            within((p0 + q0 + q1 + 3 * q2 + 2 * q3 + 4) >> 3, q2),
        ];
        let delta = (9 * (q0 - p0) - 3 * (q1 - p1) + 8) >> 4;
        // A large step is a feature of the picture.
        let is_small = delta.abs() < 10 * near[k];
        let delta = if is_small { limited(delta, near[k]) } else { 0 };
        let beside = |far: i32, middle: i32, near: i32, delta: i32, limit: i32| {
            let change = limited((((far + near + 1) >> 1) - middle + delta) >> 1, limit);
            middle + if is_small { change } else { 0 }
        };
        let of_weak = [
            p2,
            beside(p2, p1, p0, delta, before[k]),
            p0 + delta,
            q0 - delta,
            beside(q2, q1, q0, -delta, after[k]),
            q2,
        ];
        for (n, new) in new.iter_mut().enumerate() {
            let value = if strong[k] > 0 { of_strong[n] } else { of_weak[n] };
            new[k] = value.min(limits.most).max(0);
        }
    }
    for (row, new) in rows[1..7].iter_mut().zip(new) {
        *row = new.map(S::new);
    }
    keep_exempt(rows, &old, limits.changes);
}

/// Restores the samples at a side of an edge that does not change.
#[inline(always)]
pub(super) fn keep_exempt<S: Sample>(rows: &mut [[S; 8]; 8], old: &[[S; 8]; 8], [before, after]: [bool; 2]) {
    if !before {
        rows[..4].copy_from_slice(&old[..4]);
    }
    if !after {
        rows[4..].copy_from_slice(&old[4..]);
    }
}
