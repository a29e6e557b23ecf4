//! The layers that every request passes, from the outside in: request id and trace, client address, access log and metrics, CORS,
//! limits on the head, rate limit, and a handler of panics.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, Version};
use ipnet::IpNet;
use tracing::Instrument;

use super::body::{Body, ByteCount, ReadLimits, RequestBody};
use super::cors::{self, Cors, X_HTTP_METHOD_OVERRIDE};
use super::problem::{self, Problem, ProblemKind};
use super::request_id::X_REQUEST_ID;
use super::trace_context::{TRACEPARENT, TraceContext};
use super::{client, headers, request_id};
use crate::model::{Caller, UserId};
use crate::ratelimit::RateLimiter;
use crate::telemetry::spans::{self, Sampler};

/// Longest request target in bytes: the least that RFC 9112 section 3 recommends to support.
const MAX_URI_BYTES: usize = 8 * 1024;
/// Largest sum of header names and values in bytes.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Time after which a client beyond its share of the connections should try again.
const SHARE_RETRY: Duration = Duration::from_secs(2);

/// Kinds of problems that any request may get before it reaches its handler, or while its head is read.
pub(crate) const PROBLEMS: &[ProblemKind] = &[
    ProblemKind::BadRequest,
    ProblemKind::RequestTimeout,
    ProblemKind::BodyTooLarge,
    ProblemKind::UriTooLong,
    ProblemKind::HeadersTooLarge,
    ProblemKind::UnknownTransferCoding,
];

/// The layers around an application.
pub(crate) struct Stack<A> {
    /// The application.
    pub app: A,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may call from a browser.
    pub cors: Cors,
    /// Bounds on request bodies.
    pub read_limits: ReadLimits,
    /// Which new traces are recorded.
    pub sampler: Sampler,
}

/// Marks a request of a client beyond its share of active connections. Only a monitoring request is then answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MonitorsOnly;

/// The facts about a request that are known before the application sees it.
#[derive(Debug, Clone)]
struct Origin {
    request_id: String,
    trace: TraceContext,
    ip: IpAddr,
}

/// The facts about a request and its response for the access log.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without its query.
    pub path: &'a str,
    /// The name of the route.
    pub route: &'static str,
    /// The path of the route, with the names of its parameters in braces. Empty without a route.
    pub template: &'static str,
    /// Whether the route is for monitoring.
    pub is_monitor: bool,
    /// The status of the response.
    pub status: u16,
    /// The address of the client.
    pub ip: IpAddr,
    /// Its place in a trace.
    pub trace: &'a TraceContext,
    /// The user that a token names, if any.
    pub(crate) user: Option<UserId>,
    /// Time from the request head to the response head.
    pub elapsed: Duration,
    /// Bytes of request body that were read.
    pub bytes_in: u64,
    /// Bytes of the response body, if its length is known.
    pub bytes_out: u64,
}

/// The application inside the stack.
pub(crate) trait Application: Send + Sync + 'static {
    /// The endpoint of a path and a method.
    type Route: Clone + Send + Sync;
    /// Whom the headers of a request name.
    type Identity: Send + Sync;

    /// Returns the route of a request.
    ///
    /// # Errors
    /// The problem for a missing route: 404 or 405.
    fn route(&self, method: &Method, path: &str) -> Result<Self::Route, Problem>;

    /// Returns whether `route` is for monitoring, and so is answered under any load.
    fn is_monitor(&self, route: &Self::Route) -> bool;

    /// Returns the name of a route for logs and metrics.
    fn name(&self, route: &Self::Route) -> &'static str;

    /// Returns the path of a route, with the names of its parameters in braces.
    fn template(&self, route: &Self::Route) -> &'static str;

    /// Returns the limits that count a request to `route`, the narrowest last. `None` is a request without a route.
    fn limiters(&self, route: Option<&Self::Route>) -> Vec<&dyn RateLimiter>;

    /// Returns whom the headers of a request to `route` name. Waits for nothing.
    ///
    /// # Errors
    /// The headers name somebody who may not send the request, or lack a name that is required.
    fn identify(&self, route: Option<&Self::Route>, headers: &HeaderMap) -> Result<Self::Identity, Problem>;

    /// Returns the user to whom a request counts, if that is known without a question to a store.
    fn known_user(&self, identity: &Self::Identity) -> Option<UserId>;

    /// Returns the sender at `ip` of a request within its rate limits.
    ///
    /// # Errors
    /// A store that knows the sender failed.
    fn caller(
        &self,
        route: &Self::Route,
        ip: IpAddr,
        identity: Self::Identity,
    ) -> impl Future<Output = Result<Caller, Problem>> + Send;

    /// Handles a request of `caller`.
    fn call(
        &self,
        route: Self::Route,
        caller: Caller,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Body>, Problem>> + Send;

    /// Records a finished request.
    fn finished(&self, exchange: &Exchange<'_>, refusal: Option<&Problem>);
}

/// Returns the method that a POST stands for, from a client that can send neither PATCH nor DELETE.
fn overriding_method<B>(request: &Request<B>) -> Option<Method> {
    let named = request.headers().get(X_HTTP_METHOD_OVERRIDE).filter(|_| request.method() == Method::POST)?;
    [Method::PATCH, Method::DELETE].into_iter().find(|method| named == method.as_str())
}

impl<A: Application> Stack<A> {
    /// Handles one request of the peer at `peer`.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let started = Instant::now();
        let request_id = request_id::of(request.headers());
        let trace = TraceContext::of(request.headers(), self.sampler);
        let (trace_id, span_id, trace_flags) = (trace.trace_id(), trace.span_id(), trace.flags());
        let span = tracing::info_span!(spans::REQUEST, request_id, trace_id, span_id, trace_flags);
        let ip = client::address(peer.ip(), request.headers(), &self.trusted_proxies);
        let origin = Origin { request_id, trace, ip };
        self.observe(request, origin, started).instrument(span).await
    }

    async fn observe(
        self: Arc<Self>,
        request: Request<Incoming>,
        origin: Origin,
        started: Instant,
    ) -> Response<Body> {
        // This is the only expectation that exists (RFC 9110 section 10.1.1), and only hyper answers it.
        let expects = request.headers().get(EXPECT);
        let awaits_continue =
            expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        let limits = self.read_limits;
        let mut request = request.map(|incoming| RequestBody::new(incoming, limits, awaits_continue));
        if let Some(method) = overriding_method(&request) {
            *request.method_mut() = method;
        }
        let mut unanswered = Unanswered {
            stack: &self,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            origin: &origin,
            started,
            received: request.body().received(),
            is_answered: false,
        };
        let cross_origin = self.cors.headers(request.headers());
        let (mut response, answered) = match self.cors.preflight(&request) {
            Some(response) => (response, Answered::default()),
            None => {
                let (mut response, answered) = self.answer(request, &origin).await;
                cors::add(cross_origin, response.headers_mut());
                (response, answered)
            }
        };
        headers::add_security(response.headers_mut());
        if let Ok(id) = HeaderValue::from_str(&origin.request_id) {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        if let Ok(trace) = HeaderValue::from_str(origin.trace.header()) {
            response.headers_mut().insert(TRACEPARENT, trace);
        }
        if unanswered.method == Method::HEAD {
            *response.body_mut() = Body::default();
        }
        if is_chunked {
            // RFC 9112 section 6.1 requires this for a request that also had a Content-Length, which hyper removed.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        unanswered.note(&response, &answered);
        response
    }

    async fn answer(&self, request: Request<RequestBody>, origin: &Origin) -> (Response<Body>, Answered) {
        let Origin { request_id, ip, .. } = origin;
        let mut quota_headers = HeaderMap::new();
        let routed = self.app.route(request.method(), request.uri().path());
        let route = routed.as_ref().ok();
        let (name, template) =
            (route.map(|route| self.app.name(route)), route.map(|route| self.app.template(route)));
        let is_monitor = route.is_some_and(|route| self.app.is_monitor(route));
        let identified = self.app.identify(route, request.headers());
        let known = identified.as_ref().ok().and_then(|identity| self.app.known_user(identity));
        let mut caller = Caller::new(*ip, known);
        let admitted = self.admit(&request, route, caller, &mut quota_headers).await;
        // This order also limits the rate of guessed tokens.
        let identified = admitted.and(routed).and_then(|route| identified.map(|identity| (route, identity)));
        let result = match identified {
            Ok((route, identity)) => {
                let call = async {
                    caller = self.app.caller(&route, *ip, identity).await?;
                    self.app.call(route, caller, request).await
                };
                AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| {
                    tracing::error!("a handler panicked");
                    Err(problem::internal())
                })
            }
            Err(problem) => Err(problem),
        };
        let mut answered = Answered { route: name, template, is_monitor, user: caller.user, refusal: None };
        let mut response = result.unwrap_or_else(|problem| {
            answered.refusal = Some(problem.clone());
            problem.into_response(request_id)
        });
        response.headers_mut().extend(quota_headers);
        (response, answered)
    }

    /// Runs the checks that apply to every request: length of the target, size of the headers, a single `Host`, the transfer
    /// coding, the client's share of the connections, and the rate limits of the route.
    async fn admit(
        &self,
        request: &Request<RequestBody>,
        route: Option<&A::Route>,
        caller: Caller,
        quota_headers: &mut HeaderMap,
    ) -> Result<(), Problem> {
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > MAX_URI_BYTES {
            return Err(problem::uri_too_long());
        }
        let header_bytes: usize =
            request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if header_bytes > MAX_HEADER_BYTES {
            return Err(problem::headers_too_large());
        }
        // RFC 9112 section 3.2 requires exactly one; otherwise two parties may use different hosts.
        if request.version() == Version::HTTP_11 && request.headers().get_all(HOST).iter().count() != 1 {
            return Err(problem::bad_request());
        }
        refuse_strange_coding(request.headers())?;
        let is_monitor = route.is_some_and(|route| self.app.is_monitor(route));
        if request.extensions().get::<MonitorsOnly>().is_some() && !is_monitor {
            return Err(problem::too_many_connections(SHARE_RETRY));
        }
        for limiter in self.app.limiters(route) {
            let decision = limiter.check(caller.client).await;
            headers::add_rate_limit(quota_headers, limiter.quota(), decision);
            if !decision.allowed {
                return Err(problem::too_many_requests(decision.retry_after));
            }
        }
        Ok(())
    }
}

/// Refuses a body in a transfer coding other than `chunked`, or in `chunked` twice (RFC 9112 section 6.1). hyper requires that
/// `chunked` is the last one, decodes it, and ignores the others.
fn refuse_strange_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let lines = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let Some(first) = codings.next() else { return Ok(()) };
    match (is_chunked(first), codings.next()) {
        (true, None) => Ok(()),
        (true, Some(_)) => Err(problem::bad_request().closing()),
        (false, _) => Err(problem::unknown_transfer_coding().closing()),
    }
}

/// A request until it is in the access log, which lists it even if its client disconnects before the response.
struct Unanswered<'s, A: Application> {
    stack: &'s Stack<A>,
    method: Method,
    path: String,
    origin: &'s Origin,
    started: Instant,
    received: ByteCount,
    is_answered: bool,
}

/// The status that nginx introduced for a client that disconnects before the response.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl<A: Application> Unanswered<'_, A> {
    fn note(&mut self, response: &Response<Body>, answered: &Answered) {
        self.is_answered = true;
        let bytes_out = response.body().size_hint().exact().or_else(|| {
            response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
        });
        let route = answered.route.unwrap_or("none");
        self.log(response.status().as_u16(), route, bytes_out.unwrap_or(0), answered);
    }

    fn log(&self, status: u16, route: &'static str, bytes_out: u64, answered: &Answered) {
        let exchange = Exchange {
            method: &self.method,
            path: &self.path,
            route,
            template: answered.template.unwrap_or_default(),
            is_monitor: answered.is_monitor,
            status,
            ip: self.origin.ip,
            trace: &self.origin.trace,
            user: answered.user,
            elapsed: self.started.elapsed(),
            bytes_in: self.received.bytes(),
            bytes_out,
        };
        self.stack.app.finished(&exchange, answered.refusal.as_ref());
    }
}

impl<A: Application> Drop for Unanswered<'_, A> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.log(CLIENT_CLOSED_REQUEST, "abandoned", 0, &Answered::default());
        }
    }
}

/// What the access log says of an answer.
#[derive(Debug, Default)]
struct Answered {
    route: Option<&'static str>,
    template: Option<&'static str>,
    is_monitor: bool,
    user: Option<UserId>,
    refusal: Option<Problem>,
}

#[cfg(test)]
mod tests;
