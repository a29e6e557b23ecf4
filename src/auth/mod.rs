//! Who somebody is: bearer tokens that this server issues and believes.
//!
//! A token is a JSON Web Token (RFC 7519) under HS256, and nothing else: the algorithm is pinned, so that a token which
//! names another one, or none, is refused whatever else it says (RFC 8725 section 3.1). This room knows no HTTP.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::model::UserId;

/// A longer text is no token of ours, and not worth looking at.
const MAX_TOKEN_BYTES: usize = 4096;

/// The text is no token that is valid now. Why is nobody's business but the log's.
#[derive(Debug, thiserror::Error)]
#[error("the token is not valid")]
pub struct InvalidToken(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// It would expire after the end of time.
    #[error("it would be valid for too long")]
    TooLong,
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] jsonwebtoken::errors::Error),
}

/// What a token says (RFC 7519 section 4.1).
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: Subject,
    iat: Option<u64>,
    exp: u64,
}

/// The user's id. RFC 7519 has it a string; some issuers write the number.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Subject {
    Text(String),
    Number(u64),
}

impl Subject {
    fn user(&self) -> Option<UserId> {
        let id = match self {
            // Exactly as it is written by the one who issues it, so that no two texts are one user.
            Self::Text(text) => text.parse::<u64>().ok().filter(|id| id.to_string() == *text)?,
            Self::Number(id) => *id,
        };
        UserId::try_from(id).ok()
    }
}

/// Issues tokens and believes its own.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Tokens {
    /// Tokens under this key.
    pub fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // The subject is asked for below, where it may be a number.
        validation.set_required_spec_claims(&["exp"]);
        validation.validate_nbf = true;
        // Expired is expired, from the very second on (RFC 7519 section 4.1.4).
        validation.leeway = 0;
        validation.reject_tokens_expiring_in_less_than = 1;
        // The key is for this service alone.
        validation.validate_aud = false;
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            validation,
        }
    }

    /// The user whose token this is. Signatures are compared in constant time.
    ///
    /// # Errors
    /// It is malformed, under another key or algorithm, expired, not valid yet, or names no user.
    pub fn user(&self, token: &str) -> Result<UserId, InvalidToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InvalidToken("it is too long".into()));
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        let claims = decoded.map_err(|error| InvalidToken(error.into()))?.claims;
        claims.sub.user().ok_or_else(|| InvalidToken("its subject is no user id".into()))
    }

    /// A token of `user` that is valid for `ttl` from now.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue(&self, user: UserId, ttl: Duration) -> Result<String, IssueError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let exp = now.checked_add(ttl.as_secs()).filter(|exp| i64::try_from(*exp).is_ok());
        let claims = Claims {
            sub: Subject::Text(user.to_string()),
            iat: Some(now),
            exp: exp.ok_or(IssueError::TooLong)?,
        };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)?)
    }
}

#[cfg(test)]
mod tests;
