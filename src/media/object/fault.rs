//! Turns errors of `object_store` into those of the store.
//!
//! A refusal is for clients the same as a service that is down (503): they may try again once the operator has mended the settings.

use std::error::Error;

use hyper::StatusCode;

use super::http::Refusal;
use crate::media::MediaError;

/// Error codes with which S3 and compatible services report a full bucket.
const FULL: [&str; 6] = [
    "InsufficientStorage",
    "QuotaExceeded",
    "ServiceQuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "EntityTooLarge",
];

/// Why a call failed. Only the text of an error is kept, because it already contains those of its causes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// There is no such object.
    #[error("there is no such object")]
    Absent,
    /// The bucket is full.
    #[error("the bucket is full: {0}")]
    Full(String),
    /// The service refuses the call, and will refuse it again.
    #[error("{0}")]
    Refused(String),
    /// Any other failure: no answer, an error of the service, or an answer that cannot be read.
    #[error("the bucket's service does not answer: {0}")]
    Down(String),
    /// The call was not made: the circuit breaker is open.
    #[error("the bucket's service did not answer a moment ago")]
    HeldBack,
}

impl From<object_store::Error> for Fault {
    fn from(error: object_store::Error) -> Self {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return Self::Absent;
        }
        let first: &(dyn Error + 'static) = &error;
        let mut causes = std::iter::successors(Some(first), |error| (*error).source());
        let Some(refusal) = causes.find_map(|cause| cause.downcast_ref::<Refusal>()) else {
            return Self::Down(error.to_string());
        };
        let is_full = refusal.status == StatusCode::INSUFFICIENT_STORAGE
            || refusal.code.as_deref().is_some_and(|code| FULL.contains(&code));
        let said = refusal.to_string();
        if is_full { Self::Full(said) } else { Self::Refused(said) }
    }
}

impl From<Fault> for MediaError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(cause) => Self::Full(std::io::Error::other(cause)),
            fault => Self::Unavailable(fault.into()),
        }
    }
}

/// Turns the fault of an absent object into `None`.
pub(super) fn found<T>(result: Result<T, Fault>) -> Result<Option<T>, MediaError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Absent) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

#[cfg(test)]
mod tests {
    use object_store::client::{HttpError, HttpErrorKind};

    use super::*;

    fn judged(status: u16, code: Option<&str>) -> MediaError {
        let status = StatusCode::from_u16(status).unwrap();
        let refusal = Refusal { status, code: code.map(str::to_owned) };
        let source = Box::new(HttpError::new(HttpErrorKind::Unknown, refusal));
        Fault::from(object_store::Error::Generic { store: "S3", source }).into()
    }

    #[test]
    fn full_bucket_is_full_and_refused_access_is_unavailable() {
        assert!(matches!(judged(507, None), MediaError::Full(_)));
        for code in FULL {
            assert!(matches!(judged(400, Some(code)), MediaError::Full(_)), "{code}");
        }
        assert!(matches!(judged(403, Some("AccessDenied")), MediaError::Unavailable(_)));
    }
}
