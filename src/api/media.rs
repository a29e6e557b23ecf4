//! `GET` and `HEAD /media/{sha256}.jpg`: conditional (RFC 9110 section 13) and partial (section 14) reads of immutable
//! files. A `GET` is redirected if the store gives links to its photos.

use std::ops::Range;

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_MATCH, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
};
use hyper::{Method, Response, StatusCode};

use super::Api;
use super::endpoint::Call;
use crate::media::{Link, MediaName, MediaObject};
use crate::web::body::{Body, FileRange};
use crate::web::conditional;
use crate::web::problem::{self, Problem, ProblemKind};
use crate::web::range::{Requested, requested};

pub(super) async fn serve(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let (file, method, headers) = (call.parameter(0), call.request.method(), call.request.headers());
    let name: MediaName = file.parse().map_err(|_| problem::not_found())?;
    let key = name.key();
    if api.maintenance.withholds(key).await {
        return Err(problem::not_found());
    }
    let etag = etag(name);
    // A HEAD, a condition and a link need the length of the photo only, not its bytes.
    let is_asked_about = [IF_MATCH, IF_NONE_MATCH].iter().any(|name| headers.contains_key(name));
    let is_head = method == Method::HEAD;
    let link = if is_head { None } else { api.store.link(key).await? };
    let metadata = if is_asked_about || is_head || link.is_some() {
        Some(api.store.stat(key).await?.ok_or_else(problem::not_found)?)
    } else {
        None
    };
    if !conditional::if_match(headers, &etag) {
        let detail = "The photo does not have an ETag that If-Match names.";
        return Err(Problem::new(ProblemKind::PreconditionFailed, detail));
    }
    if conditional::if_none_match(headers, &etag) {
        return Ok(answer(StatusCode::NOT_MODIFIED, name, &etag, Body::default()));
    }
    if let Some(metadata) = metadata.filter(|_| is_head) {
        let mut response = answer(StatusCode::OK, name, &etag, Body::default());
        describe(&mut response, name, metadata.length);
        return Ok(response);
    }
    if let Some(link) = link {
        return redirect(&link);
    }
    let object = api.store.open(key).await?.ok_or_else(problem::not_found)?;
    let length = object.len();
    // A client that has a part of another photo gets the whole of this one.
    let same_photo = headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == etag.as_bytes());
    let range = headers.get(RANGE).filter(|_| same_photo).and_then(|range| range.to_str().ok());
    match requested(range, length) {
        Requested::Whole => Ok(content(StatusCode::OK, name, &etag, object, 0..length)),
        Requested::Part(range) => {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            let mut response = content(StatusCode::PARTIAL_CONTENT, name, &etag, object, range);
            insert(&mut response, CONTENT_RANGE, &content_range);
            Ok(response)
        }
        Requested::Unsatisfiable => {
            let detail = format!("The range lies outside the photo's {length} bytes.");
            let problem = Problem::new(ProblemKind::BadRange, detail);
            Err(match HeaderValue::from_str(&format!("bytes */{length}")) {
                Ok(content_range) => problem.header(CONTENT_RANGE, content_range),
                Err(_) => problem,
            })
        }
    }
}

/// Returns the strong ETag of a photo.
fn etag(name: MediaName) -> String {
    format!("\"{}\"", name.key())
}

fn content(
    status: StatusCode,
    name: MediaName,
    etag: &str,
    object: Box<dyn MediaObject>,
    range: Range<u64>,
) -> Response<Body> {
    let length = range.end - range.start;
    let body = match object.file() {
        Some(file) => Body::File(FileRange { file, range }),
        None => Body::Pieces(object.read(range)),
    };
    let mut response = answer(status, name, etag, body);
    describe(&mut response, name, length);
    response
}

fn describe(response: &mut Response<Body>, name: MediaName, length: u64) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(name.content_type()));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// Redirects the client to the link. The answer may be kept, by this client only, for half of the link's lifetime.
fn redirect(link: &Link) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let url = HeaderValue::from_str(&link.url).map_err(|_| problem::internal())?;
    response.headers_mut().insert(LOCATION, url);
    insert(&mut response, CACHE_CONTROL, &format!("private, max-age={}", link.lifetime.as_secs() / 2));
    Ok(response)
}

/// Room for all headers of an answer, also for those that the layers around the endpoint add.
const HEADERS: usize = 24;

fn answer(status: StatusCode, name: MediaName, etag: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().reserve(HEADERS);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(name.cache_control()));
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(&mut response, ETAG, etag);
    response
}

/// Adds a header whose value is digits, hex digits and plain punctuation.
fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
