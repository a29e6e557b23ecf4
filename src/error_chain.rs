//! An error with its causes, in one line: for logs and operators. What clients are told says none of it.

use std::error::Error;

/// The texts of `error` and of each of its causes, the outermost first.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
