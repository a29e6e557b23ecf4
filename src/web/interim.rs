//! Interim responses (RFC 9110 section 15.2): what a handler tells the client while the request's body still arrives.
//!
//! A handler finds an [`Interim`] in the extensions of its request if it can send them. They are optional: one that cannot be
//! sent is dropped, and the client learns the same from the final response.
//!
//! They exist on HTTP/1.1 only. HTTP/1.0 has none. hyper's server sends no interim response but `100 Continue`, so the socket
//! under hyper writes them (`server/socket.rs`). It cannot do that on HTTP/2, whose frames only the `h2` crate may write, and
//! hyper does not expose that crate's `send_informational`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use hyper::header::HeaderMap;

/// Largest interim response in bytes.
const MAX_BYTES: usize = 1024;

/// Sends interim responses to one request, until its handler has answered.
#[derive(Debug, Clone)]
pub(crate) struct Interim {
    queue: Arc<InterimQueue>,
    /// The request's number on its connection.
    request: u64,
}

impl Interim {
    /// Sends an interim response before the final one, if the client reads.
    ///
    /// It replaces the previous interim response if the connection has not begun to send that one, so a client that does not
    /// read costs no memory and gets the newest. `status` must be from 102 to 199, and `headers` must not describe a body.
    ///
    /// It is dropped if the handler has already answered, or if it is larger than 1 KiB.
    pub(crate) fn send(&self, status: u16, headers: &HeaderMap) {
        debug_assert!((102..200).contains(&status), "{status} is not an interim response of a handler");
        let head = encode(status, headers);
        if head.len() > MAX_BYTES {
            tracing::debug!(status, bytes = head.len(), "interim response dropped: it is too large");
            return;
        }
        let mut state = self.queue.lock();
        if state.open_request != Some(self.request) {
            return;
        }
        state.queued = Some(head);
        let connection = state.connection.take();
        drop(state);
        if let Some(connection) = connection {
            connection.wake();
        }
    }

    /// Drops the interim response that is not sent yet, and all later ones, because the final response follows.
    pub(crate) fn close(&self) {
        let mut state = self.queue.lock();
        if state.open_request == Some(self.request) {
            (state.open_request, state.queued, state.connection) = (None, None, None);
        }
    }
}

/// Encodes an interim response for HTTP/1.1.
fn encode(status: u16, headers: &HeaderMap) -> Bytes {
    // RFC 9112 section 4: the reason may be empty, the space before it may not be left out.
    let reason = match status {
        103 => "Early Hints",
        104 => "Upload Resumption Supported",
        _ => "",
    };
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// The interim response that one connection sends next.
#[derive(Debug, Default)]
pub(crate) struct InterimQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests opened so far.
    requests: u64,
    /// The request whose handler may send. HTTP/1.1 has one at a time.
    open_request: Option<u64>,
    queued: Option<Bytes>,
    /// Wakes the task of the connection.
    connection: Option<Waker>,
}

impl InterimQueue {
    /// Lets the next request of the connection send interim responses, and the previous one no more.
    pub(crate) fn open(self: &Arc<Self>) -> Interim {
        let mut state = self.lock();
        let request = state.requests;
        *state = State { requests: request + 1, open_request: Some(request), queued: None, connection: None };
        Interim { queue: Arc::clone(self), request }
    }

    /// Takes the interim response to send next. If there is none, the task of `cx` wakes when there is.
    pub(crate) fn take(&self, cx: &Context<'_>) -> Option<Bytes> {
        let mut state = self.lock();
        state.open_request?;
        let queued = state.queued.take();
        if queued.is_none() {
            match &mut state.connection {
                Some(connection) => connection.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        queued
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use hyper::header::{HeaderName, HeaderValue, LOCATION};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn headers(location: &str) -> HeaderMap {
        HeaderMap::from_iter([(LOCATION, location.parse().unwrap())])
    }

    fn take(queue: &InterimQueue) -> Option<String> {
        let head = queue.take(&Context::from_waker(Waker::noop()))?;
        Some(String::from_utf8(head.to_vec()).unwrap())
    }

    #[test]
    fn interim_response_is_a_head_without_a_body() {
        let mut headers = headers("/uploads/1");
        headers.append(HeaderName::from_static("upload-limit"), HeaderValue::from_static("max-size=9"));
        headers.append(HeaderName::from_static("upload-limit"), HeaderValue::from_static("min-size=1"));
        assert_eq!(
            encode(104, &headers),
            "HTTP/1.1 104 Upload Resumption Supported\r\nlocation: /uploads/1\r\n\
             upload-limit: max-size=9\r\nupload-limit: min-size=1\r\n\r\n"
        );
        assert_eq!(encode(199, &HeaderMap::new()), "HTTP/1.1 199 \r\n\r\n");
    }

    #[test]
    fn newer_interim_response_replaces_the_queued_one() {
        let queue = Arc::new(InterimQueue::default());
        let interim = queue.open();
        interim.send(104, &headers("/1"));
        interim.send(104, &headers("/2"));
        assert!(take(&queue).unwrap().contains("/2"));
        assert_eq!(take(&queue), None);
    }

    #[test]
    fn answered_request_sends_no_more() {
        let queue = Arc::new(InterimQueue::default());
        let first = queue.open();
        first.send(104, &headers("/1"));
        first.close();
        first.send(104, &headers("/1"));
        assert_eq!(take(&queue), None);
        let second = queue.open();
        first.send(104, &headers("/1"));
        first.close();
        assert_eq!(take(&queue), None);
        second.send(104, &headers("/2"));
        assert!(take(&queue).unwrap().contains("/2"));
    }

    #[test]
    fn too_large_interim_response_is_dropped() {
        let queue = Arc::new(InterimQueue::default());
        let interim = queue.open();
        interim.send(104, &headers(&"x".repeat(MAX_BYTES)));
        assert_eq!(take(&queue), None);
    }

    #[test]
    fn sending_wakes_the_connection_that_waits() {
        let (queue, wakes) = (Arc::new(InterimQueue::default()), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = Context::from_waker(&waker);
        assert_eq!(queue.take(&cx), None);
        let interim = queue.open();
        interim.send(104, &headers("/1"));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0, "no task waited");
        assert!(queue.take(&cx).is_some());
        assert_eq!(queue.take(&cx), None);
        interim.send(104, &headers("/2"));
        interim.send(104, &headers("/3"));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    }
}
