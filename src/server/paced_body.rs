//! Response bodies that measure how fast the peer reads them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use tokio::time::Instant;

use super::connection_state::RequestGuard;
use super::h2_streams::{self, SharedTimeBudget};
use super::sendfile::FilePieces;
use crate::web::body::Body;

/// A response body that counts its connection as active until it is dropped, and charges the stream's time budget from the
/// moment when hyper receives a piece until it asks for the next one.
pub(super) struct PacedBody {
    body: Body,
    /// The part of a file that is sent in place of `body`, on HTTP/1.1.
    file: Option<FilePieces>,
    time_budget: Option<SharedTimeBudget>,
    /// Length of the last piece, which the peer has not read yet.
    in_flight: u64,
    /// Bytes not yet handed to hyper, if the length is known.
    remaining: Option<u64>,
    /// The last byte of the body, split off by [`split_last_byte`](Self::split_last_byte).
    rest: Bytes,
    guard: RequestGuard,
}

impl PacedBody {
    pub(super) fn wrap(
        response: Response<Body>,
        guard: RequestGuard,
        time_budget: Option<SharedTimeBudget>,
    ) -> Response<Self> {
        if let Some(time_budget) = &time_budget {
            h2_streams::update(time_budget, |time_budget| time_budget.wait(Instant::now()));
        }
        let declared =
            response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|body| {
            let remaining = body.size_hint().exact().or(declared);
            let (body, file) = match body {
                Body::File(range) if time_budget.is_none() => (Body::Empty, Some(FilePieces::new(range))),
                body => (body, None),
            };
            Self { body, file, time_budget, in_flight: 0, remaining, rest: Bytes::new(), guard }
        })
    }

    /// Returns `piece`, without its last byte if it is the last piece of an HTTP/2 body.
    ///
    /// hyper's HTTP/2 accepts a whole piece as soon as the window has room for one byte, and keeps the unsent rest after the
    /// stream's task has ended, where no time budget applies. If the last byte is a separate piece, the task lives until all
    /// bytes before it are sent.
    fn split_last_byte(&mut self, mut piece: Bytes) -> Bytes {
        let length = piece.len() as u64;
        if self.time_budget.is_some() && length > 1 && self.remaining == Some(length) {
            self.rest = piece.split_off(piece.len() - 1);
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(piece.len() as u64);
        }
        piece
    }
}

impl hyper::body::Body for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { file, guard, .. } = &mut *self;
        if let Some(file) = file {
            return file.poll_next(guard.files(), cx).map(|piece| Some(piece?.map(Frame::data)));
        }
        if let Some(time_budget) = &self.time_budget {
            h2_streams::update(time_budget, |time_budget| time_budget.moved(self.in_flight, Instant::now()));
            self.in_flight = 0;
        }
        let piece = if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => piece,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end_or_error => return Poll::Ready(end_or_error),
            }
        } else {
            std::mem::take(&mut self.rest)
        };
        let piece = self.split_last_byte(piece);
        if let Some(time_budget) = &self.time_budget {
            h2_streams::update(time_budget, |time_budget| time_budget.wait(Instant::now()));
            self.in_flight = piece.len() as u64;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.file {
            Some(file) => file.remaining() == 0,
            None => self.rest.is_empty() && self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(file) = &self.file {
            return SizeHint::with_exact(file.remaining());
        }
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}
