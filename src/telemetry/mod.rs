//! Logs and metrics for the operator.

pub(crate) mod connections;
pub(crate) mod exposition;
pub(crate) mod log_writer;
pub mod logging;
pub(crate) mod metrics;
pub(crate) mod process;
pub(crate) mod spans;
mod text_lines;
