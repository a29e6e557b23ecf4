//! HEIC and AVIF: still images in the HEIF container (ISO/IEC 23008-12), which HEVC or AV1 code.
//!
//! The container is read here, because it is where limits are decided: the size that each of its boxes and the headers of
//! each coded picture declare is held against the limits, and against one another, before a decoder sees a byte. Only the
//! primary image and its alpha are read; thumbnails, depth, gain maps and films are passed over.
//!
//! Refused: other codecs and derived images than grids, more than one sequence parameter set a picture, pictures of more
//! than [`picture::MAX_CODED_PIXELS`] in one piece, samples of more than 12 bits, properties marked essential that are not
//! known here.

#[cfg(feature = "avif")]
mod av1;
mod boxes;
mod canvas;
mod colour;
#[cfg(feature = "heic")]
mod hevc;
mod meta;
mod picture;
mod rows;
mod transform;

use std::time::Instant;

use moxcms::ColorProfile;

use self::boxes::Reader;
use self::canvas::Canvas;
use self::meta::{Item, Meta};
use self::picture::Cicp;
use self::rows::Rows;
use self::transform::Transform;
use crate::imaging::colour::MAX_PROFILE_BYTES;
use crate::imaging::exif::Orientation;
use crate::imaging::{ImageError, Recipe, Rgb};

/// Names of an auxiliary image that is the opacity of another one.
const ALPHA: [&[u8]; 2] = [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0"];

/// An image whose headers were read.
pub(in crate::imaging) struct Heif<'a> {
    colour: Canvas<'a>,
    alpha: Option<Alpha<'a>>,
    cicp: Option<Cicp>,
    profile: Option<&'a [u8]>,
    transform: Transform,
    recipe: Recipe,
}

struct Alpha<'a> {
    canvas: Canvas<'a>,
    /// Whether the colours are multiplied by it already.
    premultiplied: bool,
}

impl std::fmt::Debug for Heif<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Heif({:?} of {} x {})", self.transform, self.colour.width, self.colour.height)
    }
}

impl<'a> Heif<'a> {
    pub(super) fn open(bytes: &'a [u8], recipe: &Recipe) -> Result<Self, ImageError> {
        let meta = Meta::read(bytes)?;
        let item = meta.item(meta.primary)?;
        let colour = Canvas::open(&meta, item, bytes.len(), recipe)?;
        let mut transform = Transform::none(colour.width, colour.height);
        for (kind, payload, essential) in meta.properties(item) {
            if essential && !is_known(&kind) {
                return Err(ImageError::Unsupported);
            }
            transform = transform.then(kind, payload)?;
        }
        let alpha = alpha(&meta, item, bytes.len(), recipe)?;
        if alpha
            .as_ref()
            .is_some_and(|alpha| (alpha.canvas.width, alpha.canvas.height) != (colour.width, colour.height))
        {
            return Err(ImageError::Unsupported);
        }
        // Of a grid, some say the colours only of its tiles.
        let tile = item.derived_from.first().and_then(|id| meta.item(*id).ok());
        let described = [Some(item), tile].into_iter().flatten();
        let cicp = described.clone().find_map(|item| nclx(&meta, item));
        let profile = described.clone().find_map(|item| icc(&meta, item));
        Ok(Self { colour, alpha, cicp, profile, transform, recipe: *recipe })
    }

    /// Width and height of what [`decode`](Self::decode) gives: cut, and not yet turned.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.transform.crop.width, self.transform.crop.height)
    }

    /// What makes the picture upright; an orientation in EXIF does not count.
    pub(super) fn orientation(&self) -> Orientation {
        self.transform.orientation()
    }

    pub(super) fn memory(&self) -> u64 {
        let (width, height) = self.size();
        let alpha = self.alpha.as_ref().map_or(0, |alpha| alpha.canvas.memory());
        self.colour.memory() + alpha + 3 * u64::from(width) * u64::from(height)
    }

    pub(super) fn decode(self) -> Result<(Rgb, Option<Vec<u8>>), ImageError> {
        let (width, height) = self.size();
        let mut pixels = Vec::with_capacity(3 * width as usize * height as usize);
        self.rows(|row| pixels.extend_from_slice(row))?;
        Ok((Rgb { width, height, pixels }, self.profile()))
    }

    /// Decodes, and gives each row from top to bottom as RGB over white. The deadline is looked at before each row.
    fn rows(&self, mut give: impl FnMut(&[u8])) -> Result<(), ImageError> {
        let deadline = Instant::now() + self.recipe.timeout;
        let crop = self.transform.crop;
        let width = self.colour.width as usize;
        let mut colour = Rows::new(&self.colour, self.cicp)?;
        // Opacity has the full range, whatever its bitstream says (ISO/IEC 23000-22 section 7.3.5.2).
        let mut alpha =
            self.alpha.as_ref().map(|alpha| Rows::new(&alpha.canvas, Some(Cicp::UNSPECIFIED))).transpose()?;
        let premultiplied = self.alpha.as_ref().is_some_and(|alpha| alpha.premultiplied);
        let mut row = vec![0; 3 * width];
        let mut opacity = vec![0; width];
        for y in 0..crop.y + crop.height {
            if Instant::now() > deadline {
                return Err(ImageError::TooSlow);
            }
            colour.rgb(&mut row)?;
            if let Some(alpha) = &mut alpha {
                alpha.grey(&mut opacity)?;
                over_white(&mut row, &opacity, premultiplied);
            }
            if y >= crop.y {
                let (from, count) = (3 * crop.x as usize, 3 * crop.width as usize);
                give(row.get(from..from + count).ok_or(ImageError::Corrupt)?);
            }
        }
        Ok(())
    }

    /// The profile that the file holds, or one that says what its code points say.
    fn profile(&self) -> Option<Vec<u8>> {
        if let Some(profile) = self.profile {
            return Some(profile.to_vec());
        }
        // Without tone mapping, the transfer of HDR (16 and 18) is shown as what it was made to look acceptable as.
        let profile = match self.cicp.unwrap_or(self.colour.header.cicp).primaries {
            9 => ColorProfile::new_bt2020(),
            11 => ColorProfile::new_dci_p3(),
            12 => ColorProfile::new_display_p3(),
            _ => return None,
        };
        profile.encode().ok()
    }
}

/// Lays a row of RGB over white.
fn over_white(row: &mut [u8], opacity: &[u8], premultiplied: bool) {
    let (pixels, _) = row.as_chunks_mut::<3>();
    for (pixel, alpha) in pixels.iter_mut().zip(opacity) {
        let alpha = u32::from(*alpha);
        for channel in pixel {
            let colour = u32::from(*channel);
            let own = if premultiplied { 255 * colour } else { colour * alpha };
            *channel = u8::try_from((own + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX);
        }
    }
}

/// The opacity of `of`, if there is one.
fn alpha<'a>(
    meta: &Meta<'a>,
    of: &Item,
    file_len: usize,
    recipe: &Recipe,
) -> Result<Option<Alpha<'a>>, ImageError> {
    for (id, item) in meta.items() {
        if !item.auxiliary_of.contains(&meta.primary) {
            continue;
        }
        let kind = meta.property(item, b"auxC").and_then(|aux| aux.get(4..)).unwrap_or_default();
        if ALPHA.iter().any(|name| kind.starts_with(name)) {
            let premultiplied = of.premultiplied_by.contains(&id);
            return Ok(Some(Alpha { canvas: Canvas::open(meta, item, file_len, recipe)?, premultiplied }));
        }
    }
    Ok(None)
}

/// Properties that are read here, or that may be passed over.
fn is_known(kind: &[u8; 4]) -> bool {
    matches!(
        kind,
        b"ispe"
            | b"pixi"
            | b"colr"
            | b"irot"
            | b"imir"
            | b"clap"
            | b"hvcC"
            | b"av1C"
            | b"auxC"
            | b"pasp"
            | b"rloc"
    )
}

/// The code points in a colour property of kind `nclx`.
fn nclx(meta: &Meta<'_>, item: &Item) -> Option<Cicp> {
    let colours = meta.properties(item).filter(|(kind, ..)| kind == b"colr");
    let mut payload =
        Reader::new(colours.filter_map(|(_, payload, _)| payload.strip_prefix(b"nclx")).next()?);
    let mut code = || payload.u16().ok();
    let (primaries, transfer, matrix) = (code()?, code()?, code()?);
    Some(Cicp { primaries, transfer, matrix, full_range: payload.u8().ok()? & 0x80 != 0 })
}

/// The ICC profile in a colour property.
fn icc<'a>(meta: &Meta<'a>, item: &Item) -> Option<&'a [u8]> {
    let colours = meta.properties(item).filter(|(kind, ..)| kind == b"colr");
    let of_kind = |payload: &'a [u8]| payload.strip_prefix(b"prof").or_else(|| payload.strip_prefix(b"rICC"));
    colours.filter_map(|(_, payload, _)| of_kind(payload)).find(|icc| icc.len() <= MAX_PROFILE_BYTES)
}

#[cfg(test)]
mod tests;
