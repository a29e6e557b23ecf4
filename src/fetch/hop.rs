//! One request to one server: resolve, judge, connect, send, and read the head of the answer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::origins::Trust;
use crate::outbound::{AddressError, OWN_NAME, Resolve, allowed_addresses};

/// Largest head of an answer.
const HEAD_BYTES: usize = 16 << 10;
/// Most bytes of a body that are read before the spool takes them.
const BUFFER_BYTES: usize = 64 << 10;

/// Why a URL could not be fetched. Only the log and a metric have it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("no connection")]
    Unreachable(#[source] io::Error),
    #[error("no TLS")]
    Tls(#[source] io::Error),
    #[error("no answer in time")]
    Slow,
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("there are too many redirects, or one to a URL that may not be fetched")]
    Redirect,
    #[error("the answer has a coding")]
    Encoded,
    #[error("the answer is no HTTP, or it is cut off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Cause {
    /// Returns the value of the label `outcome`.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Address(AddressError::Unresolved(_)) => "unresolved",
            Self::Address(AddressError::NotAllowed) => "address",
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Slow => "slow",
            Self::Status(_) => "status",
            Self::Redirect => "redirect",
            Self::Encoded => "encoded",
            Self::Broken(_) => "broken",
        }
    }
}

/// The head of an answer, with its body to come.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// Moves the bytes. The connection ends when it is dropped.
    pub(super) connection: JoinSet<()>,
}

/// Reaches servers.
pub(super) struct Network {
    pub(super) resolver: Arc<dyn Resolve>,
    /// Returns whether an address is on the public internet.
    pub(super) is_public: fn(IpAddr) -> bool,
    pub(super) tls: TlsConnector,
    /// For each connection: the name, TCP and TLS together.
    pub(super) connect_timeout: Duration,
}

impl Network {
    /// Sends `GET url`, and returns the answer, whatever its status.
    pub(super) async fn get(&self, url: &Url, trust: Trust) -> Result<Answer, Cause> {
        let request = request(url)?;
        let connecting = timeout(self.connect_timeout, self.connect(url, trust));
        let stream = connecting.await.map_err(|_| Cause::Slow)??;
        let broken = |error: hyper::Error| Cause::Broken(error.into());
        let (mut sender, connection) = http1::Builder::new()
            .max_header_size(HEAD_BYTES)
            .max_buf_size(BUFFER_BYTES)
            .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The body reports an error of the connection.
            let _ended = connection.await;
        });
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok(Answer { response, connection: driver })
    }

    /// Connects to one of the addresses of the host that may be connected to.
    async fn connect(&self, url: &Url, trust: Trust) -> Result<Box<dyn Stream>, Cause> {
        let is_allowed = |address: IpAddr| trust == Trust::Named || (self.is_public)(address);
        let only = |address: IpAddr| match is_allowed(address) {
            true => Ok((vec![address], ServerName::from(address))),
            false => Err(AddressError::NotAllowed),
        };
        let (addresses, name) = match url.host() {
            Some(Host::Domain(name)) => {
                let addresses = allowed_addresses(&*self.resolver, name, is_allowed).await?;
                let name = ServerName::try_from(name.trim_end_matches('.').to_owned());
                (addresses, name.map_err(|error| Cause::Tls(io::Error::other(error)))?)
            }
            Some(Host::Ipv4(address)) => only(address.into())?,
            Some(Host::Ipv6(address)) => only(address.into())?,
            None => return Err(AddressError::NotAllowed.into()),
        };
        // Origins that may be fetched have a scheme with a default port.
        let port = url.port_or_known_default().ok_or(AddressError::NotAllowed)?;
        let tcp = connect_to_one(&addresses, port, self.connect_timeout).await.map_err(Cause::Unreachable)?;
        if url.scheme() != "https" {
            return Ok(Box::new(tcp));
        }
        Ok(Box::new(self.tls.connect(name, tcp).await.map_err(Cause::Tls)?))
    }
}

/// Returns the request: no cookies, no `Referer`, and no more than the server needs.
fn request(url: &Url) -> Result<Request<Empty<Bytes>>, Cause> {
    Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(USER_AGENT, OWN_NAME)
        .header(ACCEPT, HeaderValue::from_static("image/*"))
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .body(Empty::new())
        .map_err(|error| Cause::Broken(error.into()))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the first address that answers. A silent one must leave time for the others.
async fn connect_to_one(addresses: &[IpAddr], port: u16, within: Duration) -> io::Result<TcpStream> {
    let share = within / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match timeout(share, TcpStream::connect(SocketAddr::from((*address, port)))).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}
