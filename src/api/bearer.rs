//! `Authorization: Bearer` (RFC 6750).

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::auth::Tokens;
use crate::model::UserId;
use crate::web::problem::Problem;

/// The user whom the request names; `None` if it names nobody and need not. Credentials of another scheme are those of a
/// proxy in front, and name nobody.
///
/// # Errors
/// 401: there is a bearer token and it is not valid, or there is none and one is `required`.
pub(super) fn user(tokens: &Tokens, required: bool, headers: &HeaderMap) -> Result<Option<UserId>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => bearer(value),
        // Two could be read differently by a filter in front.
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

/// What stands behind the scheme, which has no case (RFC 9110 section 11.1). What is not text is no token, and is refused as
/// such.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let bytes = value.as_bytes();
    let (scheme, rest) = bytes.split_at(bytes.len().min(6));
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(|byte| *byte == b' ');
    is_bearer.then(|| std::str::from_utf8(rest).unwrap_or("").trim_start_matches(' '))
}

fn missing() -> Problem {
    let detail = "This needs an Authorization header with a bearer token.";
    challenge("token-missing", detail, "Bearer")
}

fn invalid() -> Problem {
    let detail = "The bearer token is not valid, or not any more.";
    challenge("token-invalid", detail, "Bearer error=\"invalid_token\"")
}

fn challenge(kind: &'static str, detail: &'static str, challenge: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, kind, detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
