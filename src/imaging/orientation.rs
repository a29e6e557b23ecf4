//! Turns a picture upright by its EXIF orientation, after the resize, when few samples are left to move.

use super::plane::Plane;
use super::workspace::Workspace;

/// Side of the square tiles that are transposed. A row of a tile is one machine word.
const TILE: usize = 8;
/// Rows that are transposed together, so that their output fills whole cache lines.
const STRIP: usize = 64;

/// The operation that turns the stored picture upright: EXIF values 1 to 8, rotations clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    Normal,
    FlipHorizontal,
    Rotate180,
    FlipVertical,
    Transpose,
    Rotate90,
    Transverse,
    Rotate270,
}

impl Orientation {
    /// Returns the meaning of an EXIF value. Values outside of 1..=8 are undefined and mean upright.
    pub(super) fn from_exif(value: u16) -> Self {
        match value {
            2 => Self::FlipHorizontal,
            3 => Self::Rotate180,
            4 => Self::FlipVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => Self::Normal,
        }
    }

    /// Returns whether columns and rows are reversed, before they are swapped.
    pub(super) fn mirrors(self) -> (bool, bool) {
        let columns =
            matches!(self, Self::FlipHorizontal | Self::Rotate180 | Self::Rotate270 | Self::Transverse);
        let rows = matches!(self, Self::FlipVertical | Self::Rotate180 | Self::Rotate90 | Self::Transverse);
        (columns, rows)
    }

    pub(super) fn swaps_sides(self) -> bool {
        matches!(self, Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270)
    }
}

pub(super) fn upright(mut plane: Plane, orientation: Orientation, workspace: &mut Workspace) -> Plane {
    let (mirrors_columns, mirrors_rows) = orientation.mirrors();
    if mirrors_columns {
        plane.samples.chunks_exact_mut(plane.width).for_each(<[u8]>::reverse);
    }
    if mirrors_rows {
        let (upper, lower) = plane.samples.split_at_mut(plane.height / 2 * plane.width);
        let lower = lower.rchunks_exact_mut(plane.width);
        upper.chunks_exact_mut(plane.width).zip(lower).for_each(|(a, b)| a.swap_with_slice(b));
    }
    if orientation.swaps_sides() { transposed(plane, workspace) } else { plane }
}

fn transposed(plane: Plane, workspace: &mut Workspace) -> Plane {
    let Plane { width, height, .. } = plane;
    let mut samples = workspace.take(width * height);
    let (whole_width, whole_height) = (width / TILE * TILE, height / TILE * TILE);
    for strip in (0..whole_height).step_by(STRIP) {
        for left in (0..whole_width).step_by(TILE) {
            for top in (strip..(strip + STRIP).min(whole_height)).step_by(TILE) {
                let mut tile = [0; TILE];
                for (y, row) in tile.iter_mut().enumerate() {
                    let from = plane.samples[(top + y) * width + left..].first_chunk();
                    *row = u64::from_le_bytes(*from.unwrap_or(&[0; TILE]));
                }
                for (x, column) in transposed_tile(tile).into_iter().enumerate() {
                    samples[(left + x) * height + top..][..TILE].copy_from_slice(&column.to_le_bytes());
                }
            }
        }
    }
    // Transposes the right and the lower border.
    for y in 0..height {
        for x in if y < whole_height { whole_width } else { 0 }..width {
            samples[x * height + y] = plane.samples[y * width + x];
        }
    }
    workspace.give_plane(plane);
    Plane { width: height, height: width, samples }
}

/// Transposes eight rows of eight bytes, the first byte lowest, by swapping ever smaller blocks (Hacker's Delight, 7-3).
fn transposed_tile(mut rows: [u64; TILE]) -> [u64; TILE] {
    for (distance, low) in
        [(4, 0x0000_0000_FFFF_FFFF), (2, 0x0000_FFFF_0000_FFFF), (1, 0x00FF_00FF_00FF_00FF_u64)]
    {
        for upper in (0..TILE).filter(|row| row & distance == 0) {
            let (a, b) = (rows[upper], rows[upper + distance]);
            let changed = (a >> (8 * distance) ^ b) & low;
            rows[upper] = a ^ changed << (8 * distance);
            rows[upper + distance] = b ^ changed;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 3x2 picture with samples numbered in reading order gives these numbers for each EXIF orientation.
    #[test]
    fn each_of_eight_orientations_is_turned_upright() {
        let expected: [(u16, usize, &[u8]); 8] = [
            (1, 3, &[0, 1, 2, 3, 4, 5]),
            (2, 3, &[2, 1, 0, 5, 4, 3]),
            (3, 3, &[5, 4, 3, 2, 1, 0]),
            (4, 3, &[3, 4, 5, 0, 1, 2]),
            (5, 2, &[0, 3, 1, 4, 2, 5]),
            (6, 2, &[3, 0, 4, 1, 5, 2]),
            (7, 2, &[5, 2, 4, 1, 3, 0]),
            (8, 2, &[2, 5, 1, 4, 0, 3]),
        ];
        for (value, width, order) in expected {
            let plane = Plane { width: 3, height: 2, samples: (0..6).collect() };
            let turned = upright(plane, Orientation::from_exif(value), &mut Workspace::default());
            let expected = Plane { width, height: 6 / width, samples: order.to_vec() };
            assert_eq!(turned, expected, "orientation {value}");
        }
    }

    #[test]
    fn transposed_twice_is_unchanged_for_partial_tiles() {
        let (width, height) = (2 * TILE + 5, TILE + 3);
        let samples = (0..width * height).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let plane = Plane { width, height, samples };
        let there = upright(plane.clone(), Orientation::Transpose, &mut Workspace::default());
        assert_eq!((there.width, there.samples[1]), (height, plane.samples[width]));
        assert_eq!(upright(there, Orientation::Transpose, &mut Workspace::default()), plane);
    }
}
