//! JSON Web Signatures (RFC 7515) in compact form, and HMAC-SHA-256. `provider/keys.rs` verifies with public keys.
//!
//! No library fits. jsonwebtoken 9 ignores an `nbf` that is a string (CVE-2026-25537). Later versions need a process-wide
//! cryptography provider, which would have to be written over ring. No version refuses `crit`. Libraries do the difficult parts:
//! the HMAC, its comparison in constant time, base64url and JSON.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

/// The decoded parts of a token. They are untrusted until the `has_signed` of a key returns true.
pub(super) struct Jws<'t> {
    /// The signed text: the first two parts as they were sent.
    signed: &'t str,
    pub(super) header: Vec<u8>,
    pub(super) payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Returns the bytes that are signed.
    pub(super) fn signed(&self) -> &'t [u8] {
        self.signed.as_bytes()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Splits a token into its three parts. Returns `None` unless they are strict base64url: padding, white space, other alphabets
/// and unused bits that are set are refused, so a token has exactly one text.
pub(super) fn split(token: &str) -> Option<Jws<'_>> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let decode = |part| URL_SAFE_NO_PAD.decode(part).ok();
    Some(Jws { signed, header: decode(header)?, payload: decode(payload)?, signature: decode(signature)? })
}

/// A key that signs and verifies.
pub(super) struct Key(hmac::Key);

impl Key {
    /// Creates a key from the text of a setting.
    pub(super) fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// Returns true if this key signed the token. The comparison takes constant time.
    pub(super) fn has_signed(&self, token: &Jws<'_>) -> bool {
        hmac::verify(&self.0, token.signed.as_bytes(), &token.signature).is_ok()
    }

    /// Returns the token of the header and the claims, signed with this key.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Holds the members of a JSON object. Parsing fails if a name of the object itself occurs twice,
/// because parsers disagree on which value counts. Objects inside it are not checked.
pub(super) struct Members(HashMap<String, Value>);

impl Members {
    /// Returns `None` if the text is not an object with distinct names.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DistinctNames)
    }
}

struct DistinctNames;

impl<'de> Visitor<'de> for DistinctNames {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with distinct names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = HashMap::new();
        while let Some((name, value)) = map.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(Members(members))
    }
}
