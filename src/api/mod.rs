//! The endpoints: each translates a request into a call of the domain, and its result into a response.

mod access_log;
mod bearer;
mod body_head;
mod digests;
mod dto;
mod endpoint;
mod endpoints;
mod errors;
mod event_body;
mod idempotency;
mod json_body;
mod listings;
mod media;
mod openapi;
mod ops;
mod resumable;
mod upload_page;
mod uploads;
mod urls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Request, Response};

pub(crate) use self::access_log::AccessLog;
use self::endpoint::{Auth, Call, Endpoint, Header, Limit};
use self::endpoints::ENDPOINTS;
pub(crate) use self::event_body::event_body;
use self::idempotency::KeyCheck;
pub(crate) use self::resumable::{form_problem, photo_problem};
pub(crate) use self::uploads::rejected_note;
pub(crate) use self::urls::MediaUrls;
use crate::auth::{Bearer, Subjects, Tokens, Verified};
use crate::catalog::Catalog;
use crate::fetch::Fetcher;
use crate::ingest::Ingest;
use crate::listings::Listings;
use crate::maintenance::Maintenance;
use crate::media::MediaStore;
use crate::model::{Caller, UserId};
use crate::ratelimit::RateLimiter;
use crate::renditions::Renditions;
use crate::telemetry::metrics::Metrics;
use crate::upload_page::UploadPage;
use crate::uploads::ResumableUploads;
use crate::web::body::{Body, RequestBody};
use crate::web::cors::CorsNames;
use crate::web::problem::{self, Problem, ProblemKind};
use crate::web::router::{Lookup, Router, methods_of};
use crate::web::stack::{Application, Exchange};

/// The path under which photos are found, whatever MEDIA_BASE_URL is.
const MEDIA_BASE: &str = "/media";

/// The endpoint that a request is for.
#[derive(Clone)]
pub(crate) struct Route {
    endpoint: &'static Endpoint,
    /// The values of the parameters in the path, in order.
    parameters: Vec<String>,
}

/// Maps paths and methods to endpoints.
pub(crate) struct Routes(Router<&'static Endpoint>);

impl Routes {
    /// Creates the table. If `media_base_url` is a path of this server, photos are found under it too. Without
    /// `has_upload_page` the path of the upload page is unknown.
    ///
    /// # Errors
    /// That path hides one of the others.
    pub(crate) fn new(media_base_url: &str, has_upload_page: bool) -> Result<Self, matchit::InsertError> {
        let under_own_path = |endpoint: &'static Endpoint| {
            let path = format!("{media_base_url}{}", endpoint.path.strip_prefix(MEDIA_BASE)?);
            (path.starts_with('/') && path != endpoint.path).then_some((path, endpoint))
        };
        let more: Vec<_> = ENDPOINTS.iter().filter_map(under_own_path).collect();
        let is_served = |endpoint: &&Endpoint| has_upload_page || endpoint.path != upload_page::PATH;
        let own = ENDPOINTS.iter().filter(is_served).map(|endpoint| (endpoint.path, endpoint));
        let all = own.chain(more.iter().map(|(path, endpoint)| (path.as_str(), *endpoint)));
        Router::new(all.map(|(path, endpoint)| (path, endpoint.method.clone(), endpoint))).map(Self)
    }
}

/// Returns the methods and headers of all endpoints, each once.
pub(crate) fn cors_names() -> CorsNames {
    let mut names = CorsNames::default();
    let add = |names: &mut Vec<HeaderName>, headers: &[&[Header]]| {
        for (name, _) in headers.iter().copied().flatten() {
            names.extend(HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| !names.contains(name)));
        }
    };
    for endpoint in &ENDPOINTS {
        for method in methods_of(&endpoint.method) {
            if !names.methods.contains(&method) {
                names.methods.push(method);
            }
        }
        add(&mut names.request_headers, endpoint.reads.headers);
        for answer in endpoint.answers {
            add(&mut names.response_headers, answer.headers);
        }
    }
    names
}

/// The parts that the endpoints need.
pub(crate) struct Api {
    /// Maps paths and methods to endpoints.
    pub routes: Routes,
    /// The upload use case.
    pub ingest: Arc<Ingest>,
    /// Resumable uploads.
    pub uploads: Arc<ResumableUploads>,
    /// Fetches photos, unless FETCH_ENABLED is false.
    pub fetcher: Option<Arc<Fetcher>>,
    /// The upload page, unless UPLOAD_PAGE is false.
    pub upload_page: Option<UploadPage>,
    /// Reads and changes drafts.
    pub listings: Arc<Listings>,
    /// The store of drafts.
    pub catalog: Arc<dyn Catalog>,
    /// The store of photos.
    pub store: Arc<dyn MediaStore>,
    /// Makes and opens smaller copies of photos.
    pub renditions: Arc<Renditions>,
    /// Runs expiry, the collector and the scrub.
    pub maintenance: Arc<Maintenance>,
    /// The limit on all requests but those of monitors and photo viewers.
    pub global_limiter: Option<Arc<dyn RateLimiter>>,
    /// A second limit, for uploads only.
    pub upload_limiter: Option<Arc<dyn RateLimiter>>,
    /// All metrics.
    pub metrics: Metrics,
    /// Logs and counts requests.
    pub access_log: AccessLog,
    /// Verifies bearer tokens.
    pub tokens: Arc<Tokens>,
    /// Finds the users of an identity provider.
    pub subjects: Subjects,
    /// Whether uploads and changes are refused. Everything else works.
    pub read_only: bool,
    /// Whether a request for a draft or an upload needs a token.
    pub auth_required: bool,
    /// Whether proxies before the server pass interim responses on.
    pub proxy_passes_interim: bool,
    /// How long a request that succeeded is remembered under its Idempotency-Key.
    pub idempotency_lifetime: Duration,
    /// The addresses of photos and renditions.
    pub urls: MediaUrls,
}

/// When to try again while the server is read-only. Only a restart ends that, so a short wait would be of no use.
const READ_ONLY_RETRY: Duration = Duration::from_secs(60);

impl Api {
    /// Refuses uploads and changes while the server is read-only.
    fn refuse_if_read_only(&self) -> Result<(), Problem> {
        if !self.read_only {
            return Ok(());
        }
        let detail = "The server is read-only while its data is migrated. Uploads and changes are refused. Try again later.";
        Err(Problem::new(ProblemKind::ReadOnly, detail).retry_after(READ_ONLY_RETRY))
    }
}

impl Application for Api {
    type Route = Route;
    type Identity = Option<Verified>;

    fn route(&self, method: &Method, path: &str) -> Result<Route, Problem> {
        match self.routes.0.lookup(method, path) {
            Lookup::Found(endpoint, parameters) => {
                Ok(Route { endpoint, parameters: parameters.into_iter().map(str::to_owned).collect() })
            }
            Lookup::WrongMethod(allow) => Err(problem::method_not_allowed(&allow)),
            Lookup::NotFound => Err(problem::not_found()),
        }
    }

    fn is_monitor(&self, route: &Route) -> bool {
        route.endpoint.access.is_monitor
    }

    fn name(&self, route: &Route) -> &'static str {
        route.endpoint.name
    }

    fn template(&self, route: &Route) -> &'static str {
        route.endpoint.path
    }

    fn limiters(&self, route: Option<&Route>) -> Vec<&dyn RateLimiter> {
        // A request without a route counts like any other.
        let limits = route.map_or(&[Limit::Global][..], |route| route.endpoint.access.limits);
        let limiter = |limit: &Limit| match limit {
            Limit::Global => self.global_limiter.as_deref(),
            Limit::Upload => self.upload_limiter.as_deref(),
        };
        limits.iter().filter_map(limiter).collect()
    }

    fn identify(&self, route: Option<&Route>, headers: &HeaderMap) -> Result<Option<Verified>, Problem> {
        match route.map_or(Auth::Public, |route| route.endpoint.access.auth) {
            Auth::Bearer(scope) => bearer::verify(&self.tokens, self.auth_required, scope, headers),
            Auth::Public => Ok(None),
        }
    }

    fn known_user(&self, identity: &Option<Verified>) -> Option<UserId> {
        match &identity.as_ref()?.bearer {
            Bearer::User(user) => Some(*user),
            Bearer::Subject(identity) => self.subjects.known(identity),
        }
    }

    async fn caller(&self, route: &Route, ip: IpAddr, identity: Option<Verified>) -> Result<Caller, Problem> {
        let Some(Verified { bearer, scopes }) = identity else { return Ok(Caller::new(ip, None)) };
        let user = match bearer {
            Bearer::User(user) => Some(user),
            // What only reads records no user, so that strangers of the provider do not fill the catalog.
            Bearer::Subject(identity) if self.read_only || route.endpoint.method == Method::GET => {
                self.subjects.find(&identity).await?
            }
            Bearer::Subject(identity) => Some(self.subjects.find_or_create(&identity).await?),
        };
        let caller = match user {
            Some(user) => Caller::new(ip, Some(user)),
            None => Caller { user: Some(UserId::UNKNOWN_SUBJECT), ..Caller::new(ip, None) },
        };
        Ok(Caller { is_admin: scopes.is_admin(), ..caller })
    }

    async fn call(
        &self,
        route: Route,
        caller: Caller,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Problem> {
        let Route { endpoint, parameters } = route;
        let input = endpoint.reads.input;
        let body_cap = input.cap(self.ingest.limits());
        let attempt = match self.check_key(endpoint, caller, &request).await? {
            KeyCheck::Replay(response) => return Ok(response),
            KeyCheck::Proceed(attempt) => attempt,
        };
        (endpoint.handler)(self, Call { caller, attempt, parameters, input, body_cap, request }).await
    }

    fn finished(&self, exchange: &Exchange<'_>, refusal: Option<&Problem>) {
        self.access_log.finished(exchange, refusal);
    }
}
