//! Drafts as the app lists, reads, changes and removes them: `/api/v1/listings`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::Api;
use super::dto::{DraftOut, ListOut, RejectedOut};
use super::endpoint::{Call, Input, bad_parameter};
use super::errors::{precondition_failed, unknown_upload};
use super::json_body::{Members, bad_member};
use crate::catalog::{Change, ChangeError, Fields, NewDraft};
use crate::listings::fields::{self, FieldError};
use crate::listings::{FoundDraft, Page};
use crate::model::{Draft, DraftId, DraftStatus, UploadId};
use crate::web::body::Body;
use crate::web::problem::{self, Problem, ProblemKind};
use crate::web::{conditional, full, json};

/// Names of the parameters of a list.
pub(super) const STATUS: &str = "status";
pub(super) const LIMIT: &str = "limit";
pub(super) const CURSOR: &str = "cursor";
/// Drafts of a page: the most, and without the parameter.
pub(super) const MAX_LIMIT: usize = 100;
pub(super) const DEFAULT_LIMIT: usize = 20;

/// A client may keep a draft, and has to ask each time whether it changed.
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Whether a change needs `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    Optional,
    Required,
}

/// A draft that the caller may change.
pub(super) struct Located {
    pub(super) found: FoundDraft,
    /// The version that the change must find, if the client named one.
    pub(super) version: Option<u64>,
}

pub(super) async fn list(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let status =
        match call.query(STATUS)? {
            None => None,
            Some(status) => {
                let status = status.parse::<DraftStatus>();
                Some(status.map_err(|error| {
                    bad_parameter(STATUS, format!("The parameter status is wrong: {error}."))
                })?)
            }
        };
    let limit = match call.query(LIMIT)? {
        None => DEFAULT_LIMIT,
        Some(limit) => number(&limit).filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
            bad_parameter(LIMIT, format!("The parameter limit is a number from 1 to {MAX_LIMIT}."))
        })?,
    };
    let before = match call.query(CURSOR)? {
        None => None,
        Some(cursor) => Some(read_cursor(&cursor).ok_or_else(|| {
            bad_parameter(CURSOR, "The parameter cursor is not a `next_cursor` of this server.")
        })?),
    };
    let Page { drafts, next } = api.listings.page(call.caller.user, status, before, limit).await?;
    let items = drafts.into_iter().map(|draft| DraftOut::new(draft, &api.urls)).collect();
    Ok(json(StatusCode::OK, &ListOut { items, next_cursor: next.map(cursor) }))
}

/// Writes a position in a list as text that clients do not take apart.
fn cursor(DraftId(id): DraftId) -> String {
    URL_SAFE_NO_PAD.encode(id.to_be_bytes())
}

fn read_cursor(text: &str) -> Option<DraftId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(DraftId(u64::from_be_bytes(bytes.try_into().ok()?)))
}

pub(super) async fn show(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let found = api.listings.find(call.caller, draft_id(&call)?).await?;
    let Shown { json, etag, .. } = Shown::new(api, found.into())?;
    if !conditional::if_match(call.request.headers(), &etag) {
        return Err(precondition_failed());
    }
    if !conditional::if_none_match(call.request.headers(), &etag) {
        return Ok(respond(StatusCode::OK, json, &etag));
    }
    let mut response = respond(StatusCode::NOT_MODIFIED, Vec::new(), &etag);
    response.headers_mut().remove(CONTENT_TYPE);
    Ok(response)
}

pub(super) async fn create(api: &Api, mut call: Call) -> Result<Response<Body>, Problem> {
    api.refuse_if_read_only()?;
    let owner = call.caller.user;
    let (attempt, claim) = call.attempt.take().map(|claimed| (claimed.attempt, claimed.claim)).unzip();
    let mut members = read(call).await?;
    let fields = written_fields(&mut members)?;
    let uploads = members.take("uploads");
    members.end("`title`, `description`, `price_suggested` and `uploads`")?;
    let uploads = read_uploads(uploads, api.ingest.limits().photos_per_draft)?;
    let new = NewDraft {
        title: fields.title.unwrap_or_default(),
        description: fields.description.unwrap_or_default(),
        price_suggested: fields.price_suggested.flatten(),
        photos: Vec::new(),
        uploads,
        owner,
        attempt,
    };
    answer(api, StatusCode::CREATED, api.listings.create(new, claim).await?, None)
}

/// Reads the ids of uploads. A text that is no id names no upload.
fn read_uploads(uploads: Option<Value>, max: usize) -> Result<Vec<UploadId>, Problem> {
    let ids = match uploads {
        None => return Ok(Vec::new()),
        Some(Value::Array(ids)) => ids,
        Some(_) => return Err(bad_member("uploads", "The member `uploads` is an array of ids.")),
    };
    if ids.len() > max {
        return Err(ChangeError::TooManyPhotos { max, count: ids.len() }.into());
    }
    let id = |(index, id): (usize, &Value)| match id {
        Value::String(id) => id.parse().map_err(|_| unknown_upload(index)),
        _ => Err(bad_member("uploads", "The member `uploads` is an array of ids, which are strings.")),
    };
    ids.iter().enumerate().map(id).collect()
}

pub(super) async fn change(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let Located { found, version } = locate(api, &call, Precondition::Optional).await?;
    let mut members = read(call).await?;
    let mut fields = written_fields(&mut members)?;
    fields.status = members.take("status").map(|value| status(&value)).transpose()?;
    members.end("`title`, `description`, `price_suggested` and `status`")?;
    apply(api, &found, version, Change::Fields(fields)).await
}

pub(super) async fn delete(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let Located { found, version } = locate(api, &call, Precondition::Optional).await?;
    api.listings.delete(&found, version).await?;
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

pub(super) async fn remove_photo(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let index = number(call.parameter(1)).ok_or_else(problem::not_found)?;
    let id = draft_id(&call)?;
    let found = api.listings.find(call.caller, id).await?;
    let count = found.draft().photos.len();
    if index >= count {
        return Err(ChangeError::NoSuchPhoto { index, count }.into());
    }
    let Located { found, version } = check(api, &call, found, Precondition::Required)?;
    apply(api, &found, version, Change::RemovePhoto(index)).await
}

pub(super) async fn reorder(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let Located { found, version } = locate(api, &call, Precondition::Required).await?;
    let mut members = read(call).await?;
    let order = members.take("order");
    members.end("`order`")?;
    let index = |value: &Value| value.as_u64().and_then(|index| usize::try_from(index).ok());
    let order: Option<Vec<usize>> = match &order {
        Some(Value::Array(indices)) => indices.iter().map(index).collect(),
        _ => None,
    };
    let detail = "The member `order` is an array with each index of the photos once, such as [2, 0, 1].";
    let order = order.ok_or_else(|| bad_member("order", detail))?;
    apply(api, &found, version, Change::Reorder(order)).await
}

async fn apply(
    api: &Api,
    found: &FoundDraft,
    version: Option<u64>,
    change: Change,
) -> Result<Response<Body>, Problem> {
    let draft = api.listings.change(found, version, change).await?;
    answer(api, StatusCode::OK, draft, None)
}

/// Finds the draft that the path names, and checks the preconditions of a change of it.
pub(super) async fn locate(api: &Api, call: &Call, needs: Precondition) -> Result<Located, Problem> {
    let found = api.listings.find(call.caller, draft_id(call)?).await?;
    check(api, call, found, needs)
}

fn check(api: &Api, call: &Call, found: FoundDraft, needs: Precondition) -> Result<Located, Problem> {
    api.refuse_if_read_only()?;
    let headers = call.request.headers();
    if !headers.contains_key(IF_MATCH) {
        return match needs {
            Precondition::Optional => Ok(Located { found, version: None }),
            Precondition::Required => Err(Problem::new(
                ProblemKind::PreconditionRequired,
                "This change needs an If-Match header with the ETag of the draft, so that it does not undo another one.",
            )),
        };
    }
    // Facts of photos that became known meanwhile are no change that the client could undo.
    let shown = Shown::new(api, found.draft().clone())?;
    if !conditional::if_match_by(headers, |etag| shown.has_state_of(etag)) {
        return Err(precondition_failed());
    }
    // `*` asks for any version.
    let version = (!conditional::if_match_any(headers)).then_some(found.draft().version);
    Ok(Located { found, version })
}

fn draft_id(call: &Call) -> Result<DraftId, Problem> {
    number(call.parameter(0)).filter(|id| *id > 0).map(DraftId).ok_or_else(problem::not_found)
}

/// Reads a number that is written in one way only.
fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

pub(super) async fn read(call: Call) -> Result<Members, Problem> {
    let types = match &call.input {
        Input::Json { types, .. } => *types,
        Input::Nothing | Input::Photos | Input::Bytes(_) => &[],
    };
    let (head, body) = call.request.into_parts();
    Members::read(&head.headers, body, types, call.body_cap).await
}

/// Takes the members that create and change have in common.
fn written_fields(members: &mut Members) -> Result<Fields, Problem> {
    let title = members.take("title").map(|value| text("title", value, fields::title)).transpose()?;
    let description = members
        .take("description")
        .map(|value| text("description", value, fields::description))
        .transpose()?;
    let price_suggested = members.take("price_suggested").map(price).transpose()?;
    Ok(Fields { title, description, price_suggested, status: None })
}

pub(super) fn text(
    name: &'static str,
    value: Value,
    check: fn(String) -> Result<String, FieldError>,
) -> Result<String, Problem> {
    match value {
        Value::String(text) => {
            check(text).map_err(|error| Problem::from(error).with("pointer", format!("/{name}")))
        }
        _ => Err(bad_member(name, format!("The member `{name}` is a string."))),
    }
}

fn price(value: Value) -> Result<Option<f64>, Problem> {
    let price = match value {
        Value::Null => return Ok(None),
        value => value.as_f64().ok_or(FieldError::Price).and_then(fields::price),
    };
    price.map(Some).map_err(|error| bad_member("price_suggested", error.to_string()))
}

fn status(value: &Value) -> Result<DraftStatus, Problem> {
    let status = value.as_str().unwrap_or_default().parse::<DraftStatus>();
    status.map_err(|error| bad_member("status", format!("The member `status` is wrong: {error}.")))
}

/// Answers with a draft and its ETag, and with its URL if it was created.
pub(super) fn answer(
    api: &Api,
    status: StatusCode,
    draft: Draft,
    rejected: Option<Vec<RejectedOut>>,
) -> Result<Response<Body>, Problem> {
    let id = draft.id;
    let Shown { out, mut json, etag } = Shown::new(api, draft)?;
    if let Some(rejected) = rejected {
        json = serde_json::to_vec(&out.with_rejected(rejected)).map_err(|_| problem::internal())?;
    }
    let mut response = respond(status, json, &etag);
    if status == StatusCode::CREATED {
        let location = HeaderValue::from_str(&format!("/api/v1/listings/{id}"));
        response.headers_mut().insert(LOCATION, location.map_err(|_| problem::internal())?);
    }
    Ok(response)
}

/// A draft as answers show it.
struct Shown {
    out: DraftOut,
    json: Vec<u8>,
    /// The strong ETag: a hash of the version and of the JSON without facts of photos, so that a change that is undone is a change.
    /// If facts are known, a hyphen and a hash of the whole JSON follow.
    etag: String,
}

impl Shown {
    fn new(api: &Api, draft: Draft) -> Result<Self, Problem> {
        let json = |out: &DraftOut| serde_json::to_vec(out).map_err(|_| problem::internal());
        let mut state = blake3::Hasher::new();
        state.update(&draft.version.to_be_bytes());
        let without_facts = json(&DraftOut::new(draft.without_facts(), &api.urls))?;
        state.update(&without_facts);
        let state = &state.finalize().to_hex()[..32];
        let out = DraftOut::new(draft, &api.urls);
        let json = json(&out)?;
        let etag = match json == without_facts {
            true => format!("\"{state}\""),
            false => format!("\"{state}-{}\"", &blake3::hash(&json).to_hex()[..16]),
        };
        Ok(Self { out, json, etag })
    }

    /// Returns whether `etag` is one of this draft, with any facts of its photos.
    fn has_state_of(&self, etag: &str) -> bool {
        fn state(etag: &str) -> Option<&str> {
            let tag = etag.strip_prefix('"')?.strip_suffix('"')?;
            Some(tag.split_once('-').map_or(tag, |(state, _)| state))
        }
        state(etag).is_some() && state(etag) == state(&self.etag)
    }
}

fn respond(status: StatusCode, json: Vec<u8>, etag: &str) -> Response<Body> {
    let mut response = full(status, "application/json", json);
    response.headers_mut().insert(CACHE_CONTROL, REVALIDATE);
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_round_trips_and_other_text_is_refused() {
        for id in [1, 7, u64::from(u32::MAX), crate::model::MAX_ID] {
            assert_eq!(read_cursor(&cursor(DraftId(id))), Some(DraftId(id)));
        }
        for bad in ["", "7", "AAAA", "AAAAAAAAAAE=", "äöü", "AAAAAAAAAAEA"] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }

    #[test]
    fn number_is_written_in_one_way_only() {
        assert_eq!([number::<usize>("0"), number("10")], [Some(0), Some(10)]);
        for bad in ["", "00", "01", "+1", "-1", " 1", "1.0", "18446744073709551616"] {
            assert_eq!(number::<u64>(bad), None, "{bad}");
        }
    }
}
