//! Intra prediction (ITU-T H.265 section 8.4.4.2): a block is predicted from the samples at its left and above it.
//!
//! The neighbours are gathered into two lines first, with all substitutions, so that the prediction itself has no borders.

use super::isa::{Isa, Kernel};
use super::neighbours::{Available, LINE, Neighbours};
use super::sample::{Block, Plane, Sample};

pub(super) const PLANAR: u8 = 0;
pub(super) const DC: u8 = 1;
pub(super) const HORIZONTAL: u8 = 10;
pub(super) const VERTICAL: u8 = 26;

/// Predicts a block.
pub(super) struct Predict<'b, S, I> {
    pub(super) isa: I,
    pub(super) plane: &'b mut Plane<S>,
    pub(super) place: (usize, usize),
    pub(super) available: Available,
    pub(super) log2: u32,
    pub(super) mode: u8,
    /// Whether neighbours are smoothed for blocks and modes that need it.
    pub(super) smooths: bool,
    /// Whether 32 x 32 blocks have the strong smoothing.
    pub(super) smooths_strongly: bool,
    /// Whether the edges of the predictions from the mean are smoothed, and those of straight predictions.
    pub(super) edges: (bool, bool),
    pub(super) depth: u32,
}

impl<S: Sample, I: Isa> Kernel for Predict<'_, S, I> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        match self.log2 {
            2 => self.predict::<4>(),
            3 => self.predict::<8>(),
            4 => self.predict::<16>(),
            _ => self.predict::<32>(),
        }
    }
}

/// `intraPredAngle` of the modes from 2 on (table 8-5).
const ANGLES: [i8; 33] = [
    32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26, -32, -26, -21, -17, -13, -9, -5, -2, 0,
    2, 5, 9, 13, 17, 21, 26, 32,
];

/// `invAngle` of the modes 11 to 25 (table 8-6).
const INVERSE_ANGLES: [i16; 15] =
    [-4096, -1638, -910, -630, -482, -390, -315, -256, -315, -390, -482, -630, -910, -1638, -4096];

impl<S: Sample, I: Isa> Predict<'_, S, I> {
    #[inline(always)]
    fn predict<const SIDE: usize>(&mut self) {
        // Least distance from the straight modes from which neighbours are smoothed.
        let threshold = match SIDE {
            4 => i32::MAX,
            8 => 7,
            16 => 1,
            _ => 0,
        };
        let mode = i32::from(self.mode);
        let distance = (mode - 26).abs().min((mode - 10).abs());
        let smooths = self.smooths && self.mode != DC && distance > threshold;
        let far = (
            smooths || matches!(self.mode, PLANAR | 2..HORIZONTAL),
            smooths || self.mode == PLANAR || self.mode > VERTICAL,
        );
        let mut lines = Neighbours { left: [S::default(); LINE], top: [S::default(); LINE] };
        lines.gather::<SIDE>(self.plane, self.place, self.available, far, self.depth);
        if smooths {
            lines.smooth::<SIDE>(self.smooths_strongly, self.depth);
        }
        match self.mode {
            PLANAR => self.planar::<SIDE>(&lines),
            DC => self.mean::<SIDE>(&lines),
            2..18 => self.angular_from_left::<SIDE>(&lines),
            _ => self.angular_from_top::<SIDE>(&lines),
        }
    }

    fn block(&mut self) -> Block<'_, S> {
        let (x, y) = self.place;
        self.plane.block(x, y)
    }

    #[inline(always)]
    fn planar<const SIDE: usize>(&mut self, lines: &Neighbours<S>) {
        let Neighbours { left, top } = lines;
        let wide = |n: usize| S::Wide::from(n as u8);
        let (right, below) = (top[SIDE + 1].wide(), left[SIDE + 1].wide());
        self.block().rows::<SIDE>(|y, row| {
            let from_left = left[y + 1].wide();
            let constant = wide(y + 1) * below + wide(SIDE);
            let weight = wide(SIDE - 1 - y);
            for x in 0..SIDE {
                let sum = wide(SIDE - 1 - x) * from_left
                    + wide(x + 1) * right
                    + weight * top[x + 1].wide()
                    + constant;
                row[x] = S::narrow(sum >> (SIDE.ilog2() + 1));
            }
        });
    }

    #[inline(always)]
    fn mean<const SIDE: usize>(&mut self, lines: &Neighbours<S>) {
        let Neighbours { left, top } = lines;
        let sum = |line: &[S; LINE]| line[1..=SIDE].iter().map(|sample| sample.get()).sum::<i32>();
        let mean = (sum(left) + sum(top) + SIDE as i32) >> (SIDE.ilog2() + 1);
        let smooths_edges = self.edges.0 && SIDE < 32;
        self.block().rows::<SIDE>(|y, row| {
            *row = [S::new(mean); SIDE];
            if !smooths_edges {
                return;
            }
            if y == 0 {
                for x in 1..SIDE {
                    row[x] = S::new((top[x + 1].get() + 3 * mean + 2) >> 2);
                }
                row[0] = S::new((left[1].get() + 2 * mean + top[1].get() + 2) >> 2);
            } else {
                row[0] = S::new((left[y + 1].get() + 3 * mean + 2) >> 2);
            }
        });
    }

    /// Returns the neighbours along the main direction, and where the corner is among them. Before it are those of the other
    /// direction that a negative angle reaches, for which there is `room`.
    #[inline(always)]
    fn reference<'r, const SIDE: usize>(
        &self,
        main: &'r [S; LINE],
        other: &[S; LINE],
        angle: i32,
        room: &'r mut [S; LINE],
    ) -> (&'r [S; LINE], usize) {
        if angle >= 0 {
            return (main, 0);
        }
        const CORNER: usize = 32;
        room[CORNER..=CORNER + SIDE].copy_from_slice(&main[..=SIDE]);
        let reached = (SIDE as i32 * angle) >> 5;
        if reached < -1 {
            let inverse = i32::from(INVERSE_ANGLES[usize::from(self.mode - 11) % 15]);
            for n in 1..=reached.unsigned_abs() as usize {
                let from = (n as i32 * -inverse + 128) >> 8;
                room[(CORNER - n) % LINE] = other[from as usize % LINE];
            }
        }
        (room, CORNER)
    }

    #[inline(always)]
    fn angular_from_top<const SIDE: usize>(&mut self, lines: &Neighbours<S>) {
        let angle = i32::from(ANGLES[usize::from(self.mode - 2) % 33]);
        let Neighbours { left, top } = lines;
        let mut room = [S::default(); LINE];
        let reference = self.reference::<SIDE>(top, left, angle, &mut room);
        let smooths_edge = self.mode == VERTICAL && self.edges.1 && SIDE < 32;
        let (corner, first, most) = (top[0].get(), top[1].get(), (1 << self.depth) - 1);
        let (x, y) = self.place;
        let isa = self.isa;
        self.plane.block(x, y).rows::<SIDE>(|y, row| {
            *row = line(isa, reference, y, 0, angle);
            if smooths_edge {
                row[0] = S::new((first + ((left[y + 1].get() - corner) >> 1)).clamp(0, most));
            }
        });
    }

    #[inline(always)]
    fn angular_from_left<const SIDE: usize>(&mut self, lines: &Neighbours<S>) {
        let angle = i32::from(ANGLES[usize::from(self.mode - 2) % 33]);
        let Neighbours { left, top } = lines;
        let mut room = [S::default(); LINE];
        let reference = self.reference::<SIDE>(left, top, angle, &mut room);
        let isa = self.isa;
        let mut rows = [[S::default(); SIDE]; SIDE];
        for left in (0..SIDE).step_by(8) {
            for top in (0..SIDE).step_by(8) {
                // Blocks of 4 x 4 fill a quarter.
                let mut columns = [[S::default(); 8]; 8];
                for (n, column) in columns.iter_mut().enumerate().take(SIDE) {
                    *column = line(isa, reference, left + n, top, angle);
                }
                let turned = isa.transpose8(columns);
                for (row, turned) in rows[top..].iter_mut().zip(&turned) {
                    for (to, from) in row[left..].iter_mut().zip(turned) {
                        *to = *from;
                    }
                }
            }
        }
        let smooths_edge = self.mode == HORIZONTAL && self.edges.1 && SIDE < 32;
        let (corner, first, most) = (top[0].get(), left[1].get(), (1 << self.depth) - 1);
        if smooths_edge {
            for (sample, above) in rows[0].iter_mut().zip(&top[1..]) {
                *sample = S::new((first + ((above.get() - corner) >> 1)).clamp(0, most));
            }
        }
        self.block().rows::<SIDE>(|y, row| *row = rows[y % SIDE]);
    }
}

/// Returns `COUNT` predicted samples of a line across the main direction, from `at` on.
#[inline(always)]
fn line<S: Sample, I: Isa, const COUNT: usize>(
    isa: I,
    (reference, corner): (&[S; LINE], usize),
    n: usize,
    at: usize,
    angle: i32,
) -> [S; COUNT] {
    let position = (n as i32 + 1) * angle;
    let start = (corner as i32 + 1 + (position >> 5)) as usize + at;
    let fraction = (position & 31) as u8;
    let mut line = [S::default(); COUNT];
    let reference = reference.get(start..).unwrap_or_default();
    for (n, eight) in line.chunks_mut(8).enumerate() {
        let at = |offset: usize| reference.get(8 * n + offset..).and_then(<[S]>::first_chunk::<8>);
        let Some(near) = at(0) else { continue };
        let mixed = match at(1) {
            Some(far) if fraction != 0 => isa.mix8(*near, *far, fraction),
            _ => *near,
        };
        for (to, sample) in eight.iter_mut().zip(mixed) {
            *to = sample;
        }
    }
    line
}
