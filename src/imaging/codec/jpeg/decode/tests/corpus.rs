//! Photos of real phones and cameras.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::*;

/// Prints past the capture of the test harness.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Returns all JPEGs below the corpus' directory `name`. Prints a note and returns none if there is no corpus.
fn files(name: &str) -> Vec<PathBuf> {
    let corpus = std::env::var_os("VINTEDBOT_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    let mut found = Vec::new();
    let mut directories = vec![corpus.join(name)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            tell(&format!(
                "SKIPPED: there is no {}; VINTEDBOT_CORPUS names another place",
                directory.display()
            ));
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jpg" || extension == "jpeg") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Irregular files, with the reason why libjpeg-turbo decodes them.
const LEFT: [(&str, &str); 4] = [
    ("arithmetic_progressive_8mp.jpg", "arithmetic coding"),
    ("jpeg12bit_monkey.jpg", "12 bits"),
    ("jpeg_lossless_sof3.jpg", "lossless"),
    ("narrowrst.jpg", "truncated"),
];

#[test]
fn photo_is_equal_to_libjpeg_turbo_unless_irregular() {
    let (mut fast, mut left) = (0, 0);
    for path in files("photos").into_iter().chain(files("orientation")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let file = std::fs::read(&path).unwrap();
        let is_left = LEFT.iter().any(|(irregular, _)| *irregular == name);
        for divisor in [1, 2, 4, 8] {
            match decode(&file, divisor) {
                Some(Ok(ours)) => {
                    assert!(!is_left, "{name}");
                    if ours.planes.len() < 4 {
                        assert_equal(&ours, &file, divisor, name);
                    }
                }
                None | Some(Err(RegularError::Fallback(_))) => {
                    assert!(is_left, "{name} is left to libjpeg-turbo");
                }
                Some(Err(error)) => panic!("{name}: {error:?}"),
            }
        }
        *(if is_left { &mut left } else { &mut fast }) += 1;
    }
    tell(&format!("{fast} photos decoded here, {left} left to libjpeg-turbo"));
}

#[test]
fn bad_file_that_decodes_is_equal_to_libjpeg_turbo() {
    let (mut fast, mut left) = (0, 0);
    for path in files("bad").into_iter().chain(files("formats")) {
        let file = std::fs::read(&path).unwrap();
        match decode(&file, 1) {
            Some(Ok(ours)) if ours.planes.len() < 4 => {
                assert_equal(&ours, &file, 1, &path.display().to_string());
                fast += 1;
            }
            _ => left += 1,
        }
    }
    tell(&format!("{fast} odd files decoded here, {left} left to libjpeg-turbo"));
}
