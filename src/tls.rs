//! TLS to other services: rustls with ring, and the machine's trusted certificates. A proxy serves TLS to clients.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be set up")]
pub struct TlsError(#[from] rustls::Error);

/// Returns the TLS configuration of a client. If the machine has no certificates (see `SSL_CERT_FILE` and `SSL_CERT_DIR`),
/// every server is refused, and a warning is logged.
///
/// # Errors
/// rustls supports no protocol version with this provider.
pub(crate) fn client() -> Result<ClientConfig, TlsError> {
    let (roots, errors) = machine_roots();
    if roots.is_empty() {
        tracing::warn!(?errors, "no trusted certificates were found: every TLS server will be refused");
    }
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Returns what opens connections for HTTP/1.1, with TLS where the URL says `https`. Each may take `timeout` to open.
pub(crate) fn connector<R>(
    mut tcp: HttpConnector<R>,
    tls: ClientConfig,
    timeout: Duration,
) -> HttpsConnector<HttpConnector<R>> {
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(timeout));
    tcp.set_nodelay(true);
    HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp)
}

/// Returns the valid certificates that the machine trusts, and the errors of those that could not be read.
pub(crate) fn machine_roots() -> (RootCertStore, Vec<rustls_native_certs::Error>) {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    (roots, found.errors)
}

/// Returns the cryptography provider of all TLS connections.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes [`provider`] the process-wide default, for libraries that use it.
pub(crate) fn install_default_provider() {
    let _already_installed = ring::default_provider().install_default();
}
