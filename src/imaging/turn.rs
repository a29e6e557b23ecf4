//! Encodes a photo as a job of the image pool.

use super::codec::Format;
use super::error::ImageError;
use super::pool::{Step, Turn};
use super::recipe::Recipe;
use super::rendition::RenditionSizes;
use super::work_budget::WorkBudget;
use super::{EncodeError, Encoded, inspect};

/// Borrows the memory that the photo needs by its header, and encodes it and its `renditions`. Runs on a worker. `held` is the
/// memory of `bytes` that belongs to the job.
///
/// # Errors
/// The photo cannot be made, or needs more memory than one photo may have.
pub(crate) fn encode_in_turn(
    format: Format,
    bytes: &[u8],
    held: u64,
    recipe: &Recipe,
    renditions: &RenditionSizes,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step<Encoded>, ImageError> {
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
        match inspected.encode(turn.workspace) {
            Ok(encoded) => return Ok(Step::Done(encoded)),
            Err(EncodeError::Image(error)) => return Err(error),
            Err(EncodeError::Fallback(next)) => {
                if let Some(reason) = next.fallback_reason() {
                    turn.count_fallback(reason);
                }
                inspected = next;
            }
        }
    }
}
