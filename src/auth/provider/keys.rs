//! The public keys of an identity provider: a set of JSON Web Keys (RFC 7517, RFC 7518, RFC 8037).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::auth::jws::{Jws, Members};

/// Longest set that is read, in bytes.
pub(super) const MAX_SET_BYTES: usize = 64 << 10;
/// Most keys of a set, usable or not.
const MAX_KEYS: usize = 64;
/// Lengths of the modulus of an RSA key, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Largest exponent of an RSA key, in bits.
const MAX_EXPONENT_BITS: usize = 33;

/// A set is not used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSet {
    /// It is too long.
    #[error("it is longer than {MAX_SET_BYTES} bytes")]
    TooLong,
    /// It is no JWK set.
    #[error("it is not a JSON object with an array `keys` of objects with distinct names")]
    Malformed,
    /// It has too many keys.
    #[error("it has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// None of its keys can verify a token.
    #[error("it has no usable key: RSA of 2048 to 4096 bits, EC on P-256, or OKP Ed25519, for signatures")]
    NoKey,
}

/// A signature algorithm of tokens, by its registered name (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Returns the algorithm that the member `alg` of a header names, or `None` if a provider's key has no such algorithm.
    pub(crate) fn named(name: Option<&Value>) -> Option<Self> {
        let all = [Self::Rs256, Self::Es256, Self::EdDsa];
        all.into_iter().find(|algorithm| name.and_then(Value::as_str) == Some(algorithm.name()))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A public key. Its type decides the algorithm (RFC 8725 section 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
enum PublicKey {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A usable key of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    id: Option<String>,
    key: PublicKey,
}

/// Why a set has no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// No key has the id in the token: a newer set may have one.
    UnknownId,
    /// No key, or more than one, fits the algorithm and the id.
    Unfit,
}

/// The usable keys of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeySet(Vec<Key>);

impl KeySet {
    /// Parses a set. Keys of other types or for other uses are left out, because a provider may have them for others.
    ///
    /// # Errors
    /// See [`InvalidSet`].
    pub(crate) fn parse(json: &[u8]) -> Result<Self, InvalidSet> {
        if json.len() > MAX_SET_BYTES {
            return Err(InvalidSet::TooLong);
        }
        let Set(keys) = serde_json::from_slice(json).map_err(|_| InvalidSet::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidSet::TooManyKeys);
        }
        let keys: Vec<Key> = keys.iter().filter_map(Key::usable).collect();
        if keys.is_empty() { Err(InvalidSet::NoKey) } else { Ok(Self(keys)) }
    }

    /// Returns the number of usable keys.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the one key for `algorithm` with this id. A token may leave the id out if no other key has its algorithm.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Result<&Key, NoKey> {
        let has_id = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let mut fitting = self.0.iter().filter(has_id).filter(|key| key.algorithm() == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) if !self.0.iter().any(|key| has_id(&key)) => Err(NoKey::UnknownId),
            _ => Err(NoKey::Unfit),
        }
    }
}

impl Key {
    /// Returns the key in a JWK, or `None` if it cannot verify tokens.
    fn usable(jwk: &Members) -> Option<Self> {
        let text = |name: &str| jwk.get(name).map(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)??).ok();
        // A provider that publishes its private key cannot be trusted with it.
        if jwk.get("d").is_some() {
            return None;
        }
        let key = match (text("kty")??, text("crv").flatten()) {
            ("RSA", _) => rsa(bytes("n")?, bytes("e")?)?,
            ("EC", Some("P-256")) => {
                let coordinates = [bytes("x")?, bytes("y")?];
                coordinates.iter().all(|coordinate| coordinate.len() == 32).then_some(())?;
                PublicKey::P256([vec![4], coordinates.concat()].concat())
            }
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x").filter(|key| key.len() == 32)?),
            _ => return None,
        };
        let id = match text("kid") {
            None => None,
            Some(id) => Some(id?.to_owned()),
        };
        let key = Self { id, key };
        let is_allowed = |name: &str, value: &str| text(name).is_none_or(|found| found == Some(value));
        let may_verify = jwk.get("key_ops").is_none_or(|operations| {
            operations.as_array().is_some_and(|all| all.iter().any(|operation| operation == "verify"))
        });
        let is_usable = is_allowed("use", "sig") && is_allowed("alg", key.algorithm().name()) && may_verify;
        is_usable.then_some(key)
    }

    fn algorithm(&self) -> Algorithm {
        match self.key {
            PublicKey::Rsa { .. } => Algorithm::Rs256,
            PublicKey::P256(_) => Algorithm::Es256,
            PublicKey::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Returns true if this key signed the token.
    pub(super) fn has_signed(&self, token: &Jws<'_>) -> bool {
        let (signed, signature) = (token.signed(), token.signature());
        let verified = match &self.key {
            PublicKey::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            PublicKey::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            PublicKey::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
        };
        verified.is_ok()
    }
}

/// Returns an RSA key whose numbers are within the bounds and in their shortest form (RFC 7518 section 2).
fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<PublicKey> {
    let is_shortest = |number: &[u8]| number.first().is_some_and(|first| *first != 0);
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let is_number = |number: &[u8]| is_shortest(number) && is_odd(number);
    let is_large = e.len() > 1 || e.first().is_some_and(|exponent| *exponent >= 3);
    let is_usable = is_number(&n)
        && is_number(&e)
        && is_large
        && RSA_BITS.contains(&bits(&n))
        && bits(&e) <= MAX_EXPONENT_BITS;
    is_usable.then_some(PublicKey::Rsa { n, e })
}

/// Returns the length in bits of a number in its shortest form.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// The members of the keys of a set.
struct Set(Vec<Members>);

impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SetVisitor)
    }
}

struct SetVisitor;

impl<'de> Visitor<'de> for SetVisitor {
    type Value = Set;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWK set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Set, A::Error> {
        let mut keys = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == "keys" {
                if keys.replace(map.next_value()?).is_some() {
                    return Err(A::Error::duplicate_field("keys"));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        keys.map(Set).ok_or_else(|| A::Error::missing_field("keys"))
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
