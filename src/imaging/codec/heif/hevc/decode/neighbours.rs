//! The neighbours from which a block is predicted (ITU-T H.265 sections 8.4.4.2.1 to 8.4.4.2.3): gathered from the picture,
//! substituted where they are missing, and smoothed.

use super::sample::{Plane, Sample};

/// Length of a line of neighbours: the corner and twice the side of the largest block, and as much as vectors reach beyond.
pub(super) const LINE: usize = 80;

/// The neighbours of a block from the corner outwards: at the left from top to bottom, and above from left to right.
#[derive(Clone, Copy)]
pub(super) struct Neighbours<S> {
    pub(super) left: [S; LINE],
    pub(super) top: [S; LINE],
}

/// Which neighbours may be used: how many samples below the left ones and at the right of the upper ones, and the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Available {
    pub(super) below_left: usize,
    pub(super) left: bool,
    pub(super) corner: bool,
    pub(super) top: bool,
    pub(super) top_right: usize,
}

impl<S: Sample> Neighbours<S> {
    /// Gathers the neighbours of the block at a place (sections 8.4.4.2.1 and 8.4.4.2.2). `far` is whether those beyond the
    /// side of the block are needed at the left and above; otherwise they have any values.
    #[inline(always)]
    pub(super) fn gather<const SIDE: usize>(
        &mut self,
        plane: &Plane<S>,
        (x, y): (usize, usize),
        available: Available,
        far: (bool, bool),
        depth: u32,
    ) {
        let stride = plane.width;
        let lines = self;
        let Available { below_left, left, corner, top, top_right } = available;
        // The far ones may stand in for missing near ones.
        let has_all = left && corner && top;
        let far = if has_all { far } else { (true, true) };
        let column = |room: &mut [S], y: usize| {
            let start = (y * stride + x).wrapping_sub(1);
            let last = start.wrapping_add(stride * (room.len() - 1));
            let samples = plane.samples.get(start..=last).unwrap_or_default();
            for (n, to) in room.iter_mut().enumerate() {
                *to = samples.get(n * stride).copied().unwrap_or_default();
            }
        };
        if left {
            column(&mut lines.left[1..=SIDE], y);
        }
        if far.0 && below_left > 0 {
            column(&mut lines.left[1 + SIDE..1 + SIDE + below_left.min(SIDE)], y + SIDE);
        }
        let above = y.checked_sub(1).map(|y| plane.row(y)).unwrap_or_default();
        if corner {
            lines.top[0] = above.get(x.wrapping_sub(1)).copied().unwrap_or_default();
        }
        let above = above.get(x..).unwrap_or_default();
        if top && let Some(samples) = above.first_chunk::<SIDE>() {
            lines.top[1..=SIDE].copy_from_slice(samples);
        }
        if far.1
            && let Some(above) = above.get(SIDE..)
        {
            match above.first_chunk::<SIDE>() {
                Some(samples) if top_right == SIDE => {
                    lines.top[1 + SIDE..=2 * SIDE].copy_from_slice(samples);
                }
                _ => {
                    for (to, sample) in lines.top[1 + SIDE..].iter_mut().zip(above).take(top_right) {
                        *to = *sample;
                    }
                }
            }
        }
        if has_all {
            lines.left[0] = lines.top[0];
            if far.0 && below_left < SIDE {
                let last = lines.left[SIDE + below_left];
                fill_from::<S, SIDE>(&mut lines.left, below_left, last);
            }
            if far.1 && top_right < SIDE {
                let last = lines.top[SIDE + top_right];
                fill_from::<S, SIDE>(&mut lines.top, top_right, last);
            }
        } else {
            lines.substitute(SIDE, available, depth);
        }
    }

    /// Replaces missing neighbours by the nearest one on the way from the lower left to the upper right.
    #[cold]
    #[inline(never)]
    fn substitute(&mut self, side: usize, available: Available, depth: u32) {
        let Available { below_left, left, corner, top, top_right } = available;
        if below_left < side {
            let first = if below_left > 0 {
                self.left[(side + below_left) % LINE]
            } else if left {
                self.left[side % LINE]
            } else if corner {
                self.top[0]
            } else if top {
                self.top[1]
            } else if top_right > 0 {
                self.top[(1 + side) % LINE]
            } else {
                S::new(1 << (depth - 1))
            };
            if let Some(rest) = self.left.get_mut(1 + side + below_left..=2 * side) {
                rest.fill(first);
            }
        }
        if !left {
            let below = self.left[(1 + side) % LINE];
            if let Some(rest) = self.left.get_mut(1..=side) {
                rest.fill(below);
            }
        }
        if !corner {
            self.top[0] = self.left[1];
        }
        self.left[0] = self.top[0];
        if !top {
            let before = self.top[0];
            if let Some(rest) = self.top.get_mut(1..=side) {
                rest.fill(before);
            }
        }
        if top_right < side {
            let before = self.top[(side + top_right) % LINE];
            if let Some(rest) = self.top.get_mut(1 + side + top_right..=2 * side) {
                rest.fill(before);
            }
        }
    }

    /// Smooths the neighbours (section 8.4.4.2.3).
    #[inline(always)]
    pub(super) fn smooth<const SIDE: usize>(&mut self, strong: bool, depth: u32) {
        let corner = self.top[0].get();
        let (left_end, top_end) = (self.left[2 * SIDE].get(), self.top[2 * SIDE].get());
        if strong && SIDE == 32 {
            let limit = 1 << (depth - 5);
            let is_flat = |middle: S, end: i32| (corner + end - 2 * middle.get()).abs() < limit;
            if is_flat(self.top[SIDE], top_end) && is_flat(self.left[SIDE], left_end) {
                for (line, end) in [(&mut self.left, left_end), (&mut self.top, top_end)] {
                    for (n, sample) in line[1..64].iter_mut().enumerate() {
                        let n = n as i32;
                        *sample = S::new(((63 - n) * corner + (n + 1) * end + 32) >> 6);
                    }
                }
                return;
            }
        }
        let two = S::Wide::from(2);
        let mean = |a: S, b: S, c: S| S::narrow((a.wide() + two * b.wide() + c.wide() + two) >> 2);
        let new_corner = mean(self.left[1], self.top[0], self.top[1]);
        for line in [&mut self.left, &mut self.top] {
            let old = *line;
            // One more than needed is a whole number of vectors.
            for n in 0..2 * SIDE {
                line[n + 1] = mean(old[n], old[n + 1], old[n + 2]);
            }
            line[2 * SIDE] = old[2 * SIDE];
            line[0] = new_corner;
        }
    }
}

/// Fills the second half of a line with a sample, except its first `known` samples.
#[inline(always)]
fn fill_from<S: Sample, const SIDE: usize>(line: &mut [S; LINE], known: usize, sample: S) {
    for (n, to) in line[1 + SIDE..=2 * SIDE].iter_mut().enumerate() {
        *to = if n < known { *to } else { sample };
    }
}
