//! The endpoints: HTTP on one side, the domain on the other, and nothing in between but translation.

mod bearer;
mod dto;
mod errors;
mod listings;
mod media;
mod ops;
mod uploads;

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};

use crate::auth::Tokens;
use crate::catalog::Catalog;
use crate::ingest::Ingest;
use crate::maintenance::Maintenance;
use crate::media::MediaStore;
use crate::model::{Caller, UserId};
use crate::ratelimit::RateLimiter;
use crate::telemetry::connections::Connections;
use crate::telemetry::metrics::Metrics;
use crate::web::body::{Body, RequestBody};
use crate::web::problem::{self, Problem};
use crate::web::router::{Lookup, Router};
use crate::web::stack::{Application, Exchange};

/// Everything that can be asked of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Upload,
    Listing,
    Media,
    Health,
    Ready,
    Metrics,
}

/// Where a path leads, with the value of its parameter.
#[derive(Debug, Clone)]
pub struct Route {
    endpoint: Endpoint,
    parameter: String,
}

/// The table of paths.
pub struct Routes(Router<Endpoint>);

impl Routes {
    /// The paths of the contract. Photos are also found under the path of `media_base_url` if it is one of this server.
    ///
    /// # Errors
    /// That path hides one of the others.
    pub fn new(media_base_url: &str) -> Result<Self, matchit::InsertError> {
        let own_base = format!("{media_base_url}/{{file}}");
        let mut table: Vec<(&str, &[(Method, Endpoint)])> = vec![
            ("/api/v1/ingest/upload", &[(Method::POST, Endpoint::Upload)]),
            ("/api/v1/listings/{id}", &[(Method::GET, Endpoint::Listing)]),
            ("/media/{file}", &[(Method::GET, Endpoint::Media)]),
            ("/api/v1/health", &[(Method::GET, Endpoint::Health)]),
            ("/api/v1/ready", &[(Method::GET, Endpoint::Ready)]),
            ("/metrics", &[(Method::GET, Endpoint::Metrics)]),
        ];
        if own_base.starts_with('/') && own_base != "/media/{file}" {
            table.push((&own_base, &[(Method::GET, Endpoint::Media)]));
        }
        Router::new(&table).map(Self)
    }
}

/// The parts that the endpoints need.
pub struct Api {
    /// The table of paths.
    pub routes: Routes,
    /// The upload use case.
    pub ingest: Arc<Ingest>,
    /// Where drafts are.
    pub catalog: Arc<dyn Catalog>,
    /// Where photos are.
    pub store: Arc<dyn MediaStore>,
    /// What looks after both.
    pub maintenance: Arc<Maintenance>,
    /// The limit on all requests but those of monitors and photo viewers.
    pub global_limiter: Option<Arc<dyn RateLimiter>>,
    /// The limit on uploads, on top.
    pub upload_limiter: Option<Arc<dyn RateLimiter>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Open connections.
    pub connections: Connections,
    /// Whose tokens are believed.
    pub tokens: Tokens,
    /// Whether uploads are refused, and nothing else is.
    pub read_only: bool,
    /// Whether drafts are made and shown only to users.
    pub auth_required: bool,
    /// Prefix of `media.url`, without a trailing slash.
    pub media_base_url: String,
}

impl Application for Api {
    type Route = Route;

    fn route(&self, method: &Method, path: &str) -> Result<Route, Problem> {
        match self.routes.0.lookup(method, path) {
            Lookup::Found(endpoint, parameter) => {
                Ok(Route { endpoint, parameter: parameter.unwrap_or("").to_owned() })
            }
            Lookup::WrongMethod(allow) => Err(problem::method_not_allowed(&allow)),
            Lookup::NotFound => Err(problem::not_found()),
        }
    }

    fn is_monitor(&self, route: &Route) -> bool {
        matches!(route.endpoint, Endpoint::Health | Endpoint::Ready | Endpoint::Metrics)
    }

    fn name(&self, route: &Route) -> &'static str {
        match route.endpoint {
            Endpoint::Upload => "upload",
            Endpoint::Listing => "listing",
            Endpoint::Media => "media",
            Endpoint::Health => "health",
            Endpoint::Ready => "ready",
            Endpoint::Metrics => "metrics",
        }
    }

    fn limiters(&self, route: Option<&Route>) -> Vec<&dyn RateLimiter> {
        let (global, upload) = (self.global_limiter.as_deref(), self.upload_limiter.as_deref());
        match route.map(|route| route.endpoint) {
            Some(Endpoint::Media | Endpoint::Health | Endpoint::Ready | Endpoint::Metrics) => Vec::new(),
            Some(Endpoint::Upload) => global.into_iter().chain(upload).collect(),
            Some(Endpoint::Listing) | None => global.into_iter().collect(),
        }
    }

    fn identify(&self, route: Option<&Route>, headers: &HeaderMap) -> Result<Option<UserId>, Problem> {
        match route.map(|route| route.endpoint) {
            Some(Endpoint::Upload | Endpoint::Listing) => {
                bearer::user(&self.tokens, self.auth_required, headers)
            }
            // Whoever knows a photo's address was shown it; monitors and strangers have no token.
            Some(Endpoint::Media | Endpoint::Health | Endpoint::Ready | Endpoint::Metrics) | None => Ok(None),
        }
    }

    async fn call(
        &self,
        route: Route,
        caller: Caller,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Problem> {
        match route.endpoint {
            Endpoint::Upload => uploads::create(self, caller, request).await,
            Endpoint::Listing => listings::show(self, caller, &route.parameter).await,
            Endpoint::Media => {
                media::serve(self, &route.parameter, request.method(), request.headers()).await
            }
            Endpoint::Health => Ok(ops::health()),
            Endpoint::Ready => ops::ready(self).await,
            Endpoint::Metrics => Ok(ops::metrics(self)),
        }
    }

    fn finished(&self, exchange: &Exchange<'_>, refusal: Option<&Problem>) {
        self.metrics.request(exchange.method, exchange.route, exchange.status, exchange.elapsed);
        self.metrics.bytes(exchange.bytes_in, exchange.bytes_out);
        if let Some(refusal) = refusal {
            self.metrics.reject(refusal.kind().slug());
        }
        tracing::info!(
            method = %exchange.method,
            path = exchange.path,
            status = exchange.status,
            client = %exchange.ip,
            user = exchange.user.map(UserId::get),
            ms = u64::try_from(exchange.elapsed.as_millis()).unwrap_or(u64::MAX),
            bytes_in = exchange.bytes_in,
            bytes_out = exchange.bytes_out,
            refusal = refusal.map(|refusal| refusal.kind().slug()),
            "request"
        );
    }
}
