//! Replays what is kept in `fuzz/`: seeds, which must pass, and earlier findings, which must stay fixed.

use std::path::Path;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 8] = [
    ("exif_orientation", super::exif_orientation),
    ("heic_avif", super::heic_avif),
    ("jpeg_pipeline", super::jpeg_pipeline),
    ("multipart_guard", super::multipart_guard),
    ("png_webp_gif_tiff", super::png_webp_gif_tiff),
    ("range_header", super::range_header),
    ("sniff", super::sniff),
    ("upload_request", super::upload_request),
];

/// Gives every file of `fuzz/<kind>/<target>` to its target, and tells how many there were.
fn replay(kind: &str) -> usize {
    let mut count = 0;
    for (name, target) in TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(name);
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            let passed = std::panic::catch_unwind(|| target(&data));
            assert!(passed.is_ok(), "{} does not pass any more", path.display());
            count += 1;
        }
    }
    count
}

#[test]
fn seeds_pass() {
    assert!(replay("seeds") > 0);
}

#[test]
fn findings_stay_fixed() {
    replay("regressions");
}
