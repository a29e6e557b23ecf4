//! TLS towards the services behind this server: rustls with ring, and the certificates that the machine trusts.
//!
//! The server itself speaks none: that is the reverse proxy's business.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up")]
pub struct TlsError(#[from] rustls::Error);

/// What a client needs to know of TLS. Where the machine has no certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` may name
/// some), every server is refused, which is told in the log.
///
/// # Errors
/// The library was built without what it needs.
pub fn client() -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(errors = ?found.errors, "no trusted certificates were found: no TLS server will be believed");
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Tells libraries that ask for a process-wide choice what this one is.
pub fn choose() {
    let _chosen_before = ring::default_provider().install_default();
}
