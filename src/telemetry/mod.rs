//! What the operator sees: logs and metrics. Nothing here decides anything.

pub mod connections;
pub mod logging;
pub mod metrics;
