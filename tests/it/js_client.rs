//! The client of clients/js: its own tests under Node, against a server and through a proxy that cuts connections, and its types.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::http_clients::program;
use crate::recipes::{CuttingProxy, album};
use crate::support::{Server, card, with_exif};

/// Photos that its uploads through the proxy are made of.
const PHOTOS: usize = 8;

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js")
}

/// Writes the photos that the tests of the client read.
fn write_photos(dir: &tempfile::TempDir) {
    album::write(dir, PHOTOS);
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    // Whole blocks, so that the pixels at the edges are the same in each orientation.
    let plain = card(320, 240);
    write("plain.jpg", &plain);
    write("broken.jpg", &album::photo(0)[..album::photo(0).len() / 2]);
    for orientation in 1..=8 {
        write(&format!("orientation {orientation}.jpg"), &with_exif(&plain, orientation));
    }
    let pixels = image::RgbImage::from_fn(64, 32, |x, y| {
        image::Rgb([u8::from(x < 32) * 255, u8::from(y < 16) * 255, 0])
    });
    pixels.save(dir.path().join("plain.png")).unwrap();
}

#[test]
fn tests_of_the_js_client_pass_under_node() {
    let Some(node) = program("VINTEDBOT_TEST_NODE") else {
        return;
    };
    let server = Server::start(&[]);
    let proxy = CuttingProxy::start(server.address, 200_000..900_000);
    let dir = tempfile::tempdir().unwrap();
    write_photos(&dir);
    let mut tests: Vec<_> =
        std::fs::read_dir(package().join("test")).unwrap().map(|file| file.unwrap().path()).collect();
    tests.retain(|path| path.to_str().unwrap().ends_with(".test.js"));
    let output = Command::new(node)
        .args(["--test", "--test-reporter=tap"])
        .args(&tests)
        .env("VINTEDBOT_TEST_SERVER", server.url(""))
        .env("VINTEDBOT_TEST_PROXY", proxy.url())
        .env("VINTEDBOT_TEST_PHOTOS", dir.path())
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    assert!(report.contains("\n# skipped 0\n"), "{report}");
    let (cuts, passed, bytes) = (proxy.cuts(), proxy.passed(), album::bytes(PHOTOS));
    println!("{PHOTOS} photos of {bytes} bytes: {cuts} cuts, {passed} bytes passed on");
    assert!(cuts >= PHOTOS as u64, "{cuts} cuts");
    // After a cut only what was on its way is sent again.
    assert!(passed <= bytes + cuts * (1 << 20), "{passed} of {bytes} after {cuts} cuts");
}

/// Runs the compiler of TypeScript in the package.
fn compile(arguments: &[&str]) -> Option<()> {
    let (node, modules) = (program("VINTEDBOT_TEST_NODE")?, program("VINTEDBOT_TEST_NODE_MODULES")?);
    let output = Command::new(node)
        .current_dir(package())
        .arg(Path::new(&modules).join("typescript/bin/tsc"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(())
}

#[test]
fn js_client_and_page_have_sound_types() {
    let _ = compile(&["-p", "tsconfig.json"]);
}

/// Each sentence of the README's start is a promise about the types that are published.
#[test]
fn program_in_typescript_compiles_against_the_published_types() {
    let dir = tempfile::tempdir().unwrap();
    let types = dir.path().join("node_modules/vintedbot-uploads/types");
    if compile(&["-p", "tsconfig.types.json", "--outDir", types.to_str().unwrap()]).is_none() {
        return;
    }
    let manifest = std::fs::read(package().join("package.json")).unwrap();
    std::fs::write(types.join("../package.json"), manifest).unwrap();
    let readme = std::fs::read_to_string(package().join("README.md")).unwrap();
    let (_, start) = readme.split_once("\n```js\n").expect("the README has a start");
    let start = start.split_once("\n```\n").unwrap().0;
    assert!(start.lines().count() <= 10, "ten lines to start:\n{start}");
    let program = dir.path().join("start.mts");
    let more = "\nconst price: number | null = draft.price_suggested;\nconsole.log(price);\n";
    std::fs::write(
        &program,
        format!("declare const input: HTMLInputElement & {{ files: FileList }};\n{start}{more}"),
    )
    .unwrap();
    let program = program.to_str().unwrap();
    let _ = compile(&[
        "--ignoreConfig",
        "--strict",
        "--noEmit",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--types",
        "",
        program,
    ]);
}
