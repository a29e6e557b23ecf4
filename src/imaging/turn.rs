//! Encodes a photo as a job of the image pool.

use super::codec::Format;
use super::error::ImageError;
use super::pool::{Step, Turn};
use super::recipe::Recipe;
use super::work_budget::WorkBudget;
use super::{EncodeError, Encoded, inspect};

/// Borrows the memory that the photo needs by its header, and encodes it. Runs on a worker. `held` is the memory of `bytes`
/// that belongs to the job.
///
/// # Errors
/// The photo cannot be made, or needs more memory than one photo may have.
pub(crate) fn encode_in_turn(
    format: Format,
    bytes: &[u8],
    held: u64,
    recipe: &Recipe,
    work: &WorkBudget<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step<Encoded>, ImageError> {
    let mut inspected = inspect(format, bytes, recipe, work)?;
    loop {
        let memory = held + inspected.memory();
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
