//! Runs the recipes for resumable uploads out of docs/api.md, through a proxy that cuts the connections.

pub(crate) mod album;
mod browser;
mod cutting_proxy;
mod requests;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use self::album::PHOTOS;
pub(crate) use self::cutting_proxy::CuttingProxy;
use crate::http_clients::program;
use crate::support::{Server, file, form, noise};

/// The bytes of requests after which the proxy cuts a connection.
const FEW_OR_MANY: Range<usize> = 50_000..2_000_000;
/// So few that the proxy cuts each photo.
const FEW: Range<usize> = 200_000..700_000;
/// What a client may have to send again after each cut: bytes that were on their way.
const STEP: u64 = 1 << 20;
/// More than the JSON from which a draft is made.
const JSON: u64 = 2048;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the first block of code in this language below a heading of docs/api.md.
fn recipe(heading: &str, language: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/api.md")).unwrap();
    let (_, section) = text.split_once(&format!("\n#### {heading}\n")).expect("the heading is there");
    let (_, block) = section.split_once(&format!("\n```{language}\n")).expect("the section has code");
    block.split_once("\n```\n").unwrap().0.to_owned()
}

/// Returns a directory with a recipe, the files of `tests/clients` that use it, and the packages that it imports.
fn workshop(recipe: &str, name: &str, users: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), recipe).unwrap();
    for user in users {
        std::fs::copy(root().join("tests/clients").join(user), dir.path().join(user)).unwrap();
    }
    if let Ok(packages) = std::env::var("VINTEDBOT_TEST_NODE_MODULES") {
        std::os::unix::fs::symlink(packages, dir.path().join("node_modules")).unwrap();
    }
    dir
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server, and a proxy before it.
struct Route {
    server: Server,
    proxy: CuttingProxy,
}

impl Route {
    fn new(cuts: Range<usize>) -> Self {
        let server = Server::start(&[]);
        let proxy = CuttingProxy::start(server.address, cuts);
        Self { server, proxy }
    }

    /// Asserts that the first `count` photos of the album arrived through many cuts, that the server took none of their bytes
    /// twice, and that what clients sent in vain is less than the step for each cut. Chromium sends the most, because it repeats a
    /// PATCH by itself.
    fn assert_economical(&self, count: usize) {
        let (passed, cuts, bytes) = (self.proxy.passed(), self.proxy.cuts(), album::bytes(count));
        let read = self.server.metric("http_request_body_bytes_total");
        println!(
            "{count} photos of {bytes} bytes: {cuts} cuts, {passed} bytes passed on, {read} read of bodies"
        );
        assert!(cuts >= (count as u64).div_ceil(2), "{cuts} cuts");
        assert!(read <= bytes + JSON, "{read} of {bytes}");
        assert!((bytes..=bytes + cuts * STEP).contains(&passed), "{passed} of {bytes} after {cuts} cuts");
    }

    /// Asserts that this is the only draft, and that it has the photos that a form of the album gives.
    fn assert_same_as_plain(&self, draft: &Value, count: usize) {
        assert_eq!(album::urls(draft), album::plain(count), "{draft}");
        let page: Value =
            block_on(async { self.server.get("/api/v1/listings?limit=100").await.json().await.unwrap() });
        assert_eq!(page["items"], Value::from(vec![draft.clone()]));
    }
}

/// Makes a draft of uploads by their ids.
fn draft_of(server: &Server, uploads: &Value) -> Value {
    block_on(async {
        let request = reqwest::Client::new().post(server.url("/api/v1/listings"));
        let created = request.json(&serde_json::json!({"uploads": uploads})).send().await.unwrap();
        assert_eq!(created.status(), 201);
        created.json().await.unwrap()
    })
}

#[test]
fn curl_recipe_continues_after_each_cut() {
    let Some(curl) = program("VINTEDBOT_TEST_CURL") else {
        return;
    };
    let route = Route::new(FEW);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("front.jpg"), album::photo(0)).unwrap();
    let script = recipe("curl", "sh").replace("http://127.0.0.1:8000", &route.proxy.url());
    let path =
        [Path::new(&curl).parent().unwrap().to_str().unwrap(), &std::env::var("PATH").unwrap()].join(":");
    let shown = output(Command::new("sh").current_dir(&dir).env("PATH", path).args(["-c", &script]));
    let upload: Value = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}"));
    route.assert_economical(1);
    route.assert_same_as_plain(&draft_of(&route.server, &serde_json::json!([upload["id"]])), 1);
}

#[test]
fn python_recipe_continues_after_each_cut() {
    let Some(python) = program("VINTEDBOT_TEST_PYTHON") else {
        return;
    };
    let route = Route::new(FEW);
    let dir = workshop(&recipe("Python", "python"), "recipe.py", &["resume_with_requests.py"]);
    let photos = album::write(&dir, 1);
    let script = dir.path().join("resume_with_requests.py");
    let ids = output(Command::new(python).arg(script).arg(route.proxy.url()).args(photos));
    route.assert_economical(1);
    route.assert_same_as_plain(&draft_of(&route.server, &serde_json::from_str(&ids).unwrap()), 1);
}

/// Runs a recipe in JavaScript under Node.
fn in_node(recipe: &str, cuts: Range<usize>, photos: usize) {
    let (Some(node), Some(_)) = (program("VINTEDBOT_TEST_NODE"), program("VINTEDBOT_TEST_NODE_MODULES"))
    else {
        return;
    };
    let route = Route::new(cuts);
    let dir = workshop(recipe, "recipe.mjs", &["make_draft.mjs", "resume_in_node.mjs"]);
    let photos_in_files: Vec<PathBuf> = album::write(&dir, photos);
    let script = dir.path().join("resume_in_node.mjs");
    let draft = output(Command::new(node).arg(script).arg(route.proxy.url()).args(photos_in_files));
    route.assert_economical(photos);
    route.assert_same_as_plain(&serde_json::from_str(&draft).unwrap(), photos);
}

/// Runs a recipe in JavaScript in Chromium.
fn in_browser(recipe: &str) {
    let (Some(node), Some(packages), Some(chromium)) = (
        program("VINTEDBOT_TEST_NODE"),
        program("VINTEDBOT_TEST_NODE_MODULES"),
        program("VINTEDBOT_TEST_CHROMIUM"),
    ) else {
        return;
    };
    let route = Route::new(FEW_OR_MANY);
    let dir = workshop(recipe, "recipe.mjs", &["make_draft.mjs", "resume_in_browser.mjs"]);
    let bundle = output(
        Command::new(node)
            .arg(Path::new(&packages).join("esbuild/bin/esbuild"))
            .arg(dir.path().join("resume_in_browser.mjs"))
            .args(["--bundle", "--format=esm", "--log-level=error"]),
    );
    let query = format!("server={}&photos={PHOTOS}", route.proxy.url());
    let draft = browser::run(&chromium, bundle.into_bytes(), &query);
    route.assert_economical(PHOTOS);
    let draft = serde_json::from_str(&draft).unwrap_or_else(|_| panic!("{draft}"));
    route.assert_same_as_plain(&draft, PHOTOS);
}

#[test]
fn tus_js_client_recipe_continues_after_each_cut_in_node() {
    in_node(&recipe("tus-js-client", "js"), FEW_OR_MANY, PHOTOS);
}

#[test]
fn tus_js_client_recipe_continues_after_each_cut_in_chromium() {
    in_browser(&recipe("tus-js-client", "js"));
}

#[test]
fn recipe_of_our_client_continues_after_each_cut_in_chromium() {
    let client = root().join("clients/js/src/index.js");
    let recipe = recipe("vintedbot-uploads", "js");
    in_browser(&recipe.replace("'vintedbot-uploads'", &format!("'{}'", client.display())));
}

#[test]
fn uppy_recipe_continues_after_each_cut_in_chromium() {
    in_browser(&recipe("Uppy", "js"));
}

/// Not in Chromium, which sends a PATCH again by itself when its connection breaks. If that ends a HEAD, this client begins a new
/// upload after the 409. In tus it gets 423, and tries again.
#[test]
fn tus_js_client_continues_after_each_cut_by_drafts_of_the_ietf() {
    let recipe = recipe("tus-js-client", "js");
    let options = "new Upload(file, {\n";
    assert!(recipe.contains(options));
    // Interop versions 5 and 6.
    for protocol in ["ietf-draft-03", "ietf-draft-05"] {
        let recipe = recipe.replace(options, &format!("{options}protocol: '{protocol}',\n"));
        in_node(&recipe, FEW, 5);
    }
}

/// Sends the requests that docs/api.md shows below a heading, after `change`, and compares the photo with that of a form.
fn replay(heading: &str, change: impl Fn(&str) -> String) {
    let server = Server::start(&[]);
    let photo = with_length(&noise(480, 480, 1), 245_678);
    let path = requests::replay(&server, &change(&recipe(heading, "http")), &photo);
    let (upload, plain): (Value, _) = block_on(async {
        (server.get(&path).await.json().await.unwrap(), server.upload(form(&[file(&photo)])).await.1)
    });
    assert_eq!((&upload["state"], &upload["length"]), (&"finished".into(), &photo.len().into()));
    assert_eq!(upload["media"], plain["photos"][0]["media"]);
}

/// Makes a JPEG longer by comments.
fn with_length(jpeg: &[u8], length: usize) -> Vec<u8> {
    let (start, rest) = jpeg.split_at(2);
    let (mut bytes, mut missing) = (start.to_vec(), length - jpeg.len());
    while missing > 0 {
        // Marker and length take four bytes, which the next comment needs as well.
        let segment = if missing <= 60_000 { missing } else { 50_000 };
        bytes.extend([0xFF, 0xFE]);
        bytes.extend(u16::try_from(segment - 2).unwrap().to_be_bytes());
        bytes.extend(vec![b'x'; segment - 4]);
        missing -= segment;
    }
    [&bytes, rest].concat()
}

#[test]
fn requests_of_the_swift_recipe_upload_a_photo() {
    replay("Swift", str::to_owned);
}

#[test]
fn requests_of_ios_18_upload_a_photo() {
    replay("Swift", |block| block.replace("Interop-Version: 8", "Interop-Version: 6"));
}

#[test]
fn requests_of_the_kotlin_recipe_upload_a_photo() {
    replay("Kotlin", str::to_owned);
}
