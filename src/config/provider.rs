//! The identity provider whose tokens are accepted.

use std::path::PathBuf;

use hyper::Uri;

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Where its keys are.
    pub keys: KeySource,
    /// The claim `iss` of its tokens.
    pub issuer: String,
    /// What the claim `aud` of tokens for this server has.
    pub audience: String,
}

/// Where the keys of a provider are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// JWKS_URL.
    Url(Uri),
    /// JWKS_FILE.
    File(PathBuf),
}
