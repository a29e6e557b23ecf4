//! The nouns that several rooms share: keys, ids, media, photos and drafts. No behaviour, no storage, no HTTP.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The content address of a stored photo: the SHA-256 of its bytes, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MediaKey([u8; 32]);

impl MediaKey {
    /// The key under which exactly these bytes are stored.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The key of the bytes with this SHA-256.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The raw digest.
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

/// What a photo was when it came, and what was to be made of it: a hash over the bytes of the source and over all settings
/// that decide the output. Two photos with equal ids have the same output. Written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceId([u8; 32]);

impl SourceId {
    /// The id with this digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The raw digest.
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

/// Whom a limit or a share counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(u128);

impl ClientKey {
    /// What tells him from every other client.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl From<IpAddr> for ClientKey {
    /// An IPv6 subscriber holds at least a /64, so all of it is one client; an IPv4 address stands for itself.
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() >> 64 << 64),
        }
    }
}

impl From<UserId> for ClientKey {
    /// A user is one client from wherever he calls. No address has such a key: of an IPv6 one the last half is empty, and
    /// the first half of a mapped IPv4 one.
    fn from(user: UserId) -> Self {
        Self(u128::from(u64::MAX) << 64 | u128::from(user.0))
    }
}

/// Who asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Whom it counts against: the user if there is one, else the address.
    pub client: ClientKey,
    /// The user, if a token names one.
    pub user: Option<UserId>,
}

impl Caller {
    /// Somebody at `ip`; `user` if a token named one.
    pub fn new(ip: IpAddr, user: Option<UserId>) -> Self {
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

/// Identifies a user: positive, and at most [`i64::MAX`], as databases and tokens write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct UserId(u64);

impl UserId {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The number is 0, or too large.
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

/// No row has this id or a higher one: JavaScript could not tell them apart. A counter beyond it is damaged.
pub const MAX_ID: u64 = 1 << 53;

/// One stored photo. There is exactly one row for each [`MediaKey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// The row's id.
    pub id: MediaId,
    /// The content address of the stored JPEG.
    pub key: MediaKey,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Length of the stored JPEG in bytes.
    pub size_bytes: u64,
    /// Who uploaded it first, if that was a user. The row is shared by all users: this gives nobody a right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
}

/// Where a draft stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DraftStatus {
    /// Made by an upload, not yet published.
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
    /// Free text, empty until somebody writes it.
    pub description: String,
    /// Where the draft stands.
    pub status: DraftStatus,
    /// A price in the listing's currency, once one was suggested.
    pub price_suggested: Option<f64>,
    /// The photos, in the order of the upload.
    pub photos: Vec<P>,
    /// Whose it is; `None` is nobody's, as of an upload without a token.
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
    fn a_key_is_the_sha256_of_its_bytes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(MediaKey::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(MediaKey::of(b"")));
    }

    #[test]
    fn only_64_lower_case_hex_digits_are_a_key() {
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
    fn a_user_id_is_positive_and_fits_every_database() {
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
        fn text_and_key_round_trip(bytes: [u8; 32]) {
            let key = MediaKey(bytes);
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            let source = SourceId(bytes);
            prop_assert_eq!(SourceId::try_from(source.to_string()), Ok(source));
        }
    }
}
