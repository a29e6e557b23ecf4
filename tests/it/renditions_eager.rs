//! Smaller copies that are made with the photo: `RENDITIONS_EAGER=true`.
#![allow(clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use image::{DynamicImage, ImageFormat, RgbaImage};
use reqwest::Client;
use serde_json::Value;
use turbojpeg::{Compressor, Image, PixelFormat};

use crate::bucket::{BUCKET, Bucket};
use crate::s3;
use crate::support::{Server, file, files_below, form, photo, photo_numbered, with_exif};

const EAGER: (&str, &str) = ("RENDITIONS_EAGER", "true");

/// Uploads a photo and returns its description.
async fn upload(server: &Server, photo: &[u8]) -> Value {
    let (status, draft) = server.upload(form(&[file(photo)])).await;
    assert_eq!(status, 201, "{draft}");
    draft["photos"][0]["media"].clone()
}

fn key(media: &Value) -> String {
    let url = media["url"].as_str().unwrap();
    url.rsplit('/').next().unwrap().strip_suffix(".jpg").unwrap().to_owned()
}

/// Returns the files of the renditions of a photo in the media root, by their longer sides.
fn stored(server: &Server, media: &Value) -> BTreeMap<u32, PathBuf> {
    let Ok(entries) = std::fs::read_dir(server.media_root().join(key(media))) else { return BTreeMap::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().unwrap(), path)).collect()
}

async fn made(server: &Server) -> u64 {
    server.labelled_metric("renditions_made_total").await
}

/// A smooth picture with all colours: pixels of RGBA, and twice as many pixels across as down.
fn smooth(width: usize) -> Vec<u8> {
    let height = width / 2;
    let at = |x: usize, y: usize| {
        let wave = |t: f64| ((t.sin() + 1.0) * 120.0) as u8;
        let (x, y) = (x as f64 / width as f64, y as f64 / height as f64);
        [wave(9.0 * x), wave(7.0 * y + 4.0 * x), wave(11.0 * (1.0 - x) * y), wave(5.0 * x + 3.0)]
    };
    (0..width * height).flat_map(|n| at(n % width, n / width)).collect()
}

fn jpeg(pixels: &[u8], width: usize, format: PixelFormat) -> Vec<u8> {
    let height = width / 2;
    let pitch = width * format.size();
    let mut encoder = Compressor::new().unwrap();
    encoder.set_quality(95).unwrap();
    if format == PixelFormat::GRAY {
        encoder.set_subsamp(turbojpeg::Subsamp::Gray).unwrap();
    }
    encoder.compress_to_vec(Image { pixels, width, pitch, height, format }).unwrap()
}

/// Adds the profile of Display P3 to a JPEG.
fn with_p3(jpeg: &[u8]) -> Vec<u8> {
    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let payload = [b"ICC_PROFILE\0\x01\x01".as_slice(), &profile].concat();
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE2], &length, &payload, &jpeg[2..]].concat()
}

fn psnr(one: &[u8], other: &[u8]) -> f64 {
    let [one, other] = [one, other].map(|jpeg| turbojpeg::decompress(jpeg, PixelFormat::RGB).unwrap());
    assert_eq!((one.width, one.height), (other.width, other.height));
    let squares = one.pixels.iter().zip(&other.pixels).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2));
    let mean = squares.sum::<u64>() as f64 / one.pixels.len() as f64;
    10.0 * (255.0_f64.powi(2) / mean.max(1e-9)).log10()
}

#[tokio::test]
async fn renditions_are_stored_with_the_photo_and_served_without_a_computation() {
    let server = Server::start(&[EAGER]);
    let original = photo(2000, 1500);
    let media = upload(&server, &original).await;
    let files = stored(&server, &media);
    assert_eq!(files.keys().copied().collect::<Vec<_>>(), [320, 640, 1080]);
    let listed = media["renditions"].as_array().unwrap();
    for (rendition, (side, path)) in listed.iter().zip(&files) {
        let bytes = std::fs::read(path).unwrap();
        let header = turbojpeg::read_header(&bytes).unwrap();
        assert_eq!(header.width as u32, *side);
        assert_eq!(rendition["width"], header.width);
        assert_eq!(rendition["height"], header.height);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644, "as photos have");
        let answer = server.get(rendition["url"].as_str().unwrap()).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["etag"].to_str().unwrap().starts_with(&format!("\"{side}-")));
        assert_eq!(answer.bytes().await.unwrap(), bytes);
    }
    assert_eq!(made(&server).await, 0);
    assert_eq!(server.labelled_metric("renditions_eager_total").await, 3);
    assert_eq!(server.labelled_metric("renditions_eager_lost_total").await, 0);

    // The photo is recognised by its source.
    std::fs::remove_dir_all(server.media_root().join(key(&media))).unwrap();
    assert_eq!(upload(&server, &original).await["id"], media["id"]);
    assert_eq!(stored(&server, &media).len(), 0, "it was not decoded again");
    // Another source of the same photo: what is kept stays, and what is lost is stored.
    assert_eq!(server.get(listed[0]["url"].as_str().unwrap()).await.status(), 200);
    let kept = std::fs::metadata(&stored(&server, &media)[&320]).unwrap().modified().unwrap();
    let other = [&original, b"more bytes after the picture".as_slice()].concat();
    assert_eq!(upload(&server, &other).await["id"], media["id"]);
    let files = stored(&server, &media);
    assert_eq!(files.len(), 3);
    assert_eq!(std::fs::metadata(&files[&320]).unwrap().modified().unwrap(), kept);

    let lazy = Server::start(&[]);
    assert_eq!(upload(&lazy, &original).await["url"], media["url"], "the photo is the same one");
    assert_eq!(stored(&lazy, &media).len(), 0);
}

#[tokio::test]
async fn every_kind_of_photo_has_renditions_as_the_stored_photo_gives() {
    let server = Server::start(&[EAGER, ("RENDITION_WIDTHS", "[101,320,333,640]"), ("MAX_DIM_PX", "700")]);
    let width = 900;
    let rgba = smooth(width);
    let rgb: Vec<u8> = rgba.as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect();
    let grey: Vec<u8> = rgba.as_chunks::<4>().0.iter().map(|[_, g, ..]| *g).collect();
    let mut png = Vec::new();
    let transparent = RgbaImage::from_raw(900, 450, rgba.clone()).unwrap();
    DynamicImage::from(transparent).write_to(&mut Cursor::new(&mut png), ImageFormat::Png).unwrap();
    let plain = jpeg(&rgb, width, PixelFormat::RGB);
    let mut kinds = vec![
        ("transparent PNG".to_owned(), png),
        ("grey".to_owned(), jpeg(&grey, width, PixelFormat::GRAY)),
        ("CMYK".to_owned(), jpeg(&rgba, width, PixelFormat::CMYK)),
        ("P3".to_owned(), with_p3(&plain)),
    ];
    kinds.extend((1..=8).map(|n| (format!("orientation {n}"), with_exif(&plain, n))));
    for (name, source) in kinds {
        let media = upload(&server, &source).await;
        let renditions = media["renditions"].as_array().unwrap();
        let eager: Vec<Vec<u8>> =
            stored(&server, &media).values().map(|path| std::fs::read(path).unwrap()).collect();
        assert_eq!(eager.len(), 4, "{name}");
        std::fs::remove_dir_all(server.media_root().join(key(&media))).unwrap();
        for (rendition, eager) in renditions.iter().zip(eager) {
            let lazy = server.get(rendition["url"].as_str().unwrap()).await.bytes().await.unwrap();
            let psnr = psnr(&eager, &lazy);
            assert!(psnr > 36.0, "{name}, {}: {psnr:.1}", rendition["width"]);
        }
    }
}

#[tokio::test]
async fn only_smaller_renditions_are_stored_and_none_without_widths() {
    let server = Server::start(&[EAGER]);
    let media = upload(&server, &photo(300, 640)).await;
    assert_eq!(stored(&server, &media).into_keys().collect::<Vec<_>>(), [320]);
    let media = upload(&server, &photo(8, 700)).await;
    let files = stored(&server, &media);
    let narrow = turbojpeg::read_header(&std::fs::read(&files[&320]).unwrap()).unwrap();
    assert_eq!((files.len(), narrow.width, narrow.height), (2, 4, 320));
    let server = Server::start(&[EAGER, ("RENDITION_WIDTHS", "[]")]);
    let media = upload(&server, &photo(1000, 800)).await;
    assert_eq!(stored(&server, &media).len(), 0);
}

#[tokio::test]
async fn failed_upload_leaves_no_rendition() {
    let server = Server::start(&[EAGER]);
    let (status, _) = server.upload(form(&[file(&photo(1000, 800)), file(b"\xFF\xD8\xFF no photo")])).await;
    assert_eq!(status, 422);
    let (status, problem) =
        server.upload(form(&[file(&photo(1000, 800)), file(&photo(900, 80)[..9000])])).await;
    assert_eq!(status, 422, "{problem}");
    server.assert_nothing_was_kept().await;
}

#[tokio::test]
async fn renditions_that_cannot_be_stored_fail_no_upload() {
    let originals = [photo_numbered(1000, 800, 1), photo_numbered(1000, 800, 2)];
    let lazy = Server::start(&[]);
    let media = upload(&lazy, &originals[0]).await;
    let server = Server::start(&[EAGER]);
    // A file in the place of their directory.
    let foreign = server.media_root().join(key(&media));
    std::fs::write(&foreign, "foreign").unwrap();
    let (status, draft) = server.upload(form(&[file(&originals[0]), file(&originals[1])])).await;
    assert_eq!(status, 201, "{draft}");
    assert_eq!(server.labelled_metric("renditions_eager_lost_total").await, 2);
    assert_eq!(server.labelled_metric("renditions_eager_total").await, 2, "those of the other photo");
    assert_eq!(files_below(&server.media_root().join(".staging")), Vec::<String>::new());
    server.logs(&["renditions were not stored with their photos"]).await;
    std::fs::remove_file(foreign).unwrap();
    let url = media["renditions"][0]["url"].as_str().unwrap();
    assert_eq!(server.get(url).await.status(), 200, "the first request makes it");
    assert_eq!(made(&server).await, 1);
}

#[tokio::test]
async fn renditions_are_stored_in_the_bucket() {
    let bucket = Bucket::start();
    let endpoint = bucket.endpoint();
    let server = Server::start(&s3::settings(&endpoint, &[EAGER]));
    let media = upload(&server, &photo(1000, 800)).await;
    let objects = bucket.objects(&format!("media/{}", key(&media)));
    let names: Vec<_> = objects.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["320.jpg", "640.jpg"], "where a CDN finds them");
    for (rendition, object) in media["renditions"].as_array().unwrap().iter().zip(&objects) {
        let url = rendition["url"].as_str().unwrap();
        assert_eq!(server.get(url).await.bytes().await.unwrap(), std::fs::read(object).unwrap());
    }
    assert_eq!(made(&server).await, 0);
    let linking = Server::start(&s3::settings(&endpoint, &[("S3_PRESIGN_SECONDS", "60")]));
    let client = Client::builder().redirect(reqwest::redirect::Policy::limited(1)).build().unwrap();
    let linked =
        client.get(linking.url(media["renditions"][1]["url"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(linked.headers()["content-type"], "image/jpeg");
    assert_eq!(linked.headers()["cache-control"], "public, max-age=31536000, immutable");
    // A file in the place of the directory in which the server of this test has such objects.
    let lost = photo_numbered(1000, 800, 3);
    let expected = upload(&Server::start(&[]), &lost).await;
    let blocked = bucket.dir().join(BUCKET).join("media").join(key(&expected));
    std::fs::write(&blocked, "foreign").unwrap();
    assert_eq!(upload(&server, &lost).await["url"], expected["url"]);
    assert_eq!(server.labelled_metric("renditions_eager_lost_total").await, 2);
}
