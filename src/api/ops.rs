//! What monitors ask: `/api/v1/health`, `/api/v1/ready`, `/metrics`.

use std::collections::BTreeSet;

use hyper::{Response, StatusCode};
use serde_json::json;

use super::Api;
use crate::catalog::CatalogError;
use crate::disk;
use crate::error_chain::error_chain;
use crate::media::MediaError;
use crate::telemetry::logging;
use crate::telemetry::metrics::{CONTENT_TYPE, Snapshot};
use crate::web::body::Body;
use crate::web::problem::Problem;
use crate::web::{full, json as json_response};

/// The process lives. Touches nothing that could be busy.
pub(super) fn health() -> Response<Body> {
    json_response(StatusCode::OK, &json!({"status": "ok"}))
}

/// Whether an upload could succeed now, or could if uploads were taken. A photo that was lost does not keep the others
/// from being served or uploaded, so that is only said.
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
        let mut told = match api.maintenance.missing().await {
            0 => json!({"status": "ready"}),
            missing => json!({"status": "degraded", "missing_media": missing}),
        };
        if api.read_only {
            told["read_only"] = true.into();
        }
        return Ok(json_response(StatusCode::OK, &told));
    }
    let down = Vec::from_iter(down);
    let detail = format!("Not ready, because of: {}.", down.join(", "));
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).with("down", down))
}

fn what_is_full(error: &std::io::Error) -> &'static str {
    if disk::is_out_of_inodes(error) { "inodes" } else { "disk" }
}

pub(super) fn metrics(api: &Api) -> Response<Body> {
    let maintenance = api.maintenance.figures();
    let limiters = [&api.global_limiter, &api.upload_limiter].into_iter().flatten();
    let snapshot = Snapshot {
        pool_queue_depth: api.ingest.pool().queued() as u64,
        pool_busy_workers: api.ingest.pool().busy() as u64,
        budget_sources_bytes: api.ingest.budget().sources.used(),
        budget_outputs_bytes: api.ingest.budget().outputs.used(),
        budget_images_bytes: api.ingest.pool().lent(),
        connections: api.connections.open(),
        media_missing: maintenance.missing,
        media_unreferenced_left: maintenance.left,
        collector_last_run: maintenance.last_run,
        image_panics: api.ingest.pool().panics(),
        collected: maintenance.collected,
        collected_bytes: maintenance.collected_bytes,
        connections_evicted: api.connections.evicted(),
        connections_refused: api.connections.refused(),
        log_lines_dropped: logging::dropped_lines(),
        limits_counted_alone: limiters.map(|limiter| limiter.fallbacks()).sum(),
        upload_quota_fallbacks: api.ingest.quota().map_or(0, |quota| quota.fallbacks()),
        quarantined: maintenance.quarantined,
        scrubbed: maintenance.scrubbed,
    };
    full(StatusCode::OK, CONTENT_TYPE, api.metrics.render(&snapshot))
}
