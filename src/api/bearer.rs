//! `Authorization: Bearer` (RFC 6750).

use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::auth::{Scope, Tokens, Verified};
use crate::web::problem::{Problem, ProblemKind};

/// When to try again while the keys of the identity provider are fetched.
const KEYS_RETRY: Duration = Duration::from_secs(2);

/// Returns what the request's bearer token says, or `None` if the request has no token and none is `required`. Credentials of
/// another scheme belong to a proxy in front and are ignored.
///
/// # Errors
/// 401 if the bearer token is not valid, or if there is none and one is `required`. 403 if it lacks `scope`. 503 if the keys of the
/// identity provider are not there yet.
pub(super) fn verify(
    tokens: &Tokens,
    required: bool,
    scope: Scope,
    headers: &HeaderMap,
) -> Result<Option<Verified>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => bearer(value),
        // A filter in front could read the other one of two.
        (Some(_), Some(_)) => return Err(invalid()),
    };
    match token {
        None if required => Err(missing()),
        None => Ok(None),
        Some(token) => match tokens.verify(token) {
            Ok(verified) if verified.scopes.allow(scope) => Ok(Some(verified)),
            Ok(_) => Err(insufficient(scope)),
            Err(error) => {
                tracing::debug!(cause = std::error::Error::source(&error), "a bearer token was refused");
                Err(if error.lacks_keys() { keys_pending() } else { invalid() })
            }
        },
    }
}

/// Returns what follows the scheme `Bearer`, which is case-insensitive (RFC 9110 section 11.1). Credentials that are not
/// text become an empty token, which is refused.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let bytes = value.as_bytes();
    let (scheme, rest) = bytes.split_at(bytes.len().min(6));
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(|byte| *byte == b' ');
    is_bearer.then(|| std::str::from_utf8(rest).unwrap_or("").trim_start_matches(' '))
}

fn missing() -> Problem {
    let detail = "This needs an Authorization header with a bearer token.";
    challenge(ProblemKind::TokenMissing, detail, "Bearer")
}

fn invalid() -> Problem {
    let detail = "The bearer token is not valid, or not any more.";
    challenge(ProblemKind::TokenInvalid, detail, "Bearer error=\"invalid_token\"")
}

/// Returns the answer of RFC 6750 section 3.1.
fn insufficient(scope: Scope) -> Problem {
    let (detail, value) = match scope {
        Scope::Upload => (
            "This needs a bearer token with the scope upload.",
            "Bearer error=\"insufficient_scope\", scope=\"upload\"",
        ),
        Scope::Read => (
            "This needs a bearer token with the scope read.",
            "Bearer error=\"insufficient_scope\", scope=\"read\"",
        ),
    };
    challenge(ProblemKind::InsufficientScope, detail, value)
}

fn keys_pending() -> Problem {
    let detail = "The keys of the identity provider are being fetched. Send the request again.";
    Problem::new(ProblemKind::KeysPending, detail).retry_after(KEYS_RETRY)
}

fn challenge(kind: ProblemKind, detail: &'static str, challenge: &'static str) -> Problem {
    Problem::new(kind, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
