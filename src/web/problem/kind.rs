//! The kinds of problems that this server returns.

use hyper::StatusCode;

/// Declares [`ProblemKind`] from rows of `Variant = status "slug": "meaning"`.
macro_rules! problem_kinds {
    ($($variant:ident = $status:ident $slug:literal: $meaning:literal;)+) => {
        /// A kind of problem. Its slug is the last part of the problem's `type`, and never changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProblemKind {
            $(#[doc = $meaning] $variant,)+
        }

        impl ProblemKind {
            /// All kinds, in the order of their status.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the stable name that URIs, logs and labels of metrics contain.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$variant => $slug,)+ }
            }

            /// Returns the status of every response of this kind.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// Returns one line that says when a client gets this problem.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

problem_kinds! {
    BadRequest = BAD_REQUEST "bad-request": "The request is not valid HTTP.";
    BadBoundary = BAD_REQUEST "bad-boundary": "The Content-Type has no valid boundary, or there are two of them.";
    MalformedMultipart = BAD_REQUEST "malformed-multipart": "The multipart body breaks the rules of RFC 7578.";
    CutOff = BAD_REQUEST "cut-off": "The connection ended before the body did.";
    MalformedJson = BAD_REQUEST "malformed-json": "The body is not a JSON object (RFC 8259), or names a member twice.";
    BadIdempotencyKey = BAD_REQUEST "bad-idempotency-key": "The Idempotency-Key does not have 1 to 255 visible ASCII characters, or there are two.";
    BadUploadHeader = BAD_REQUEST "bad-upload-header": "A header of a resumable upload is missing, malformed or not allowed in this request.";
    CompletedUpload = BAD_REQUEST "completed-upload": "The upload is complete, and takes no more bytes.";
    InconsistentUploadLength = BAD_REQUEST "inconsistent-upload-length": "Requests named different lengths of the upload, or it has more or fewer bytes.";
    DigestMismatch = BAD_REQUEST "digest-mismatch": "The content does not have the digest that was sent with it (RFC 9530), or the digest is malformed.";
    NoPhoto = BAD_REQUEST "no-photo": "The form has no photo in its field `files`, or the array `urls` is empty.";
    TokenMissing = UNAUTHORIZED "token-missing": "This server demands a bearer token, and the request has none.";
    TokenInvalid = UNAUTHORIZED "token-invalid": "The bearer token is forged, expired or not yet valid.";
    InsufficientScope = FORBIDDEN "insufficient-scope": "The bearer token is valid, and lacks the scope that the request needs. `WWW-Authenticate` names it.";
    FetchDisabled = FORBIDDEN "fetch-disabled": "The server does not fetch photos by URL: FETCH_ENABLED is false.";
    NotFound = NOT_FOUND "not-found": "Nothing has this path, or the caller may not see it.";
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed": "The path exists for the methods in `Allow` only.";
    RequestTimeout = REQUEST_TIMEOUT "request-timeout": "The request did not arrive in time.";
    InProgress = CONFLICT "in-progress": "A request with the same Idempotency-Key is in progress.";
    MismatchingUploadOffset = CONFLICT "mismatching-upload-offset": "The request does not continue the upload where its acknowledged bytes end. `expected-offset` says where.";
    UploadSuperseded = CONFLICT "upload-superseded": "A later request continues the upload, or an earlier one does not end.";
    PreconditionFailed = PRECONDITION_FAILED "precondition-failed": "`If-Match` names no ETag of the resource.";
    TusVersion = PRECONDITION_FAILED "tus-version": "This server does not speak that version of tus. `Tus-Version` lists those that it speaks.";
    BodyTooLarge = PAYLOAD_TOO_LARGE "body-too-large": "The body is larger than the limits of the endpoint allow.";
    DraftFull = PAYLOAD_TOO_LARGE "draft-full": "The draft would have more than MAX_PHOTOS_PER_DRAFT photos.";
    TooManyPhotos = PAYLOAD_TOO_LARGE "too-many-photos": "The request has more than MAX_UPLOADS_PER_REQUEST photos.";
    PhotoTooLarge = PAYLOAD_TOO_LARGE "photo-too-large": "A photo is larger than MAX_FILE_SIZE_MB.";
    UriTooLong = URI_TOO_LONG "uri-too-long": "The request target is longer than 8 KiB.";
    NotMultipart = UNSUPPORTED_MEDIA_TYPE "not-multipart": "The Content-Type is not multipart/form-data.";
    NotPartialUpload = UNSUPPORTED_MEDIA_TYPE "not-partial-upload": "The Content-Type is not that of bytes of a resumable upload.";
    NotJson = UNSUPPORTED_MEDIA_TYPE "not-json": "The Content-Type is none of the JSON types that the endpoint takes.";
    EncodedBody = UNSUPPORTED_MEDIA_TYPE "encoded-body": "The body has a Content-Encoding.";
    UnsupportedImage = UNSUPPORTED_MEDIA_TYPE "unsupported-image": "A photo has a type that is not accepted.";
    BadRange = RANGE_NOT_SATISFIABLE "bad-range": "The range lies outside the photo.";
    BadTitle = UNPROCESSABLE_ENTITY "bad-title": "The title is too long, not UTF-8 or has control characters.";
    BadMember = UNPROCESSABLE_ENTITY "bad-member": "A member of the JSON body is unknown, read-only or has a value that does not fit. `pointer` names it.";
    BadOrder = UNPROCESSABLE_ENTITY "bad-order": "The order is not a permutation of the indices of the photos.";
    BadParameter = UNPROCESSABLE_ENTITY "bad-parameter": "A parameter of the query has a value that does not fit. `parameter` names it.";
    KeyReused = UNPROCESSABLE_ENTITY "key-reused": "The Idempotency-Key was used for another path or a body of another length.";
    UnknownUpload = UNPROCESSABLE_ENTITY "unknown-upload": "No finished upload of the caller has this id, or it is in a draft already.";
    FetchRefused = UNPROCESSABLE_ENTITY "fetch-refused": "A URL is malformed, has credentials, or names an origin that is not in FETCH_ALLOW.";
    FetchFailed = UNPROCESSABLE_ENTITY "fetch-failed": "A URL could not be fetched. The answer does not say why; the log does.";
    EmptyImage = UNPROCESSABLE_ENTITY "empty-image": "A photo has no bytes or no pixels.";
    TooManyPixels = UNPROCESSABLE_ENTITY "too-many-pixels": "A photo has more than MAX_PIXELS pixels.";
    TruncatedImage = UNPROCESSABLE_ENTITY "truncated-image": "A photo ends before its pixels do.";
    CorruptImage = UNPROCESSABLE_ENTITY "corrupt-image": "A photo cannot be decoded.";
    ImageTooComplex = UNPROCESSABLE_ENTITY "image-too-complex": "A photo needs more time or memory than one photo may use.";
    Abandoned = UNPROCESSABLE_ENTITY "abandoned": "The client left before its photo was done. Seen in logs and metrics only.";
    PreconditionRequired = PRECONDITION_REQUIRED "precondition-required": "The request needs `If-Match` with the ETag of the draft (RFC 6585).";
    RateLimited = TOO_MANY_REQUESTS "rate-limited": "The client sent more requests than its rate limit allows.";
    UploadQuota = TOO_MANY_REQUESTS "upload-quota": "The client added more to the store than UPLOAD_QUOTA allows.";
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE "headers-too-large": "The request head has more than 100 fields or 32 KiB.";
    Internal = INTERNAL_SERVER_ERROR "internal": "The server failed. Its log has the cause under the `request_id`.";
    StorageFailed = INTERNAL_SERVER_ERROR "storage-failed": "The upload failed while it was stored. Nothing of it is kept.";
    UnknownTransferCoding = NOT_IMPLEMENTED "unknown-transfer-coding": "The body has a Transfer-Encoding other than chunked.";
    Busy = SERVICE_UNAVAILABLE "busy": "The server has no worker or memory free for this photo.";
    KeysPending = SERVICE_UNAVAILABLE "keys-pending": "The keys of the identity provider that signed the token are not there yet.";
    NotReady = SERVICE_UNAVAILABLE "not-ready": "A part named in `down` does not work, so that uploads fail.";
    ReadOnly = SERVICE_UNAVAILABLE "read-only": "Uploads and changes are switched off while the stores are moved.";
    TooManyConnections = SERVICE_UNAVAILABLE "too-many-connections": "The client has too many requests open on other connections.";
    Unavailable = SERVICE_UNAVAILABLE "unavailable": "The database or the media store does not answer.";
    StorageFull = INSUFFICIENT_STORAGE "storage-full": "The disk or the bucket is full.";
}

impl ProblemKind {
    /// Returns the URI of a problem's `type`. Some kinds are registered with IANA.
    pub fn uri(self) -> String {
        match self {
            Self::MismatchingUploadOffset | Self::CompletedUpload | Self::InconsistentUploadLength => {
                format!("https://iana.org/assignments/http-problem-types#{}", self.slug())
            }
            _ => format!("urn:problem-type:vintedbot:{}", self.slug()),
        }
    }

    /// Returns the problem's `title`: the reason phrase of its status.
    pub fn title(self) -> &'static str {
        self.status().canonical_reason().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;

    #[test]
    fn each_kind_has_a_unique_slug_and_an_error_status() {
        let slugs: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            let slug = kind.slug();
            assert!(slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{slug}");
            assert!((400..=599).contains(&kind.status().as_u16()), "{slug}");
            assert!(!kind.title().is_empty(), "{slug}");
            assert!(kind.meaning().ends_with('.') && !kind.meaning().contains('\n'), "{slug}");
        }
        assert!(ProblemKind::ALL.is_sorted_by_key(|kind| kind.status()));
    }

    fn table() -> String {
        let mut text = String::from(
            "# Problems\n\n\
             Every error is `application/problem+json` (RFC 9457). The last part of `type`, which is \
             `urn:problem-type:vintedbot:` and a name of this table (for three kinds of resumable uploads the URI that \
             draft-ietf-httpbis-resumable-upload registers), says what happened and never changes. \
             `title` is the reason phrase of the status.\n\n\
             | status | name | when |\n|---|---|---|\n",
        );
        for kind in ProblemKind::ALL {
            writeln!(text, "| {} | `{}` | {} |", kind.status().as_u16(), kind.slug(), kind.meaning())
                .unwrap();
        }
        text
    }

    #[test]
    fn docs_problems_md_has_the_rows_of_the_enum() {
        crate::docs::assert_page("problems.md", &table());
    }
}
