//! The loop filter (RFC 6386 section 15).
//!
//! Each function filters sixteen places of an edge at once: `lines` are the lines across them, so that the edge is in the
//! middle. They are loops that the compiler turns into vector code.

/// Samples along an edge that are filtered at once.
const LANES: usize = 16;
pub(super) type Line = [u8; LANES];

/// How strongly a macroblock is filtered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strength {
    /// Most step across an edge between macroblocks. Zero: there is no filter.
    outer: u8,
    /// Most step across an edge between blocks.
    inner: u8,
    /// Most step next to an edge.
    interior: u8,
    /// Steps next to an edge above this are details that are kept.
    detail: u8,
}

impl Strength {
    /// Returns the limits for a level up to 63 and a sharpness up to 7.
    pub(super) fn new(level: u8, sharpness: u8) -> Self {
        if level == 0 {
            return Self::default();
        }
        let interior = match sharpness {
            0 => level,
            1..=4 => (level >> 1).min(9 - sharpness),
            _ => (level >> 2).min(9 - sharpness),
        };
        let interior = interior.max(1);
        let detail = match level {
            40.. => 2,
            15.. => 1,
            _ => 0,
        };
        Self { outer: 2 * (level + 2) + interior, inner: 2 * level + interior, interior, detail }
    }

    pub(super) fn is_none(self) -> bool {
        self.outer == 0
    }
}

#[inline(always)]
fn clamp(value: i16) -> i16 {
    value.clamp(-128, 127)
}

/// Adds to a sample, which is read as if 128 were zero.
#[inline(always)]
fn plus(sample: i16, change: i16) -> u8 {
    (sample + change).clamp(0, 255) as u8
}

/// Filters an edge of a simple filter.
#[inline(always)]
fn simple(lines: &mut [Line; 4], limit: u8) {
    let limit = i16::from(limit);
    for n in 0..LANES {
        let (p1, p0) = (i16::from(lines[0][n]), i16::from(lines[1][n]));
        let (q0, q1) = (i16::from(lines[2][n]), i16::from(lines[3][n]));
        let is_on = 2 * (p0 - q0).abs() + (p1 - q1).abs() / 2 <= limit;
        let sum = clamp(clamp(p1 - q1) + 3 * (q0 - p0));
        let mask = -i16::from(is_on);
        lines[1][n] = plus(p0, (clamp(sum + 3) >> 3) & mask);
        lines[2][n] = plus(q0, -(clamp(sum + 4) >> 3) & mask);
    }
}

/// Filters an edge between blocks.
#[inline(always)]
fn between_blocks(lines: &mut [Line; 8], strength: Strength) {
    let (limit, interior) = (i16::from(strength.inner), i16::from(strength.interior));
    let detail = i16::from(strength.detail);
    for n in 0..LANES {
        let [p3, p2, p1, p0, q0, q1, q2, q3] = at(lines, n);
        let mask = mask([p3, p2, p1, p0, q0, q1, q2, q3], limit, interior);
        let steep = -i16::from(((p1 - p0).abs() > detail) | ((q1 - q0).abs() > detail));
        let sum = clamp((clamp(p1 - q1) & steep) + 3 * (q0 - p0));
        let (up, down) = (clamp(sum + 3) >> 3, clamp(sum + 4) >> 3);
        let outer = ((down + 1) >> 1) & !steep & mask;
        lines[2][n] = plus(p1, outer);
        lines[3][n] = plus(p0, up & mask);
        lines[4][n] = plus(q0, -(down & mask));
        lines[5][n] = plus(q1, -outer);
    }
}

/// Filters an edge between macroblocks.
#[inline(always)]
fn between_macroblocks(lines: &mut [Line; 8], strength: Strength) {
    let (limit, interior) = (i16::from(strength.outer), i16::from(strength.interior));
    let detail = i16::from(strength.detail);
    for n in 0..LANES {
        let [p3, p2, p1, p0, q0, q1, q2, q3] = at(lines, n);
        let mask = mask([p3, p2, p1, p0, q0, q1, q2, q3], limit, interior);
        let steep = -i16::from(((p1 - p0).abs() > detail) | ((q1 - q0).abs() > detail));
        let sum = clamp(clamp(p1 - q1) + 3 * (q0 - p0));
        let (few, many) = (sum & mask & steep, sum & mask & !steep);
        let (up, down) = (clamp(few + 3) >> 3, clamp(few + 4) >> 3);
        let (first, second, third) = ((27 * many + 63) >> 7, (18 * many + 63) >> 7, (9 * many + 63) >> 7);
        lines[1][n] = plus(p2, third);
        lines[2][n] = plus(p1, second);
        lines[3][n] = plus(p0, first + up);
        lines[4][n] = plus(q0, -(first + down));
        lines[5][n] = plus(q1, -second);
        lines[6][n] = plus(q2, -third);
    }
}

/// Returns the samples across an edge at place `n`.
#[inline(always)]
fn at(lines: &[Line; 8], n: usize) -> [i16; 8] {
    [
        lines[0][n].into(),
        lines[1][n].into(),
        lines[2][n].into(),
        lines[3][n].into(),
        lines[4][n].into(),
        lines[5][n].into(),
        lines[6][n].into(),
        lines[7][n].into(),
    ]
}

/// Returns all ones if the samples are similar enough to be filtered, otherwise zero.
#[inline(always)]
fn mask([p3, p2, p1, p0, q0, q1, q2, q3]: [i16; 8], limit: i16, interior: i16) -> i16 {
    let is_on = (2 * (p0 - q0).abs() + (p1 - q1).abs() / 2 <= limit)
        & ((p3 - p2).abs() <= interior)
        & ((p2 - p1).abs() <= interior)
        & ((p1 - p0).abs() <= interior)
        & ((q3 - q2).abs() <= interior)
        & ((q2 - q1).abs() <= interior)
        & ((q1 - q0).abs() <= interior);
    -i16::from(is_on)
}

/// A window of samples: rows of the same stride.
pub(super) struct Rows<'a> {
    pub(super) samples: &'a mut [u8],
    pub(super) stride: usize,
}

impl Rows<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, row: usize, column: usize) -> [u8; N] {
        let mut samples = [0; N];
        samples.copy_from_slice(&self.samples[row * self.stride + column..][..N]);
        samples
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, row: usize, column: usize, samples: [u8; N]) {
        self.samples[row * self.stride + column..][..N].copy_from_slice(&samples);
    }
}

/// Swaps rows and columns of sixteen rows of eight samples.
#[inline(always)]
fn columns(rows: &[[u8; 8]; LANES]) -> [Line; 8] {
    let mut pairs = [[0; 2]; 8];
    for n in 0..8 {
        pairs[n] = [u64::from_le_bytes(rows[n]), u64::from_le_bytes(rows[8 + n])];
    }
    transpose(&mut pairs);
    let mut lines = [[0; LANES]; 8];
    for n in 0..8 {
        let [low, high] = pairs[n];
        lines[n] = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
    }
    lines
}

/// Swaps rows and columns of eight lines.
#[inline(always)]
fn rows(lines: &[Line; 8]) -> [[u8; 8]; LANES] {
    let mut pairs = [[0; 2]; 8];
    for n in 0..8 {
        let line = u128::from_le_bytes(lines[n]);
        pairs[n] = [line as u64, (line >> 64) as u64];
    }
    transpose(&mut pairs);
    let mut rows = [[0; 8]; LANES];
    for n in 0..8 {
        rows[n] = pairs[n][0].to_le_bytes();
        rows[8 + n] = pairs[n][1].to_le_bytes();
    }
    rows
}

/// Swaps rows and columns of two squares of 8 x 8 bytes.
#[inline(always)]
fn transpose(rows: &mut [[u64; 2]; 8]) {
    swap::<1>(rows, 0x00FF_00FF_00FF_00FF);
    swap::<2>(rows, 0x0000_FFFF_0000_FFFF);
    swap::<4>(rows, 0x0000_0000_FFFF_FFFF);
}

/// Swaps the squares above and below the diagonal, whose side is `STEP`, of all squares of twice that side.
#[inline(always)]
fn swap<const STEP: usize>(rows: &mut [[u64; 2]; 8], mask: u64) {
    for pair in 0..4 {
        let upper = pair / STEP * 2 * STEP + pair % STEP;
        for lane in 0..2 {
            let swapped = ((rows[upper][lane] >> (8 * STEP)) ^ rows[upper + STEP][lane]) & mask;
            rows[upper + STEP][lane] ^= swapped;
            rows[upper][lane] ^= swapped << (8 * STEP);
        }
    }
}

/// What of a macroblock is filtered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edges {
    pub(super) strength: Strength,
    /// The edges to the macroblocks on the left and above exist.
    pub(super) has_left: bool,
    pub(super) has_above: bool,
    /// The edges between blocks are filtered.
    pub(super) has_inner: bool,
}

impl Rows<'_> {
    /// Returns `N` lines of sixteen samples from `row` on.
    #[inline(always)]
    fn lines<const N: usize>(&self, row: usize, column: usize) -> [Line; N] {
        let mut lines = [[0; LANES]; N];
        for n in 0..N {
            lines[n] = self.load(row + n, column);
        }
        lines
    }

    /// Returns eight columns of sixteen rows, as lines.
    #[inline(always)]
    fn columns(&self, row: usize, column: usize) -> [Line; 8] {
        let mut rows = [[0; 8]; LANES];
        for n in 0..LANES {
            rows[n] = self.load(row + n, column);
        }
        columns(&rows)
    }

    #[inline(always)]
    fn store_columns(&mut self, row: usize, column: usize, lines: &[Line; 8]) {
        let rows = rows(lines);
        for n in 0..LANES {
            self.store(row + n, column, rows[n]);
        }
    }
}

/// Returns eight of the lines, from line `from` on.
#[inline(always)]
fn eight<const N: usize>(lines: &mut [Line; N], from: usize) -> &mut [Line; 8] {
    // The numbers are constants of the callers.
    match lines[from..].first_chunk_mut() {
        Some(lines) => lines,
        None => unreachable!("there are fewer lines"),
    }
}

/// Filters the luma of a macroblock whose first sample is at `row` and `column`, with the simple filter.
#[inline(always)]
pub(super) fn simple_luma(plane: &mut Rows<'_>, row: usize, column: usize, edges: Edges) {
    let Edges { strength, .. } = edges;
    let end = if edges.has_inner { 4 } else { 1 };
    for edge in usize::from(!edges.has_left)..end {
        let from = column + 4 * edge - 4;
        let limit = if edge == 0 { strength.outer } else { strength.inner };
        let mut lines = plane.columns(row, from);
        let mut middle = [lines[2], lines[3], lines[4], lines[5]];
        simple(&mut middle, limit);
        lines[3..5].copy_from_slice(&middle[1..3]);
        plane.store_columns(row, from, &lines);
    }
    for edge in usize::from(!edges.has_above)..end {
        let from = row + 4 * edge - 2;
        let limit = if edge == 0 { strength.outer } else { strength.inner };
        let mut lines = plane.lines(from, column);
        simple(&mut lines, limit);
        plane.store(from + 1, column, lines[1]);
        plane.store(from + 2, column, lines[2]);
    }
}

/// Filters the luma of a macroblock whose first sample is at `row` and `column`.
#[inline(always)]
pub(super) fn luma(plane: &mut Rows<'_>, row: usize, column: usize, edges: Edges) {
    let Edges { strength, has_left, has_above, has_inner } = edges;
    if has_inner {
        let mut lines = [[0; LANES]; 24];
        for group in 0..3 {
            *eight(&mut lines, 8 * group) = plane.columns(row, column + 8 * group - 4);
        }
        if has_left {
            between_macroblocks(eight(&mut lines, 0), strength);
        }
        between_blocks(eight(&mut lines, 4), strength);
        between_blocks(eight(&mut lines, 8), strength);
        between_blocks(eight(&mut lines, 12), strength);
        for group in 0..3 {
            plane.store_columns(row, column + 8 * group - 4, eight(&mut lines, 8 * group));
        }
    } else if has_left {
        let mut lines = plane.columns(row, column - 4);
        between_macroblocks(&mut lines, strength);
        plane.store_columns(row, column - 4, &lines);
    }
    if has_above {
        let mut lines = plane.lines(row - 4, column);
        between_macroblocks(&mut lines, strength);
        for n in 1..7 {
            plane.store(row - 4 + n, column, lines[n]);
        }
    }
    if has_inner {
        let mut lines: [Line; 16] = plane.lines(row, column);
        between_blocks(eight(&mut lines, 0), strength);
        between_blocks(eight(&mut lines, 4), strength);
        between_blocks(eight(&mut lines, 8), strength);
        for n in 2..14 {
            plane.store(row + n, column, lines[n]);
        }
    }
}

/// Two planes whose lines are filtered together: eight samples of each.
pub(super) struct Chroma<'a>(pub(super) [Rows<'a>; 2]);

impl Chroma<'_> {
    #[inline(always)]
    fn lines(&self, row: usize, column: usize) -> [Line; 8] {
        let mut lines = [[0; LANES]; 8];
        for n in 0..8 {
            let [blue, red]: [[u8; 8]; 2] =
                [self.0[0].load(row + n, column), self.0[1].load(row + n, column)];
            lines[n][..8].copy_from_slice(&blue);
            lines[n][8..].copy_from_slice(&red);
        }
        lines
    }

    /// Stores the lines that a filter changes.
    #[inline(always)]
    fn store_lines(&mut self, row: usize, column: usize, lines: &[Line; 8]) {
        for n in 1..7 {
            let (mut blue, mut red) = ([0; 8], [0; 8]);
            blue.copy_from_slice(&lines[n][..8]);
            red.copy_from_slice(&lines[n][8..]);
            self.0[0].store(row + n, column, blue);
            self.0[1].store(row + n, column, red);
        }
    }

    #[inline(always)]
    fn columns(&self, row: usize, column: usize) -> [Line; 8] {
        let mut rows = [[0; 8]; LANES];
        for n in 0..8 {
            rows[n] = self.0[0].load(row + n, column);
            rows[8 + n] = self.0[1].load(row + n, column);
        }
        columns(&rows)
    }

    #[inline(always)]
    fn store_columns(&mut self, row: usize, column: usize, lines: &[Line; 8]) {
        let rows = rows(lines);
        for n in 0..8 {
            self.0[0].store(row + n, column, rows[n]);
            self.0[1].store(row + n, column, rows[8 + n]);
        }
    }
}

/// Filters the chroma of a macroblock whose first samples are at `row` and `column` of both planes.
#[inline(always)]
pub(super) fn chroma(planes: &mut Chroma<'_>, row: usize, column: usize, edges: Edges) {
    let Edges { strength, has_left, has_above, has_inner } = edges;
    if has_inner {
        let mut lines = [[0; LANES]; 16];
        *eight(&mut lines, 0) = planes.columns(row, column - 4);
        *eight(&mut lines, 8) = planes.columns(row, column + 4);
        if has_left {
            between_macroblocks(eight(&mut lines, 0), strength);
        }
        between_blocks(eight(&mut lines, 4), strength);
        planes.store_columns(row, column - 4, eight(&mut lines, 0));
        planes.store_columns(row, column + 4, eight(&mut lines, 8));
    } else if has_left {
        let mut lines = planes.columns(row, column - 4);
        between_macroblocks(&mut lines, strength);
        planes.store_columns(row, column - 4, &lines);
    }
    if has_above {
        let mut lines = planes.lines(row - 4, column);
        between_macroblocks(&mut lines, strength);
        planes.store_lines(row - 4, column, &lines);
    }
    if has_inner {
        let mut lines = planes.lines(row, column);
        between_blocks(&mut lines, strength);
        planes.store_lines(row, column, &lines);
    }
}
