//! Replays the files in `fuzz/`: seeds, and earlier findings that must stay fixed.

use std::path::{Path, PathBuf};

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 9] = [
    ("exif_orientation", super::exif_orientation),
    ("heic_avif", super::heic_avif),
    ("jpeg_pipeline", super::jpeg_pipeline),
    ("multipart_guard", super::multipart_guard),
    ("png_webp_gif_tiff", super::png_webp_gif_tiff),
    ("range_header", super::range_header),
    ("sniff", super::sniff),
    ("upload_request", super::upload_request),
    ("work_budget", super::work_budget),
];

/// Runs each target on its committed files in `fuzz/<kind>/<target>`. Returns the number of files and those that failed.
fn replay(kind: &str) -> (usize, Vec<PathBuf>) {
    let (mut count, mut failed) = (0, Vec::new());
    for (name, target) in TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(name);
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            // Files that a campaign added have their SHA-1 as name. There may be thousands of them.
            if path.file_name().unwrap().len() == 40 {
                continue;
            }
            let data = std::fs::read(&path).unwrap();
            count += 1;
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                failed.push(path);
            }
        }
    }
    (count, failed)
}

#[test]
fn seeds_pass_their_targets() {
    let (count, failed) = replay("corpus");
    assert!(count >= 100 && failed.is_empty(), "of {count}: {failed:?}");
}

#[test]
fn earlier_findings_pass_their_targets() {
    let (_, failed) = replay("regressions");
    assert!(failed.is_empty(), "{failed:?}");
}
