//! The endpoints of monitors: `/api/v1/health`, `/api/v1/ready`, `/metrics`.

use std::collections::BTreeSet;

use hyper::{Response, StatusCode};

use super::Api;
use super::dto::{Health, HealthStatus, Ready, ReadyStatus};
use crate::catalog::CatalogError;
use crate::disk;
use crate::error_chain::error_chain;
use crate::media::MediaError;
use crate::telemetry::logging;
use crate::telemetry::metrics::{CONTENT_TYPE, Snapshot};
use crate::web::body::Body;
use crate::web::problem::{Problem, ProblemKind};
use crate::web::{full, json};

/// Answers that the process lives, without asking any other part.
pub(super) fn health() -> Response<Body> {
    json(StatusCode::OK, &Health { status: HealthStatus::Ok })
}

/// Answers whether an upload could succeed now, or could if uploads were not switched off. Lost photos are reported, but
/// do not make the server unready, because others are served and uploaded all the same.
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
        quarantined: api.ingest.quarantined(),
        scrubbed: maintenance.scrubbed,
    };
    full(StatusCode::OK, CONTENT_TYPE, api.metrics.render(&snapshot))
}
