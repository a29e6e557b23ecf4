//! Most of the JSON that `docs/api.md` describes, field by field: `UploadOut` is in `resumable/answers.rs`, `RenditionOut` in
//! `urls.rs`. The OpenAPI document takes its schemas and their texts from here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::errors;
use super::urls::{MediaUrls, RenditionOut};
use crate::imaging::RenditionSizes;
use crate::ingest::{IngestError, PhotoError, Rejected};
use crate::listings::fields::{MAX_DESCRIPTION_CHARS, MAX_PRICE, MAX_TITLE_CHARS};
use crate::media::MediaName;
use crate::model::{Draft, DraftStatus, Media, MediaId, MediaKey, PerceptualHash, PhotoFacts, ThumbHash};
use crate::web::problem::{Problem, ProblemKind};

/// A draft listing with its photos.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Draft", example = DraftOut::example())]
pub(super) struct DraftOut {
    /// The id of the draft.
    id: u64,
    /// The title of the listing, which may be empty.
    title: String,
    /// The description of the listing, empty until it is set.
    description: String,
    status: DraftStatus,
    /// A price in the listing's currency, or null.
    price_suggested: Option<f64>,
    /// The photos in order.
    photos: Vec<PhotoOut>,
    /// When the draft was last changed (RFC 3339, UTC).
    updated_at: String,
    /// When the draft was created (RFC 3339, UTC).
    created_at: String,
    /// The photos that were left out, in an answer to an upload with `on_error=skip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<Vec<RejectedOut>>,
}

/// A page of drafts.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DraftPage")]
pub(super) struct ListOut {
    /// The drafts, newest first.
    pub(super) items: Vec<DraftOut>,
    /// The parameter `cursor` of the next page, or null on the last one.
    pub(super) next_cursor: Option<String>,
}

/// A photo that was left out of an upload.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Rejected")]
pub(super) struct RejectedOut {
    /// Index of the photo in the form or of its URL, counted from 0.
    file_index: usize,
    /// File name of the photo, if the form has one.
    filename: Option<String>,
    problem: ProblemOut,
}

/// What is wrong with a photo or a form (RFC 9457).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "UploadProblem")]
pub(super) struct ProblemOut {
    /// The stable name of the problem.
    r#type: String,
    /// The reason phrase of the status.
    title: String,
    /// The status that an upload of this photo alone gets.
    status: u16,
    /// One sentence for the developer of the client.
    detail: String,
    /// Index of the photo in the form, counted from 0, if one photo of a form is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_index: Option<usize>,
    /// File name of that photo, if the form has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
}

impl ProblemOut {
    fn new(kind: ProblemKind, detail: String) -> Self {
        Self {
            r#type: kind.uri(),
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail,
            file_index: None,
            filename: None,
        }
    }

    /// Creates the JSON of a photo that was refused.
    pub(super) fn of_photo(reason: &PhotoError) -> Self {
        Self::new(errors::photo(reason), reason.to_string())
    }

    /// Creates the JSON of a form that was refused.
    pub(super) fn of_form(error: IngestError) -> Self {
        match error {
            IngestError::Photo { index, filename, reason } => {
                Self { file_index: Some(index), filename, ..Self::of_photo(&reason) }
            }
            error => {
                let detail = error.to_string();
                Self::new(Problem::from(error).kind(), detail)
            }
        }
    }

    /// Returns the problem that this is the JSON of.
    pub(super) fn into_problem(self) -> Problem {
        let kind = ProblemKind::ALL.iter().find(|kind| kind.uri() == self.r#type);
        let problem = Problem::new(kind.copied().unwrap_or(ProblemKind::CorruptImage), self.detail);
        match self.file_index {
            Some(index) => problem.with("file_index", index).with("filename", self.filename),
            None => problem,
        }
    }
}

impl From<&Rejected> for RejectedOut {
    fn from(Rejected { index, filename, reason }: &Rejected) -> Self {
        let problem = ProblemOut::of_photo(reason);
        Self { file_index: *index, filename: filename.clone(), problem }
    }
}

/// A photo of a draft.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Photo")]
struct PhotoOut {
    media: MediaOut,
    /// The place of the photo in the draft, from 0.
    order_index: usize,
}

/// A stored photo. Equal photos are one, with one id.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Media")]
pub(super) struct MediaOut {
    /// The id of the photo.
    id: u64,
    /// The address of the photo, which is relative to the server if it begins with a slash.
    url: String,
    /// The width in pixels.
    width: u32,
    /// The height in pixels.
    height: u32,
    /// The media type of the photo.
    mime: &'static str,
    /// A [ThumbHash](https://evanw.github.io/thumbhash) in base64: a placeholder to show until the photo has loaded. A photo of an
    /// older version of the server has it a while after the update.
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbhash: Option<String>,
    /// What is known of the pixels of the photo. There whenever `thumbhash` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<FactsOut>,
    /// Smaller copies, the smallest first. A copy is made at its first request.
    renditions: Vec<RenditionOut>,
}

impl MediaOut {
    /// Creates the JSON of a photo with these addresses.
    pub(super) fn new(media: &Media, urls: &MediaUrls) -> Self {
        Self {
            id: media.id.0,
            url: urls.photo(media.key),
            width: media.width,
            height: media.height,
            mime: MediaName::CONTENT_TYPE,
            thumbhash: media.facts.map(|facts| facts.thumbhash.to_string()),
            facts: media.facts.map(FactsOut::from),
            renditions: urls.renditions(media.key, (media.width, media.height)),
        }
    }
}

/// Facts about the pixels of a photo as it is stored. The server judges nothing by them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PhotoFacts")]
struct FactsOut {
    /// The variance of the Laplacian of luma. Blurred photos have little, those with fine details much.
    sharpness: f64,
    /// The mean luma, from 0 for black to 255 for white.
    brightness: f64,
    clipped: ClippedOut,
    /// A perceptual hash (pHash) of 64 bits as 16 hex digits. Photos that look alike differ in few bits.
    #[schemars(regex(pattern = r"^[0-9a-f]{16}$"))]
    perceptual_hash: String,
}

/// The shares of pixels, from 0 to 1, that may have lost details.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Clipped")]
struct ClippedOut {
    /// With a luma of at most 3.
    dark: f64,
    /// With a luma of at least 252.
    light: f64,
}

impl From<PhotoFacts> for FactsOut {
    fn from(facts: PhotoFacts) -> Self {
        let PhotoFacts { thumbhash: _, sharpness, brightness, dark, light, perceptual_hash } = facts;
        Self {
            sharpness: f64::from(sharpness) / 100.0,
            brightness: f64::from(brightness) / 100.0,
            clipped: ClippedOut { dark: f64::from(dark) / 10_000.0, light: f64::from(light) / 10_000.0 },
            perceptual_hash: perceptual_hash.to_string(),
        }
    }
}

impl DraftOut {
    /// Creates the JSON of `draft`, with these addresses of its photos.
    pub(super) fn new(draft: Draft, urls: &MediaUrls) -> Self {
        let photo = |(order_index, media): (usize, Media)| PhotoOut {
            media: MediaOut::new(&media, urls),
            order_index,
        };
        let Draft {
            id,
            title,
            description,
            status,
            price_suggested,
            photos,
            owner: _,
            created,
            updated,
            version: _,
        } = draft;
        let photos = photos.into_iter().enumerate().map(photo).collect();
        let (updated_at, created_at) = (updated.to_string(), created.to_string());
        Self {
            id: id.0,
            title,
            description,
            status,
            price_suggested,
            photos,
            updated_at,
            created_at,
            rejected: None,
        }
    }

    /// Sets the photos that were left out of the request.
    pub(super) fn with_rejected(self, rejected: Vec<RejectedOut>) -> Self {
        Self { rejected: Some(rejected), ..self }
    }

    fn example() -> Self {
        let key = MediaKey::of(b"example");
        let urls = MediaUrls::new("/media".to_owned(), RenditionSizes::default());
        let (id, owner) = (MediaId(1), None);
        let facts = ThumbHash::from_bytes(b"a small copy of a coat").map(|thumbhash| PhotoFacts {
            thumbhash,
            sharpness: 21_437,
            brightness: 11_802,
            dark: 12,
            light: 305,
            perceptual_hash: PerceptualHash::from_bits(0xd5a2_8c37_6b19_e04f),
        });
        let media = Media { id, key, width: 1600, height: 1200, size_bytes: 0, owner, facts };
        let media = MediaOut::new(&media, &urls);
        Self {
            id: 1,
            title: "Blue coat".to_owned(),
            description: String::new(),
            status: DraftStatus::Draft,
            price_suggested: None,
            photos: vec![PhotoOut { media, order_index: 0 }],
            updated_at: "2026-11-27T10:00:00.000Z".to_owned(),
            created_at: "2026-11-27T10:00:00.000Z".to_owned(),
            rejected: None,
        }
    }
}

/// Returns the schema of the body that creates a draft.
pub(super) fn new_draft() -> Value {
    let mut schema = object(&written_members());
    schema["properties"]["uploads"] = json!({
        "type": "array",
        "items": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "description": "The ids of finished uploads, in order.",
    });
    schema
}

/// Returns the schema of the body that makes a draft of photos by URL.
pub(super) fn photo_urls() -> Value {
    let urls = json!({
        "type": "array",
        "items": {"type": "string", "format": "uri"},
        "minItems": 1,
        "description": "The URLs of the photos, in the order of the draft.",
        "examples": [["https://photos.example.com/front.jpg"]],
    });
    let mut schema = object(&json!({"urls": urls, "title": written_members()["title"]}));
    schema["required"] = json!(["urls"]);
    schema
}

/// Returns the schema of the body that changes a draft.
pub(super) fn draft_patch() -> Value {
    let mut schema = object(&written_members());
    schema["properties"]["status"] = json!({"enum": DraftStatus::ALL.map(DraftStatus::name)});
    schema
}

/// Returns the schema of the body that sorts the photos of a draft.
pub(super) fn photo_order() -> Value {
    let order = json!({
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "uniqueItems": true,
        "description": "The present indices of the photos in their new order.",
        "examples": [[2, 0, 1]],
    });
    let mut schema = object(&json!({"order": order}));
    schema["required"] = json!(["order"]);
    schema
}

fn object(properties: &Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn written_members() -> Value {
    // Of the control characters only tabs and line breaks are allowed.
    let text = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";
    json!({
        "title": {"type": "string", "maxLength": MAX_TITLE_CHARS, "pattern": text, "examples": ["Blue coat"]},
        "description": {"type": "string", "maxLength": MAX_DESCRIPTION_CHARS, "pattern": text},
        "price_suggested": {
            "type": ["number", "null"],
            "minimum": 0,
            "maximum": MAX_PRICE,
            "multipleOf": 0.01,
            "examples": [19.99],
        },
    })
}

/// The answer of a process that lives.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = Health { status: HealthStatus::Ok })]
pub(super) struct Health {
    pub(super) status: HealthStatus,
}

/// The state of a process that answers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum HealthStatus {
    /// The process lives.
    Ok,
}

/// The answer of a server that would take an upload now.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(example = Ready { missing_media: None, read_only: None, status: ReadyStatus::Ready })]
pub(super) struct Ready {
    /// How many photos of drafts the media store does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) missing_media: Option<u64>,
    /// True while uploads are switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_only: Option<bool>,
    pub(super) status: ReadyStatus,
}

/// Whether all photos are there.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReadyStatus {
    /// All photos are there.
    Ready,
    /// Photos of drafts are missing; all others are served, and uploads work.
    Degraded,
}
