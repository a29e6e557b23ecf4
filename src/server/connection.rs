//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Limits;
use super::connection_state::{ConnectionState, Quiet};
use super::h2_streams;
use super::paced_body::PacedBody;
use super::protocol::{self, Graceful, Protocols};
use super::shares::Place;
use super::socket::{Socket, Version};
use crate::telemetry::connections::Counted;
use crate::web::body::Body;
use crate::web::stack::MonitorsOnly;

/// After so long without a request, nothing but its socket is kept of an HTTP/1.1 connection: hyper holds 16 KiB for each,
/// and phones keep theirs open for minutes.
const REST_AFTER: Duration = Duration::from_secs(1);

/// A connection with its place and its permit.
pub(super) struct Connection {
    pub(super) place: Place,
    pub(super) protocols: Arc<Protocols>,
    /// Changes, or loses its sender, when the server stops.
    pub(super) stopping: watch::Receiver<()>,
    pub(super) limits: Limits,
    pub(super) peer: SocketAddr,
    pub(super) _counted: Counted,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn serve<H, F>(self, stream: TcpStream, handler: H)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Unpin + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let Self { place, protocols, stopping, limits, peer, _counted, _permit } = self;
        let state = Arc::new(ConnectionState::new(place));
        let mut socket = Box::new(Socket::new(stream, Arc::clone(&state), limits.write_rate));
        let mut serving = Serving { protocols, stopping, limits, peer };
        // Nothing but the socket is held for a client that says nothing.
        let version = tokio::select! {
            // In this order: what arrived while we were busy is not late.
            biased;
            version = socket.version() => version,
            _ = serving.stopping.changed() => return,
            () = state.evicted() => return,
            () = tokio::time::sleep(limits.head_timeout) => {
                state.time_out();
                return;
            }
        };
        let service = answering(Arc::clone(&state), peer, handler);
        match version {
            Ok(Version::Http1) => serving.http1(socket, &state, service).await,
            Ok(Version::Http2) => {
                let mut connection = Box::pin(serving.protocols.http2(socket, service_fn(service)));
                serving.drive(connection.as_mut(), &state, false).await;
            }
            Err(error) => {
                tracing::debug!(%error, %peer, "a connection ended before its first request");
            }
        }
    }
}

/// What a connection is served by.
struct Serving {
    protocols: Arc<Protocols>,
    stopping: watch::Receiver<()>,
    limits: Limits,
    peer: SocketAddr,
}

impl Serving {
    /// Serves HTTP/1.1, with hyper's buffers only while something is asked.
    async fn http1<S, A>(&mut self, mut socket: Box<Socket>, state: &ConnectionState, service: S)
    where
        S: Fn(Request<Incoming>) -> A + Clone + Unpin,
        A: Future<Output = Result<Response<PacedBody>, Infallible>>,
    {
        loop {
            let mut connection = Box::new(self.protocols.http1(socket, service_fn(service.clone())));
            if self.drive(Pin::new(&mut *connection), state, true).await == Ended::Closed {
                return;
            }
            socket = protocol::taken_back(*connection);
            if state.is_asked() {
                continue;
            }
            tokio::select! {
                biased;
                spoken = socket.spoken() => if spoken.is_err() { return },
                _ = self.stopping.changed() => return,
                () = state.evicted() => return,
                () = tokio::time::sleep(self.limits.head_timeout.saturating_sub(REST_AFTER)) => return,
            }
        }
    }

    /// Runs hyper's side until it ends, or until nothing was asked for too long, or until it may rest. One that does not
    /// rest says goodbye before it ends.
    async fn drive<C: Graceful>(
        &mut self,
        mut connection: Pin<&mut C>,
        state: &ConnectionState,
        rests: bool,
    ) -> Ended {
        let limit = self.limits.head_timeout;
        let rest = if rests { REST_AFTER } else { limit };
        let mut is_parting = false;
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                // First: a request that is read from here on would not be answered.
                () = state.evicted() => {
                    connection.as_mut().graceful_shutdown();
                    // HTTP/2 says goodbye, as far as the socket takes it at once.
                    let once = |cx: &mut Context<'_>| {
                        let _ended_or_not = connection.as_mut().poll(cx);
                        Poll::Ready(())
                    };
                    std::future::poll_fn(once).await;
                    return Ended::Closed;
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %self.peer, "a connection ended early");
                    }
                    return Ended::Closed;
                }
                // Fails when the sender is dropped, which is the signal.
                _ = self.stopping.changed(), if !is_stopping => {
                    (is_stopping, is_parting) = (true, true);
                    connection.as_mut().graceful_shutdown();
                }
                quiet = state.quiet(rest, limit) => {
                    if quiet == Quiet::Resting {
                        return Ended::Resting;
                    }
                    // A peer that does not agree to part is left.
                    if is_parting || rests {
                        state.time_out();
                        return Ended::Closed;
                    }
                    is_parting = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// What became of hyper's side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It is over.
    Closed,
    /// Everything asked was answered, and the client is silent.
    Resting,
}

/// One answer on its way.
///
/// In a box, since hyper keeps room for it as long as the connection lives, and it is much larger than everything else that
/// an idle connection holds.
type Pending = Pin<Box<dyn Future<Output = Result<Response<PacedBody>, Infallible>> + Send>>;

/// `handler` as hyper calls it: counted on `line` until its answer was handed over.
fn answering<H, F>(
    state: Arc<ConnectionState>,
    peer: SocketAddr,
    handler: H,
) -> impl Fn(Request<Incoming>) -> Pending + Clone + Unpin
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    move |mut request| {
        let busy = state.begin();
        if !busy.has_share() {
            request.extensions_mut().insert(MonitorsOnly);
        }
        let handler = handler.clone();
        // The handler is called inside: its future would be in here twice otherwise.
        Box::pin(async move {
            let answer = handler(request, peer).await;
            Ok(PacedBody::wrap(answer, busy, h2_streams::time_budget()))
        })
    }
}
