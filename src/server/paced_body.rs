//! The body of an answer on its way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use tokio::time::Instant;

use super::connection_state::Busy;
use super::h2_streams::{self, SharedTimeBudget};
use crate::web::body::Body;

/// Keeps its connection busy until it is taken, and tells the account of its stream when the peer is waited for: from the
/// moment that a piece is given out until the next one is asked for.
pub(super) struct PacedBody {
    body: Body,
    time_budget: Option<SharedTimeBudget>,
    /// Bytes of the last piece, which the peer has not taken yet.
    given: u64,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    /// The end of a piece that was divided.
    rest: Bytes,
    _busy: Busy,
}

impl PacedBody {
    /// `answer` with its body in this one.
    pub(super) fn wrap(
        answer: Response<Body>,
        busy: Busy,
        time_budget: Option<SharedTimeBudget>,
    ) -> Response<Self> {
        if let Some(time_budget) = &time_budget {
            h2_streams::with(time_budget, |time_budget| time_budget.wait(Instant::now()));
        }
        let told = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        answer.map(|body| {
            let left = body.size_hint().exact().or(told);
            Self { body, time_budget, given: 0, left, rest: Bytes::new(), _busy: busy }
        })
    }

    /// What of `piece` is given out now.
    ///
    /// HTTP/2 takes a piece whole as soon as the peer's window has room for one byte, and what it took in the end it keeps
    /// after the stream's task is over, where no clock runs. So the last byte goes by itself: its turn comes when all in
    /// front of it are gone.
    fn portion(&mut self, mut piece: Bytes) -> Bytes {
        let length = piece.len() as u64;
        if self.time_budget.is_some() && length > 1 && self.left == Some(length) {
            self.rest = piece.split_off(piece.len() - 1);
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
        }
        piece
    }
}

impl hyper::body::Body for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(time_budget) = &self.time_budget {
            h2_streams::with(time_budget, |time_budget| time_budget.moved(self.given, Instant::now()));
            self.given = 0;
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
        let piece = self.portion(piece);
        if let Some(time_budget) = &self.time_budget {
            h2_streams::with(time_budget, |time_budget| time_budget.wait(Instant::now()));
            self.given = piece.len() as u64;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}
