//! What the operator sees: logs and metrics. Nothing here decides anything.

pub mod connections;
pub mod log_writer;
pub mod logging;
pub mod metrics;
