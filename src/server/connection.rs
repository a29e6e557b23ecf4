//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Limits;
use super::answer::Answer;
use super::line::Line;
use super::protocol::{Graceful, Protocols};
use super::streams;
use super::wire::{Version, Wire};
use crate::telemetry::connections::Counted;
use crate::web::body::Body;

/// A connection with its permit.
pub(super) struct Connection {
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
    pub(super) async fn serve<H, F>(mut self, stream: TcpStream, handler: H)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let line = Arc::new(Line::default());
        let mut wire = Wire::new(stream, Arc::clone(&line), self.limits.write_pace);
        // Nothing but the socket is held for a client that says nothing.
        let version = tokio::select! {
            version = wire.version() => version,
            _ = self.stopping.changed() => return,
            () = tokio::time::sleep(self.limits.head_timeout) => {
                line.time_out();
                return;
            }
        };
        let (counting, peer) = (Arc::clone(&line), self.peer);
        let service = service_fn(move |request| {
            let busy = counting.begin();
            let answer = handler(request, peer);
            // In a box, since hyper keeps room for this as long as the connection lives, and it is thirty times as large
            // as everything else that an idle connection holds.
            Box::pin(async move {
                let answer = answer.await;
                Ok::<_, Infallible>(Answer::wrap(answer, busy, streams::credit()))
            })
        });
        match version {
            Ok(Version::Http1) => {
                let connection = Box::pin(self.protocols.http1(wire, service));
                self.drive(connection, &line, false).await;
            }
            Ok(Version::Http2) => {
                let connection = Box::pin(self.protocols.http2(wire, service));
                self.drive(connection, &line, true).await;
            }
            Err(error) => tracing::debug!(%error, %peer, "a connection ended before its first request"),
        }
    }

    /// Runs hyper's side until it ends, or until nothing was asked for too long. `says_goodbye` if the protocol has a word
    /// for that.
    async fn drive<C: Graceful>(
        &mut self,
        mut connection: std::pin::Pin<Box<C>>,
        line: &Line,
        says_goodbye: bool,
    ) {
        let mut is_parting = false;
        let mut is_stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, peer = %self.peer, "a connection ended early");
                    }
                    return;
                }
                // Fails when the sender is dropped, which is the signal.
                _ = self.stopping.changed(), if !is_stopping => {
                    (is_stopping, is_parting) = (true, true);
                    connection.as_mut().graceful_shutdown();
                }
                () = line.quiet_for(self.limits.head_timeout) => {
                    // A peer that does not agree to part is left.
                    if is_parting || !says_goodbye {
                        line.time_out();
                        return;
                    }
                    is_parting = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
