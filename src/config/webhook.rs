//! Where events are delivered.

use hyper::Uri;

/// The receiver of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// The URL.
    pub url: Uri,
    /// The secret that signs deliveries.
    pub secret: String,
}
