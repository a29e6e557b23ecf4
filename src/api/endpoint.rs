//! What an endpoint is: the columns of the table of endpoints, and what a handler gets.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use hyper::{Method, Request, Response, StatusCode};
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::Api;
use crate::auth::Scope;
use crate::catalog::ClaimedAttempt;
use crate::ingest::Limits;
use crate::model::Caller;
use crate::web::body::{Body, RequestBody};
use crate::web::problem::{Problem, ProblemKind};
use crate::web::{query, stack};

/// One endpoint.
pub(super) struct Endpoint {
    /// GET stands for HEAD too.
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// The value of the label `route` in metrics.
    pub(super) name: &'static str,
    /// The `operationId` of the OpenAPI document.
    pub(super) operation: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    pub(super) reads: Reads,
    /// Answers other than problems. The first answer of a row is that of success.
    pub(super) answers: &'static [Answer],
    /// Problems of the handler itself, in groups that endpoints have in common. [`Endpoint::kinds`] adds those of the other columns.
    pub(super) problems: &'static [&'static [ProblemKind]],
    pub(super) handler: Handler,
}

/// Who may call an endpoint, and how often.
pub(super) struct Access {
    pub(super) auth: Auth,
    /// The rate limits that count a request, the narrowest last.
    pub(super) limits: &'static [Limit],
    /// Whether the endpoint answers a client that has its share of the connections already.
    pub(super) is_monitor: bool,
}

impl Access {
    /// Endpoints that change drafts and resumable uploads, whose owner is the user of the token.
    pub(super) const DRAFTS: Self = Self { auth: Auth::Bearer(Scope::Upload), ..Self::PUBLIC };
    /// Endpoints that show drafts.
    pub(super) const SHOWN_DRAFTS: Self = Self { auth: Auth::Bearer(Scope::Read), ..Self::PUBLIC };
    /// Endpoints that take all photos of a draft in one request.
    pub(super) const UPLOADS: Self = Self { limits: &[Limit::Global, Limit::Upload], ..Self::DRAFTS };
    /// Endpoints that answer everyone the same.
    pub(super) const PUBLIC: Self = Self { auth: Auth::Public, limits: &[Limit::Global], is_monitor: false };
    /// Photos and their copies, of which a page shows many: without limits.
    pub(super) const PHOTOS: Self = Self { limits: &[], ..Self::PUBLIC };
    /// Endpoints for monitors, which must always get an answer.
    pub(super) const MONITORS: Self = Self { is_monitor: true, ..Self::PHOTOS };
}

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    /// Anyone; a token is ignored.
    Public,
    /// The user of a bearer token with this scope, and those without a token unless AUTH_REQUIRED is set.
    Bearer(Scope),
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// RATE_LIMIT_GLOBAL.
    Global,
    /// RATE_LIMIT_UPLOAD.
    Upload,
}

/// What an endpoint reads of a request.
pub(super) struct Reads {
    pub(super) input: Input,
    /// The parameters in the path, in order.
    pub(super) parameters: &'static [Parameter],
    /// The parameters of the query.
    pub(super) query: &'static [Parameter],
    /// Headers, in groups that endpoints have in common.
    pub(super) headers: &'static [&'static [Header]],
}

impl Reads {
    /// Nothing but method and path. A row names what its endpoint reads besides.
    pub(super) const NOTHING: Self =
        Self { input: Input::Nothing, parameters: &[], query: &[], headers: &[] };
}

/// What an endpoint reads of the request's body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input {
    /// Nothing: a body is ignored.
    Nothing,
    /// A multipart form with photos.
    Photos,
    /// The bytes of a photo, or some of them, in one of these media types.
    Bytes(&'static [&'static str]),
    /// A JSON object.
    Json {
        /// The media types that it may have.
        types: &'static [&'static str],
        /// What it looks like.
        schema: fn() -> Value,
    },
}

/// Longest JSON body: a description of 4,000 characters, each as an escaped pair of UTF-16, and the rest.
const JSON_BYTES: u64 = 64 << 10;

impl Input {
    /// Returns the largest body in bytes.
    pub(super) fn cap(self, limits: &Limits) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Photos => limits.body_bytes,
            Self::Bytes(_) => limits.photo_bytes,
            Self::Json { .. } => JSON_BYTES,
        }
    }
}

/// A parameter in a path or a query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) schema: fn() -> Value,
}

/// A header and what it says.
pub(super) type Header = (&'static str, &'static str);

/// An answer that is no problem.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) meaning: &'static str,
    /// In groups that answers have in common.
    pub(super) headers: &'static [&'static [Header]],
    pub(super) content: Content,
}

/// The body of an answer.
pub(super) enum Content {
    Nothing,
    /// JSON with this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Bytes or text of one of these media types, by the `Accept` header.
    Other(&'static [&'static str]),
}

/// What a handler gets of a request.
pub(super) struct Call {
    pub(super) caller: Caller,
    /// The attempt that succeeds with the request, if it has an Idempotency-Key.
    pub(super) attempt: Option<ClaimedAttempt>,
    /// The values of the parameters in the path, in order.
    pub(super) parameters: Vec<String>,
    pub(super) input: Input,
    /// The largest body in bytes, by [`Input`].
    pub(super) body_cap: u64,
    pub(super) request: Request<RequestBody>,
}

impl Call {
    /// Returns the value of a parameter in the path, or an empty string if the path has fewer.
    pub(super) fn parameter(&self, at: usize) -> &str {
        self.parameters.get(at).map_or("", String::as_str)
    }

    /// Returns the value of a parameter of the query.
    ///
    /// # Errors
    /// The parameter occurs twice.
    pub(super) fn query(&self, name: &'static str) -> Result<Option<Cow<'_, str>>, Problem> {
        let value = query::parameter(self.request.uri().query(), name);
        value.map_err(|error| bad_parameter(name, error.to_string()))
    }
}

/// Returns 422 for a parameter of the query.
pub(super) fn bad_parameter(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::BadParameter, detail).with("parameter", name)
}

pub(super) type Answered<'a> = Pin<Box<dyn Future<Output = Result<Response<Body>, Problem>> + Send + 'a>>;
pub(super) type Handler = for<'a> fn(&'a Api, Call) -> Answered<'a>;

impl Endpoint {
    /// Returns all kinds of problems that a request may be answered with, in the order of the enum.
    pub(super) fn kinds(&self) -> Vec<ProblemKind> {
        let mut kinds = vec![ProblemKind::Internal];
        kinds.extend(stack::PROBLEMS);
        kinds.extend(self.problems.iter().copied().flatten());
        if let Auth::Bearer(_) = self.access.auth {
            kinds.extend([
                ProblemKind::TokenMissing,
                ProblemKind::TokenInvalid,
                ProblemKind::InsufficientScope,
                ProblemKind::KeysPending,
                // The user of a provider's token is looked up.
                ProblemKind::Unavailable,
            ]);
        }
        if !self.access.limits.is_empty() {
            kinds.push(ProblemKind::RateLimited);
        }
        if self.method == Method::POST {
            kinds.extend([ProblemKind::BadIdempotencyKey, ProblemKind::InProgress, ProblemKind::KeyReused]);
        }
        if !self.reads.query.is_empty() {
            kinds.push(ProblemKind::BadParameter);
        }
        if matches!(self.reads.input, Input::Json { .. }) {
            kinds.extend([
                ProblemKind::MalformedJson,
                ProblemKind::CutOff,
                ProblemKind::NotJson,
                ProblemKind::EncodedBody,
                ProblemKind::BadMember,
            ]);
        }
        if !self.access.is_monitor {
            kinds.push(ProblemKind::TooManyConnections);
        }
        kinds.sort();
        kinds.dedup();
        kinds
    }
}
