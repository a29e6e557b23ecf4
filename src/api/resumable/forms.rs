//! Forms that come over several connections, by draft-ietf-httpbis-resumable-upload. What is resumed is the multipart
//! body. The answer to its last byte is that of a form that comes in one piece.

use hyper::Response;

use super::protocol::{Interop, Protocol};
use super::{answers, create_ietf};
use crate::api::Api;
use crate::api::endpoint::Call;
use crate::api::uploads::{self, existing_draft, form_boundary, on_error};
use crate::catalog::RequestHead;
use crate::ingest::Target;
use crate::uploads::FormRequest;
use crate::web::body::Body;
use crate::web::problem::Problem;

/// Makes a draft of the photos in a form.
pub(in crate::api) async fn create(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    match Interop::of(call.request.headers()) {
        None => uploads::create(api, call).await,
        Some(interop) => resumable(api, call, interop, Target::NewDraft).await,
    }
}

/// Appends the photos in a form to a draft.
pub(in crate::api) async fn append(api: &Api, call: Call) -> Result<Response<Body>, Problem> {
    match Interop::of(call.request.headers()) {
        None => uploads::append(api, call).await,
        Some(interop) => {
            let target = existing_draft(api, &call).await?;
            resumable(api, call, interop, target).await
        }
    }
}

async fn resumable(
    api: &Api,
    call: Call,
    interop: Interop,
    target: Target,
) -> Result<Response<Body>, Problem> {
    let created = async {
        api.refuse_if_read_only()?;
        let form = FormRequest {
            boundary: form_boundary(call.request.headers())?,
            target,
            on_error: on_error(&call)?,
            attempt: call.attempt.as_ref().map(|claimed| claimed.attempt.id),
            head: head(&call, interop),
        };
        create_ietf(api, call, interop, Some(form)).await
    };
    created.await.map_err(|problem| answers::problem(problem, Protocol::Ietf(interop)))
}

/// Returns what a plain request for the same form has. The length of the form is known if this request brings all of it.
fn head(call: &Call, interop: Interop) -> RequestHead {
    let headers = call.request.headers();
    let is_whole = interop.is_complete(headers) == Some(true);
    let content_length = super::content_length(headers).filter(|_| is_whole);
    RequestHead { path: call.request.uri().path().to_owned(), content_length }
}
