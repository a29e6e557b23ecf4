//! What the operator sees: logs and metrics. Nothing here decides anything.

pub mod logging;
pub mod metrics;
