//! Encodes a [ThumbHash](https://evanw.github.io/thumbhash): the mean colour, and low frequencies of luma and of two differences of
//! colours, in about 20 bytes. Gives the bytes of the reference implementation, but for frequencies that are exactly 0, and sides of one
//! pixel.

use super::waves::{coefficients, without_mean};
use crate::model::ThumbHash;

/// Frequencies of luma along the longer side.
const LUMA: usize = 7;
/// Frequencies of colours in each direction, and fewest of luma.
const FEWEST: usize = 3;

/// Encodes pixels, each red, green and blue from 0 to 255. Returns `None` if their number is not `width` times `height`, or 0.
#[inline(always)]
pub(super) fn of(
    pixels: impl Iterator<Item = [i32; 3]>,
    (width, height): (usize, usize),
) -> Option<ThumbHash> {
    let pixels: Vec<[i32; 3]> = pixels.collect();
    if pixels.is_empty() || pixels.len() != width * height {
        return None;
    }
    let longer = width.max(height);
    // Rounds to nearest, and halves up.
    let frequencies = |side: usize| ((2 * LUMA * side + longer) / (2 * longer)).max(1);
    let (across, down) = (frequencies(width), frequencies(height));
    // The number that stands for 1 is the largest luma, or difference.
    let of_luma = (across.max(FEWEST), down.max(FEWEST));
    let luma = Channel::new::<LUMA>(pixels.iter().map(|[r, g, b]| r + g + b), width, of_luma, 765.0);
    let of_colour = (FEWEST, FEWEST);
    let yellow_blue = pixels.iter().map(|[r, g, b]| r + g - 2 * b);
    let yellow_blue = Channel::new::<FEWEST>(yellow_blue, width, of_colour, 510.0);
    let red_green = pixels.iter().map(|[r, g, _]| r - g);
    let red_green = Channel::new::<FEWEST>(red_green, width, of_colour, 255.0);
    let is_landscape = width > height;
    let head = whole(63.0 * luma.mean)
        | whole(31.5 + 31.5 * yellow_blue.mean) << 6
        | whole(31.5 + 31.5 * red_green.mean) << 12
        | whole(31.0 * luma.scale) << 18;
    let shorter = u32::try_from(if is_landscape { down } else { across }).ok()?;
    let scales = shorter
        | whole(63.0 * yellow_blue.scale) << 3
        | whole(63.0 * red_green.scale) << 9
        | u32::from(is_landscape) << 15;
    let mut bytes = [&head.to_le_bytes()[..3], &scales.to_le_bytes()[..2]].concat();
    let nibbles = [luma, yellow_blue, red_green].into_iter().flat_map(|channel| channel.nibbles);
    let nibbles: Vec<u8> = nibbles.collect();
    bytes.extend(nibbles.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |upper| upper << 4)));
    ThumbHash::from_bytes(&bytes)
}

struct Channel {
    mean: f64,
    /// The strongest frequency.
    scale: f64,
    /// The frequencies as parts of it, from 0 to 15: 0 is its negative, and 15 itself.
    nibbles: Vec<u8>,
}

impl Channel {
    /// Encodes the first `across` frequencies of at most `MOST`, and `down`. Those that are high in both directions are left out.
    #[inline(always)]
    fn new<const MOST: usize>(
        samples: impl Iterator<Item = i32> + Clone,
        width: usize,
        (across, down): (usize, usize),
        range: f64,
    ) -> Self {
        let (samples, mean) = without_mean(samples);
        let rows = coefficients::<MOST, MOST>(&samples, width);
        let kept = |row: usize| usize::from(row == 0)..(across * (down - row)).div_ceil(down);
        let rows = rows.iter().take(down).enumerate();
        let kept: Vec<f64> = rows.flat_map(|(row, values)| values[kept(row)].iter().copied()).collect();
        let scale = kept.iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
        let nibble = |value: &f64| match scale {
            0.0 => 0,
            _ => whole(15.0 * (0.5 + 0.5 / scale * value)).to_le_bytes()[0],
        };
        Self { mean: mean / range, scale: scale / range, nibbles: kept.iter().map(nibble).collect() }
    }
}

/// Rounds a number from 0 to 63 to nearest, and halves up, as JavaScript does.
fn whole(number: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the number is small, and a cast saturates")]
    let whole = (number + 0.5).floor() as i32;
    whole.clamp(0, 63).cast_unsigned()
}
