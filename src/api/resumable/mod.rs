//! Resumable uploads: `POST /api/v1/uploads` for one photo, the endpoints that take forms (see `forms`), and what follows at
//! `/api/v1/uploads/{id}`.
//!
//! One set of endpoints speaks draft-ietf-httpbis-resumable-upload and tus 1.0.0 on the same uploads, and takes whole photos from
//! clients that speak neither. The protocols share uploads and storage. They differ in headers and statuses (see `protocol` and
//! `answers`), in interim responses, and in what HEAD and a repeated POST do.

mod answers;
mod checksum;
mod errors;
mod forms;
pub(super) mod protocol;

use hyper::header::{CONTENT_DISPOSITION, FORWARDED, HeaderMap, HeaderName, VIA};
use hyper::{Method, Request, Response};

use self::answers::Answers;
pub(super) use self::answers::UploadOut;
pub(crate) use self::answers::{form_problem, photo_problem};
use self::checksum::checksum;
pub(super) use self::forms::{append as append_form, create as create_form};
use self::protocol::{
    Interop, OFFSET_OCTETS, PARTIAL_UPLOAD, Protocol, UPLOAD_COMPLETE, UPLOAD_DEFER_LENGTH,
    UPLOAD_INCOMPLETE, UPLOAD_LENGTH, UPLOAD_METADATA, UPLOAD_OFFSET, bad_header, content_length, number,
    refuse_other_type,
};
use super::Api;
use super::body_head::{byte_stream, refuse_encoding, refuse_length};
use super::digests::{CONTENT_DIGEST, REPR_DIGEST, sha_256};
use super::endpoint::Call;
use super::errors::key_reused;
use crate::catalog::UploadState;
use crate::model::UploadId;
use crate::uploads::{Append, Digest, FormRequest, FoundUpload, Progress, UploadError, UploadRequest, Whole};
use crate::web::body::{Body, RequestBody};
use crate::web::client::X_FORWARDED_FOR;
use crate::web::interim::Interim;
use crate::web::problem::{self, Problem, ProblemKind};

/// Longest `Upload-Metadata` or `Content-Disposition` header, in bytes.
const MAX_METADATA: usize = 4096;

/// Creates an upload, and takes the bytes that come along.
pub(super) async fn create(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    api.refuse_if_read_only()?;
    let protocol = Protocol::of(call.request.headers())?;
    let created = match protocol {
        // Boxed, so that the future of a resumable upload has no room for this larger one.
        Protocol::Plain => Box::pin(create_plain(api, call)).await,
        Protocol::Ietf(interop) => create_ietf(api, call, interop, None).await,
        Protocol::Tus => create_tus(api, call).await,
    };
    created.map_err(|problem| answers::problem(problem, protocol))
}

/// Takes a whole photo.
async fn create_plain(api: &Api, mut call: Call) -> Result<Response<Body>, Problem> {
    let New { id, request, length } = New::of(api, &call, content_length)?;
    refuse_length(call.request.headers(), api.uploads.max_length(&request))?;
    let answers = Answers { api, protocol: Protocol::Plain };
    match earlier(api, &call, id, &request).await? {
        None => {}
        // A resumable upload that is not complete has this key.
        Some(found) if found.row().state == UploadState::Receiving => return Err(key_reused()),
        Some(found) => return answers.replayed(&found).await,
    }
    let digest = sha_256(call.request.headers(), &CONTENT_DIGEST)?;
    let caller = call.caller;
    let claim = call.attempt.take().map(|claimed| claimed.claim);
    let whole =
        Whole { request: &request, length, digest, claim, body: byte_stream(call.request.into_body()) };
    let (row, media) = api.uploads.store_whole(caller, id, whole).await?;
    Ok(answers.finished(&row, media, true))
}

/// Creates an upload of a form, or of one photo.
async fn create_ietf(
    api: &Api,
    call: Call,
    interop: Interop,
    form: Option<FormRequest>,
) -> Result<Response<Body>, Problem> {
    let headers = call.request.headers();
    let is_last = interop.is_complete(headers).ok_or_else(|| {
        let (name, _) = interop.completeness(true);
        bad_header(format!("A request that creates an upload has the header {name} with ?0 or ?1."))
    })?;
    if headers.contains_key(UPLOAD_OFFSET) {
        return Err(bad_header("A request that creates an upload has no Upload-Offset."));
    }
    let length = |headers: &HeaderMap| content_length(headers).filter(|_| is_last);
    let mut new = New::of(api, &call, length)?;
    new.request.form = form;
    let digest = sha_256(headers, &CONTENT_DIGEST)?;
    let answers = Answers { api, protocol: Protocol::Ietf(interop) };
    let Some(found) = new.create(&call, &answers, is_last).await? else {
        return answers.replayed(&api.uploads.find(call.caller.user, new.id).await?).await;
    };
    let interim = interim(api, &call.request, interop);
    let announced = answers.announced(found.row());
    let progress = move |offset| {
        if let Some(interim) = &interim {
            match offset {
                0 => interim.send(104, &announced),
                _ => interim.send(104, &answers::acknowledged(interop, offset)),
            }
        }
    };
    let append = Appending { offset: 0, is_last, ends_at_length: false, length: new.length, digest };
    let done = append.run(api, found, call, progress).await?;
    answers.progressed(done, true)
}

async fn create_tus(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let headers = call.request.headers();
    if headers.contains_key(UPLOAD_DEFER_LENGTH) {
        return Err(bad_header(
            "This server does not have the extension creation-defer-length. Send Upload-Length.",
        ));
    }
    let new = New::of(api, &call, |_| None)?;
    let Some(length) = new.length else {
        return Err(bad_header("A request that creates an upload has an Upload-Length."));
    };
    let has_bytes = content_length(headers) != Some(0) && headers.contains_key(hyper::header::CONTENT_TYPE);
    if has_bytes {
        refuse_other_type(headers, OFFSET_OCTETS)?;
    }
    let digest = checksum(headers)?;
    let answers = Answers { api, protocol: Protocol::Tus };
    let Some(found) = new.create(&call, &answers, false).await? else {
        return answers.replayed(&api.uploads.find(call.caller.user, new.id).await?).await;
    };
    if !has_bytes && length > 0 {
        return Ok(answers.created(found.row()));
    }
    let append = Appending { offset: 0, is_last: false, ends_at_length: true, length: None, digest };
    let done = append.run(api, found, call, |_| {}).await?;
    answers.progressed(done, true)
}

/// Returns the offset of an upload. It stops writers of the upload, and with tus it may store the photo.
pub(super) async fn show(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    let protocol = Protocol::of(call.request.headers())?;
    let shown = match *call.request.method() == Method::HEAD {
        true => head(api, call, protocol.of_bare()).await,
        false => shown(api, &call, protocol).await,
    };
    shown.map_err(|problem| answers::problem(problem, protocol))
}

async fn shown(api: &Api, call: &Call, protocol: Protocol) -> Result<Response<Body>, Problem> {
    Answers { api, protocol }.shown(&find(api, call).await?).await
}

async fn head(api: &Api, call: Call, protocol: Protocol) -> Result<Response<Body>, Problem> {
    let found = find(api, &call).await?;
    let answers = Answers { api, protocol };
    if api.read_only {
        return answers.offset(found.row());
    }
    refuse_state_headers(call.request.headers(), protocol)?;
    // The offset must still be right when the client continues there.
    let found = api.uploads.stop_writers(&found).await?;
    let row = found.row();
    if protocol == Protocol::Tus && row.state == UploadState::Receiving && row.length == Some(row.offset) {
        // A client of tus treats this offset as success. An earlier request failed to store the photo, so it is stored now.
        let appending = Appending {
            offset: row.offset,
            is_last: false,
            ends_at_length: true,
            length: None,
            digest: None,
        };
        return answers.progressed(appending.run(api, found, call, |_| {}).await?, false);
    }
    answers.offset(row)
}

/// Continues an upload.
pub(super) async fn append(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    api.refuse_if_read_only()?;
    let protocol = Protocol::of(call.request.headers())?;
    let appended = append_to(api, call, protocol).await;
    appended.map_err(|problem| answers::problem(problem, protocol))
}

async fn append_to(api: &Api, call: Call, protocol: Protocol) -> Result<Response<Body>, Problem> {
    let found = find(api, &call).await?;
    let headers = call.request.headers();
    refuse_encoding(headers)?;
    let offset = number(headers, &UPLOAD_OFFSET)?;
    let offset =
        offset.ok_or_else(|| bad_header("A request that continues an upload has an Upload-Offset."))?;
    let mut progress_to = None;
    let appending = match protocol {
        Protocol::Plain => {
            return Err(bad_header("A request that continues an upload has the headers of a protocol."));
        }
        Protocol::Tus => {
            refuse_other_type(headers, OFFSET_OCTETS)?;
            let digest = checksum(headers)?;
            Appending { offset, is_last: false, ends_at_length: true, length: None, digest }
        }
        Protocol::Ietf(interop) => {
            if interop.has_limits() {
                refuse_other_type(headers, PARTIAL_UPLOAD)?;
            }
            let is_last = interop.is_complete(headers).unwrap_or(interop.completes_by_default());
            let rest = content_length(headers).filter(|_| is_last).map(|rest| offset.saturating_add(rest));
            let length = same_length(number(headers, &UPLOAD_LENGTH)?, rest)?;
            let digest = sha_256(headers, &CONTENT_DIGEST)?;
            progress_to = interim(api, &call.request, interop).map(|interim| (interop, interim));
            Appending { offset, is_last, ends_at_length: false, length, digest }
        }
    };
    let progress = move |offset| {
        if let Some((interop, interim)) = &progress_to {
            interim.send(104, &answers::acknowledged(*interop, offset));
        }
    };
    let is_empty = content_length(headers) == Some(0);
    match appending.run(api, found, call, progress).await {
        Ok(done) => Answers { api, protocol }.progressed(done, false),
        Err(UploadError::Completed { offset }) => Err(answers::completed(offset, protocol, is_empty)),
        Err(error) => Err(error.into()),
    }
}

/// Says what this server can do.
#[expect(clippy::unused_async, reason = "handlers are asynchronous")]
pub(super) async fn options(api: &Api) -> Result<Response<Body>, Problem> {
    Ok(answers::options(api))
}

/// Cancels an upload.
pub(super) async fn cancel(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    api.refuse_if_read_only()?;
    let protocol = Protocol::of(call.request.headers())?;
    let cancelled = async {
        let found = find(api, &call).await?;
        refuse_state_headers(call.request.headers(), protocol)?;
        Ok(api.uploads.remove(&found).await?)
    };
    match cancelled.await {
        Ok(()) => Ok(Answers { api, protocol }.removed()),
        Err(problem) => Err(answers::problem(problem, protocol)),
    }
}

async fn find(api: &Api, call: &Call) -> Result<FoundUpload, Problem> {
    let id: UploadId = call.parameter(0).parse().map_err(|_| problem::not_found())?;
    Ok(api.uploads.find(call.caller.user, id).await?)
}

/// Refuses headers of uploads in a request without a body, as early versions of the draft require.
fn refuse_state_headers(headers: &HeaderMap, protocol: Protocol) -> Result<(), Problem> {
    let refused = [UPLOAD_OFFSET, UPLOAD_COMPLETE, UPLOAD_INCOMPLETE, UPLOAD_LENGTH];
    match protocol {
        Protocol::Ietf(interop) if interop.refuses_state_headers() => {}
        Protocol::Ietf(_) | Protocol::Tus | Protocol::Plain => return Ok(()),
    }
    match refused.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(bad_header(format!("This request must not have the header {name}."))),
        None => Ok(()),
    }
}

/// Returns the sender of 104 responses to a request, or `None` if its client or a proxy before it does not understand them.
///
/// nginx takes a 104 for the final response, and breaks the connection of the client.
fn interim(api: &Api, request: &Request<RequestBody>, interop: Interop) -> Option<Interim> {
    let is_proxied =
        [VIA, FORWARDED, X_FORWARDED_FOR].iter().any(|name| request.headers().contains_key(name));
    let interim = request.extensions().get::<Interim>().filter(|_| interop.is_named)?;
    (api.proxy_passes_interim || !is_proxied).then(|| interim.clone())
}

/// A new upload, by the head of the request that creates it.
struct New {
    id: UploadId,
    request: UploadRequest,
    length: Option<u64>,
}

impl New {
    /// Reads the head. `length_of_body` computes the length of the upload from `Content-Length`.
    fn of(
        api: &Api,
        call: &Call,
        length_of_body: impl Fn(&HeaderMap) -> Option<u64>,
    ) -> Result<Self, Problem> {
        let headers = call.request.headers();
        refuse_encoding(headers)?;
        let metadata = text(headers, &UPLOAD_METADATA)?;
        let filename = text(headers, &CONTENT_DISPOSITION)?.and_then(|value| file_name(&value));
        let filename = filename.or_else(|| metadata.as_deref().and_then(tus_file_name));
        let digest = sha_256(headers, &REPR_DIGEST)?;
        let length = same_length(number(headers, &UPLOAD_LENGTH)?, length_of_body(headers))?;
        let content_length = content_length(headers);
        let request = UploadRequest { filename, digest, metadata, content_length, form: None };
        let id = match &call.attempt {
            // A request that is sent again finds the upload of the first one.
            Some(claimed) => api.uploads.id_of(claimed.attempt.id),
            None => UploadId::random(),
        };
        Ok(Self { id, request, length })
    }

    /// Creates the upload, or returns `None` if an earlier request with the same Idempotency-Key did. If that
    /// upload is incomplete and this request has all bytes, the upload starts again: the client does not know its offset.
    async fn create(
        &self,
        call: &Call,
        answers: &Answers<'_>,
        brings_all: bool,
    ) -> Result<Option<FoundUpload>, Problem> {
        let uploads = &answers.api.uploads;
        if let Some(found) = earlier(answers.api, call, self.id, &self.request).await? {
            let first = UploadRequest::of_text(&found.row().request).form;
            let is_same = first.zip(self.request.form.as_ref()).is_none_or(|(first, form)| first.fits(form));
            if !brings_all && !is_same {
                return Err(key_reused());
            }
            if !brings_all || found.row().state != UploadState::Receiving {
                return Ok(None);
            }
            uploads.remove_claimed(&found).await?;
        }
        let (found, is_new) = uploads.create(call.caller, self.id, &self.request, self.length).await?;
        Ok(is_new.then_some(found))
    }
}

/// Returns the upload that an earlier request with the same Idempotency-Key created.
async fn earlier(
    api: &Api,
    call: &Call,
    id: UploadId,
    request: &UploadRequest,
) -> Result<Option<FoundUpload>, Problem> {
    if call.attempt.is_none() {
        return Ok(None);
    }
    let Some(found) = api.uploads.earlier(call.caller.user, id).await? else { return Ok(None) };
    let first = UploadRequest::of_text(&found.row().request);
    let lengths = first.content_length.zip(request.content_length);
    let path = |request: &UploadRequest| request.form.as_ref().map(|form| form.head.path.clone());
    if lengths.is_some_and(|(first, again)| first != again) || path(&first) != path(request) {
        return Err(key_reused());
    }
    Ok(Some(found))
}

/// How the bytes of a request continue an upload.
struct Appending {
    offset: u64,
    is_last: bool,
    ends_at_length: bool,
    length: Option<u64>,
    digest: Option<Digest>,
}

impl Appending {
    async fn run(
        self,
        api: &Api,
        found: FoundUpload,
        call: Call,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Progress, UploadError> {
        let Self { offset, is_last, ends_at_length, length, digest } = self;
        let Call { caller, attempt: claimed, request, .. } = call;
        let body = byte_stream(request.into_body());
        let append = Append { caller, offset, is_last, ends_at_length, length, digest, claimed, body };
        api.uploads.append(found, append, progress).await
    }
}

/// Returns the length that two headers agree on.
fn same_length(one: Option<u64>, other: Option<u64>) -> Result<Option<u64>, Problem> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => {
            let detail = "Content-Length and Upload-Length name different lengths of the upload.";
            Err(Problem::new(ProblemKind::InconsistentUploadLength, detail))
        }
        (one, other) => Ok(one.or(other)),
    }
}

/// Returns the text of a header that is kept with the upload.
fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if text.len() <= MAX_METADATA => Ok(Some(text.to_owned())),
        _ => Err(bad_header(format!("The header {name} is UTF-8 of at most {MAX_METADATA} bytes."))),
    }
}

/// Returns the file name in a Content-Disposition.
fn file_name(value: &str) -> Option<String> {
    let name = value.split(';').find_map(|parameter| parameter.trim().strip_prefix("filename="))?;
    Some(name.trim_matches('"').to_owned())
}

/// Returns the file name in the metadata of tus: keys and values in base64.
fn tus_file_name(metadata: &str) -> Option<String> {
    use base64::Engine;
    let value = metadata.split(',').find_map(|pair| pair.trim().strip_prefix("filename "))?;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?).ok()
}
