//! ThumbHash and facts of photos: in every answer that shows a photo, and filled in for photos of versions without them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::bucket::Bucket;
use crate::cluster::Cluster;
use crate::s3;
use crate::support::{Server, card, eventually, file, form, photo};

async fn body(response: Response) -> Value {
    assert!(response.status().is_success(), "{}", response.status());
    response.json().await.unwrap()
}

fn media(draft: &Value) -> Vec<Value> {
    draft["photos"].as_array().unwrap().iter().map(|photo| photo["media"].clone()).collect()
}

/// Asserts that a photo has a ThumbHash and facts within their ranges.
fn assert_measured(media: &Value) {
    let hash = STANDARD.decode(media["thumbhash"].as_str().unwrap()).unwrap();
    assert!((5..=24).contains(&hash.len()), "{media}");
    let facts = &media["facts"];
    let number = |name: &str| facts.pointer(name).and_then(Value::as_f64).unwrap();
    assert!(number("/sharpness") >= 0.0 && (0.0..=255.0).contains(&number("/brightness")), "{media}");
    assert!(
        (0.0..=1.0).contains(&number("/clipped/dark")) && (0.0..=1.0).contains(&number("/clipped/light"))
    );
    let hash = facts["perceptual_hash"].as_str().unwrap();
    assert!(hash.len() == 16 && u64::from_str_radix(hash, 16).is_ok(), "{media}");
}

/// Asserts that facts of the photo as it is stored are nearly those that its upload computed before it was compressed.
fn assert_alike(stored: &Value, uploaded: &Value) {
    let number = |media: &Value, name: &str| media["facts"][name].as_f64().unwrap();
    let near = |name: &str, by: f64| (number(stored, name) - number(uploaded, name)).abs() <= by;
    assert!(near("brightness", 1.0), "{stored} {uploaded}");
    assert!(near("sharpness", 1.0 + 0.5 * number(uploaded, "sharpness")), "{stored} {uploaded}");
    let bits =
        |media: &Value| u64::from_str_radix(media["facts"]["perceptual_hash"].as_str().unwrap(), 16).unwrap();
    assert!((bits(stored) ^ bits(uploaded)).count_ones() <= 8, "{stored} {uploaded}");
}

#[tokio::test]
async fn every_answer_with_a_photo_has_its_thumbhash_and_facts() {
    let server = Server::start(&[("MAX_DIM_PX", "400")]);
    let (status, draft) = server.upload(form(&[file(&photo(640, 480)), file(&card(300, 500))])).await;
    assert_eq!(status, 201, "{draft}");
    let photos = media(&draft);
    photos.iter().for_each(assert_measured);
    assert_ne!(photos[0]["facts"], photos[1]["facts"]);
    assert_eq!(body(server.get("/api/v1/listings/1").await).await, draft);
    assert_eq!(body(server.get("/api/v1/listings").await).await["items"], json!([draft]));
    // A photo that is recognised is not decoded again.
    let (_, again) = server.upload(form(&[file(&photo(640, 480))])).await;
    assert_eq!(media(&again), photos[..1]);
    let upload = Client::new().post(server.url("/api/v1/uploads")).header("content-type", "image/jpeg");
    let upload = body(upload.body(card(300, 500)).send().await.unwrap()).await;
    assert_eq!((&upload["state"], &upload["media"]), (&json!("finished"), &photos[1]));
    let path = format!("/api/v1/uploads/{}", upload["id"].as_str().unwrap());
    assert_eq!(body(server.get(&path).await).await["media"], photos[1]);
}

#[tokio::test]
async fn flat_photo_has_facts_that_can_be_told() {
    let server = Server::start(&[]);
    let mut white = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut white);
    image::ImageEncoder::write_image(encoder, &[255; 90 * 60 * 3], 90, 60, image::ExtendedColorType::Rgb8)
        .unwrap();
    let (_, draft) = server.upload(form(&[file(&white)])).await;
    let expected = json!({
        "sharpness": 0.0,
        "brightness": 255.0,
        "clipped": {"dark": 0.0, "light": 1.0},
        "perceptual_hash": "0000000000000000",
    });
    assert_eq!(media(&draft)[0]["facts"], expected);
}

/// Removes the facts of all media rows of the embedded catalog, as a version without facts would have written them.
fn forget_embedded(server: Server) -> Arc<tempfile::TempDir> {
    let dir = server.stop();
    let db = sled::open(dir.path().join("data/db")).unwrap();
    let rows = db.open_tree("media").unwrap();
    for row in rows.iter() {
        let (id, row) = row.unwrap();
        let mut row: Value = serde_json::from_slice(&row).unwrap();
        assert!(row.as_object_mut().unwrap().remove("facts").is_some(), "{row}");
        rows.insert(id, serde_json::to_vec(&row).unwrap()).unwrap();
    }
    db.flush().unwrap();
    dir
}

/// Waits until both photos of the draft are measured, and asserts what that changes.
async fn assert_filled_in(server: &Server, uploaded: &Value) {
    eventually("both photos are measured", || server.metric("media_measured_total") == 2).await;
    let filled = body(server.get("/api/v1/listings/1").await).await;
    for (stored, uploaded) in media(&filled).iter().zip(media(uploaded)) {
        assert_measured(stored);
        assert_alike(stored, &uploaded);
    }
    assert_eq!((&filled["updated_at"], &filled["title"]), (&uploaded["updated_at"], &uploaded["title"]));
}

/// Returns two pictures with edges and slopes, which compression hardly changes.
fn two_photos() -> Vec<u8> {
    let photos = [2_u32, 5].map(|seed| {
        let picture = image::RgbImage::from_fn(640, 480, |x, y| {
            let is_inside = (x.abs_diff(100 * seed).pow(2) + y.abs_diff(200).pow(2)) < 90_u32.pow(2);
            let slope = (x * seed + 2 * y) / 20;
            let stripe = if (x / 37 + y * seed / 90).is_multiple_of(3) { 60 } else { 0 };
            let sample = |base: u32| u8::try_from((base + slope + stripe).min(250)).unwrap();
            image::Rgb(if is_inside { [220, 40, 60] } else { [sample(20), sample(40), sample(70)] })
        });
        let mut file = std::io::Cursor::new(Vec::new());
        image::DynamicImage::from(picture).write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    });
    form(&[file(&photos[0]), file(&photos[1])])
}

#[tokio::test]
async fn older_photos_are_measured_and_an_older_etag_still_permits_changes() {
    let server = Server::start(&[]);
    let (_, uploaded) = server.upload(two_photos()).await;
    let dir = forget_embedded(server);

    // Without jobs nothing is filled in.
    let server = Server::start_in(dir, &[("JOBS_ENABLED", "false")]);
    let before = server.get("/api/v1/listings/1").await;
    let etag = before.headers()["etag"].clone();
    let draft = body(before).await;
    assert!(
        media(&draft).iter().all(|media| media.get("thumbhash").is_none() && media.get("facts").is_none())
    );
    let dir = server.stop();

    let server = Server::start_in(dir, &[]);
    assert_filled_in(&server, &uploaded).await;
    let client = Client::new();
    let url = server.url("/api/v1/listings/1");
    let get = |etag| client.get(&url).header("if-none-match", etag).send();
    let now = get(etag.clone()).await.unwrap();
    assert_eq!(now.status(), 200, "other bytes have another strong ETag");
    let filled = now.headers()["etag"].clone();
    assert_ne!(filled, etag);
    assert_eq!(get(filled.clone()).await.unwrap().status(), 304);
    let change =
        |etag, title: &str| client.patch(&url).header("if-match", etag).json(&json!({"title": title})).send();
    assert_eq!(
        change(etag.clone(), "coat").await.unwrap().status(),
        200,
        "the state is the one that the client saw"
    );
    for old in [etag, filled] {
        assert_eq!(change(old, "shoes").await.unwrap().status(), 412, "the draft was changed");
    }
    let (_, again) = server.upload(two_photos()).await;
    let stored = body(server.get("/api/v1/listings/1").await).await;
    assert_eq!(media(&again), media(&stored), "a recognised photo has the facts of its row");
}

#[tokio::test]
async fn older_photos_of_a_shared_catalog_and_a_bucket_are_measured() {
    let Some(cluster) = Cluster::shared() else { return };
    let (database, bucket) = (cluster.database().await, Bucket::start());
    let endpoint = bucket.endpoint();
    let settings = s3::settings(&endpoint, &[("DATABASE_URL", &database)]);
    let server = Server::start(&settings);
    let (status, uploaded) = server.upload(two_photos()).await;
    assert_eq!(status, 201, "{uploaded}");
    media(&uploaded).iter().for_each(assert_measured);
    let dir = server.stop();
    let client = cluster.client(&database).await;
    assert_eq!(
        client.execute("UPDATE media SET facts = NULL WHERE facts IS NOT NULL", &[]).await.unwrap(),
        2
    );
    let server = Server::start_in(dir, &settings);
    assert_filled_in(&server, &uploaded).await;
}
