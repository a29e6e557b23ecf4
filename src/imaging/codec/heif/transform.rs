//! The transforms that a file declares for the decoded picture: crop (`clap`), rotation (`irot`), mirroring (`imir`); ISO/IEC
//! 14496-12 section 12.1.4, 23008-12 sections 6.5.10 and 6.5.12. EXIF orientation is ignored: it repeats them, or is wrong.

use super::boxes::{BoxKind, Reader};
use crate::imaging::error::ImageError;
use crate::imaging::orientation::Orientation;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The transforms of a picture. The crop is applied first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transform {
    pub(super) crop: Rect,
    turn: Turn,
}

impl Transform {
    pub(super) fn none(width: u32, height: u32) -> Self {
        Self { crop: Rect { x: 0, y: 0, width, height }, turn: Turn::NONE }
    }

    /// Adds the transform of a property, if it is one. MIAF (ISO/IEC 23000-22 section 7.3.6.7) forbids a crop after a rotation.
    pub(super) fn then(self, kind: BoxKind, payload: &[u8]) -> Result<Self, ImageError> {
        let mut payload = Reader::new(payload);
        let turn = self.turn;
        let turn = match &kind {
            b"clap" if turn != Turn::NONE => return Err(ImageError::Unsupported),
            b"clap" => return Ok(Self { crop: crop(self.crop, &mut payload)?, turn }),
            b"irot" => (0..payload.u8()? & 3).fold(turn, |turn, _| turn.quarter()),
            b"imir" if payload.u8()? & 1 == 0 => turn.upside_down(),
            b"imir" => turn.left_to_right(),
            _ => turn,
        };
        Ok(Self { turn, ..self })
    }

    pub(super) fn orientation(self) -> Orientation {
        self.turn.orientation()
    }
}

/// Reads the rectangle of a clean aperture: size, and offset of its centre from that of the picture, all as fractions.
fn crop(from: Rect, clap: &mut Reader<'_>) -> Result<Rect, ImageError> {
    let [width, height, right, down] =
        [fraction(clap)?, fraction(clap)?, signed_fraction(clap)?, signed_fraction(clap)?];
    let (x, width) = side(from.width, width, right)?;
    let (y, height) = side(from.height, height, down)?;
    Ok(Rect { x: from.x + x, y: from.y + y, width, height })
}

/// Numerator and denominator.
type Fraction = (i64, i64);

fn fraction(clap: &mut Reader<'_>) -> Result<Fraction, ImageError> {
    Ok((clap.u32()?.into(), clap.u32()?.into()))
}

fn signed_fraction(clap: &mut Reader<'_>) -> Result<Fraction, ImageError> {
    Ok((clap.u32()?.cast_signed().into(), clap.u32()?.into()))
}

/// Returns start and length of the crop of one side. The length is rounded down, the start to nearest.
fn side(whole: u32, length: Fraction, offset: Fraction) -> Result<(u32, u32), ImageError> {
    let bad = ImageError::Corrupt;
    let length = length.0.checked_div(length.1).filter(|length| *length > 0).ok_or(bad)?;
    // (whole - length) / 2 + offset, rounded. The numbers have 32 bits, so nothing overflows.
    let (numerator, denominator) = offset;
    let middle = (i64::from(whole) - length).checked_mul(denominator).ok_or(bad)?;
    let doubled =
        middle.checked_add(2 * numerator).and_then(|sum| sum.checked_add(denominator)).ok_or(bad)?;
    let start = doubled.checked_div_euclid(2 * denominator).ok_or(bad)?;
    if start < 0 || start + length > whole.into() {
        return Err(bad);
    }
    Ok((u32::try_from(start).map_err(|_| bad)?, u32::try_from(length).map_err(|_| bad)?))
}

/// A rotation by quarter turns with optional mirroring: the directions of a step right and a step down in the stored picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    right: (i8, i8),
    down: (i8, i8),
}

impl Turn {
    const NONE: Self = Self { right: (1, 0), down: (0, 1) };

    /// Adds a quarter turn anticlockwise.
    fn quarter(self) -> Self {
        self.map(|(x, y)| (y, -x))
    }

    fn upside_down(self) -> Self {
        self.map(|(x, y)| (x, -y))
    }

    fn left_to_right(self) -> Self {
        self.map(|(x, y)| (-x, y))
    }

    fn map(self, step: impl Fn((i8, i8)) -> (i8, i8)) -> Self {
        Self { right: step(self.right), down: step(self.down) }
    }

    fn orientation(self) -> Orientation {
        match (self.right, self.down) {
            ((-1, _), (_, 1)) => Orientation::FlipHorizontal,
            ((-1, _), _) => Orientation::Rotate180,
            ((1, _), (_, -1)) => Orientation::FlipVertical,
            ((_, 1), (1, _)) => Orientation::Transpose,
            ((_, 1), _) => Orientation::Rotate90,
            ((_, -1), (-1, _)) => Orientation::Transverse,
            ((_, -1), _) => Orientation::Rotate270,
            _ => Orientation::Normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(properties: &[(&BoxKind, u8)]) -> Orientation {
        let none = Transform::none(4, 3);
        properties
            .iter()
            .fold(none, |so_far, (kind, value)| so_far.then(**kind, &[*value]).unwrap())
            .orientation()
    }

    #[test]
    fn turns_and_mirrors_map_to_orientations() {
        assert_eq!(turned(&[]), Orientation::Normal);
        assert_eq!(turned(&[(b"irot", 1)]), Orientation::Rotate270);
        assert_eq!(turned(&[(b"irot", 2)]), Orientation::Rotate180);
        assert_eq!(turned(&[(b"irot", 3)]), Orientation::Rotate90);
        assert_eq!(turned(&[(b"imir", 0)]), Orientation::FlipVertical);
        assert_eq!(turned(&[(b"imir", 1)]), Orientation::FlipHorizontal);
        assert_eq!(turned(&[(b"irot", 1), (b"imir", 0)]), Orientation::Transpose);
        assert_eq!(turned(&[(b"irot", 1), (b"imir", 1)]), Orientation::Transverse);
        assert_eq!(turned(&[(b"imir", 1), (b"irot", 1)]), Orientation::Transpose);
        assert_eq!(turned(&[(b"irot", 1), (b"irot", 1), (b"imir", 1)]), Orientation::FlipVertical);
    }

    fn cut(width: u32, height: u32, clap: [u32; 8]) -> Result<Rect, ImageError> {
        let bytes: Vec<u8> = clap.iter().flat_map(|number| number.to_be_bytes()).collect();
        Transform::none(width, height).then(*b"clap", &bytes).map(|transform| transform.crop)
    }

    #[test]
    fn clean_aperture_is_a_rectangle_within_the_picture() {
        let minus = |n: i32| n.cast_unsigned();
        assert_eq!(
            cut(66, 50, [65, 1, 49, 1, minus(-1), 2, minus(-1), 2]).unwrap(),
            Rect { x: 0, y: 0, width: 65, height: 49 }
        );
        assert_eq!(
            cut(100, 80, [40, 1, 20, 1, 10, 1, minus(-30), 1]).unwrap(),
            Rect { x: 40, y: 0, width: 40, height: 20 }
        );
        for hostile in [
            [40, 0, 20, 1, 0, 1, 0, 1],
            [40, 1, 20, 1, 0, 0, 0, 1],
            [0, 1, 20, 1, 0, 1, 0, 1],
            [101, 1, 20, 1, 0, 1, 0, 1],
            [40, 1, 20, 1, 31, 1, 0, 1],
            [40, 1, 20, 1, minus(i32::MIN), 1, 0, 1],
            [u32::MAX, 1, 20, 1, 0, u32::MAX, 0, 1],
        ] {
            assert_eq!(cut(100, 80, hostile), Err(ImageError::Corrupt), "{hostile:?}");
        }
        let turned = Transform::none(9, 9).then(*b"irot", &[1]).unwrap();
        assert_eq!(turned.then(*b"clap", &[0; 32]), Err(ImageError::Unsupported));
    }
}
