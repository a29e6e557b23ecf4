//! Bearer tokens: issued by this server, and verified by it.
//!
//! A token is a JSON Web Token (RFC 7519) under HS256 and nothing else (RFC 8725 section 3.1). This room knows no HTTP.

mod jws;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use self::jws::{Key, Members};
use crate::model::UserId;

/// A longer text is no token of this server. It is refused unread.
const MAX_TOKEN_BYTES: usize = 4096;

/// The text is no token that is valid now. The reason is logged, not returned to the client.
#[derive(Debug, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken(#[source] Reason);

/// Why a text is no valid token.
#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("it is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("it has not three parts in base64url without padding")]
    Malformed,
    #[error("its signature is of no key of this server")]
    Signature,
    #[error("its {0} is no JSON object with distinct names")]
    Json(&'static str),
    #[error("its algorithm is not HS256")]
    Algorithm,
    #[error("its header asks for the extension {0}, which this server does not implement")]
    Extension(&'static str),
    #[error("its {0} is missing, or is no number")]
    NoNumber(&'static str),
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error("its subject is no user id")]
    Subject,
}

/// The token to issue would expire after the last time that a token can name.
#[derive(Debug, thiserror::Error)]
#[error("the token would be valid for too long")]
pub struct TooLong;

/// Issues tokens, and verifies them.
pub struct Tokens {
    /// Signs, and verifies.
    current: Key,
    /// Verifies only: tokens that were signed before the key changed.
    previous: Option<Key>,
}

impl Tokens {
    /// Creates tokens that `secret` signs. Those that `previous` signed are accepted too.
    pub fn new(secret: &str, previous: Option<&str>) -> Self {
        Self { current: Key::new(secret), previous: previous.map(Key::new) }
    }

    /// Returns the user whose token this is. Signatures are compared in constant time.
    ///
    /// # Errors
    /// The token is malformed, under another key or algorithm, expired, not valid yet, or names no user.
    pub fn user(&self, token: &str) -> Result<UserId, InvalidToken> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.user_at(token, now).map_err(InvalidToken)
    }

    /// Returns the user whose token this is, at a time since 1970. Nothing of a token is parsed before its signature holds.
    fn user_at(&self, token: &str, now: Duration) -> Result<UserId, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::TooLong);
        }
        let token = jws::split(token).ok_or(Reason::Malformed)?;
        if !self.keys().any(|key| key.has_signed(&token)) {
            return Err(Reason::Signature);
        }
        check_header(&token.header)?;
        let claims = Members::parse(&token.payload).ok_or(Reason::Json("payload"))?;
        check_times(&claims, now.as_secs_f64())?;
        claims.get("sub").and_then(subject).ok_or(Reason::Subject)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Returns a token of `user` that is valid for `ttl` from now.
    ///
    /// # Errors
    /// The token would be valid for too long.
    pub fn issue(&self, user: UserId, ttl: Duration) -> Result<String, TooLong> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let exp = now.checked_add(ttl.as_secs()).filter(|exp| i64::try_from(*exp).is_ok()).ok_or(TooLong)?;
        let claims = json!({"sub": user.to_string(), "iat": now, "exp": exp});
        Ok(self.current.sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims))
    }
}

/// Checks that the header asks for HS256 and for nothing that this server does not implement (RFC 7515 section 4.1.11).
fn check_header(header: &[u8]) -> Result<(), Reason> {
    let header = Members::parse(header).ok_or(Reason::Json("header"))?;
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(Reason::Algorithm);
    }
    // `b64` is listed in `crit` by every issuer that follows RFC 7797; without it the payload would have two readings.
    match ["crit", "b64"].into_iter().find(|name| header.get(name).is_some()) {
        Some(name) => Err(Reason::Extension(name)),
        None => Ok(()),
    }
}

/// Checks the times of a token, in seconds since 1970 (RFC 7519 section 4.1). There is no leeway. A time that is no number
/// is refused, not skipped.
fn check_times(claims: &Members, now: f64) -> Result<(), Reason> {
    let time = |name: &'static str| match claims.get(name) {
        Some(value) => value.as_f64().map(Some).ok_or(Reason::NoNumber(name)),
        None => Ok(None),
    };
    time("iat")?;
    if time("exp")?.ok_or(Reason::NoNumber("exp"))? <= now {
        return Err(Reason::Expired);
    }
    if time("nbf")?.is_some_and(|not_before| now < not_before) {
        return Err(Reason::NotYet);
    }
    Ok(())
}

/// Returns the user's id. RFC 7519 has the subject a string; some issuers write the number.
fn subject(value: &Value) -> Option<UserId> {
    let id = match value {
        // Exactly as this server writes it, so that no two texts name one user.
        Value::String(text) => text.parse().ok().filter(|id: &u64| id.to_string() == *text)?,
        other => other.as_u64()?,
    };
    UserId::try_from(id).ok()
}

#[cfg(test)]
mod tests;
