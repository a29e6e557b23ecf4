//! Kinds of values. A kind parses a text, and describes in words what it accepts.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{parse, secret};
use crate::disk::FreeDisk;
use crate::ratelimit::Quota;

/// Describes the texts that mean values of type `T`.
pub(super) trait Kind<T> {
    /// Parses a text, or returns `None` if it is not accepted.
    fn parse(&self, text: &str) -> Option<T>;

    /// Returns the accepted values in words that follow "accepted is".
    fn accepts(&self) -> String;
}

/// A whole number.
pub(super) struct Number<T>(pub(super) RangeInclusive<T>);

impl<T: FromStr + PartialOrd + Display> Kind<T> for Number<T> {
    fn parse(&self, text: &str) -> Option<T> {
        parse::within(text, &self.0)
    }

    fn accepts(&self) -> String {
        range(&self.0)
    }
}

/// Defines kinds of whole numbers that are converted to the unit of the code.
macro_rules! units {
    ($( $(#[$doc:meta])+ $kind:ident: $number:ty => $type:ty = $convert:expr; )+) => { $(
        $(#[$doc])+
        pub(super) struct $kind(pub(super) RangeInclusive<$number>);

        impl Kind<$type> for $kind {
            fn parse(&self, text: &str) -> Option<$type> {
                parse::within(text, &self.0).map($convert)
            }

            fn accepts(&self) -> String {
                range(&self.0)
            }
        }
    )+ };
}

units! {
    /// Seconds.
    Seconds: u64 => Duration = Duration::from_secs;
    /// Hours.
    Hours: u64 => Duration = |hours| Duration::from_secs(hours * 3600);
    /// Mebibytes, as bytes.
    Mebibytes: u64 => u64 = |mebibytes| mebibytes << 20;
    /// A number of threads. 0 means the number of cores.
    Threads: usize => usize = |threads| match threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
}

/// `true` or `false`, or another spelling that the settings library of the Python backend accepted.
pub(super) struct Bool;

impl Kind<bool> for Bool {
    fn parse(&self, text: &str) -> Option<bool> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Some(true),
            "false" | "0" | "no" | "off" | "f" | "n" => Some(false),
            _ => None,
        }
    }

    fn accepts(&self) -> String {
        "true or false".to_owned()
    }
}

/// One of several words, each with its value.
pub(super) struct OneOf<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy> Kind<T> for OneOf<T> {
    fn parse(&self, text: &str) -> Option<T> {
        self.0.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }

    fn accepts(&self) -> String {
        self.0.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ")
    }
}

/// Any text. [`combine`](super::combine::combine) has the checks for settings that need more.
pub(super) struct Text(pub(super) &'static str);

impl Kind<String> for Text {
    fn parse(&self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn accepts(&self) -> String {
        self.0.to_owned()
    }
}

/// A text that a function parses, with the words for it.
pub(super) struct ParsedBy<T>(pub(super) &'static str, pub(super) fn(&str) -> Option<T>);

impl<T> Kind<T> for ParsedBy<T> {
    fn parse(&self, text: &str) -> Option<T> {
        (self.1)(text)
    }

    fn accepts(&self) -> String {
        self.0.to_owned()
    }
}

/// A value of another kind, or an empty text for none.
pub(super) struct Optional<K>(pub(super) K);

impl<T, K: Kind<T>> Kind<Option<T>> for Optional<K> {
    fn parse(&self, text: &str) -> Option<Option<T>> {
        if text.is_empty() { Some(None) } else { self.0.parse(text).map(Some) }
    }

    fn accepts(&self) -> String {
        format!("{}, or nothing", self.0.accepts())
    }
}

/// The least length of a key with `ENV=prod`, which is that of the hash of HS256 (RFC 7518 section 3.2).
pub(super) const MIN_KEY_BYTES: usize = 32;

/// A key that signs tokens. [`combine`](super::combine::combine) refuses public and short ones where necessary.
pub(super) struct SigningKey;

impl Kind<String> for SigningKey {
    fn parse(&self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn accepts(&self) -> String {
        format!(
            "text; where ENV=prod, AUTH_REQUIRED=true, JWKS_URL or JWKS_FILE is set, not the default nor a placeholder such as \
             changeme, and where ENV=prod {MIN_KEY_BYTES} bytes or more, which `head -c 32 /dev/urandom | base64` makes"
        )
    }
}

/// A key that signed tokens before. It is optional, so a public one is always refused.
pub(super) struct PreviousSigningKey;

impl Kind<String> for PreviousSigningKey {
    fn parse(&self, text: &str) -> Option<String> {
        (!secret::is_placeholder(text)).then(|| text.to_owned())
    }

    fn accepts(&self) -> String {
        format!(
            "text, not the default of SECRET_KEY nor a placeholder such as changeme, and where ENV=prod \
             {MIN_KEY_BYTES} bytes or more"
        )
    }
}

/// A number of requests in a period. `off` means no limit.
pub(super) struct Rate(pub(super) RangeInclusive<u32>);

impl Kind<Option<Quota>> for Rate {
    fn parse(&self, text: &str) -> Option<Option<Quota>> {
        parse::quota(text, |count| parse::within(count, &self.0))
    }

    fn accepts(&self) -> String {
        format!("N/second, N/minute, N/hour or N/day with N in {}, or off", range(&self.0))
    }
}

/// The upload quota, before the rate limit of uploads is known.
#[derive(Clone, Copy)]
pub(super) enum UploadQuota {
    Auto,
    Fixed(Option<Quota>),
}

/// A number of MiB in a period, as a quota in KiB. `off` means no limit, and `auto` depends on another setting.
pub(super) struct MebibyteRate(pub(super) RangeInclusive<u32>);

impl Kind<UploadQuota> for MebibyteRate {
    fn parse(&self, text: &str) -> Option<UploadQuota> {
        if text == "auto" {
            return Some(UploadQuota::Auto);
        }
        let kibibytes = |count: &str| {
            let mebibytes = count.strip_suffix("mb")?.trim_end();
            parse::within(mebibytes, &self.0).map(|mebibytes| mebibytes << 10)
        };
        parse::quota(text, kibibytes).map(UploadQuota::Fixed)
    }

    fn accepts(&self) -> String {
        format!("auto, NMB/second, NMB/minute, NMB/hour or NMB/day with N in {}, or off", range(&self.0))
    }
}

/// Mebibytes that must stay free on a disk, or `auto`.
pub(super) struct FreeMebibytes(pub(super) RangeInclusive<u64>);

impl Kind<FreeDisk> for FreeMebibytes {
    fn parse(&self, text: &str) -> Option<FreeDisk> {
        if text.eq_ignore_ascii_case("auto") {
            return Some(FreeDisk::Auto);
        }
        parse::within(text, &self.0).map(|mebibytes| FreeDisk::Bytes(mebibytes << 20))
    }

    fn accepts(&self) -> String {
        format!("auto or {}", range(&self.0))
    }
}

fn range<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("{}..{}", range.start(), range.end())
}
