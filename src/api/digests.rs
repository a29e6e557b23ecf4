//! Digests in headers: `Content-Digest` and `Repr-Digest` (RFC 9530).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName};

use crate::uploads::{Algorithm, Digest};
use crate::web::problem::{Problem, ProblemKind};

/// The digest of the body.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The digest of the whole upload. That is the body, unless the upload comes in several requests.
pub(super) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Returns the sha-256 digest in a header of RFC 9530. Other algorithms are ignored, as it says.
///
/// # Errors
/// The header has a sha-256 digest that is malformed.
pub(super) fn sha_256(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Digest>, Problem> {
    let malformed = || {
        let detail =
            format!("The header {name} has a sha-256 digest that is not 32 bytes in base64 between colons.");
        Problem::new(ProblemKind::DigestMismatch, detail)
    };
    let members = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut digest = None;
    for member in members {
        let Some(("sha-256", value)) = member.trim().split_once('=') else { continue };
        let base64 =
            value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).ok_or_else(malformed)?;
        let value = STANDARD.decode(base64).map_err(|_| malformed())?;
        // Of members of one name the last one counts (RFC 9651 section 4.2.2).
        digest = Some(Digest::new(Algorithm::Sha256, value).ok_or_else(malformed)?);
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn content_digest(value: &'static str) -> Result<Option<Digest>, ProblemKind> {
        let headers = HeaderMap::from_iter([(CONTENT_DIGEST, HeaderValue::from_static(value))]);
        sha_256(&headers, &CONTENT_DIGEST).map_err(|problem| problem.kind())
    }

    #[test]
    fn digest_of_rfc_9530_is_read() {
        // The example of RFC 9530 section 2.
        let digest = content_digest("sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:").unwrap();
        assert!(digest.is_some());
        assert_eq!(
            content_digest("sha-512=:YQ==:, sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"),
            Ok(digest)
        );
        assert_eq!(content_digest("sha-512=:YQ==:"), Ok(None));
        for bad in ["sha-256=YQ==", "sha-256=:YQ==:", "sha-256=:***:", "sha-256=::", "sha-256="] {
            assert_eq!(content_digest(bad), Err(ProblemKind::DigestMismatch), "{bad}");
        }
    }
}
