//! Logs and metrics for the operator.

pub mod connections;
pub mod log_writer;
pub mod logging;
pub mod metrics;
