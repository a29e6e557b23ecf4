//! Types that several modules share: keys, ids, media, photos and drafts. No behaviour, no storage, no HTTP.

mod facts;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use ring::rand::SystemRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::facts::{PerceptualHash, PhotoFacts, ThumbHash};

/// Gives the bytes of `$name` their text form, lower-case hex digits, and the error `$invalid` of other text.
macro_rules! hex_text {
    ($name:ident, $invalid:ident, $message:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        #[doc = concat!("The text has another form: ", $message, ".")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error($message)]
        pub struct $invalid;

        impl FromStr for $name {
            type Err = $invalid;

            fn from_str(text: &str) -> Result<Self, $invalid> {
                read_hex(text).map(Self).ok_or($invalid)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $invalid;

            fn try_from(text: String) -> Result<Self, $invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(bytes: $name) -> Self {
                bytes.to_string()
            }
        }
    };
}

/// Defines the hash `$name` of 32 bytes, written as 64 lower-case hex digits, and the error `$invalid` of other text.
macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $invalid:ident, $message:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// Creates the value with this digest.
            pub const fn from_digest(digest: [u8; 32]) -> Self {
                Self(digest)
            }

            /// Returns the raw digest.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        hex_text! { $name, $invalid, $message }
    };
}

digest! {
    /// The content address of a stored photo: the SHA-256 of its bytes.
    MediaKey, InvalidMediaKey, "a media key is 64 lower-case hex digits"
}

digest! {
    /// Identifies a source (the file as uploaded) together with the settings that process it: a hash over both. Two photos with
    /// equal ids have the same output.
    SourceId, InvalidSourceId, "a source id is 64 lower-case hex digits"
}

digest! {
    /// Identifies a request that a client may repeat: a hash over the user and the key that the client chose.
    AttemptId, InvalidAttemptId, "the id of an attempt is 64 lower-case hex digits"
}

impl MediaKey {
    /// Returns the key of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl AttemptId {
    /// Returns the id of the request that `user`, or a client without a token, names `key`.
    pub fn new(user: Option<UserId>, key: &str) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("vintedbot-ingest idempotency key v1");
        hash.update(&user.map_or(0, UserId::get).to_be_bytes());
        hash.update(key.as_bytes());
        Self(hash.finalize().into())
    }

    /// Returns the id of what a resumable upload asks for, if the client gave it no key.
    pub fn of_upload(id: UploadId) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("vintedbot-ingest attempt of an upload v1");
        hash.update(id.as_bytes());
        Self(hash.finalize().into())
    }
}

/// Writes at most 32 bytes as lower-case hex digits, all at once: the formatting of each byte takes ten times as long.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    f.write_str(std::str::from_utf8(&digits[..2 * bytes.len()]).map_err(|_| fmt::Error)?)
}

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Identifies a resumable upload. It cannot be guessed: it has 96 random bits, or is a hash of the client's Idempotency-Key. Its
/// text is 32 lower-case hex digits, so texts have the order of their ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UploadId([u8; 16]);

hex_text! { UploadId, InvalidUploadId, "an upload id is 32 lower-case hex digits" }

impl UploadId {
    /// Creates an id from 96 random bits of the operating system and, in its bytes 1 to 4, the current second.
    ///
    /// Ids with the same first byte grow with time. A catalog that orders its rows by id adds to the ends of 256 ranges, and needs
    /// only these in memory.
    pub fn random() -> Self {
        let bits = ring::rand::generate(&SystemRandom::new());
        #[expect(clippy::expect_used, reason = "getrandom(2) refuses no request of up to 256 bytes")]
        let mut bytes: [u8; 16] = bits.expect("the system has random bits").expose();
        let seconds = Timestamp::now().millis() / 1000;
        bytes[1..5].copy_from_slice(&seconds.to_be_bytes()[4..]);
        Self(bytes)
    }

    /// Creates the id with these bytes, as [`as_bytes`](Self::as_bytes) returns them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes. Their order is that of the ids.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
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
    /// Whether the caller may read and change the drafts of every user.
    pub is_admin: bool,
}

impl Caller {
    /// Creates a caller at `ip`, with the user that a token names, if any.
    pub(crate) fn new(ip: IpAddr, user: Option<UserId>) -> Self {
        Self { client: user.map_or_else(|| ip.into(), ClientKey::from), user, is_admin: false }
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
    /// The first id of users of an identity provider. Tokens of this server are for lower ids.
    pub const FIRST_OF_PROVIDER: u64 = Self::UNKNOWN_SUBJECT.0 + 1;
    /// Stands for every subject of an identity provider that has no row yet. Nothing belongs to it.
    pub(crate) const UNKNOWN_SUBJECT: Self = Self(1 << 40);

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
    /// What is known of its pixels. `None` for a row of a version before, until maintenance has looked at the photo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<PhotoFacts>,
}

impl Media {
    /// Returns the row without facts, which can be computed again.
    #[must_use]
    pub(crate) fn without_facts(&self) -> Self {
        Self { facts: None, ..self.clone() }
    }
}

/// A point in time, in milliseconds since 1970. Written as a number in rows and as RFC 3339 for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time of a row that was written before its time was recorded.
    pub const UNKNOWN: Self = Self(0);

    /// Creates the time from milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the current time of this machine.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Returns the time `span` earlier, or the year 1970.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns the time `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns whether no time was recorded.
    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        Self::UNIX_EPOCH + Duration::from_millis(time.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The formatter writes years up to 9999.
        let millis = self.0.min(253_402_300_799_999);
        humantime::format_rfc3339_millis(Self(millis).into()).fmt(f)
    }
}

/// The state of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DraftStatus {
    /// Created, not yet complete.
    Draft,
    /// Complete, not yet published.
    Ready,
    /// Published.
    Published,
    /// Not shown any more.
    Archived,
}

impl DraftStatus {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Draft, Self::Ready, Self::Published, Self::Archived];

    /// Returns the name of the state in JSON and in databases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Ready => "ready",
            Self::Published => "published",
            Self::Archived => "archived",
        }
    }
}

/// The text names no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is one of draft, ready, published and archived")]
pub struct InvalidDraftStatus;

impl FromStr for DraftStatus {
    type Err = InvalidDraftStatus;

    fn from_str(name: &str) -> Result<Self, InvalidDraftStatus> {
        Self::ALL.into_iter().find(|status| status.name() == name).ok_or(InvalidDraftStatus)
    }
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
    /// The photos in order.
    pub photos: Vec<P>,
    /// The owner, or `None` for an upload without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// When the draft was created.
    #[serde(default, skip_serializing_if = "Timestamp::is_unknown")]
    pub created: Timestamp,
    /// When the draft was last changed.
    #[serde(default, skip_serializing_if = "Timestamp::is_unknown")]
    pub updated: Timestamp,
    /// The number of changes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
}

/// Old rows have no version, so that version 0 is not written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(version: &u64) -> bool {
    *version == 0
}

impl Draft {
    /// Returns the draft as it is before anything is known of the pixels of its photos.
    pub(crate) fn without_facts(&self) -> Self {
        Self { photos: self.photos.iter().map(Media::without_facts).collect(), ..self.clone() }
    }

    /// Returns the draft without the first owners of its photos, who may be others than its own.
    pub(crate) fn without_photo_owners(&self) -> Self {
        let photos = self.photos.iter().map(|photo| Media { owner: None, ..photo.clone() });
        Self { photos: photos.collect(), ..self.clone() }
    }
}

impl<P> Draft<P> {
    /// Returns the draft with other references to its photos.
    pub(crate) fn with_photos<Q>(self, photos: Vec<Q>) -> Draft<Q> {
        let Self {
            id,
            title,
            description,
            status,
            price_suggested,
            photos: _,
            owner,
            created,
            updated,
            version,
        } = self;
        Draft { id, title, description, status, price_suggested, photos, owner, created, updated, version }
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
    fn upload_ids_are_random_and_their_texts_have_their_order() {
        let ids: Vec<UploadId> = (0..100).map(|_| UploadId::random()).collect();
        let (mut sorted, mut texts) = (ids.clone(), ids.iter().map(UploadId::to_string).collect::<Vec<_>>());
        sorted.sort();
        sorted.dedup();
        texts.sort();
        assert_eq!(sorted.len(), 100);
        assert_eq!(sorted, texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(serde_json::to_string(&ids[0]).unwrap(), format!("\"{}\"", ids[0]));
        for bad in ["", &texts[0][1..], &"A".repeat(32), &"..".repeat(16), &format!("{}0", texts[0])] {
            assert_eq!(bad.parse::<UploadId>(), Err(InvalidUploadId), "{bad}");
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
