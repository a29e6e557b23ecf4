//! JPEGs made to be expensive: none costs more than the limits of a photo.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use crate::support::{Server, file, form};

/// The size limit of a photo.
const MAX_BYTES: usize = 15 << 20;
/// Processor time limit of a photo, plus one second for the rest of the request.
const MAX_SECONDS: f64 = 6.0;
/// The default memory budget, and what the process may use in addition, in KiB.
const MAX_MEMORY: u64 = (256 + 150) << 10;

/// Returns a JPEG of 64 x 64 pixels of noise.
fn noise(subsampling: Subsamp, set: impl Fn(&mut Compressor)) -> Vec<u8> {
    let mut state = 1_u32;
    let pixels: Vec<u8> = (0..64 * 64 * 3)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let mut encoder = Compressor::new().unwrap();
    encoder.set_quality(100).unwrap();
    encoder.set_subsamp(subsampling).unwrap();
    set(&mut encoder);
    let image =
        Image { pixels: pixels.as_slice(), width: 64, pitch: 64 * 3, height: 64, format: PixelFormat::RGB };
    encoder.compress_to_vec(image).unwrap()
}

fn place(jpeg: &[u8], is_wanted: impl Fn(u8) -> bool) -> usize {
    jpeg.windows(2).position(|pair| pair[0] == 0xFF && is_wanted(pair[1])).unwrap()
}

/// Changes the frame to declare `side` x `side` pixels.
fn forged(jpeg: &[u8], side: u16) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let frame = place(&jpeg, |marker| matches!(marker, 0xC0..=0xC3 | 0xC9 | 0xCA));
    jpeg[frame + 5..frame + 9].copy_from_slice(&[side.to_be_bytes(), side.to_be_bytes()].concat());
    jpeg
}

/// Repeats the last scan, with the tables before it, `times` times or up to the size limit.
fn with_scans(jpeg: &[u8], times: usize) -> Vec<u8> {
    let last = jpeg.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    let scan = &jpeg[last..jpeg.len() - 2];
    let times = times.min((MAX_BYTES - jpeg.len()) / scan.len());
    [&jpeg[..jpeg.len() - 2], &scan.repeat(times), b"\xff\xd9"].concat()
}

/// Inserts as many segments as fit before the frame.
fn with_segments(jpeg: &[u8], segment: &[u8]) -> Vec<u8> {
    let frame = place(jpeg, |marker| matches!(marker, 0xC0..=0xC3 | 0xC9 | 0xCA));
    let times = (MAX_BYTES - jpeg.len()) / segment.len();
    [&jpeg[..frame], &segment.repeat(times), &jpeg[frame..]].concat()
}

#[tokio::test]
async fn expensive_jpeg_stays_within_the_limits_of_a_photo() {
    let server = Server::start(&[("WORKERS", "1")]);
    let progressive = noise(Subsamp::None, |encoder| encoder.set_progressive(true).unwrap());
    let arithmetic = noise(Subsamp::None, |encoder| encoder.set_arithmetic(true).unwrap());
    let both = noise(Subsamp::None, |encoder| {
        encoder.set_progressive(true).unwrap();
        encoder.set_arithmetic(true).unwrap();
    });
    let lossless = noise(Subsamp::None, |encoder| encoder.set_lossless(true).unwrap());
    let plain = noise(Subsamp::None, |_| {});
    // A restart interval of one MCU, with all markers missing.
    let restarts = with_segments(&forged(&plain, 65_000), b"\xff\xdd\0\x04\0\x01");
    let table = [&b"\xff\xc4\0\x14\0\x01"[..], &[0; 15], &[0]].concat();
    let profile = [&b"\xff\xe2\0\x10ICC_PROFILE\0\x01\x01"[..]].concat();
    let files = [
        ("100 scans of 15 million pixels", with_scans(&forged(&progressive, 3900), 85)),
        ("100 scans of 33 million pixels", with_scans(&forged(&progressive, 5700), 85)),
        ("arithmetic codes that are admitted", forged(&arithmetic, 2600)),
        ("arithmetic codes", forged(&arithmetic, 10_000)),
        ("arithmetic codes in scans", with_scans(&forged(&both, 1500), 80)),
        ("lossless", forged(&lossless, 8000)),
        ("restarts", restarts),
        ("tables", with_segments(&progressive, &table)),
        ("comments", with_segments(&progressive, b"\xff\xfe\0\x02")),
        ("profile chunks", with_segments(&progressive, &profile)),
        ("empty APP2 segments", with_segments(&forged(&arithmetic, 2600), b"\xff\xe2\0\x02")),
    ];
    for (name, bytes) in files {
        assert!(bytes.len() <= MAX_BYTES, "{name}");
        let before = server.cpu_seconds();
        let (status, answer) = server.upload(form(&[file(&bytes)])).await;
        let took = server.cpu_seconds() - before;
        println!("{name}: {} KiB, {status}, {took:.2} s", bytes.len() >> 10);
        assert!(matches!(status, 201 | 422), "{name}: {status} {answer}");
        assert!(took < MAX_SECONDS, "{name}: {took} s of processor time");
        assert!(server.peak_memory() < MAX_MEMORY, "{name}: {} KiB", server.peak_memory());
    }
}
