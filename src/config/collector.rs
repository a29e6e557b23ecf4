//! Where spans are sent.

use hyper::Uri;

/// A collector of OpenTelemetry.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectorSettings {
    /// The URL without `/v1/traces`.
    pub endpoint: Uri,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
    /// The name of this service.
    pub service: String,
}
