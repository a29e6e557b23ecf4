//! `GET` and `HEAD /media/{sha256}.jpg` and of renditions: conditional (RFC 9110 section 13) and partial (section 14) reads of
//! immutable files. A `GET` is redirected if the store gives links to its photos.

use std::ops::Range;

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
};
use hyper::{Method, Response, StatusCode};

use super::Api;
use super::endpoint::Call;
use crate::media::{Link, MediaName, MediaObject, OpenRendition, RenditionName, StoredRendition};
use crate::model::ClientKey;
use crate::renditions::{Readable, RenditionError};
use crate::web::body::{Body, FileRange};
use crate::web::conditional;
use crate::web::problem::{self, Problem, ProblemKind};
use crate::web::range::{Requested, requested};

/// A photo or a rendition that the store has, as far as the answer needs it.
enum Held {
    /// For HEAD: its length.
    Described(u64),
    Link(Link),
    Open(Box<dyn MediaObject>),
}

pub(super) async fn serve(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let (file, method, headers) = (call.parameter(0), call.request.method(), call.request.headers());
    let name: MediaName = file.parse().map_err(|_| problem::not_found())?;
    let key = name.key();
    if api.maintenance.withholds(key).await {
        return Err(problem::not_found());
    }
    let etag = format!("\"{key}\"");
    // A HEAD, a condition and a link need the length of the photo only, not its bytes.
    let is_asked_about = [IF_MATCH, IF_NONE_MATCH].iter().any(|name| headers.contains_key(name));
    let is_head = method == Method::HEAD;
    let link = if is_head { None } else { api.store.link(key).await? };
    let metadata = if is_asked_about || is_head || link.is_some() {
        Some(api.store.stat(key).await?.ok_or_else(problem::not_found)?)
    } else {
        None
    };
    if let Some(answer) = precondition(headers, &etag)? {
        return Ok(answer);
    }
    let held = match (metadata.filter(|_| is_head), link) {
        (Some(metadata), _) => Held::Described(metadata.length),
        (None, Some(link)) => Held::Link(link),
        (None, None) => Held::Open(api.store.open(key).await?.ok_or_else(problem::not_found)?),
    };
    respond(headers, &etag, held)
}

/// `GET` and `HEAD /media/{sha256}/{side}.jpg`: a smaller copy, which is made at the first request.
pub(super) async fn serve_rendition(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let (photo, file) = (call.parameter(0), call.parameter(1));
    let name = RenditionName::parse(photo, file).ok_or_else(problem::not_found)?;
    if api.maintenance.withholds(name.key).await {
        return Err(problem::not_found());
    }
    let is_head = call.request.method() == Method::HEAD;
    let (stored, held) = match find_rendition(api, call.caller.client, name, is_head).await {
        Err(error @ RenditionError::Damaged) => {
            api.maintenance.report_damage(name.key).await;
            return Err(error.into());
        }
        found => found?,
    };
    let (headers, etag) = (call.request.headers(), format!("\"{}-{}\"", name.side, stored.version));
    match precondition(headers, &etag)? {
        Some(answer) => Ok(answer),
        None => respond(headers, &etag, held),
    }
}

async fn find_rendition(
    api: &Api,
    client: ClientKey,
    name: RenditionName,
    is_head: bool,
) -> Result<(StoredRendition, Held), RenditionError> {
    if is_head {
        let stored = api.renditions.head(client, name).await?;
        let length = stored.length;
        return Ok((stored, Held::Described(length)));
    }
    Ok(match api.renditions.get(client, name).await? {
        Readable::Link(stored, link) => (stored, Held::Link(link)),
        Readable::Open(OpenRendition { stored, object }) => (stored, Held::Open(object)),
    })
}

/// Returns 304 or 412 if the request has a condition that says so (RFC 9110 section 13.2.2).
fn precondition(headers: &HeaderMap, etag: &str) -> Result<Option<Response<Body>>, Problem> {
    if !conditional::if_match(headers, etag) {
        let detail = "The photo does not have an ETag that If-Match names.";
        return Err(Problem::new(ProblemKind::PreconditionFailed, detail));
    }
    let is_known = conditional::if_none_match(headers, etag);
    Ok(is_known.then(|| answer(StatusCode::NOT_MODIFIED, etag, Body::default())))
}

fn respond(headers: &HeaderMap, etag: &str, held: Held) -> Result<Response<Body>, Problem> {
    let object = match held {
        Held::Described(length) => {
            let mut response = answer(StatusCode::OK, etag, Body::default());
            describe(&mut response, length);
            return Ok(response);
        }
        Held::Link(link) => return redirect(&link),
        Held::Open(object) => object,
    };
    let length = object.len();
    // A client that has a part of another photo gets the whole of this one.
    let same_photo = headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == etag.as_bytes());
    let range = headers.get(RANGE).filter(|_| same_photo).and_then(|range| range.to_str().ok());
    match requested(range, length) {
        Requested::Whole => Ok(content(StatusCode::OK, etag, object, 0..length)),
        Requested::Part(range) => {
            let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            let mut response = content(StatusCode::PARTIAL_CONTENT, etag, object, range);
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

fn content(
    status: StatusCode,
    etag: &str,
    object: Box<dyn MediaObject>,
    range: Range<u64>,
) -> Response<Body> {
    let length = range.end - range.start;
    let body = match object.file() {
        Some(file) => Body::File(FileRange { file, range }),
        None => Body::Pieces(object.read(range)),
    };
    let mut response = answer(status, etag, body);
    describe(&mut response, length);
    response
}

fn describe(response: &mut Response<Body>, length: u64) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MediaName::CONTENT_TYPE));
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

fn answer(status: StatusCode, etag: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().reserve(HEADERS);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(MediaName::CACHE_CONTROL));
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
