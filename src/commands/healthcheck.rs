//! Asks the running server whether it works, for images that have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Verdict;
use super::report::with_causes;
use crate::config::Settings;

/// Longest wait for the whole answer. `HEALTHCHECK` in the Dockerfile waits a second longer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Largest body that is read. That of `/api/v1/ready` has some hundred bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

pub(super) async fn healthcheck(settings: &Settings, ready: bool) -> Result<Verdict, String> {
    if settings.listen.port() == 0 {
        return Err(
            "PORT=0 does not say which port the server has; set PORT to the one in its log".to_owned()
        );
    }
    let address = reachable(settings.listen);
    let path = if ready { "/api/v1/ready" } else { "/api/v1/health" };
    let answer = timeout(TIMEOUT, get(address, path)).await;
    match answer.unwrap_or_else(|_| Err(format!("no answer within {} seconds", TIMEOUT.as_secs()))) {
        Ok((StatusCode::OK, _)) => Ok(Verdict::Well),
        Ok((status, body)) => Err(format!("http://{address}{path} answers {status}: {}", body.trim_end())),
        Err(reason) => Err(format!("http://{address}{path} does not answer: {reason}")),
    }
}

/// Returns the address at which a listener on all addresses is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Returns status and body of the answer. The reason of a failure is a part of a sentence.
async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, String), String> {
    let stream = TcpStream::connect(address).await.map_err(with_causes)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(with_causes)?;
    // Its error is also that of the request.
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string()).header(CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(with_causes)?;
    let answer = sender.send_request(request).await.map_err(with_causes)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_on_all_addresses_is_asked_through_the_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
