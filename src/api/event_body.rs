//! The JSON of events, which has the same shapes as the answers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::dto::DraftOut;
use super::urls::MediaUrls;
use crate::catalog::{Event, Happening};

/// Returns the body of the delivery of an event.
pub(crate) fn event_body(event: &Event, urls: &MediaUrls) -> Bytes {
    let draft = |draft: &crate::model::Draft| json!(DraftOut::new(draft.clone(), urls));
    let data: Value = match &event.what {
        Happening::DraftCreated(it) | Happening::DraftUpdated(it) => draft(it),
        Happening::DraftDeleted(id) => json!({"id": id}),
        Happening::PhotoRemoved { id, key, width, height } => {
            let size = (width.unwrap_or(0), height.unwrap_or(0));
            json!({"id": id, "url": urls.photo(*key), "renditions": urls.renditions(*key, size)})
        }
    };
    let body = json!({"type": event.what.name(), "timestamp": event.time.to_string(), "data": data});
    body.to_string().into()
}
