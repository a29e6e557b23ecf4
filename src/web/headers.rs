//! Headers that every response carries.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::ratelimit::{Decision, Quota};

/// An API and its photos are never a page: nothing in them may be run, framed or guessed at.
const SECURITY: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    // Apps on other origins show the photos; whether they may read the API is for CORS to say.
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
];

pub(super) fn add_security(headers: &mut HeaderMap) {
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The headers of draft-ietf-httpapi-ratelimit-headers in the form that clients in the field read (version 06); times in
/// seconds, rounded up.
pub(super) fn add_rate_limit(headers: &mut HeaderMap, quota: Quota, decision: Decision) {
    let reset = decision.reset_after.as_millis().div_ceil(1000);
    let policy = format!("{};w={}", quota.burst, quota.window.as_secs());
    headers.insert(RATELIMIT_LIMIT, HeaderValue::from(quota.burst));
    headers.insert(RATELIMIT_REMAINING, HeaderValue::from(decision.remaining));
    headers.insert(RATELIMIT_RESET, HeaderValue::from(u64::try_from(reset).unwrap_or(u64::MAX)));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(RATELIMIT_POLICY, policy);
    }
}
