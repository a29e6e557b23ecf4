//! HEIC and AVIF: still images in the HEIF container (ISO/IEC 23008-12), coded with HEVC or AV1.
//!
//! The container is read here to enforce limits: the sizes that its boxes and the headers of each coded picture declare are
//! checked against the limits and each other before a decoder reads a byte. Only the primary image and its alpha are read;
//! thumbnails, depth, gain maps and videos are ignored.
//!
//! Refused: other codecs, derived images other than grids, several sequence parameter sets a picture, pictures of more than
//! [`picture::MAX_CODED_PIXELS`] in one piece, samples of more than 12 bits, and unknown properties that are marked essential.

#[cfg(feature = "avif")]
mod av1;
mod boxes;
mod codec;
mod colour;
mod grid;
#[cfg(feature = "heic")]
mod hevc;
mod jfif;
mod meta;
mod picture;
mod rows;
mod transform;

use std::borrow::Cow;
use std::collections::BTreeMap;

use self::boxes::Reader;
use self::grid::Grid;
use self::jfif::Jfif;
use self::meta::{Item, Meta};
use self::picture::Cicp;
use self::rows::Rows;
use self::transform::Transform;
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::picture::{DecodeError, Picture};
use crate::imaging::colour::named_profile;
use crate::imaging::error::ImageError;
use crate::imaging::exif::EXIF_HEADER;
use crate::imaging::layout::{Component, Layout, Model};
use crate::imaging::limits::MAX_PROFILE_BYTES;
use crate::imaging::orientation::Orientation;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

/// Longest EXIF item that is read, including its preview. An item in several extents is joined in memory.
const MAX_EXIF_BYTES: usize = 1 << 20;
/// Rows that are collected before they are pushed to the canvas.
const BAND_ROWS: usize = 32;
/// Types of auxiliary images that are the alpha of another image.
const ALPHA: [&[u8]; 2] = [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0"];

pub(in crate::imaging) struct Heif<'a> {
    colour: Grid<'a>,
    alpha: Option<Alpha<'a>>,
    cicp: Option<Cicp>,
    profile: Option<Cow<'a, [u8]>>,
    exif: Option<Cow<'a, [u8]>>,
    transform: Transform,
    /// How the planes become those of JFIF, if the picture needs no pixels of red, green and blue.
    jfif: Option<Jfif>,
}

struct Alpha<'a> {
    grid: Grid<'a>,
    /// True if the colours are multiplied by alpha already.
    premultiplied: bool,
}

impl std::fmt::Debug for Heif<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Heif({:?} of {} x {})", self.transform, self.colour.width, self.colour.height)
    }
}

impl<'a> Heif<'a> {
    pub(in crate::imaging) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Self, ImageError> {
        let bytes = input.whole()?;
        let meta = Meta::read(bytes)?;
        let item = meta.item(meta.primary)?;
        let colour = Grid::open(&meta, item, input, recipe)?;
        let mut transform = Transform::none(colour.width, colour.height);
        for (kind, payload, essential) in meta.properties(item) {
            if essential && !is_known(&kind) {
                return Err(ImageError::Unsupported);
            }
            transform = transform.then(kind, payload)?;
        }
        let alpha = alpha(&meta, item, input, recipe)?;
        if alpha
            .as_ref()
            .is_some_and(|alpha| (alpha.grid.width, alpha.grid.height) != (colour.width, colour.height))
        {
            return Err(ImageError::Unsupported);
        }
        // Some writers declare the colours of a grid only at its tiles.
        let tile = item.derived_from.first().and_then(|id| meta.item(*id).ok());
        let described = [Some(item), tile].into_iter().flatten();
        let cicp = described.clone().find_map(|item| nclx(&meta, item));
        let profile = described.clone().find_map(|item| icc(&meta, item)).map(Cow::Borrowed);
        let profile =
            profile.or_else(|| named_profile(cicp.unwrap_or(colour.header.cicp).primaries).map(Cow::Owned));
        let exif = exif(&meta);
        let jfif = if alpha.is_none() { Jfif::of(&colour, cicp, transform.crop) } else { None };
        Ok(Self { colour, alpha, cicp, profile, exif, transform, jfif })
    }

    /// Asserts that code with and without SIMD decodes the tiles alike.
    #[cfg(all(feature = "heic", any(test, fuzzing)))]
    pub(in crate::imaging) fn assert_paths_agree(&self) {
        self.colour.assert_paths_agree();
        if let Some(alpha) = &self.alpha {
            alpha.grid.assert_paths_agree();
        }
    }

    /// Decodes the image, and passes each row from top to bottom to `give` as RGB over white.
    fn rows(&self, mut give: impl FnMut(&[u8]) -> Result<(), ImageError>) -> Result<(), ImageError> {
        let crop = self.transform.crop;
        let width = self.colour.width as usize;
        let mut colour = Rows::new(&self.colour, self.cicp)?;
        // Alpha always has the full range, even if its bitstream says otherwise (ISO/IEC 23000-22 section 7.3.5.2).
        let mut alpha =
            self.alpha.as_ref().map(|alpha| Rows::new(&alpha.grid, Some(Cicp::UNSPECIFIED))).transpose()?;
        let premultiplied = self.alpha.as_ref().is_some_and(|alpha| alpha.premultiplied);
        let mut row = vec![0; 3 * width];
        let mut opacity = vec![0; width];
        for y in 0..crop.y + crop.height {
            colour.rgb(&mut row)?;
            if let Some(alpha) = &mut alpha {
                alpha.grey(&mut opacity)?;
                over_white(&mut row, &opacity, premultiplied);
            }
            if y >= crop.y {
                let (from, count) = (3 * crop.x as usize, 3 * crop.width as usize);
                give(row.get(from..from + count).ok_or(ImageError::Corrupt)?)?;
            }
        }
        Ok(())
    }
}

impl Picture for Heif<'_> {
    /// Returns the layout of the cropped picture before its rotation.
    fn layout(&self) -> Layout {
        if let Some(jfif) = &self.jfif {
            return jfif.layout();
        }
        let (width, height) = (self.transform.crop.width, self.transform.crop.height);
        let components = vec![Component::of(width, height, 1, 1); 3];
        Layout { width, height, divisor: 1, model: Model::Rgb, components }
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile.as_deref()
    }

    fn exif(&self) -> Option<&[u8]> {
        self.exif.as_deref()
    }

    fn orientation(&self) -> Option<Orientation> {
        Some(self.transform.orientation())
    }

    fn memory(&self) -> u64 {
        let alpha = self.alpha.as_ref().map_or(0, |alpha| alpha.grid.memory());
        // A row of whole pixels and a band of cut ones.
        let pixels = (BAND_ROWS as u64 + 2) * 4 * u64::from(self.colour.width);
        let rows = if self.jfif.is_some() { 0 } else { pixels };
        let exif = self.exif.as_ref().map_or(0, |exif| exif.len() as u64);
        self.colour.memory() + alpha + rows + exif
    }

    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a,
    {
        if let Some(jfif) = &self.jfif {
            return Ok(jfif.push(&self.colour, canvas)?);
        }
        let band_bytes = 3 * self.transform.crop.width as usize * BAND_ROWS;
        let mut band = Vec::with_capacity(band_bytes);
        self.rows(|row| {
            band.extend_from_slice(row);
            if band.len() == band_bytes {
                canvas.push_pixels(&band)?;
                band.clear();
            }
            Ok(())
        })?;
        Ok(canvas.push_pixels(&band)?)
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

/// Returns the opacity of the primary item `of`, if any: an image, or one for each tile (ISO/IEC 23000-22 section 7.3.5.2).
fn alpha<'a>(
    meta: &Meta<'a>,
    of: &Item,
    input: &Input<'a>,
    recipe: &Recipe,
) -> Result<Option<Alpha<'a>>, ImageError> {
    let alphas = alphas(meta);
    if let Some((id, item)) = alphas.get(&meta.primary) {
        let premultiplied = of.premultiplied_by.contains(id);
        return Ok(Some(Alpha { grid: Grid::open(meta, item, input, recipe)?, premultiplied }));
    }
    // If only some tiles have opacity, the picture has none, as in libavif.
    let of_tiles: Option<Vec<_>> = of.derived_from.iter().map(|tile| alphas.get(tile)).collect();
    let Some(of_tiles) = of_tiles.filter(|tiles| !tiles.is_empty()) else { return Ok(None) };
    let items: Vec<&Item> = of_tiles.iter().map(|(_, item)| *item).collect();
    let grid = Grid::of_other_tiles(meta, of, &items, input, recipe)?;
    let first = meta.item(of.derived_from[0])?;
    let premultiplied = first.premultiplied_by.contains(&of_tiles[0].0);
    Ok(Some(Alpha { grid, premultiplied }))
}

/// Returns the id and the item of the first opacity of each image, by the id of the image.
fn alphas<'m>(meta: &'m Meta<'_>) -> BTreeMap<u32, (u32, &'m Item)> {
    let mut alphas = BTreeMap::new();
    for (id, item) in meta.items().filter(|(_, item)| !item.auxiliary_of.is_empty()) {
        let kind = meta.property(item, b"auxC").and_then(|aux| aux.get(4..)).unwrap_or_default();
        if ALPHA.iter().any(|name| kind.starts_with(name)) {
            for of in &item.auxiliary_of {
                alphas.entry(*of).or_insert((id, item));
            }
        }
    }
    alphas
}

/// Returns whether a property is read here, or may be ignored.
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

/// Returns the code points in a colour property of kind `nclx`.
fn nclx(meta: &Meta<'_>, item: &Item) -> Option<Cicp> {
    let colours = meta.properties(item).filter(|(kind, ..)| kind == b"colr");
    let mut payload =
        Reader::new(colours.filter_map(|(_, payload, _)| payload.strip_prefix(b"nclx")).next()?);
    let mut code = || payload.u16().ok();
    let (primaries, transfer, matrix) = (code()?, code()?, code()?);
    Some(Cicp { primaries, transfer, matrix, full_range: payload.u8().ok()? & 0x80 != 0 })
}

/// Returns the ICC profile in a colour property.
fn icc<'a>(meta: &Meta<'a>, item: &Item) -> Option<&'a [u8]> {
    let colours = meta.properties(item).filter(|(kind, ..)| kind == b"colr");
    let of_kind = |payload: &'a [u8]| payload.strip_prefix(b"prof").or_else(|| payload.strip_prefix(b"rICC"));
    colours.filter_map(|(_, payload, _)| of_kind(payload)).find(|icc| icc.len() <= MAX_PROFILE_BYTES)
}

/// Returns the EXIF block of the primary image (ISO/IEC 23008-12 section A.2.1). A malformed item counts as absent.
fn exif<'a>(meta: &Meta<'a>) -> Option<Cow<'a, [u8]>> {
    let (_, item) = meta.items().find(|(_, item)| item.kind == *b"Exif" && item.describes_primary)?;
    if meta.data_len(item).ok()? > MAX_EXIF_BYTES {
        return None;
    }
    match meta.data(item).ok()? {
        Cow::Borrowed(data) => tiff(data).map(Cow::Borrowed),
        Cow::Owned(data) => tiff(&data).map(|tiff| Cow::Owned(tiff.to_vec())),
    }
}

/// Returns the TIFF block in an EXIF item, which begins with the number of bytes before the TIFF header.
fn tiff(exif: &[u8]) -> Option<&[u8]> {
    let mut exif = Reader::new(exif);
    let in_front = exif.u32().ok()?;
    exif.take(usize::try_from(in_front).ok()?).ok()?;
    // Some writers declare a distance of zero although the header of the JPEG segment is there.
    Some(exif.rest().strip_prefix(EXIF_HEADER).unwrap_or(exif.rest()))
}

#[cfg(test)]
mod tests;
