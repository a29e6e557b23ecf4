//! Types that several modules share: keys, ids, media, photos and drafts. No behaviour, no storage, no HTTP.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The content address of a stored photo: the SHA-256 of its bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaKey([u8; 32]);

impl MediaKey {
    /// Returns the key of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Creates the key of the bytes with this SHA-256.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the raw digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a media key is 64 lower-case hex digits")]
pub struct InvalidMediaKey;

impl FromStr for MediaKey {
    type Err = InvalidMediaKey;

    fn from_str(text: &str) -> Result<Self, InvalidMediaKey> {
        read_hex(text).map(Self).ok_or(InvalidMediaKey)
    }
}

fn write_hex(digest: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(digest)
}

impl TryFrom<String> for MediaKey {
    type Error = InvalidMediaKey;

    fn try_from(text: String) -> Result<Self, InvalidMediaKey> {
        text.parse()
    }
}

impl From<MediaKey> for String {
    fn from(key: MediaKey) -> Self {
        key.to_string()
    }
}

/// Identifies a source (the file as uploaded) together with the settings that process it: a hash over both. Two photos with equal
/// ids have the same output. Written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceId([u8; 32]);

impl SourceId {
    /// Creates the id with this digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the raw digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a source id is 64 lower-case hex digits")]
pub struct InvalidSourceId;

impl TryFrom<String> for SourceId {
    type Error = InvalidSourceId;

    fn try_from(text: String) -> Result<Self, InvalidSourceId> {
        read_hex(&text).map(Self).ok_or(InvalidSourceId)
    }
}

impl From<SourceId> for String {
    fn from(source: SourceId) -> Self {
        source.to_string()
    }
}

/// The client against which limits and shares are counted: a user or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientKey(u128);

impl ClientKey {
    /// Returns bytes that are unique to this client.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl From<IpAddr> for ClientKey {
    /// An IPv6 subscriber has at least a /64 network, so the network is one client. An IPv4 address is one client.
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64 << 64),
        }
    }
}

impl From<UserId> for ClientKey {
    /// A user is one client from any address. No address has such a key: the lower half of an IPv6 key is zero, and
    /// so is the upper half of a mapped IPv4 key.
    fn from(user: UserId) -> Self {
        Self(u128::from(u64::MAX) << 64 | u128::from(user.0))
    }
}

/// The sender of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The client to which the request counts: the user if there is one, else the address.
    pub client: ClientKey,
    /// The user that the token names, if any.
    pub user: Option<UserId>,
}

impl Caller {
    /// Creates a caller at `ip`, with the user that a token names, if any.
    pub(crate) fn new(ip: IpAddr, user: Option<UserId>) -> Self {
        Self { client: user.map_or_else(|| ip.into(), ClientKey::from), user }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// Identifies a media row; starts at 1.
    MediaId
}
id! {
    /// Identifies a draft; starts at 1.
    DraftId
}

/// Identifies a user: from 1 to [`i64::MAX`], so that databases and tokens can store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct UserId(u64);

impl UserId {
    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The number is 0 or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id is a number from 1 to 9223372036854775807")]
pub struct InvalidUserId;

impl TryFrom<u64> for UserId {
    type Error = InvalidUserId;

    fn try_from(id: u64) -> Result<Self, InvalidUserId> {
        if id > 0 && i64::try_from(id).is_ok() { Ok(Self(id)) } else { Err(InvalidUserId) }
    }
}

impl From<UserId> for u64 {
    fn from(id: UserId) -> Self {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Upper bound of row ids: JavaScript cannot represent all larger integers. A higher counter is damaged.
pub(crate) const MAX_ID: u64 = 1 << 53;

/// A stored photo. There is exactly one row for each [`MediaKey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// The row's id.
    pub id: MediaId,
    /// The content address of the stored JPEG.
    pub key: MediaKey,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Length of the stored JPEG in bytes.
    pub size_bytes: u64,
    /// The user who uploaded it first, if any. All users share the row; the field grants no rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
}

/// The state of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DraftStatus {
    /// Created by an upload, not yet published.
    Draft,
}

/// A draft listing with its photos in order. `P` is how it refers to a photo: by its row, or by the row's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft<P = Media> {
    /// The draft's id.
    pub id: DraftId,
    /// At most 160 characters; may be empty.
    pub title: String,
    /// Free text; empty at first.
    pub description: String,
    /// The draft's state.
    pub status: DraftStatus,
    /// A suggested price in the listing's currency, if any.
    pub price_suggested: Option<f64>,
    /// The photos, in the order of the upload.
    pub photos: Vec<P>,
    /// The owner, or `None` for an upload without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
}

impl<P> Draft<P> {
    /// Returns the draft with other references to its photos.
    pub(crate) fn with_photos<Q>(self, photos: Vec<Q>) -> Draft<Q> {
        let Self { id, title, description, status, price_suggested, photos: _, owner } = self;
        Draft { id, title, description, status, price_suggested, photos, owner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn media_key_is_sha256_of_bytes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(MediaKey::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(MediaKey::of(b"")));
    }

    #[test]
    fn media_key_other_than_64_lower_case_hex_digits_is_refused() {
        let good = "ab".repeat(32);
        for bad in [
            good.to_uppercase(),
            good[1..].to_owned(),
            format!("{good}0"),
            "../".repeat(21) + "x",
            "g".repeat(64),
        ] {
            assert_eq!(bad.parse::<MediaKey>(), Err(InvalidMediaKey), "{bad}");
        }
    }

    #[test]
    fn user_id_outside_1_to_i64_max_is_refused() {
        let last = i64::MAX.unsigned_abs();
        for good in [1, 7, last] {
            assert_eq!(UserId::try_from(good).map(UserId::get), Ok(good));
        }
        for bad in [0, last + 1, u64::MAX] {
            assert_eq!(UserId::try_from(bad), Err(InvalidUserId));
            assert!(serde_json::from_str::<UserId>(&bad.to_string()).is_err());
        }
    }

    proptest! {
        #[test]
        fn key_and_source_id_round_trip_through_text(bytes: [u8; 32]) {
            let key = MediaKey(bytes);
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            let source = SourceId(bytes);
            prop_assert_eq!(SourceId::try_from(source.to_string()), Ok(source));
        }
    }
}
