//! Error answers: `application/problem+json` (RFC 9457).
//!
//! A problem is public from its first to its last character. Causes, paths and other crates' texts belong in the log.

use std::borrow::Cow;
use std::time::Duration;

use hyper::header::{ALLOW, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::Body;

/// MIME type of every error body.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error answer.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: Cow<'static, str>,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a stable `kind` (the last part of its `type` URI), with one sentence for the app's developer.
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind, detail: detail.into(), extensions: Map::new(), headers: Vec::new() }
    }

    /// Adds a member of our own to the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Tells the client when to try again, in whole seconds and at least one (RFC 9110 section 10.2.3).
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Ends the connection with this answer.
    #[must_use]
    pub fn closing(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable name of the problem.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The body, with the id under which the log knows the request.
    pub fn to_json(&self, request_id: &str) -> Value {
        let mut body = json!({
            "type": format!("urn:problem-type:vintedbot:{}", self.kind),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if let Value::Object(members) = &mut body {
            members.extend(self.extensions.clone());
        }
        body
    }

    /// The answer.
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let mut response = super::full(self.status, PROBLEM_JSON, self.to_json(request_id).to_string());
        response.headers_mut().extend(self.headers);
        response
    }
}

/// 400: the request head or its framing cannot be read.
pub fn bad_request() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-request", "The request is not valid HTTP/1.1.")
}

/// 404: nothing has this path.
pub fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing at this path.")
}

/// 405: the path exists, the method does not; `allow` lists those that do (RFC 9110 section 15.5.6).
pub fn method_not_allowed(allow: &str) -> Problem {
    let detail = format!("This path answers only to {allow}.");
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
    match HeaderValue::from_str(allow) {
        Ok(allow) => problem.header(ALLOW, allow),
        Err(_) => problem,
    }
}

/// 408: the rest of the request did not arrive in time (RFC 9110 section 15.5.9).
pub fn request_timeout() -> Problem {
    let detail = "The request did not arrive in time.";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail).closing()
}

/// 413: the body is larger than is taken; `detail` names the limit.
pub fn body_too_large(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}

/// 414: the request target is longer than is read.
pub fn uri_too_long() -> Problem {
    Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", "The request target is longer than 8 KiB.")
}

/// 431: the request head is larger than is read (RFC 6585 section 5).
pub fn headers_too_large() -> Problem {
    Problem::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers-too-large",
        "The request has more than 100 header fields or more than 32 KiB of them.",
    )
}

/// 429: over the quota (RFC 6585 section 4).
pub fn too_many_requests(wait: Duration) -> Problem {
    let detail = "Too many requests from this client. Wait as long as Retry-After says.";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail).retry_after(wait)
}

/// 503: the client has its share of the connections.
pub fn too_many_connections(wait: Duration) -> Problem {
    let detail =
        "This client has too many requests open on other connections. Wait as long as Retry-After says.";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-connections", detail);
    problem.retry_after(wait).closing()
}

/// 501: the body has a transfer coding that is not undone here (RFC 9112 section 6.1).
pub fn unknown_transfer_coding() -> Problem {
    let detail = "The only Transfer-Encoding that is taken is chunked.";
    Problem::new(StatusCode::NOT_IMPLEMENTED, "unknown-transfer-coding", detail)
}

/// 500: a fault of ours, told in the log alone.
pub fn internal() -> Problem {
    let detail = "The server failed on this request.";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_rounded_up() {
        for (wait, told) in [(0, "1"), (1000, "1"), (1001, "2"), (5900, "6")] {
            let response = too_many_requests(Duration::from_millis(wait)).into_response("id");
            assert_eq!(response.headers()[RETRY_AFTER], told);
        }
    }

    #[test]
    fn the_body_has_the_members_of_rfc_9457_and_ours() {
        let body = not_found().with("file_index", 2).to_json("r-1");
        assert_eq!(body["status"], 404);
        assert_eq!(body["type"], "urn:problem-type:vintedbot:not-found");
        assert_eq!(body["title"], "Not Found");
        assert_eq!(body["request_id"], "r-1");
        assert_eq!(body["file_index"], 2);
        assert!(body["detail"].is_string());
    }
}
