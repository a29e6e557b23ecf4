//! The upload page: when and how it is served, and Chromium that drives it (`tests/clients/upload_page`).

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http_clients::program;
use crate::recipes::{CuttingProxy, album, block_on};
use crate::support::{Server, corpus};
use crate::tokens;

const PAGE: &str = "/upload";
/// Photos of the corpus that people take, with their metadata and mishaps, of several formats.
const REAL_PHOTOS: [&str; 19] = [
    "photos/apple_iphone6s_gps_train.jpg",
    "photos/huawei_nexus6p_gps.jpg",
    "photos/google_pixel6pro_P3_ultrahdr_mpf_02.jpg",
    "photos/debian_sunset_12mp_ccby.jpg",
    "photos/synthetic_iphone_12mp_P3_o6_gps.jpg",
    "photos/synthetic_motion_photo_o6.jpg",
    "photos/apple_iphone5_grey_rst_gps.jpg",
    "photos/android_trailing_garbage.jpg",
    "photos/flower_asymmetric.jpg",
    "photos/progressive_late_dht.jpg",
    "photos/cmyk_swop_icc.jpg",
    "photos/icc_big_400k.jpg",
    "formats/heic/xiaomi.heic",
    "formats/edge_1601x1200.jpg",
    "formats/exact_1600x1200.jpg",
    "formats/gif/Crash_test.gif",
    "formats/png/alpha-premultiply-1024x768.png",
    "formats/png/exif.png",
    "photos/baseline_33mp_440.jpg",
];

/// Runs a script that drives the page, and returns its output, or `None` without Node or Chromium.
fn drive(script: &str, arguments: &[&str]) -> Option<String> {
    let node = program("VINTEDBOT_TEST_NODE")?;
    program("VINTEDBOT_TEST_NODE_MODULES")?;
    program("VINTEDBOT_TEST_CHROMIUM")?;
    let home = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/upload_page").join(script);
    let output = Command::new(node).arg(path).args(arguments).env("HOME", home.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Returns the content of the only element of the page with this name.
fn content<'a>(html: &'a str, name: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("<{name}")).unwrap();
    rest.split_once('>').unwrap().1.split_once(&format!("</{name}>")).unwrap().0
}

#[tokio::test]
async fn page_runs_only_the_script_and_the_style_that_its_policy_names() {
    let server = Server::start(&[]);
    let response = server.get(PAGE).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-cache");
    assert_eq!(
        (&headers["x-content-type-options"], &headers["x-frame-options"]),
        (&"nosniff".parse().unwrap(), &"DENY".parse().unwrap())
    );
    let html = response.text().await.unwrap();
    let policy = headers["content-security-policy"].to_str().unwrap();
    let directives: Vec<&str> = policy.split("; ").collect();
    assert!(
        directives.contains(&"default-src 'none'") && directives.contains(&"connect-src 'self'"),
        "{policy}"
    );
    for (directive, name) in [("script-src", "script"), ("style-src", "style")] {
        let hash = STANDARD.encode(Sha256::digest(content(&html, name)));
        assert!(directives.contains(&format!("{directive} 'sha256-{hash}'").as_str()), "{name}: {policy}");
    }
    let again =
        Client::new().get(server.url(PAGE)).header("if-none-match", &headers["etag"]).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &headers["etag"]));
}

#[tokio::test]
async fn page_is_off_in_prod_and_where_the_setting_says_so() {
    let prod = ("ENV", "prod");
    let key = ("SECRET_KEY", "of-our-own-and-of-32-bytes-or-more");
    for (settings, status) in [
        (vec![prod, key], 404),
        (vec![prod, key, ("UPLOAD_PAGE", "true")], 200),
        (vec![("UPLOAD_PAGE", "false")], 404),
    ] {
        let server = Server::start(&settings);
        assert_eq!(server.get(PAGE).await.status(), status, "{settings:?}");
        let post = Client::new().post(server.url(PAGE)).send().await.unwrap();
        assert_eq!(post.status(), if status == 200 { 405 } else { 404 }, "{settings:?}");
    }
}

/// Returns twenty files: 19 photos, and one that is cut off. Without a corpus they are made here.
fn photos(dir: &Path) -> (Vec<PathBuf>, PathBuf) {
    let sources: Vec<(String, Vec<u8>)> = match corpus() {
        Some(corpus) => {
            let read = |path: &&str| {
                (path.rsplit('/').next().unwrap().to_owned(), std::fs::read(corpus.join(path)).unwrap())
            };
            REAL_PHOTOS.iter().map(read).collect()
        }
        None => (1..20).map(|at| (format!("photo-{at:02}.jpg"), album::photo(at).to_vec())).collect(),
    };
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let broken = album::photo(0);
    let broken = write("broken.jpg", &broken[..broken.len() / 2]);
    (sources.iter().map(|(name, bytes)| write(name, bytes)).collect(), broken)
}

#[test]
fn twenty_photos_through_cuts_and_a_reload_make_one_draft_in_the_dragged_order() {
    let server = Server::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let (photos, broken) = photos(dir.path());
    let proxy = CuttingProxy::start(server.address, 300_000..2_000_000);
    let url = proxy.url();
    let arguments: Vec<&str> = [url.as_str(), broken.to_str().unwrap()]
        .into_iter()
        .chain(photos.iter().map(|path| path.to_str().unwrap()))
        .collect();
    let Some(shown) = drive("album.mjs", &arguments) else { return };
    let shown: Vec<String> = serde_json::from_str(&shown).unwrap();
    println!("{} cuts, {} bytes passed on", proxy.cuts(), proxy.passed());
    assert!(proxy.cuts() >= 2, "{} cuts", proxy.cuts());
    let page: Value =
        block_on(async { server.get("/api/v1/listings?limit=100").await.json().await.unwrap() });
    let drafts = page["items"].as_array().unwrap();
    assert_eq!(drafts.len(), 1, "{page}");
    assert_eq!(drafts[0]["title"], "Through a tunnel");
    let stored = |name: &String| {
        let photo = std::fs::read(dir.path().join(name)).unwrap();
        let request = Client::new().post(server.url("/api/v1/uploads")).body(photo);
        let upload: Value = block_on(async { request.send().await.unwrap().json().await.unwrap() });
        upload["media"]["url"].as_str().unwrap().to_owned()
    };
    let expected: Vec<String> = shown.iter().map(stored).collect();
    assert_eq!(expected.len(), 19);
    assert_eq!(album::urls(&drafts[0]), expected, "{shown:?}");
}

/// Takes the screenshots of the documents with `UPDATE_DOCS=1`.
#[test]
fn page_fits_each_width_and_axe_finds_nothing_serious() {
    let server = Server::start(&[]);
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screenshots");
    let url = server.url("");
    let mut arguments = vec![url.as_str()];
    if std::env::var_os("UPDATE_DOCS").is_some() {
        arguments.push(pictures.to_str().unwrap());
    }
    drive("looks.mjs", &arguments);
}

#[test]
fn page_asks_for_the_token_that_the_server_demands() {
    let server = Server::start(&[("AUTH_REQUIRED", "true"), tokens::SECRET]);
    let token = tokens::token(&server, "7", "1h");
    let dir = tempfile::tempdir().unwrap();
    let photos = album::write(&dir, 2);
    let url = server.url("");
    let arguments = [&url, token.as_str(), photos[0].to_str().unwrap(), photos[1].to_str().unwrap()];
    let Some(id) = drive("token.mjs", &arguments) else { return };
    let request =
        Client::new().get(server.url(&format!("/api/v1/listings/{}", id.trim()))).bearer_auth(&token);
    let draft: Value = block_on(async { request.send().await.unwrap().json().await.unwrap() });
    assert_eq!(draft["photos"].as_array().map(Vec::len), Some(2), "{draft}");
}
