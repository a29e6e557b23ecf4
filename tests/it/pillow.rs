//! Compares our pictures with those of Pillow, and our colours with those of LittleCMS.

use std::process::Command;

use serde::Deserialize;

use crate::http_clients::program;
use crate::support::{Server, corpus};

#[derive(Debug, Deserialize)]
struct Judged {
    name: String,
    psnr: Option<f64>,
    delta_e: Option<f64>,
}

/// Runs the comparison script on these files.
fn judged(server: &Server, python: &str, files: Option<&std::ffi::OsStr>) -> Vec<Judged> {
    judged_by("pillow_pictures.py", server, python, files)
}

/// Runs another script on these files.
fn judged_by(name: &str, server: &Server, python: &str, files: Option<&std::ffi::OsStr>) -> Vec<Judged> {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name);
    let output =
        Command::new(python).arg(script).args([&server.url(""), QUALITY]).args(files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A quality that loses little, so that the test compares the pictures and not JPEG's rounding.
const QUALITY: &str = "95";

#[test]
fn accepted_files_match_pillow() {
    let (Some(corpus), Some(python)) = (corpus(), program("VINTEDBOT_TEST_PYTHON")) else { return };
    let server = Server::start(&[("JPEG_QUALITY", QUALITY)]);
    let judged = judged(&server, &python, Some(corpus.as_os_str()));
    let read: Vec<_> = judged.iter().filter(|file| file.psnr.is_some()).collect();
    let coloured: Vec<_> = judged.iter().filter_map(|file| file.delta_e.map(|e| (&file.name, e))).collect();
    println!("{} files, {} of them read by Pillow", judged.len(), read.len());
    println!("mean CIEDE2000: {coloured:.2?}");
    assert!(read.len() * 10 > judged.len() * 9 && coloured.len() > 5);
    let unlike: Vec<_> = read.iter().filter(|file| file.psnr.is_some_and(|psnr| psnr < 27.0)).collect();
    assert!(unlike.is_empty(), "{unlike:.1?}");
    let off: Vec<_> = coloured.iter().filter(|(_, delta_e)| *delta_e >= 2.0).collect();
    assert!(off.is_empty(), "{off:.2?}");
}

#[test]
fn renditions_match_pillow() {
    assert_renditions_match_pillow(&[]);
}

#[test]
fn renditions_that_are_made_with_the_photo_match_pillow() {
    assert_renditions_match_pillow(&[("RENDITIONS_EAGER", "true")]);
}

#[track_caller]
fn assert_renditions_match_pillow(settings: &[(&str, &str)]) {
    let (Some(corpus), Some(python)) = (corpus(), program("VINTEDBOT_TEST_PYTHON")) else { return };
    let server = Server::start(settings);
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/pillow_renditions.py");
    let output = Command::new(python).arg(script).arg(server.url("")).arg(corpus).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let judged: Vec<Judged> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(judged.len() >= 30, "{}", judged.len());
    let unlike: Vec<_> = judged.iter().filter(|file| file.psnr.is_none_or(|psnr| psnr < 30.0)).collect();
    assert!(unlike.is_empty(), "{unlike:.1?}");
}

#[test]
fn webp_of_every_coding_and_png_without_end_match_pillow() {
    let Some(python) = program("VINTEDBOT_TEST_PYTHON") else { return };
    let server = Server::start(&[("JPEG_QUALITY", QUALITY)]);
    let judged = judged(&server, &python, Some(std::ffi::OsStr::new("rasters")));
    assert_eq!(judged.len(), 4 * 7 + 4 + 4 + 2);
    let unlike: Vec<_> = judged.iter().filter(|file| file.psnr.is_none_or(|psnr| psnr < 30.0)).collect();
    assert!(unlike.is_empty(), "{unlike:.1?}");
}

#[test]
fn every_orientation_of_every_format_is_upright() {
    let Some(python) = program("VINTEDBOT_TEST_PYTHON") else { return };
    let server = Server::start(&[("JPEG_QUALITY", QUALITY)]);
    let judged = judged(&server, &python, None);
    assert_eq!(judged.len(), 4 * 8);
    for file in judged {
        assert!(file.psnr.is_some_and(|psnr| psnr > 27.0), "{file:.1?}");
    }
}

/// The test card is smooth, so a sample that is off by one position costs more than 10 dB.
#[test]
fn every_kind_of_tiff_matches_libtiff() {
    let Some(python) = program("VINTEDBOT_TEST_PYTHON") else { return };
    let server = Server::start(&[("JPEG_QUALITY", QUALITY)]);
    let judged = judged(&server, &python, Some("tiff".as_ref()));
    assert!(judged.len() > 200, "{}", judged.len());
    let unlike: Vec<_> = judged.iter().filter(|file| file.psnr.is_none_or(|psnr| psnr < 38.0)).collect();
    assert!(unlike.is_empty(), "{unlike:.1?}");
}

#[test]
fn unusual_jpegs_and_orientations_match_pillow() {
    let Some(python) = program("VINTEDBOT_TEST_PYTHON") else { return };
    let server = Server::start(&[("JPEG_QUALITY", QUALITY)]);
    let judged = judged_by("pillow_unusual.py", &server, &python, None);
    assert!(judged.len() > 100, "{}", judged.len());
    let unlike: Vec<_> = judged.iter().filter(|file| file.psnr.is_none_or(|psnr| psnr < 33.0)).collect();
    assert!(unlike.is_empty(), "{unlike:.1?}");
}
