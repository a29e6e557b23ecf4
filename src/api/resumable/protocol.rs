//! The protocols of resumable uploads: what their headers say, and how they differ.
//!
//! draft-ietf-httpbis-resumable-upload changed its wire format several times. Clients name the format by an interop version:
//! 3 is that of draft 01, 4 of 02, 5 of 03, 6 of 04 and 05, 7 of 06 to 08, 8 of 09 to 11. iOS 17 to 26 send 3, 5, 6 and 8. A request
//! without a version is read as one of the newest, and gets no 104; so is a HEAD without any header of a protocol. tus is version 1.0.0.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::web::problem::{Problem, ProblemKind};

pub(super) const DRAFT_INTEROP_VERSION: HeaderName = HeaderName::from_static("upload-draft-interop-version");
pub(super) const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
pub(super) const UPLOAD_INCOMPLETE: HeaderName = HeaderName::from_static("upload-incomplete");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(super) const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub(super) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
pub(super) const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");

/// The version of tus.
pub(super) const TUS: HeaderValue = HeaderValue::from_static("1.0.0");
/// The media type of bytes that continue an upload, from interop version 6 on.
pub(super) const PARTIAL_UPLOAD: &str = "application/partial-upload";
/// The media type of bytes in tus.
pub(super) const OFFSET_OCTETS: &str = "application/offset+octet-stream";

const NEWEST: u64 = 8;

/// How a client talks about uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The whole photo in one request.
    Plain,
    /// draft-ietf-httpbis-resumable-upload.
    Ietf(Interop),
    /// tus 1.0.0.
    Tus,
}

/// The wire format of draft-ietf-httpbis-resumable-upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interop {
    version: u64,
    /// Whether the request names the version. Only then may it get a 104.
    pub(super) is_named: bool,
}

impl Protocol {
    /// Returns the protocol of a request.
    ///
    /// # Errors
    /// The request is one of another version of tus.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(version) = headers.get(TUS_RESUMABLE) {
            if version != TUS {
                let detail = "This server speaks tus 1.0.0.";
                let problem = Problem::new(ProblemKind::TusVersion, detail);
                return Err(problem.header(TUS_VERSION, TUS));
            }
            return Ok(Self::Tus);
        }
        Ok(Interop::of(headers).map_or(Self::Plain, Self::Ietf))
    }
}

impl Protocol {
    /// Returns the protocol of a request that has no header by which it could be recognised: the newest draft has none that a
    /// client must send when it asks for an offset.
    pub(super) fn of_bare(self) -> Self {
        match self {
            Self::Plain => Self::Ietf(Interop { version: NEWEST, is_named: false }),
            Self::Ietf(_) | Self::Tus => self,
        }
    }
}

impl Interop {
    /// Returns the format of a request by the draft, or `None` for another request.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let named = integer(headers, &DRAFT_INTEROP_VERSION).filter(|version| (3..=NEWEST).contains(version));
        if let Some(version) = named {
            return Some(Self { version, is_named: true });
        }
        let is_ietf =
            [UPLOAD_COMPLETE, UPLOAD_INCOMPLETE, UPLOAD_OFFSET].iter().any(|name| headers.contains_key(name));
        is_ietf.then_some(Self { version: NEWEST, is_named: false })
    }

    /// The version, for the header of the same name.
    pub(super) fn version(self) -> HeaderValue {
        HeaderValue::from(self.version)
    }

    /// Returns whether the body of the request ends the upload, or `None` if the request does not say so.
    pub(super) fn is_complete(self, headers: &HeaderMap) -> Option<bool> {
        match self.says_incomplete() {
            true => boolean(headers, &UPLOAD_INCOMPLETE).map(|is_incomplete| !is_incomplete),
            false => boolean(headers, &UPLOAD_COMPLETE),
        }
    }

    /// Returns whether a request that continues an upload ends it if it does not say so.
    pub(super) fn completes_by_default(self) -> bool {
        self.says_incomplete()
    }

    /// The header that says whether an upload is complete.
    pub(super) fn completeness(self, is_complete: bool) -> (HeaderName, HeaderValue) {
        let (name, value) = match self.says_incomplete() {
            true => (UPLOAD_INCOMPLETE, !is_complete),
            false => (UPLOAD_COMPLETE, is_complete),
        };
        (name, HeaderValue::from_static(if value { "?1" } else { "?0" }))
    }

    /// Up to interop version 4 the header says the opposite.
    fn says_incomplete(self) -> bool {
        self.version <= 4
    }

    /// Whether the version has limits, lengths and the media type of partial uploads.
    pub(super) fn has_limits(self) -> bool {
        self.version >= 6
    }

    /// The name of the limit of time.
    pub(super) fn age_key(self) -> &'static str {
        if self.version == 6 { "expires" } else { "max-age" }
    }

    /// Whether requests that read or cancel an upload must not have headers that describe one.
    pub(super) fn refuses_state_headers(self) -> bool {
        self.version <= 6
    }

    /// Whether an append that does not complete the upload is answered with 204, and not with 201.
    pub(super) fn answers_appends_empty(self) -> bool {
        self.version >= 7
    }

    /// Whether a complete upload refuses further bytes as a wrong length.
    pub(super) fn refuses_by_length(self) -> bool {
        self.version >= 8
    }
}

/// Adds to an answer that was given before what a client of the draft needs to know: nothing is to be continued.
pub(in crate::api) fn mark_complete(request: &HeaderMap, response: &mut HeaderMap) {
    if let Some(interop) = Interop::of(request) {
        let (name, value) = interop.completeness(true);
        response.insert(name, value);
        response.insert(DRAFT_INTEROP_VERSION, interop.version());
    }
}

/// Reads an Integer of RFC 9651 without parameters.
fn integer(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let text = value.to_str().ok()?.trim();
    (text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Reads a Boolean of RFC 9651 without parameters.
fn boolean(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    match headers.get(name)?.as_bytes().trim_ascii() {
        b"?1" => Some(true),
        b"?0" => Some(false),
        _ => None,
    }
}

/// Reads a number that the request may have.
///
/// # Errors
/// It is no number.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    integer(headers, name)
        .map(Some)
        .ok_or_else(|| bad_header(format!("The header {name} is one whole number.")))
}

/// Returns the Content-Length, if the request has one.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    u64::from_str(headers.get(CONTENT_LENGTH)?.to_str().ok()?).ok()
}

/// Refuses bytes of another media type.
pub(super) fn refuse_other_type(headers: &HeaderMap, expected: &'static str) -> Result<(), Problem> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::NotPartialUpload, format!("The Content-Type must be {expected}.")))
}

/// Returns 400 for a header of an upload.
pub(super) fn bad_header(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::BadUploadHeader, detail)
}

/// Returns the moment after this time for `Upload-Expires` (RFC 9110 section 5.6.7).
pub(super) fn http_date(after: Duration) -> Option<HeaderValue> {
    let moment = SystemTime::now().checked_add(after)?;
    HeaderValue::from_str(&httpdate::fmt_http_date(moment)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn ietf(fields: &[(&'static str, &'static str)]) -> Interop {
        match Protocol::of(&headers(fields)).unwrap() {
            Protocol::Ietf(interop) => interop,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn protocol_is_that_of_the_headers() {
        assert_eq!(Protocol::of(&headers(&[])).unwrap(), Protocol::Plain);
        assert_eq!(Protocol::of(&headers(&[("tus-resumable", "1.0.0")])).unwrap(), Protocol::Tus);
        let other = Protocol::of(&headers(&[("tus-resumable", "0.2.2")])).unwrap_err();
        assert_eq!(other.status().as_u16(), 412);
        for version in ["3", "4", "5", "6", "7", "8"] {
            let interop = ietf(&[("upload-draft-interop-version", version)]);
            assert!(interop.is_named && interop.version() == version);
        }
        for unknown in ["2", "9", "x", "", "?1"] {
            let interop = ietf(&[("upload-draft-interop-version", unknown), ("upload-complete", "?1")]);
            assert!(!interop.is_named && interop.version == NEWEST);
        }
    }

    #[test]
    fn completeness_is_read_and_written_as_the_version_says() {
        let old = ietf(&[("upload-draft-interop-version", "3")]);
        assert_eq!(old.is_complete(&headers(&[("upload-incomplete", "?0")])), Some(true));
        assert_eq!(old.is_complete(&headers(&[("upload-complete", "?1")])), None);
        assert_eq!(old.completeness(true), (UPLOAD_INCOMPLETE, HeaderValue::from_static("?0")));
        let new = ietf(&[("upload-draft-interop-version", "5")]);
        assert_eq!(new.is_complete(&headers(&[("upload-complete", "?0")])), Some(false));
        assert_eq!(new.is_complete(&headers(&[("upload-complete", "1")])), None);
        assert_eq!(new.completeness(true), (UPLOAD_COMPLETE, HeaderValue::from_static("?1")));
    }

    #[test]
    fn numbers_are_whole_and_alone() {
        let read = |value| number(&headers(&[("upload-offset", value)]), &UPLOAD_OFFSET).ok().flatten();
        assert_eq!(
            (read("0"), read("12"), read("999999999999999")),
            (Some(0), Some(12), Some(999_999_999_999_999))
        );
        for bad in ["", "-1", "1.0", "1;a", "0x1", "1 2", "1000000000000000"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
