//! The JSON of events, which has the same shapes as the answers.

use bytes::Bytes;
use serde_json::{Value, json};

use super::dto::DraftOut;
use crate::catalog::{Event, Happening};
use crate::media::MediaName;

/// Returns the body of the delivery of an event.
pub(crate) fn event_body(event: &Event, media_base_url: &str) -> Bytes {
    let draft = |draft: &crate::model::Draft| json!(DraftOut::new(draft.clone(), media_base_url));
    let data: Value = match &event.what {
        Happening::DraftCreated(it) | Happening::DraftUpdated(it) => draft(it),
        Happening::DraftDeleted(id) => json!({"id": id}),
        Happening::PhotoRemoved { id, key } => {
            let url = format!("{media_base_url}/{}", MediaName::from(*key));
            json!({"id": id, "url": url, "renditions": []})
        }
    };
    let body = json!({"type": event.what.name(), "timestamp": event.time.to_string(), "data": data});
    body.to_string().into()
}
