//! Error responses: `application/problem+json` (RFC 9457). Clients see all of it; causes and paths go to the log instead.

use std::borrow::Cow;
use std::time::Duration;

use hyper::header::{ALLOW, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

pub use self::kind::ProblemKind;
use super::body::Body;

mod kind;

/// MIME type of every error body.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// An error response.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// In place of the status of the kind.
    status: Option<StatusCode>,
}

impl Problem {
    /// Creates a problem of `kind` with one sentence for the app's developer.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), extensions: Map::new(), headers: Vec::new(), status: None }
    }

    /// Adds an extension member to the body.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Answers with a status that another protocol demands for this kind.
    #[must_use]
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Tells the client when to try again, in whole seconds and at least one (RFC 9110 section 10.2.3).
    #[must_use]
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Closes the connection after this response.
    #[must_use]
    pub(crate) fn closing(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// Returns the status of the response.
    pub(crate) fn status(&self) -> StatusCode {
        self.status.unwrap_or(self.kind.status())
    }

    /// Returns the kind of the problem.
    pub(crate) fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Returns the body, with the id of the request in the log.
    pub(crate) fn to_json(&self, request_id: &str) -> Value {
        let mut body = json!({
            "type": self.kind.uri(),
            "title": self.status().canonical_reason().unwrap_or(self.kind.title()),
            "status": self.status().as_u16(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if let Value::Object(members) = &mut body {
            members.extend(self.extensions.clone());
        }
        body
    }

    /// Returns the response.
    pub(crate) fn into_response(self, request_id: &str) -> Response<Body> {
        let mut response = super::full(self.status(), PROBLEM_JSON, self.to_json(request_id).to_string());
        response.headers_mut().extend(self.headers);
        response
    }
}

/// Returns 400 for a request head or framing that cannot be read.
pub(crate) fn bad_request() -> Problem {
    Problem::new(ProblemKind::BadRequest, "The request is not valid HTTP/1.1.")
}

/// Returns 404 for an unknown path.
pub(crate) fn not_found() -> Problem {
    Problem::new(ProblemKind::NotFound, "There is nothing at this path.")
}

/// Returns 405 for a path that exists for the methods in `allow` only (RFC 9110 section 15.5.6).
pub(crate) fn method_not_allowed(allow: &str) -> Problem {
    let detail = format!("This path answers only to {allow}.");
    let problem = Problem::new(ProblemKind::MethodNotAllowed, detail);
    match HeaderValue::from_str(allow) {
        Ok(allow) => problem.header(ALLOW, allow),
        Err(_) => problem,
    }
}

/// Returns 408 for a request that did not arrive completely in time (RFC 9110 section 15.5.9).
pub(crate) fn request_timeout() -> Problem {
    Problem::new(ProblemKind::RequestTimeout, "The request did not arrive in time.").closing()
}

/// Returns 413 for a body over a limit that `detail` names.
pub(crate) fn body_too_large(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::BodyTooLarge, detail)
}

/// Returns 414 for a request target over the limit.
pub(crate) fn uri_too_long() -> Problem {
    Problem::new(ProblemKind::UriTooLong, "The request target is longer than 8 KiB.")
}

/// Returns 431 for a request head over the limit (RFC 6585 section 5).
pub(crate) fn headers_too_large() -> Problem {
    let detail = "The request has more than 100 header fields or more than 32 KiB of them.";
    Problem::new(ProblemKind::HeadersTooLarge, detail)
}

/// Returns 429 for a client over its rate limit (RFC 6585 section 4).
pub(crate) fn too_many_requests(wait: Duration) -> Problem {
    let detail = "Too many requests from this client. Wait as long as Retry-After says.";
    Problem::new(ProblemKind::RateLimited, detail).retry_after(wait)
}

/// Returns 503 for a client that has used up its share of the connections.
pub(crate) fn too_many_connections(wait: Duration) -> Problem {
    let detail =
        "This client has too many requests open on other connections. Wait as long as Retry-After says.";
    Problem::new(ProblemKind::TooManyConnections, detail).retry_after(wait).closing()
}

/// Returns 501 for a body with a transfer coding other than chunked (RFC 9112 section 6.1).
pub(crate) fn unknown_transfer_coding() -> Problem {
    let detail = "The only Transfer-Encoding that is taken is chunked.";
    Problem::new(ProblemKind::UnknownTransferCoding, detail)
}

/// Returns 500 for a fault of the server. Only the log has the cause.
pub(crate) fn internal() -> Problem {
    Problem::new(ProblemKind::Internal, "The server failed on this request.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        for (wait, seconds) in [(0, "1"), (1000, "1"), (1001, "2"), (5900, "6")] {
            let response = too_many_requests(Duration::from_millis(wait)).into_response("id");
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn body_has_the_members_of_rfc_9457_and_ours() {
        let body = not_found().with("file_index", 2).to_json("r-1");
        assert_eq!(body["status"], 404);
        assert_eq!(body["type"], "urn:problem-type:vintedbot:not-found");
        assert_eq!(body["title"], "Not Found");
        assert_eq!(body["request_id"], "r-1");
        assert_eq!(body["file_index"], 2);
        assert!(body["detail"].is_string());
    }
}
