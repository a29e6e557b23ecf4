//! Makes an upright, small sRGB JPEG from the bytes of a photo.
//!
//! This module knows neither requests nor stores. It refuses a photo that would exceed the [`Recipe`] before it allocates
//! memory for pixels, and never returns a decoder's own error text. Callers use `inspect`, then `Inspected::encode`.

mod blocks;
mod canvas;
mod codec;
mod colour;
mod cost;
mod declared;
mod eager;
mod error;
mod exif;
mod facts;
mod fair_queue;
mod fingerprint;
mod finish;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod layout;
mod limits;
mod mean_colours;
mod metadata;
mod orientation;
mod plan;
mod plane;
mod pool;
#[cfg(test)]
mod pool_model;
#[cfg(test)]
mod pool_tests;
mod recent_conversions;
mod recipe;
mod rendition;
mod scale;
pub mod steps;
mod strips;
mod tiff_directory;
mod turn;
mod work_budget;
mod workspace;
mod xmp;
mod ycbcr;

pub(crate) use codec::Format;
pub(crate) use cost::{COST_HEAD_BYTES, estimated_cost};
pub(crate) use error::ImageError;
pub(crate) use finish::stored_sides;
pub(crate) use pool::{Cost, Pool, PoolError, Step, Turn};
pub use recipe::{Coding, Effort, Recipe};
pub use rendition::{EncodedRendition, RenditionSizes};
pub(crate) use turn::{PhotoFile, encode_and_measure_in_turn, encode_in_turn, measure_in_turn};
pub(crate) use work_budget::{Spent, WorkBudget};
pub use workspace::Workspace;

use self::canvas::{Canvas, Target};
use self::codec::Picture;
use self::layout::Layout;
use self::orientation::Orientation;
use self::plane::Plane;
use crate::model::PhotoFacts;
use crate::sync;

/// A finished photo: a baseline JPEG, upright, in sRGB, with only the metadata that the recipe asks for, and its renditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The JPEG file.
    pub bytes: Vec<u8>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The renditions that were asked for, largest first. Some may be missing: each can be made from the photo.
    pub renditions: Vec<EncodedRendition>,
}

impl Encoded {
    /// Returns the length of all files together.
    pub(crate) fn total_bytes(&self) -> u64 {
        let renditions = self.renditions.iter().map(|rendition| rendition.bytes.len());
        (self.bytes.len() + renditions.sum::<usize>()) as u64
    }
}

/// A photo whose header was read and is within the limits. No pixel is decoded yet.
#[derive(Debug)]
pub(crate) struct Inspected<'a> {
    /// The budget that all attempts to decode this photo share.
    budget: &'a WorkBudget<'a>,
    picture: Box<dyn Picture + 'a>,
    exif: Option<&'a [u8]>,
    orientation: Orientation,
    recipe: Recipe,
    renditions: RenditionSizes,
}

/// Why a photo was not made.
#[derive(Debug)]
pub(crate) enum EncodeError<'a> {
    /// The photo cannot be made: its pixels are corrupt, truncated or unsupported, its time is up, or the client disconnected.
    Image(ImageError),
    /// The fast decoder does not support this file. The caller reads [`Inspected::memory`] of this one, and encodes it.
    Fallback(Box<Inspected<'a>>),
}

impl From<ImageError> for EncodeError<'_> {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// Checks the size that the first bytes of a file declare against the limits of `recipe`. Accepts a file without a size there.
///
/// # Errors
/// The size is zero, or over the pixel limit.
pub(crate) fn check_declared(format: Format, head: &[u8], recipe: &Recipe) -> Result<(), ImageError> {
    match declared::size(format, head) {
        Some((width, height)) => limits::check_size(width, height, recipe.max_pixels).map(|_| ()),
        None => Ok(()),
    }
}

/// Reads the header of `bytes` and checks it against the limits of `recipe`. All work on this photo is charged to `budget`.
///
/// # Errors
/// The header is corrupt or unsupported, declares zero size or too many pixels, or the budget is used up.
pub(crate) fn inspect<'a>(
    format: Format,
    bytes: &'a [u8],
    recipe: &Recipe,
    budget: &'a WorkBudget<'a>,
) -> Result<Inspected<'a>, ImageError> {
    budget.check()?;
    let input = budget.input(bytes);
    let picture = codec::open(format, &input, recipe).map_err(|error| budget.explain(error))?;
    let file = input.whole()?;
    let exif = exif::block(format, file);
    let orientation = picture.orientation().unwrap_or_else(|| exif::orientation_of(format, file));
    let renditions = RenditionSizes::default();
    Ok(Inspected { budget, picture, exif, orientation, recipe: *recipe, renditions })
}

/// Makes a photo without renditions in one call, for callers that do not account for memory, such as benchmarks.
///
/// # Errors
/// The photo cannot be made.
pub fn make(
    format: Format,
    bytes: &[u8],
    recipe: &Recipe,
    workspace: &mut Workspace,
) -> Result<Encoded, ImageError> {
    let none = RenditionSizes::default();
    finish_alone(format, bytes, recipe, &none, workspace, |inspected, workspace| inspected.encode(workspace))
}

/// Makes a photo and its renditions, and computes its facts, as for an upload.
///
/// # Errors
/// The photo cannot be made.
pub fn make_and_measure(
    format: Format,
    bytes: &[u8],
    recipe: &Recipe,
    renditions: &RenditionSizes,
    workspace: &mut Workspace,
) -> Result<(Encoded, PhotoFacts), ImageError> {
    finish_alone(format, bytes, recipe, renditions, workspace, |inspected, workspace| {
        inspected.encode_and_measure(workspace)
    })
}

fn finish_alone<T>(
    format: Format,
    bytes: &[u8],
    recipe: &Recipe,
    renditions: &RenditionSizes,
    workspace: &mut Workspace,
    finish: impl for<'a> Fn(Inspected<'a>, &mut Workspace) -> Result<T, EncodeError<'a>>,
) -> Result<T, ImageError> {
    let budget = WorkBudget::new(recipe, &|| false);
    let mut inspected = inspect(format, bytes, recipe, &budget)?.with_renditions(renditions);
    loop {
        match finish(inspected, workspace) {
            Ok(made) => return Ok(made),
            Err(EncodeError::Image(error)) => return Err(error),
            Err(EncodeError::Fallback(next)) => inspected = *next,
        }
    }
}

impl<'a> Inspected<'a> {
    /// Asks for renditions, which are made beside the photo.
    pub(crate) fn with_renditions(self, renditions: &RenditionSizes) -> Self {
        Self { renditions: renditions.clone(), ..self }
    }

    /// Returns why a faster decoder began this photo and left it, as a label of metrics. `None` if none did.
    pub(crate) fn fallback_reason(&self) -> Option<&'static str> {
        self.picture.fallback_reason()
    }

    /// Returns an upper bound of the bytes that [`encode`](Self::encode) holds at its peak, without the source.
    pub(crate) fn memory(&self) -> u64 {
        let layout = self.picture.layout();
        let target = self.target(&layout);
        // The profile, its parsed form and the tables made from it, which are largest for CMYK.
        let profile = self.picture.profile().map_or(0, |profile| 4 * profile.len() as u64);
        let has_profile = self.picture.profile().is_some();
        let encoding = finish::memory(layout.model, target.width, target.height, has_profile)
            .max(eager::memory(&self.renditions, target.width, target.height));
        let whole = if self.picture.pushes_whole() { Canvas::whole_memory(&layout, &target) } else { 0 };
        // The decoder frees its memory before the encoder allocates.
        profile + Canvas::memory(&layout, &target) + (self.picture.memory() + whole).max(encoding)
    }

    /// Decodes, resizes, turns upright, converts to sRGB and encodes the photo.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub(crate) fn encode(self, workspace: &mut Workspace) -> Result<Encoded, EncodeError<'a>> {
        self.encode_and(|_| Some(()), workspace).map(|(encoded, ())| encoded)
    }

    /// Does as [`encode`](Self::encode), and computes the facts of the photo.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub(crate) fn encode_and_measure(
        self,
        workspace: &mut Workspace,
    ) -> Result<(Encoded, PhotoFacts), EncodeError<'a>> {
        self.encode_and(facts::of, workspace)
    }

    fn encode_and<T>(
        self,
        look: impl FnOnce([&Plane; 3]) -> Option<T>,
        workspace: &mut Workspace,
    ) -> Result<(Encoded, T), EncodeError<'a>> {
        let budget = self.budget;
        budget.check()?;
        let layout = self.picture.layout();
        let conversion = recent_conversions::conversion(layout.model, self.picture.profile());
        let target = self.target(&layout);
        let coding = self.recipe.coding();
        let (width, height) = match self.orientation.swaps_sides() {
            true => (target.height, target.width),
            false => (target.width, target.height),
        };
        // EXIF is read before `decode` consumes the picture, which may own the block.
        let exif = self.picture.exif().or(self.exif).filter(|_| self.recipe.keep_exif);
        let metadata = exif.and_then(|tiff| metadata::segment(tiff, width, height));
        let sizes = self.renditions.clone();
        let planes = self.upright(workspace)?;
        budget.note_decoded();
        let planes = finish::convert(planes, layout.model, &conversion, workspace)?;
        let seen = look(planes.each_ref()).ok_or(ImageError::Corrupt)?;
        let mut bytes = finish::encode(&planes, coding, workspace)?;
        if let Some(segment) = metadata {
            bytes = metadata::insert(bytes, segment);
        }
        budget.check()?;
        let renditions = eager::renditions(&planes, &sizes, coding, budget, workspace);
        planes.into_iter().for_each(|plane| workspace.give_plane(plane));
        Ok((Encoded { bytes, width, height, renditions }, seen))
    }

    /// Computes the facts that [`encode_and_measure`](Self::encode_and_measure) returns, without the file.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub(crate) fn measure(self, workspace: &mut Workspace) -> Result<PhotoFacts, EncodeError<'a>> {
        self.budget.check()?;
        let model = self.picture.layout().model;
        let conversion = recent_conversions::conversion(model, self.picture.profile());
        let planes = self.upright(workspace)?;
        Ok(finish::measure(planes, model, &conversion, workspace)?)
    }

    /// Decodes and resizes the components, and turns them upright.
    fn upright(self, workspace: &mut Workspace) -> Result<Vec<Plane>, EncodeError<'a>> {
        let (budget, orientation) = (self.budget, self.orientation);
        let layout = self.picture.layout();
        let mut canvas = Canvas::new(&layout, &self.target(&layout), budget, workspace);
        match self.picture.decode(&mut canvas) {
            Ok(()) => {}
            Err(codec::DecodeError::Image(error)) => return Err(budget.explain(error).into()),
            Err(codec::DecodeError::Fallback(picture)) => {
                return Err(EncodeError::Fallback(Box::new(Self { picture, ..self })));
            }
        }
        let planes = canvas.finish()?;
        budget.check()?;
        Ok(planes.into_iter().map(|plane| orientation::upright(plane, orientation, workspace)).collect())
    }

    fn target(&self, layout: &Layout) -> Target {
        // The full size is used, so that a scaled decode rounds to the same size as a full decode.
        let (width, height) = plan::fit(layout.width, layout.height, self.recipe.max_dim);
        Target { width, height, orientation: self.orientation }
    }
}

#[cfg(test)]
mod tests;
