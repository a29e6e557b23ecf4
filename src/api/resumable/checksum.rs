//! `Upload-Checksum` of tus.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderMap;

use super::protocol::{UPLOAD_CHECKSUM, bad_header};
use crate::uploads::{Algorithm, Digest};
use crate::web::problem::Problem;

/// Algorithms of tus, for `Tus-Checksum-Algorithm`.
pub(super) const CHECKSUM_ALGORITHMS: &str = "sha1,sha256";

/// Returns the checksum of a request of tus.
///
/// # Errors
/// The header is malformed, or names an algorithm that this server does not know.
pub(super) fn checksum(headers: &HeaderMap) -> Result<Option<Digest>, Problem> {
    let Some(value) = headers.get(UPLOAD_CHECKSUM) else { return Ok(None) };
    let expected = || bad_header("Upload-Checksum is `sha1` or `sha256`, a space, and the digest in base64.");
    let (algorithm, base64) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(expected)?;
    let algorithm = match algorithm {
        "sha1" => Algorithm::Sha1,
        "sha256" => Algorithm::Sha256,
        _ => return Err(expected()),
    };
    let value = STANDARD.decode(base64.trim()).map_err(|_| expected())?;
    Digest::new(algorithm, value).map(Some).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::web::problem::ProblemKind;

    #[test]
    fn checksum_of_tus_is_read() {
        let read = |value| {
            let headers = HeaderMap::from_iter([(UPLOAD_CHECKSUM, HeaderValue::from_static(value))]);
            checksum(&headers).map_err(|problem| problem.kind())
        };
        // The example of the tus protocol.
        assert!(read("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").unwrap().is_some());
        for bad in [
            "sha1",
            "sha1 Kq5s",
            "md5 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            "sha256 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
            "",
        ] {
            assert_eq!(read(bad), Err(ProblemKind::BadUploadHeader), "{bad}");
        }
        assert_eq!(checksum(&HeaderMap::new()).unwrap(), None);
    }
}
