//! The endpoints for monitoring: `/api/v1/health`, `/api/v1/ready`, `/metrics`.

use std::collections::BTreeSet;

use hyper::header::{ACCEPT, HeaderMap, HeaderValue, VARY};
use hyper::{Response, StatusCode};

use super::Api;
use super::dto::{Health, HealthStatus, Ready, ReadyStatus};
use crate::catalog::CatalogError;
use crate::disk;
use crate::error_chain::error_chain;
use crate::media::MediaError;
use crate::telemetry::exposition::Exposition;
use crate::web::body::Body;
use crate::web::problem::{Problem, ProblemKind};
use crate::web::{full, json};

/// Answers that the process lives, without asking any other part.
pub(super) fn health() -> Response<Body> {
    json(StatusCode::OK, &Health { status: HealthStatus::Ok })
}

/// Answers whether the catalog and the media store can take an upload. `READ_ONLY` is reported and does not change the status. Lost
/// photos are reported, but do not make the server unready, because other photos can still be served and uploaded.
pub(super) async fn ready(api: &Api) -> Result<Response<Body>, Problem> {
    let mut down = BTreeSet::new();
    match api.catalog.check().await {
        Ok(()) => {}
        Err(CatalogError::Full(error)) => {
            down.insert(what_is_full(&error));
        }
        Err(error) => {
            tracing::warn!(error = %error_chain(&error), "the catalog is down");
            down.insert("catalog");
        }
    }
    match api.store.check().await {
        Ok(()) => {}
        Err(MediaError::Full(error)) => {
            down.insert(what_is_full(&error));
        }
        Err(error) => {
            tracing::warn!(error = %error_chain(&error), "the media store is down");
            down.insert("media");
        }
    }
    if down.is_empty() {
        let missing = api.maintenance.missing().await;
        let ready = Ready {
            missing_media: (missing > 0).then_some(missing),
            read_only: api.read_only.then_some(true),
            status: if missing > 0 { ReadyStatus::Degraded } else { ReadyStatus::Ready },
        };
        return Ok(json(StatusCode::OK, &ready));
    }
    let down = Vec::from_iter(down);
    let detail = format!("Not ready, because of: {}.", down.join(", "));
    Err(Problem::new(ProblemKind::NotReady, detail).with("down", down))
}

fn what_is_full(error: &std::io::Error) -> &'static str {
    if disk::is_out_of_inodes(error) { "inodes" } else { "disk" }
}

/// Answers the metrics in the format that `Accept` asks for.
pub(super) fn metrics(api: &Api, headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Exposition::accepted(&accept.collect::<Vec<_>>().join(","));
    let mut response = full(StatusCode::OK, format.content_type(), api.metrics.render(format));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}
