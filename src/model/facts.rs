//! What is known of the pixels of a stored photo: its placeholder, and measures that an app may judge it by.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Facts about the pixels of a stored photo. Numbers are whole, so that rows and exports have them exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhotoFacts {
    /// A placeholder of the photo.
    pub thumbhash: ThumbHash,
    /// Variance of the Laplacian of luma, in hundredths. At most 104,040,000.
    pub sharpness: u32,
    /// Mean luma, in hundredths: 0 to 25,500.
    pub brightness: u16,
    /// Share of pixels with a luma near 0, in ten-thousandths.
    pub dark: u16,
    /// Share of pixels with a luma near 255, in ten-thousandths.
    pub light: u16,
    /// A hash that resembles those of pictures that look alike.
    pub perceptual_hash: PerceptualHash,
}

/// A [ThumbHash](https://evanw.github.io/thumbhash) without alpha: a picture in about 20 bytes. Its text is base64.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ThumbHash {
    /// The bytes, and zeros after them.
    bytes: [u8; Self::MAX_BYTES],
    length: u8,
}

impl ThumbHash {
    /// Most bytes: five of constants, and at most 37 coefficients of half a byte.
    pub const MAX_BYTES: usize = 24;
    /// Fewest bytes: five of constants.
    const MIN_BYTES: usize = 5;

    /// Creates the hash with these bytes, or returns `None` if there are too few or too many.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < Self::MIN_BYTES {
            return None;
        }
        let mut padded = [0; Self::MAX_BYTES];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { bytes: padded, length: u8::try_from(bytes.len()).ok()? })
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for ThumbHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for ThumbHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no ThumbHash without alpha.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ThumbHash is 5 to 24 bytes in base64")]
pub struct InvalidThumbHash;

impl FromStr for ThumbHash {
    type Err = InvalidThumbHash;

    fn from_str(text: &str) -> Result<Self, InvalidThumbHash> {
        let bytes = STANDARD.decode(text).map_err(|_| InvalidThumbHash)?;
        Self::from_bytes(&bytes).ok_or(InvalidThumbHash)
    }
}

impl TryFrom<String> for ThumbHash {
    type Error = InvalidThumbHash;

    fn try_from(text: String) -> Result<Self, InvalidThumbHash> {
        text.parse()
    }
}

impl From<ThumbHash> for String {
    fn from(hash: ThumbHash) -> Self {
        hash.to_string()
    }
}

/// A 64-bit perceptual hash. The number of bits in which two differ is small if their pictures look alike. Its text is 16
/// lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PerceptualHash(u64);

impl PerceptualHash {
    /// Creates the hash with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the number of bits in which two hashes differ.
    pub const fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

impl fmt::Display for PerceptualHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PerceptualHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text has another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a perceptual hash is 16 lower-case hex digits")]
pub struct InvalidPerceptualHash;

impl FromStr for PerceptualHash {
    type Err = InvalidPerceptualHash;

    fn from_str(text: &str) -> Result<Self, InvalidPerceptualHash> {
        let is_plain =
            text.len() == 16 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let bits = u64::from_str_radix(text, 16).ok().filter(|_| is_plain);
        bits.map(Self).ok_or(InvalidPerceptualHash)
    }
}

impl TryFrom<String> for PerceptualHash {
    type Error = InvalidPerceptualHash;

    fn try_from(text: String) -> Result<Self, InvalidPerceptualHash> {
        text.parse()
    }
}

impl From<PerceptualHash> for String {
    fn from(hash: PerceptualHash) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_texts_are_refused() {
        let good = "0123456789abcdef";
        assert_eq!(good.parse::<PerceptualHash>().map(|hash| hash.to_string()), Ok(good.to_owned()));
        for bad in ["", "0123456789ABCDEF", "+123456789abcdef", "0123456789abcde", "0123456789abcdef0"] {
            assert_eq!(bad.parse::<PerceptualHash>(), Err(InvalidPerceptualHash), "{bad}");
        }
        assert!("AAAAAAA=".parse::<ThumbHash>().is_ok());
        for bad in ["", "AAAAAA==", "AAAAAAA", "AAAAAA-=", &STANDARD.encode([0; 25])] {
            assert_eq!(bad.parse::<ThumbHash>(), Err(InvalidThumbHash), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn facts_round_trip_through_json(
            bytes in prop::collection::vec(any::<u8>(), 5..=ThumbHash::MAX_BYTES),
            sharpness: u32, brightness: u16, dark: u16, light: u16, bits: u64,
        ) {
            let thumbhash = ThumbHash::from_bytes(&bytes).unwrap();
            prop_assert_eq!(thumbhash.as_bytes(), bytes);
            let perceptual_hash = PerceptualHash::from_bits(bits);
            let facts = PhotoFacts { thumbhash, sharpness, brightness, dark, light, perceptual_hash };
            let json = serde_json::to_string(&facts).unwrap();
            prop_assert_eq!(serde_json::from_str::<PhotoFacts>(&json).unwrap(), facts);
        }
    }
}
