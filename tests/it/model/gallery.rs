//! The photos that the clients send, and what the server makes of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::Value;

use crate::support::{Part, Server, file_named, form, photo, photo_numbered};

/// What becomes of a photo, independent of the other photos of its form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It is stored. The JSON of its media has this, and an id.
    Stored(Value),
    /// It is refused with this status and this name of a problem.
    Refused(u64, String),
}

pub(super) struct Sample {
    pub(super) name: String,
    bytes: Vec<u8>,
    pub(super) outcome: Outcome,
}

/// Photos by number. The first ones are good, the last three bad.
pub(crate) struct Gallery(Vec<Sample>);

impl Gallery {
    /// Makes `good` different photos and three bad ones, and asks a server what it makes of each alone.
    pub(crate) async fn learn(good: usize) -> Self {
        let server = Server::start(&[]);
        let whole = photo(400, 300);
        let mut photos: Vec<Vec<u8>> =
            (0..good).map(|number| photo_numbered(40 + number % 30, 30, number)).collect();
        photos.extend([b"%PDF-1.7".to_vec(), whole[..whole.len() / 2].to_vec()]);
        let mut samples = Vec::new();
        for (number, bytes) in photos.into_iter().enumerate() {
            let name = format!("{number}.jpg");
            let (status, mut body) = server.upload(form(&[file_named(&name, &bytes)])).await;
            let outcome = if status == 201 {
                let mut media = body["photos"][0]["media"].take();
                media.as_object_mut().unwrap().remove("id");
                Outcome::Stored(media)
            } else {
                Outcome::Refused(status.into(), kind(&body).to_owned())
            };
            samples.push(Sample { name, bytes, outcome });
        }
        // Alone it is no photo at all; with others it is a bad one.
        let outcome = Outcome::Refused(422, "empty-image".to_owned());
        samples.push(Sample { name: "empty.jpg".to_owned(), bytes: Vec::new(), outcome });
        let gallery = Self(samples);
        let urls: BTreeSet<&str> =
            (0..good).map(|sample| gallery.media(sample)["url"].as_str().unwrap()).collect();
        assert_eq!((urls.len(), gallery.bad().count()), (good, 3));
        gallery
    }

    /// Returns the number of good photos.
    pub(super) fn good(&self) -> usize {
        self.0.len() - 3
    }

    pub(super) fn bad(&self) -> impl Iterator<Item = usize> {
        self.good()..self.0.len()
    }

    /// Returns the number of the photo without bytes.
    pub(super) fn empty(&self) -> usize {
        self.0.len() - 1
    }

    pub(super) fn sample(&self, number: usize) -> &Sample {
        &self.0[number]
    }

    /// Returns the JSON of a good photo, without its id.
    pub(super) fn media(&self, number: usize) -> &Value {
        match &self.0[number].outcome {
            Outcome::Stored(media) => media,
            refused @ Outcome::Refused(..) => panic!("{number} is {refused:?}"),
        }
    }

    pub(super) fn part(&self, number: usize) -> Part<'_> {
        file_named(&self.0[number].name, &self.0[number].bytes)
    }
}

/// The ids of the photos' rows, which are learnt from the answers.
#[derive(Debug, Default)]
pub(super) struct MediaIds(Mutex<BTreeMap<usize, u64>>);

impl MediaIds {
    /// Returns the number of rows that photos have.
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Notes the id of a photo. It never changes, and no other photo has it.
    pub(super) fn learn(&self, sample: usize, id: u64) {
        let mut ids = self.0.lock().unwrap();
        assert_eq!(*ids.entry(sample).or_insert(id), id, "photo {sample} has two ids");
        assert_eq!(
            ids.values().filter(|other| **other == id).count(),
            1,
            "two photos have the id {id}: {ids:?}"
        );
    }
}

/// Returns the last part of a problem's type.
pub(super) fn kind(problem: &Value) -> &str {
    problem["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap()
}
