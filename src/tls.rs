//! TLS towards the services behind this server: rustls with ring, and the certificates that the machine trusts.
//!
//! The server itself speaks none: that is the reverse proxy's business.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
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
    let (roots, errors) = machine_roots();
    if roots.is_empty() {
        tracing::warn!(?errors, "no trusted certificates were found: no TLS server will be believed");
    }
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Whose signatures the machine trusts, and what could not be read of that. Certificates that make no sense are left out.
pub fn machine_roots() -> (RootCertStore, Vec<rustls_native_certs::Error>) {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    (roots, found.errors)
}

/// The cryptography of all TLS here.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Tells libraries that ask for a process-wide choice what this one is.
pub fn choose() {
    let _chosen_before = ring::default_provider().install_default();
}
