//! Headers that the layers around an application add to responses.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::ratelimit::{Decision, Quota};

/// Browsers must not run, frame or sniff the content of a response.
const SECURITY: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    // Apps on other origins show the photos. CORS decides whether they may read the API.
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
];

pub(super) fn add_security(headers: &mut HeaderMap) {
    for (name, value) in SECURITY {
        // A page has its own policy.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The header of every response with the id of its request, and its description.
pub(crate) const REQUEST_ID: (&str, &str) =
    ("x-request-id", "The id of the request in the server's log: the client's own, or a new one.");

/// The header of every response with its place in a trace, and its description.
pub(crate) const TRACEPARENT: (&str, &str) =
    ("traceparent", "The span of this server in the client's trace, or in a new one (W3C Trace Context).");

/// The headers of every response.
pub(crate) const COMMON: [(&str, &str); 2] = [REQUEST_ID, TRACEPARENT];

/// The headers of a response whose request counts against a rate limit, and their descriptions.
pub(crate) const RATE_LIMIT: [(&str, &str); 4] = [
    ("ratelimit-limit", "Requests that a rested client may send without a wait."),
    ("ratelimit-remaining", "Requests that are left."),
    ("ratelimit-reset", "Seconds until all requests are available again."),
    ("ratelimit-policy", "The limit, and the seconds of its window."),
];

/// Adds the headers of draft-ietf-httpapi-ratelimit-headers, version 06. Times are in seconds, rounded up.
pub(super) fn add_rate_limit(headers: &mut HeaderMap, quota: Quota, decision: Decision) {
    let reset = decision.reset_after.as_millis().div_ceil(1000);
    let policy = format!("{};w={}", quota.burst, quota.window.as_secs());
    let [limit, remaining, reset_name, policy_name] =
        RATE_LIMIT.map(|(name, _)| HeaderName::from_static(name));
    headers.insert(limit, HeaderValue::from(quota.burst));
    headers.insert(remaining, HeaderValue::from(decision.remaining));
    headers.insert(reset_name, HeaderValue::from(u64::try_from(reset).unwrap_or(u64::MAX)));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(policy_name, policy);
    }
}
