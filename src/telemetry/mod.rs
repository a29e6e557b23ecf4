//! Logs and metrics for the operator.

pub(crate) mod connections;
pub(crate) mod log_writer;
pub mod logging;
pub(crate) mod metrics;
mod text_lines;
