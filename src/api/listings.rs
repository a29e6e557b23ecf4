//! `GET /api/v1/listings/{id}`.

use hyper::{Response, StatusCode};

use super::Api;
use super::dto::DraftOut;
use crate::model::DraftId;
use crate::web::body::Body;
use crate::web::json;
use crate::web::problem::{self, Problem};

pub(super) async fn show(api: &Api, id: &str) -> Result<Response<Body>, Problem> {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
    let id = id.parse().ok().filter(|_| is_plain).map(DraftId).ok_or_else(problem::not_found)?;
    let draft = api.catalog.draft(id).await?.ok_or_else(problem::not_found)?;
    Ok(json(StatusCode::OK, &DraftOut::new(draft, &api.media_base_url)))
}
