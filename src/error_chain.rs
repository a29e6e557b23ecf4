//! Joins an error and its causes in one line, for logs and operators. Responses to clients never contain it.

use std::error::Error;

/// Returns the texts of `error` and of each of its causes, the outermost first.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
