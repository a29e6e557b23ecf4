//! Issues and verifies bearer tokens.
//!
//! A token is a JSON Web Token (RFC 7519). This server signs its own with HS256. Those of an identity provider have a signature by one
//! of its public keys. The algorithm that the header names decides whose token it may be, and no key verifies with two algorithms
//! (RFC 8725 section 3.1).

mod jws;
mod provider;
mod scope;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use self::jws::{Key, Members};
use self::provider::Algorithm;
pub(crate) use self::provider::{KeysError, Provider, Subjects};
pub(crate) use self::scope::{Scope, Scopes};
use crate::catalog::Identity;
use crate::model::UserId;

/// Maximum length of a token. Longer texts are not parsed.
const MAX_TOKEN_BYTES: usize = 4096;

/// The text is not a valid token. The reason is logged, not returned to the client.
#[derive(Debug, thiserror::Error)]
#[error("the token is not valid")]
pub(crate) struct InvalidToken(#[source] Reason);

impl InvalidToken {
    /// Returns whether the keys of the identity provider may still come, so that the token may be valid.
    pub(crate) fn lacks_keys(&self) -> bool {
        matches!(self.0, Reason::KeysPending)
    }
}

/// A token that is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Whose it is.
    pub(crate) bearer: Bearer,
    /// What it is for.
    pub(crate) scopes: Scopes,
}

/// To whom a token belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bearer {
    /// A user, whom a token of this server names.
    User(UserId),
    /// A subject of the identity provider.
    Subject(Identity),
}

/// Why a token is not valid.
#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("it is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    #[error("it does not consist of three parts in base64url without padding")]
    Malformed,
    #[error("its signature matches no key of this server")]
    Signature,
    #[error("its {0} is not a JSON object with distinct names")]
    Json(&'static str),
    #[error("its algorithm is not HS256")]
    Algorithm,
    #[error("its header requires the extension {0}, which this server does not implement")]
    Extension(&'static str),
    #[error("its {0} is missing or not a number")]
    NoNumber(&'static str),
    #[error("the keys of the identity provider are not there yet")]
    KeysPending,
    #[error("the identity provider has no key, or more than one, with its key id and algorithm")]
    KeyId,
    #[error("its issuer is not JWT_ISSUER")]
    Issuer,
    #[error("its audience is not JWT_AUDIENCE")]
    Audience,
    #[error("its scopes are neither text nor an array of texts")]
    Scopes,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYet,
    #[error(
        "its subject is no user id for tokens of this server, or, of an identity provider, not a text of 1 to 255 characters"
    )]
    Subject,
}

/// The token would expire later than the latest time that a token can contain.
#[derive(Debug, thiserror::Error)]
#[error("the token would be valid for too long")]
pub(crate) struct TooLong;

/// Issues and verifies tokens, with keys that may be replaced.
pub(crate) struct Tokens {
    keys: RwLock<Keys>,
    provider: Option<Arc<Provider>>,
}

/// The keys in force.
struct Keys {
    /// Signs and verifies.
    current: Key,
    /// Verifies tokens that were signed before the key changed.
    previous: Option<Key>,
}

impl Tokens {
    /// Creates an issuer that signs with `secret` and also accepts tokens signed with `previous`.
    pub(crate) fn new(secret: &str, previous: Option<&str>) -> Self {
        Self { keys: RwLock::new(Keys::new(secret, previous)), provider: None }
    }

    /// Also accepts tokens of `provider`, if there is one.
    pub(crate) fn with_provider(self, provider: Option<Arc<Provider>>) -> Self {
        Self { provider, ..self }
    }

    /// Returns the identity provider, if there is one.
    pub(crate) fn provider(&self) -> Option<&Arc<Provider>> {
        self.provider.as_ref()
    }

    /// Replaces the keys, while requests are verified.
    pub(crate) fn replace(&self, secret: &str, previous: Option<&str>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys::new(secret, previous);
    }

    /// Returns to whom a valid token belongs, and what it is for. A token whose header names an algorithm of public keys is verified with
    /// those of the identity provider only, and every other token with the keys of this server only.
    ///
    /// # Errors
    /// The token is malformed, signed with another key or algorithm, expired, not valid yet, or contains no user id, or that of a user of
    /// the provider. Or the claims of a provider's token do not fit, or its keys are not there yet.
    pub(crate) fn verify(&self, token: &str) -> Result<Verified, InvalidToken> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let of_provider = match &self.provider {
            Some(provider) if token.len() <= MAX_TOKEN_BYTES => verify_with(provider, token, now),
            _ => None,
        };
        let verified = of_provider.unwrap_or_else(|| {
            let user = self.user_at(token, now)?;
            // The numbers from there on are those of subjects.
            if self.provider.is_some() && user >= UserId::UNKNOWN_SUBJECT {
                return Err(Reason::Subject);
            }
            Ok(Verified { bearer: Bearer::User(user), scopes: Scopes::OWN })
        });
        verified.map_err(InvalidToken)
    }

    /// Returns the user of a token of this server that is valid at `now`, a time since 1970. Verifies the signature before it parses anything,
    /// and compares signatures in constant time.
    fn user_at(&self, token: &str, now: Duration) -> Result<UserId, Reason> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::TooLong);
        }
        let token = jws::split(token).ok_or(Reason::Malformed)?;
        let is_signed = self.keys().all().any(|key| key.has_signed(&token));
        if !is_signed {
            return Err(Reason::Signature);
        }
        check_header(&token.header)?;
        let claims = Members::parse(&token.payload).ok_or(Reason::Json("payload"))?;
        check_times(&claims, now.as_secs_f64(), 0.0)?;
        claims.get("sub").and_then(subject).ok_or(Reason::Subject)
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a new token for `user` that is valid for `ttl`.
    ///
    /// # Errors
    /// The token would be valid for too long.
    pub(crate) fn issue(&self, user: UserId, ttl: Duration) -> Result<String, TooLong> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let exp = now.checked_add(ttl.as_secs()).filter(|exp| i64::try_from(*exp).is_ok()).ok_or(TooLong)?;
        let claims = json!({"sub": user.to_string(), "iat": now, "exp": exp});
        Ok(self.keys().current.sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims))
    }
}

impl Keys {
    fn new(secret: &str, previous: Option<&str>) -> Self {
        Self { current: Key::new(secret), previous: previous.map(Key::new) }
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// Verifies a token with the keys of the identity provider, or returns `None` if its header names no algorithm of public keys.
fn verify_with(provider: &Provider, token: &str, now: Duration) -> Option<Result<Verified, Reason>> {
    let token = jws::split(token)?;
    let header = Members::parse(&token.header)?;
    let algorithm = Algorithm::named(header.get("alg"))?;
    let verified = provider.verify(&token, &header, algorithm, now);
    Some(verified.map(|(identity, scopes)| Verified { bearer: Bearer::Subject(identity), scopes }))
}

/// Checks that the header requires HS256 and no extension, because this server implements none (RFC 7515 section 4.1.11).
fn check_header(header: &[u8]) -> Result<(), Reason> {
    let header = Members::parse(header).ok_or(Reason::Json("header"))?;
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(Reason::Algorithm);
    }
    check_extensions(&header)
}

/// Checks that the header requires no extension.
fn check_extensions(header: &Members) -> Result<(), Reason> {
    // Issuers that follow RFC 7797 list `b64` in `crit`. A `b64` without `crit` would give the payload two meanings.
    match ["crit", "b64"].into_iter().find(|name| header.get(name).is_some()) {
        Some(name) => Err(Reason::Extension(name)),
        None => Ok(()),
    }
}

/// Checks the times of a token, in seconds since 1970 (RFC 7519 section 4.1), by a clock that may be wrong by `leeway`. All must be
/// numbers.
fn check_times(claims: &Members, now: f64, leeway: f64) -> Result<(), Reason> {
    let time = |name: &'static str| match claims.get(name) {
        Some(value) => value.as_f64().map(Some).ok_or(Reason::NoNumber(name)),
        None => Ok(None),
    };
    time("iat")?;
    if time("exp")?.ok_or(Reason::NoNumber("exp"))? <= now - leeway {
        return Err(Reason::Expired);
    }
    if time("nbf")?.is_some_and(|not_before| now + leeway < not_before) {
        return Err(Reason::NotYet);
    }
    Ok(())
}

/// Returns the user id in `sub`. RFC 7519 requires a string; some issuers write a number.
fn subject(value: &Value) -> Option<UserId> {
    let id = match value {
        // Only the form that this server writes is accepted, so that one user has one spelling.
        Value::String(text) => text.parse().ok().filter(|id: &u64| id.to_string() == *text)?,
        other => other.as_u64()?,
    };
    UserId::try_from(id).ok()
}

#[cfg(test)]
mod tests;
