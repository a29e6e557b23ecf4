//! Which addresses this server connects to when a client or a setting names the host. The name is resolved once, all of its
//! addresses are judged, and the connection goes to one that was judged: a DNS server that changes its mind changes nothing.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::blocking::blocking;

/// How this server names itself to other HTTP servers.
pub(crate) const OWN_NAME: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Names that are looked up at the same time. Each lookup occupies a thread, up to half a minute if the DNS server is silent, and
/// the disk needs threads too.
const LOOKUPS: usize = 32;
/// Addresses of one name that are used.
const ADDRESSES: usize = 8;

/// Resolves host names.
#[async_trait]
pub(crate) trait Resolve: Send + Sync {
    /// Returns the addresses of a host, the best one first.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Resolves as the machine does: `/etc/hosts`, DNS.
#[derive(Debug, Clone)]
pub(crate) struct SystemResolver {
    lookups: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        blocking(move || {
            // The caller may stop waiting. The thread cannot.
            let _permit = permit;
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        })
        .await
    }
}

/// Why a host has no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    /// The name cannot be resolved.
    #[error("the name cannot be resolved")]
    Unresolved(#[source] io::Error),
    /// The name has addresses, and none is allowed.
    #[error("the name has no address on the public internet")]
    NotAllowed,
}

/// Resolves a name, and returns those of its addresses that are allowed: at least one.
pub(crate) async fn allowed_addresses(
    resolver: &dyn Resolve,
    name: &str,
    is_allowed: impl Fn(IpAddr) -> bool,
) -> Result<Vec<IpAddr>, AddressError> {
    let found = resolver.resolve(name).await.map_err(AddressError::Unresolved)?;
    if found.is_empty() {
        return Err(AddressError::Unresolved(io::ErrorKind::NotFound.into()));
    }
    let allowed: Vec<_> = found.into_iter().filter(|address| is_allowed(*address)).take(ADDRESSES).collect();
    if allowed.is_empty() { Err(AddressError::NotAllowed) } else { Ok(allowed) }
}
