//! `GET /api/v1/listings/{id}`.

use hyper::{Response, StatusCode};

use super::Api;
use super::dto::DraftOut;
use super::endpoint::Call;
use crate::model::{Caller, Draft, DraftId};
use crate::web::body::Body;
use crate::web::json;
use crate::web::problem::{self, Problem};

pub(super) async fn show(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let (caller, id) = (call.caller, call.parameter.as_str());
    let is_plain = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
    let id = id.parse().ok().filter(|_| is_plain).map(DraftId).ok_or_else(problem::not_found)?;
    let draft = api.catalog.draft(id).await?.filter(|draft| may_see(api, caller, draft));
    let draft = draft.ok_or_else(problem::not_found)?;
    Ok(json(StatusCode::OK, &DraftOut::new(draft, &api.media_base_url)))
}

/// Returns whether the caller owns the draft. A draft without an owner is shown to all callers, unless AUTH_REQUIRED is set.
fn may_see(api: &Api, caller: Caller, draft: &Draft) -> bool {
    match draft.owner {
        Some(owner) => caller.user == Some(owner),
        None => !api.auth_required,
    }
}
