//! Cross-origin resource sharing (Fetch standard): pages of which origins may call from a browser.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::header::{
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER, VARY,
};
use hyper::{Method, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::body::Body;
use super::headers;
use super::request_id::X_REQUEST_ID;
use super::trace_context::TRACEPARENT;

/// What the endpoints of an application use, which CORS answers list for browsers.
#[derive(Debug, Default)]
pub(crate) struct CorsNames {
    /// The methods.
    pub methods: Vec<Method>,
    /// The headers of requests, in addition to those that every endpoint knows.
    pub request_headers: Vec<HeaderName>,
    /// The headers of answers, in addition to those of every answer.
    pub response_headers: Vec<HeaderName>,
}

/// RFC 9530.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// tus 1.0.0.
pub(super) const X_HTTP_METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Answers preflights, and tells browsers which pages may read other answers.
///
/// The headers of other answers depend on the origin alone. They are made once for each listed origin, because the layer that
/// makes them is copied for each request, and moves the request and its future several times.
pub(crate) struct Cors {
    layer: CorsLayer,
    listed: Vec<(HeaderValue, HeaderMap)>,
    /// The headers for clients that name none of these origins.
    others: HeaderMap,
}

impl Cors {
    /// Allows requests of these methods from pages of these origins with credentials, or of any origin (`None`) without.
    pub(crate) fn new(origins: Option<&[String]>, endpoints: CorsNames) -> Self {
        let CorsNames { methods, request_headers, response_headers } = endpoints;
        let common =
            [AUTHORIZATION, CONTENT_TYPE, X_REQUEST_ID, TRACEPARENT, CONTENT_DIGEST, X_HTTP_METHOD_OVERRIDE];
        let limits = headers::RATE_LIMIT.map(|(name, _)| HeaderName::from_static(name));
        let exposed =
            [RETRY_AFTER, X_REQUEST_ID, TRACEPARENT].into_iter().chain(limits).chain(response_headers);
        let layer = CorsLayer::new()
            .allow_methods(methods)
            .allow_headers(common.into_iter().chain(request_headers).collect::<Vec<_>>())
            .expose_headers(exposed.collect::<Vec<_>>())
            .max_age(Duration::from_secs(600));
        let origins = origins.map(|origins| origins.iter().filter_map(|origin| origin.parse().ok()));
        let origins: Option<Vec<HeaderValue>> = origins.map(Iterator::collect);
        let layer = match origins.clone() {
            None => layer.allow_origin(AllowOrigin::any()),
            Some(origins) => layer.allow_origin(AllowOrigin::list(origins)).allow_credentials(true),
        };
        let headers = |origin: Option<HeaderValue>| {
            let headers = HeaderMap::from_iter(origin.map(|origin| (ORIGIN, origin)));
            answer(&layer, &Method::GET, headers).into_parts().0.headers
        };
        let listed =
            origins.into_iter().flatten().map(|origin| (origin.clone(), headers(Some(origin)))).collect();
        Self { listed, others: headers(None), layer }
    }

    /// Answers a preflight, which names the method of the request that is to follow. Returns `None` for any other request.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        is_preflight.then(|| answer(&self.layer, request.method(), request.headers().clone()))
    }

    /// Returns the headers of the answer to a request that is no preflight.
    pub(super) fn headers(&self, request: &HeaderMap) -> &HeaderMap {
        let named = request.get(ORIGIN);
        let listed = named.and_then(|named| self.listed.iter().find(|(origin, _)| origin == named));
        listed.map_or(&self.others, |(_, headers)| headers)
    }
}

/// Adds what [`Cors::headers`] returned to an answer.
pub(super) fn add(headers: &HeaderMap, response: &mut HeaderMap) {
    for (name, value) in headers {
        if name == VARY {
            response.append(name, value.clone());
        } else {
            response.insert(name, value.clone());
        }
    }
}

/// Returns the layer's answer to a request that the layers below it answer with an empty one.
fn answer(layer: &CorsLayer, method: &Method, headers: HeaderMap) -> Response<Body> {
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.headers_mut() = headers;
    let empty = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Body::default()))));
    // Origins are compared with a list, so nothing waits.
    match layer.layer(empty).oneshot(request).now_or_never() {
        Some(Ok(response)) => response,
        Some(Err(never)) => match never {},
        None => Response::new(Body::default()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN};

    use super::*;

    fn allowed(cors: &Cors, origin: &str) -> Option<HeaderValue> {
        let mut response = HeaderMap::from_iter([(VARY, HeaderValue::from_static("accept"))]);
        add(cors.headers(&HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())])), &mut response);
        assert_eq!(response.get(VARY).unwrap(), "accept", "a header of the answer itself is kept");
        response.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
    }

    #[test]
    fn answers_name_a_listed_origin_only() {
        let origins = ["https://a.example".to_owned(), "https://b.example".to_owned()];
        let listed = Cors::new(Some(&origins), CorsNames::default());
        for origin in &origins {
            assert_eq!(allowed(&listed, origin).unwrap(), origin.as_str());
        }
        assert_eq!(allowed(&listed, "https://c.example"), None);
        let without = listed.headers(&HeaderMap::new());
        assert_eq!(without.get(ACCESS_CONTROL_ALLOW_ORIGIN), None);
        assert_eq!(without.get(ACCESS_CONTROL_ALLOW_CREDENTIALS).unwrap(), "true");
        assert!(without.get(VARY).unwrap().to_str().unwrap().contains("origin"));
        assert_eq!(allowed(&Cors::new(None, CorsNames::default()), "https://c.example").unwrap(), "*");
    }
}
