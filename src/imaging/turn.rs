//! Encodes or measures a photo as a job of the image pool.

use super::codec::Format;
use super::error::ImageError;
use super::pool::{Step, Turn};
use super::recipe::Recipe;
use super::rendition::RenditionSizes;
use super::work_budget::WorkBudget;
use super::workspace::Workspace;
use super::{EncodeError, Encoded, Inspected, inspect};
use crate::model::PhotoFacts;

/// A photo as a job has it.
#[derive(Clone, Copy)]
pub(crate) struct PhotoFile<'a> {
    /// What it was recognised as.
    pub format: Format,
    /// The file.
    pub bytes: &'a [u8],
    /// The memory of `bytes` that belongs to the job.
    pub held: u64,
}

/// Borrows the memory that the photo needs by its header, and encodes it. Runs on a worker.
///
/// # Errors
/// The photo cannot be made, or needs more memory than one photo may have.
pub(crate) fn encode_in_turn(
    photo: PhotoFile<'_>,
    recipe: &Recipe,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step<Encoded>, ImageError> {
    let none = RenditionSizes::default();
    in_turn(photo, recipe, &none, work, turn, |inspected, workspace| inspected.encode(workspace))
}

/// Does as [`encode_in_turn`], makes `renditions` too, and computes the facts of the photo.
///
/// # Errors
/// As [`encode_in_turn`].
pub(crate) fn encode_and_measure_in_turn(
    photo: PhotoFile<'_>,
    recipe: &Recipe,
    renditions: &RenditionSizes,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step<(Encoded, PhotoFacts)>, ImageError> {
    in_turn(photo, recipe, renditions, work, turn, |inspected, workspace| {
        inspected.encode_and_measure(workspace)
    })
}

/// Computes the facts of a stored photo, which is decoded at its own size whatever `recipe` says. Runs on a worker.
///
/// # Errors
/// The photo cannot be decoded, or needs more memory than one photo may have.
pub(crate) fn measure_in_turn(
    photo: PhotoFile<'_>,
    recipe: &Recipe,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step<PhotoFacts>, ImageError> {
    let recipe = Recipe { max_dim: u32::MAX, max_pixels: u64::MAX, keep_exif: false, ..*recipe };
    let none = RenditionSizes::default();
    in_turn(photo, &recipe, &none, work, turn, |inspected, workspace| inspected.measure(workspace))
}

fn in_turn<T>(
    photo: PhotoFile<'_>,
    recipe: &Recipe,
    renditions: &RenditionSizes,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
    finish: impl for<'a> Fn(Inspected<'a>, &mut Workspace) -> Result<T, EncodeError<'a>>,
) -> Result<Step<T>, ImageError> {
    let PhotoFile { format, bytes, held } = photo;
    let mut inspected = inspect(format, bytes, recipe, work)?.with_renditions(renditions);
    loop {
        let mut memory = held + inspected.memory();
        if memory > recipe.memory {
            // The photo can be stored without its renditions, which can be made later.
            inspected = inspected.with_renditions(&RenditionSizes::default());
            memory = held + inspected.memory();
        }
        if memory > recipe.memory {
            return Err(ImageError::TooMuchMemory);
        }
        if !turn.lend(memory) {
            return Ok(Step::Postponed { memory });
        }
        match finish(inspected, turn.workspace) {
            Ok(made) => return Ok(Step::Done(made)),
            Err(EncodeError::Image(error)) => return Err(error),
            Err(EncodeError::Fallback(next)) => {
                if let Some(reason) = next.fallback_reason() {
                    turn.count_fallback(reason);
                }
                inspected = *next;
            }
        }
    }
}
