//! Turns a picture upright. Runs after the resize, when there is little left to move.

use super::Rgb;
use super::exif::Orientation;

const PIXEL: usize = 3;

/// The picture as its orientation says it was seen.
pub(super) fn upright(image: Rgb, orientation: Orientation) -> Rgb {
    if orientation == Orientation::Normal {
        return image;
    }
    let (width, height) = (image.width as usize, image.height as usize);
    let swapped = orientation.swaps_sides();
    let (out_width, out_height) = if swapped { (height, width) } else { (width, height) };
    let mut pixels = Vec::with_capacity(image.pixels.len());
    for y in 0..out_height {
        for x in 0..out_width {
            let (from_x, from_y) = match orientation {
                Orientation::Normal => (x, y),
                Orientation::FlipHorizontal => (width - 1 - x, y),
                Orientation::Rotate180 => (width - 1 - x, height - 1 - y),
                Orientation::FlipVertical => (x, height - 1 - y),
                Orientation::Transpose => (y, x),
                Orientation::Rotate90 => (y, height - 1 - x),
                Orientation::Transverse => (width - 1 - y, height - 1 - x),
                Orientation::Rotate270 => (width - 1 - y, x),
            };
            let at = (from_y * width + from_x) * PIXEL;
            pixels.extend_from_slice(&image.pixels[at..at + PIXEL]);
        }
    }
    let (width, height) = if swapped { (image.height, image.width) } else { (image.width, image.height) };
    Rgb { width, height, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 3x2 picture whose pixels are numbered in reading order, and what each EXIF orientation makes of it.
    #[test]
    fn all_eight_orientations() {
        let expected: [(u16, u32, &[u8]); 8] = [
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
            let image = Rgb { width: 3, height: 2, pixels: (0..6).flat_map(|n| [n; 3]).collect() };
            let turned = upright(image, Orientation::from_exif(value));
            let got: Vec<u8> = turned.pixels.chunks(3).map(|pixel| pixel[0]).collect();
            assert_eq!(
                (turned.width, turned.height, got.as_slice()),
                (width, 6 / width, order),
                "orientation {value}"
            );
        }
    }
}
