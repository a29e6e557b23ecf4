//! The JSON of the contract, field by field.

use serde::Serialize;

use crate::media::MediaName;
use crate::model::{Draft, DraftStatus, Media};

#[derive(Debug, Serialize)]
pub(super) struct DraftOut {
    id: u64,
    title: String,
    description: String,
    status: DraftStatus,
    price_suggested: Option<f64>,
    photos: Vec<PhotoOut>,
}

#[derive(Debug, Serialize)]
struct PhotoOut {
    media: MediaOut,
    order_index: usize,
}

#[derive(Debug, Serialize)]
struct MediaOut {
    id: u64,
    url: String,
    width: u32,
    height: u32,
    mime: &'static str,
}

impl DraftOut {
    /// The draft with the URLs of its photos under `media_base_url`.
    pub(super) fn new(draft: Draft, media_base_url: &str) -> Self {
        let photo = |(order_index, media): (usize, Media)| PhotoOut {
            media: MediaOut {
                id: media.id.0,
                url: format!("{media_base_url}/{}", MediaName::from(media.key)),
                width: media.width,
                height: media.height,
                mime: MediaName::from(media.key).content_type(),
            },
            order_index,
        };
        let Draft { id, title, description, status, price_suggested, photos, owner: _ } = draft;
        let photos = photos.into_iter().enumerate().map(photo).collect();
        Self { id: id.0, title, description, status, price_suggested, photos }
    }
}
