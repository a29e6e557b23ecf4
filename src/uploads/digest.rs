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

/// Compares bytes with the digests that they should have, as they arrive.
pub(super) struct Verifier(Vec<(Digest, Digester)>);

impl Verifier {
    /// Takes the digests that all bytes together should have.
    pub(super) fn new(digests: impl IntoIterator<Item = Digest>) -> Self {
        let digester = |digest: Digest| {
            let digester = digest.digester();
            (digest, digester)
        };
        Self(digests.into_iter().map(digester).collect())
    }

    /// Takes more bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|(_, digester)| digester.update(bytes));
    }

    /// Returns whether the bytes have all digests. They are not compared again.
    pub(super) fn is_met(&mut self) -> bool {
        std::mem::take(&mut self.0).into_iter().all(|(digest, digester)| digester.matches(&digest))
    }
}
