//! Digests that clients send along with bytes.

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// A hash algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Algorithm {
    /// SHA-1, which tus clients use against errors of transmission.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// The digest of some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    algorithm: Algorithm,
    value: Vec<u8>,
}

/// Computes a digest of bytes as they arrive.
pub(crate) enum Digester {
    /// SHA-1.
    Sha1(Sha1),
    /// SHA-256.
    Sha256(Sha256),
}

impl Digest {
    /// Creates a digest, or returns `None` if `value` does not have the length of the algorithm.
    pub(crate) fn new(algorithm: Algorithm, value: Vec<u8>) -> Option<Self> {
        let length = match algorithm {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
        };
        (value.len() == length).then_some(Self { algorithm, value })
    }

    /// Returns what computes a digest of the same algorithm.
    pub(super) fn digester(&self) -> Digester {
        match self.algorithm {
            Algorithm::Sha1 => Digester::Sha1(Sha1::new()),
            Algorithm::Sha256 => Digester::Sha256(Sha256::new()),
        }
    }
}

impl Digester {
    /// Takes more bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    /// Returns whether the bytes have this digest.
    pub(super) fn matches(self, digest: &Digest) -> bool {
        let value = match self {
            Self::Sha1(hash) => hash.finalize().to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
        };
        value == digest.value
    }
}
