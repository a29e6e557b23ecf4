//! `GET` and `HEAD /media/{sha256}.jpg`: conditional (RFC 9110 section 13) and partial (section 14) reads of immutable
//! files. Where the store has links to give, a `GET` is sent on with one.

use std::ops::Range;

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE,
};
use hyper::{Method, Response, StatusCode};

use super::Api;
use crate::media::{Link, MediaName, MediaObject};
use crate::web::body::{self, Body};
use crate::web::problem::{self, Problem};
use crate::web::range::{Requested, requested};

pub(super) async fn serve(
    api: &Api,
    file: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Body>, Problem> {
    let name: MediaName = file.parse().map_err(|_| problem::not_found())?;
    let key = name.key();
    if api.maintenance.withholds(key).await {
        return Err(problem::not_found());
    }
    let etag = etag(name);
    // What can be told without the bytes is told without them.
    let is_asked_about = [IF_MATCH, IF_NONE_MATCH].iter().any(|name| headers.contains_key(name));
    let is_head = method == Method::HEAD;
    let link = if is_head { None } else { api.store.link(key).await? };
    let told = if is_asked_about || is_head || link.is_some() {
        Some(api.store.stat(key).await?.ok_or_else(problem::not_found)?)
    } else {
        None
    };
    if !matches(headers, &IF_MATCH, |tag| tag == etag).unwrap_or(true) {
        let detail = "The photo does not have an ETag that If-Match names.";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail));
    }
    if matches(headers, &IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag).unwrap_or(false)
    {
        return Ok(answer(StatusCode::NOT_MODIFIED, name, Body::default()));
    }
    if let Some(told) = told.filter(|_| is_head) {
        let mut response = answer(StatusCode::OK, name, Body::default());
        describe(&mut response, name, told.length);
        return Ok(response);
    }
    if let Some(link) = link {
        return redirect(&link);
    }
    let object = api.store.open(key).await?.ok_or_else(problem::not_found)?;
    let length = object.len();
    // A range of a photo other than the client's is no range.
    let same_photo = headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == etag.as_bytes());
    let range = headers.get(RANGE).filter(|_| same_photo).and_then(|range| range.to_str().ok());
    match requested(range, length) {
        Requested::Whole => Ok(content(StatusCode::OK, name, object, 0..length)),
        Requested::Part(range) => {
            let told = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            let mut response = content(StatusCode::PARTIAL_CONTENT, name, object, range);
            insert(&mut response, CONTENT_RANGE, &told);
            Ok(response)
        }
        Requested::Unsatisfiable => {
            let detail = format!("The range lies outside the photo's {length} bytes.");
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad-range", detail);
            Err(match HeaderValue::from_str(&format!("bytes */{length}")) {
                Ok(told) => problem.header(CONTENT_RANGE, told),
                Err(_) => problem,
            })
        }
    }
}

/// Returns the strong ETag of a photo.
fn etag(name: MediaName) -> String {
    format!("\"{}\"", name.key())
}

/// Whether a header is `*` or has a tag that `is_ours`; `None` without the header. `If-Match` compares strongly,
/// `If-None-Match` weakly (RFC 9110 section 8.8.3.2).
fn matches(headers: &HeaderMap, name: &HeaderName, is_ours: impl Fn(&str) -> bool) -> Option<bool> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    // Our tags hold no comma, so that splitting at each cannot make one up.
    let names = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or("").trim();
        value == "*" || value.split(',').map(str::trim).any(&is_ours)
    };
    Some(values.any(names))
}

fn content(
    status: StatusCode,
    name: MediaName,
    object: Box<dyn MediaObject>,
    range: Range<u64>,
) -> Response<Body> {
    let length = range.end - range.start;
    let mut response = answer(status, name, body::stream(object.read(range)));
    describe(&mut response, name, length);
    response
}

fn describe(response: &mut Response<Body>, name: MediaName, length: u64) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(name.content_type()));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
}

/// Sends the client to where the photo is. The link is his alone, and is used again no longer than it surely works.
fn redirect(link: &Link) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let url = HeaderValue::from_str(&link.url).map_err(|_| problem::internal())?;
    response.headers_mut().insert(LOCATION, url);
    insert(&mut response, CACHE_CONTROL, &format!("private, max-age={}", link.lifetime.as_secs() / 2));
    Ok(response)
}

fn answer(status: StatusCode, name: MediaName, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(name.cache_control()));
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    insert(&mut response, ETAG, &etag(name));
    response
}

/// Adds a header whose value is digits, hex digits and plain punctuation.
fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
