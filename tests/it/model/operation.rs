//! Operations, and the answer that the model expects of each.

use serde_json::{Map, Value, json};

use super::gallery::{Gallery, Outcome};
use crate::support::{BOUNDARY, UPLOAD, field, form};

/// Limits that the servers of these tests have.
pub(super) const MAX_UPLOADS: usize = 4;
pub(super) const MAX_PHOTOS: usize = 6;

/// What a draft has, but for its id and its dates.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Content {
    title: String,
    description: String,
    price: Option<f64>,
    pub(super) status: &'static str,
    /// Numbers of the photos in the gallery.
    pub(super) photos: Vec<usize>,
}

/// Members of a JSON body. At most one of them is bad.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) price: Option<Option<f64>>,
    pub(super) status: Option<&'static str>,
    /// A bad member, its value, and what the problem says of it.
    pub(super) bad: Option<(&'static str, Value, Refusal)>,
}

/// An operation that may change something. `if_match` is the value of the header.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Upload { photos: Vec<usize>, title: Option<String>, skip: bool },
    Create { members: Members },
    Patch { draft: u64, members: Members, if_match: Option<String> },
    Append { draft: u64, photos: Vec<usize>, skip: bool, if_match: Option<String> },
    RemovePhoto { draft: u64, index: usize, if_match: Option<String> },
    Reorder { draft: u64, order: Vec<usize>, if_match: Option<String> },
    Delete { draft: u64, if_match: Option<String> },
}

/// A problem: its status, its name, and a member that says what is to blame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u64,
    pub(super) kind: String,
    pub(super) blames: Option<(&'static str, Value)>,
}

impl Refusal {
    pub(super) fn new(status: u64, kind: &str) -> Self {
        Self { status, kind: kind.to_owned(), blames: None }
    }

    pub(super) fn blaming(self, name: &'static str, value: impl Into<Value>) -> Self {
        Self { blames: Some((name, value.into())), ..self }
    }
}

/// What an operation leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Prediction {
    /// One of these problems, and no change.
    Refused(Vec<Refusal>),
    /// A new draft. `rejected` are the photos that were left out, if bad ones may be.
    Made { content: Content, rejected: Option<Vec<Value>> },
    /// The draft with this id has this content.
    Changed { draft: u64, content: Content, rejected: Option<Vec<Value>> },
    /// The draft with this id is gone.
    Deleted { draft: u64 },
}

/// A request as it is sent, but for the key and the token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) method: reqwest::Method,
    pub(super) path: String,
    pub(super) content_type: Option<String>,
    pub(super) if_match: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Members {
    fn json(&self) -> Value {
        let mut members = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            members.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("title", self.title.clone().map(Value::from));
        add("description", self.description.clone().map(Value::from));
        add("price_suggested", self.price.map(|price| json!(price)));
        add("status", self.status.map(Value::from));
        if let Some((name, value, _)) = &self.bad {
            add(name, Some(value.clone()));
        }
        members.into()
    }

    fn refusal(&self) -> Option<Prediction> {
        self.bad.as_ref().map(|(_, _, refusal)| Prediction::Refused(vec![refusal.clone()]))
    }

    fn applied_to(&self, content: &Content) -> Content {
        Content {
            title: self.title.clone().unwrap_or_else(|| content.title.clone()),
            description: self.description.clone().unwrap_or_else(|| content.description.clone()),
            price: self.price.unwrap_or(content.price),
            status: self.status.unwrap_or(content.status),
            photos: content.photos.clone(),
        }
    }
}

impl Content {
    fn empty() -> Self {
        let (title, description) = (String::new(), String::new());
        Self { title, description, price: None, status: "draft", photos: Vec::new() }
    }

    /// Returns the JSON of the draft without its dates. `media_id` returns the id of each photo, by its place.
    pub(super) fn json(&self, id: u64, gallery: &Gallery, media_id: impl Fn(usize) -> Value) -> Value {
        let photo = |(order_index, sample): (usize, &usize)| {
            let mut media = gallery.media(*sample).clone();
            media["id"] = media_id(order_index);
            json!({"media": media, "order_index": order_index})
        };
        json!({
            "id": id,
            "title": self.title,
            "description": self.description,
            "status": self.status,
            "price_suggested": self.price,
            "photos": self.photos.iter().enumerate().map(photo).collect::<Vec<_>>(),
        })
    }
}

impl Operation {
    /// Returns whether a client may send it with an Idempotency-Key.
    pub(super) fn is_post(&self) -> bool {
        matches!(self, Self::Upload { .. } | Self::Create { .. } | Self::Append { .. })
    }

    pub(super) fn request(&self, gallery: &Gallery) -> Request {
        use reqwest::Method;
        let at = |draft: &u64, rest: &str| format!("/api/v1/listings/{draft}{rest}");
        let skipping = |skip: &bool| if *skip { "?on_error=skip" } else { "" };
        let photos = |photos: &[usize], title: Option<&String>| {
            let title = title.map(|title| field("title", title.as_bytes()));
            let parts = photos.iter().map(|sample| gallery.part(*sample));
            let body = form(&title.into_iter().chain(parts).collect::<Vec<_>>());
            (Some(format!("multipart/form-data; boundary={BOUNDARY}")), body)
        };
        let json = |value: Value| (Some("application/json".to_owned()), value.to_string().into_bytes());
        let (method, path, if_match, (content_type, body)) = match self {
            Self::Upload { photos: samples, title, skip } => {
                (Method::POST, format!("{UPLOAD}{}", skipping(skip)), None, photos(samples, title.as_ref()))
            }
            Self::Create { members } => {
                (Method::POST, "/api/v1/listings".to_owned(), None, json(members.json()))
            }
            Self::Patch { draft, members, if_match } => {
                (Method::PATCH, at(draft, ""), if_match.clone(), json(members.json()))
            }
            Self::Append { draft, photos: samples, skip, if_match } => {
                let path = at(draft, "/photos") + skipping(skip);
                (Method::POST, path, if_match.clone(), photos(samples, None))
            }
            Self::RemovePhoto { draft, index, if_match } => {
                (Method::DELETE, at(draft, &format!("/photos/{index}")), if_match.clone(), (None, Vec::new()))
            }
            Self::Reorder { draft, order, if_match } => {
                (Method::PUT, at(draft, "/photos/order"), if_match.clone(), json(json!({"order": order})))
            }
            Self::Delete { draft, if_match } => {
                (Method::DELETE, at(draft, ""), if_match.clone(), (None, Vec::new()))
            }
        };
        Request { method, path, content_type, if_match, body }
    }

    /// Returns what the model expects. `found` returns content and ETag of a draft of the client.
    pub(super) fn predict<'a>(
        &self,
        gallery: &Gallery,
        found: impl Fn(u64) -> Option<(&'a Content, &'a str)>,
    ) -> Prediction {
        match self {
            Self::Upload { title: Some(title), .. } if title.chars().count() > 160 => {
                Prediction::Refused(vec![Refusal::new(422, "bad-title")])
            }
            Self::Upload { photos, title, skip } => match judge(gallery, photos, *skip) {
                Err(refusals) => Prediction::Refused(refusals),
                Ok((photos, rejected)) => {
                    let title = title.clone().unwrap_or_default();
                    Prediction::Made { content: Content { title, photos, ..Content::empty() }, rejected }
                }
            },
            Self::Create { members } => members.refusal().unwrap_or_else(|| {
                let content = members.applied_to(&Content::empty());
                Prediction::Made { content, rejected: None }
            }),
            Self::Patch { draft, members, if_match } => {
                change(found(*draft), if_match.as_deref(), false, |content| {
                    let changed = |content| Prediction::Changed { draft: *draft, content, rejected: None };
                    members.refusal().unwrap_or_else(|| changed(members.applied_to(content)))
                })
            }
            Self::Append { draft, photos, skip, if_match } => {
                change(found(*draft), if_match.as_deref(), false, |content| {
                    append(gallery, *draft, content, photos, *skip)
                })
            }
            Self::RemovePhoto { draft, index, if_match } => {
                // An index without a photo is said before the precondition.
                let found = found(*draft).filter(|(content, _)| *index < content.photos.len());
                change(found, if_match.as_deref(), true, |content| {
                    let mut content = content.clone();
                    content.photos.remove(*index);
                    Prediction::Changed { draft: *draft, content, rejected: None }
                })
            }
            Self::Reorder { draft, order, if_match } => {
                change(found(*draft), if_match.as_deref(), true, |content| {
                    let mut sorted = order.clone();
                    sorted.sort_unstable();
                    if !sorted.into_iter().eq(0..content.photos.len()) {
                        return Prediction::Refused(vec![Refusal::new(422, "bad-order")]);
                    }
                    let photos = order.iter().map(|index| content.photos[*index]).collect();
                    let content = Content { photos, ..content.clone() };
                    Prediction::Changed { draft: *draft, content, rejected: None }
                })
            }
            Self::Delete { draft, if_match } => {
                change(found(*draft), if_match.as_deref(), false, |_| Prediction::Deleted { draft: *draft })
            }
        }
    }
}

/// Checks what comes before every change of a draft: 404, then 428, then 412.
fn change(
    found: Option<(&Content, &str)>,
    if_match: Option<&str>,
    needs_if_match: bool,
    changed: impl FnOnce(&Content) -> Prediction,
) -> Prediction {
    let refused = |status, kind| Prediction::Refused(vec![Refusal::new(status, kind)]);
    match (found, if_match) {
        (None, _) => refused(404, "not-found"),
        (Some(_), None) if needs_if_match => refused(428, "precondition-required"),
        (Some((_, etag)), Some(tag)) if tag != "*" && tag != etag => refused(412, "precondition-failed"),
        (Some((content, _)), _) => changed(content),
    }
}

fn append(gallery: &Gallery, draft: u64, content: &Content, photos: &[usize], skip: bool) -> Prediction {
    let full = || Prediction::Refused(vec![Refusal::new(413, "draft-full")]);
    if content.photos.len() >= MAX_PHOTOS {
        return full();
    }
    match judge(gallery, photos, skip) {
        Err(refusals) => Prediction::Refused(refusals),
        Ok((good, _)) if content.photos.len() + good.len() > MAX_PHOTOS => full(),
        Ok((good, rejected)) => {
            let mut content = content.clone();
            content.photos.extend(good);
            Prediction::Changed { draft, content, rejected }
        }
    }
}

/// The photos that are stored, and those that are left out, if bad ones may be.
type Judged = (Vec<usize>, Option<Vec<Value>>);

/// Returns what becomes of the photos of a form, or the problems of which the answer has one.
fn judge(gallery: &Gallery, photos: &[usize], skip: bool) -> Result<Judged, Vec<Refusal>> {
    if photos.iter().all(|sample| *sample == gallery.empty()) {
        return Err(vec![Refusal::new(400, "no-photo")]);
    }
    if photos.len() > MAX_UPLOADS {
        return Err(vec![Refusal::new(413, "too-many-photos")]);
    }
    let (mut good, mut rejected, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for (index, sample) in photos.iter().enumerate() {
        let name = &gallery.sample(*sample).name;
        match &gallery.sample(*sample).outcome {
            Outcome::Stored(_) => good.push(*sample),
            Outcome::Refused(status, kind) => {
                let problem = json!({"type": format!("urn:problem-type:vintedbot:{kind}"), "status": status});
                rejected.push(json!({"file_index": index, "filename": name, "problem": problem}));
                refusals.push(Refusal::new(*status, kind).blaming("file_index", index));
            }
        }
    }
    match (skip, refusals.is_empty()) {
        (false, true) => Ok((good, None)),
        // Photos are judged at the same time, so that any of the bad ones may end the upload.
        (false, false) => Err(refusals),
        (true, _) if good.is_empty() => Err(refusals[..1].to_vec()),
        (true, _) => Ok((good, Some(rejected))),
    }
}
