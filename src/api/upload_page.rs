//! `GET /upload`: the upload page, where UPLOAD_PAGE is on.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::Api;
use crate::upload_page::UploadPage;
use crate::web::body::Body;
use crate::web::problem::{self, Problem};
use crate::web::{conditional, full};

/// The path of the page.
pub(super) const PATH: &str = "/upload";
pub(super) const CONTENT_TYPE_HTML: &str = "text/html; charset=utf-8";

/// Answers with the page, or with 304 if the client has it.
pub(super) fn show(api: &Api, request: &HeaderMap) -> Result<Response<Body>, Problem> {
    let UploadPage { html, policy, etag } = api.upload_page.as_ref().ok_or_else(problem::not_found)?;
    let mut response = if conditional::if_none_match(request, etag) {
        let mut response = full(StatusCode::NOT_MODIFIED, CONTENT_TYPE_HTML, Bytes::new());
        response.headers_mut().remove(CONTENT_TYPE);
        response
    } else {
        full(StatusCode::OK, CONTENT_TYPE_HTML, html.clone())
    };
    // An old page could speak to a new server, so that browsers ask each time.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in [(CONTENT_SECURITY_POLICY, policy), (ETAG, etag)] {
        response.headers_mut().insert(name, HeaderValue::from_str(value).map_err(|_| problem::internal())?);
    }
    Ok(response)
}
