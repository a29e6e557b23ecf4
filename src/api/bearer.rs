//! `Authorization: Bearer` (RFC 6750).

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::auth::Tokens;
use crate::model::UserId;
use crate::web::problem::{Problem, ProblemKind};

/// Returns the user in the request's bearer token, or `None` if the request has no token and none is `required`.
/// Credentials of another scheme belong to a proxy in front and are ignored.
///
/// # Errors
/// 401 if the bearer token is not valid, or if there is none and one is `required`.
pub(super) fn user(tokens: &Tokens, required: bool, headers: &HeaderMap) -> Result<Option<UserId>, Problem> {
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
        Some(token) => tokens.user(token).map(Some).map_err(|error| {
            tracing::debug!(cause = std::error::Error::source(&error), "a bearer token was refused");
            invalid()
        }),
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

fn challenge(kind: ProblemKind, detail: &'static str, challenge: &'static str) -> Problem {
    Problem::new(kind, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
