//! Serves one connection from its first byte to its close.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version as HttpVersion};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::Limits;
use super::connection_state::{ConnectionState, Idle, Phase};
use super::h2_streams;
use super::paced_body::PacedBody;
use super::protocol::{self, Graceful, Protocols};
use super::shares::Slot;
use super::socket::{Socket, Version};
use crate::telemetry::connections::Counted;
use crate::web::body::Body;
use crate::web::stack::MonitorsOnly;

/// Idle time after which an HTTP/1.1 connection keeps only its socket. hyper holds 16 KiB, and phones stay for minutes.
const REST_AFTER: Duration = Duration::from_secs(1);

/// An accepted connection, with its slot and its permit.
pub(super) struct Connection {
    pub(super) slot: Slot,
    pub(super) protocols: Arc<Protocols>,
    pub(super) phases: watch::Receiver<Phase>,
    pub(super) limits: Limits,
    pub(super) peer: SocketAddr,
    pub(super) _counted: Counted,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Serves requests with `handler` until the connection closes.
    pub(super) async fn serve<H, F>(self, stream: TcpStream, handler: H)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Unpin + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let Self { slot, protocols, phases, limits, peer, _counted, _permit } = self;
        let accepted = Instant::now();
        let state = Arc::new(ConnectionState::new(slot, phases.clone()));
        let mut socket = Box::new(Socket::new(stream, Arc::clone(&state), limits.write_rate));
        let mut serving = Serving { protocols, phases, limits, peer };
        // hyper and its buffers are created only after the first bytes arrived.
        let version = tokio::select! {
            // `biased`: bytes that arrived while this task was not polled are not late.
            biased;
            version = socket.detect_version() => version,
            // The first request may be on its way when the shutdown begins.
            () = serving.silent_too_long(accepted) => return,
            () = state.evicted() => return,
            () = tokio::time::sleep(limits.head_timeout) => {
                state.set_timed_out();
                return;
            }
        };
        let service = counted_service(Arc::clone(&state), peer, handler);
        match version {
            Ok(Version::Http1) => serving.http1(socket, &state, service).await,
            Ok(Version::Http2) => {
                let mut connection = Box::pin(serving.protocols.http2(socket, service_fn(service)));
                serving.drive(connection.as_mut(), &state, false).await;
            }
            Err(error) => {
                tracing::debug!(%error, %peer, "connection failed before its first request");
            }
        }
    }
}

/// What the phases of a connection share.
struct Serving {
    protocols: Arc<Protocols>,
    phases: watch::Receiver<Phase>,
    limits: Limits,
    peer: SocketAddr,
}

impl Serving {
    /// Completes when the shutdown has reached `phase`.
    async fn reached(&mut self, phase: Phase) {
        // An error means that the server has ended.
        let _reached_or_ended = self.phases.wait_for(|reached| *reached >= phase).await.map(drop);
    }

    /// Completes when a connection without any request should be closed for the shutdown.
    async fn silent_too_long(&mut self, accepted: Instant) {
        self.reached(Phase::Closing).await;
        sleep_until(accepted + self.limits.drain_time).await;
    }

    /// Serves HTTP/1.1. A resting connection keeps only its socket; hyper's buffers are freed.
    async fn http1<S, A>(&mut self, mut socket: Box<Socket>, state: &ConnectionState, service: S)
    where
        S: Fn(Request<Incoming>) -> A + Clone + Unpin,
        A: Future<Output = Result<Response<PacedBody>, Infallible>>,
    {
        loop {
            let mut connection = Box::new(self.protocols.http1(socket, service_fn(service.clone())));
            if self.drive(Pin::new(&mut *connection), state, true).await == Outcome::Closed {
                return;
            }
            socket = protocol::into_socket(*connection);
            if state.has_unanswered_input() {
                continue;
            }
            let rest = self.limits.head_timeout.saturating_sub(REST_AFTER);
            tokio::select! {
                biased;
                readable = socket.readable() => if readable.is_err() { return },
                () = self.reached(Phase::Closing) => return,
                () = state.evicted() => return,
                () = tokio::time::sleep(rest) => return,
            }
        }
    }

    /// Runs hyper until the connection ends, is idle for too long, or can rest.
    ///
    /// With `rests` an idle connection returns [`Outcome::Resting`]. Otherwise it is shut down gracefully, then closed.
    async fn drive<C: Graceful>(
        &mut self,
        mut connection: Pin<&mut C>,
        state: &ConnectionState,
        rests: bool,
    ) -> Outcome {
        let limit = self.limits.head_timeout;
        let rest = if rests { REST_AFTER } else { limit };
        // HTTP/2 has a message that says which requests will not be answered, so its connections can be closed immediately.
        let last_phase = if rests { Phase::Closing } else { Phase::Draining };
        let mut is_closing = false;
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                // `biased`, eviction first: a request that is read after this point would not be answered.
                () = state.evicted() => {
                    connection.as_mut().graceful_shutdown();
                    // One poll sends the HTTP/2 GOAWAY, if the socket accepts it immediately.
                    let once = |cx: &mut Context<'_>| {
                        let _ended_or_not = connection.as_mut().poll(cx);
                        Poll::Ready(())
                    };
                    std::future::poll_fn(once).await;
                    return Outcome::Closed;
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %self.peer, "connection failed");
                    }
                    return Outcome::Closed;
                }
                () = self.reached(last_phase), if !is_stopping => {
                    is_stopping = true;
                    // hyper would close an idle connection although a part of a request was received. The response to that
                    // request closes it.
                    if !rests || !state.has_partial_request() {
                        is_closing = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
                idle = state.wait_until_idle(rest, limit) => {
                    if idle == Idle::CanRest {
                        return Outcome::Resting;
                    }
                    // The peer did not close after the graceful shutdown.
                    if is_closing || rests {
                        state.set_timed_out();
                        return Outcome::Closed;
                    }
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The connection is closed.
    Closed,
    /// All requests were answered, and no part of another one was received.
    Resting,
}

/// The future of one response. It is boxed, because hyper reserves room for it for the lifetime of the connection, and it is
/// much larger than everything else that an idle connection holds.
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<PacedBody>, Infallible>> + Send>>;

/// Wraps `handler` as a service that counts each request in `state` until its response was handed over, and closes the
/// connection once the server shuts down.
fn counted_service<H, F>(
    state: Arc<ConnectionState>,
    peer: SocketAddr,
    handler: H,
) -> impl Fn(Request<Incoming>) -> ResponseFuture + Clone + Unpin
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    move |mut request| {
        let guard = state.begin_request();
        if !guard.has_share() {
            request.extensions_mut().insert(MonitorsOnly);
        }
        // No handler sends any about a request that changes nothing.
        let has_interim = request.version() == HttpVersion::HTTP_11 && !request.method().is_safe();
        let interim = has_interim.then(|| state.interim().open());
        if let Some(interim) = &interim {
            request.extensions_mut().insert(interim.clone());
        }
        let handler = handler.clone();
        let can_close = request.version() <= HttpVersion::HTTP_11;
        // Called inside the block: otherwise this future would contain the handler's future twice.
        Box::pin(async move {
            let mut response = handler(request, peer).await;
            // hyper does not have the response yet, so no interim response can follow its head.
            if let Some(interim) = interim {
                interim.close();
            }
            if can_close && guard.is_last() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(PacedBody::wrap(response, guard, h2_streams::current_time_budget()))
        })
    }
}
