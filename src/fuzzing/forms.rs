//! Fuzz targets for multipart bodies, file signatures and Range headers.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream;
use tokio::runtime::Runtime;

use super::{next, seed_of};
use crate::imaging::{self, Format, Recipe};
use crate::ingest::boundary::boundary;
use crate::ingest::parts::{Parts, PartsError};
use crate::ingest::sniff::{HEAD_BYTES, Sniffed};
use crate::web::range::{Requested, requested};

/// Name, file name and data of each part.
type Seen = Vec<(String, Option<String>, Vec<u8>)>;

/// Maximum number of photos in a body.
const PHOTOS: usize = 3;

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().build().unwrap());
}

/// Parses a body whose `Content-Type` is the first line of `data`. Names, file names, contents and result must not depend on
/// how the body is split into frames, and limits must hold.
pub fn multipart_guard(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (content_type, body) = (&data[..end], &data[end + 1..]);
    let Some(boundary) = std::str::from_utf8(content_type).ok().and_then(|text| boundary(text).ok()) else {
        return;
    };
    assert!((1..=70).contains(&boundary.len()));
    let (whole, _) = read(body, &mut |rest| rest, &boundary, u64::MAX);
    if let Ok(parts) = &whole {
        check_invariants(parts, body, &boundary);
    }
    let mut seed = seed_of(data) | 1;
    let (bytewise, _) = read(body, &mut |_| 1, &boundary, u64::MAX);
    assert_eq!(bytewise, whole, "byte by byte");
    for most in [7, 700] {
        let mut cut = |_| usize::try_from(next(&mut seed) % most).unwrap() + 1;
        let (random, _) = read(body, &mut cut, &boundary, u64::MAX);
        assert_eq!(random, whole, "in frames of up to {most}");
    }
    let max = next(&mut seed) % (body.len() as u64 + 1);
    let mut cut = |_| usize::try_from(next(&mut seed) % 64).unwrap() + 1;
    let (capped, taken) = read(body, &mut cut, &boundary, max);
    assert!(taken <= max + 64, "{taken} bytes were read, limit {max}");
    assert!(capped == whole || capped == Err(PartsError::TooLarge { max }), "{capped:?} within {max}");
}

fn check_invariants(parts: &Seen, body: &[u8], boundary: &str) {
    assert!(parts.len() <= PHOTOS + 100);
    let delimiter = format!("\r\n--{boundary}");
    for (_, filename, data) in parts {
        let is_shown = |name: &str| name.chars().count() <= 255 && !name.chars().any(char::is_control);
        assert!(filename.as_deref().is_none_or(is_shown), "{filename:?} is not safe to show");
        assert!(
            data.is_empty() || body.windows(data.len()).any(|window| window == data),
            "data is not in the body"
        );
        assert!(
            !data.windows(delimiter.len()).any(|window| window == delimiter.as_bytes()),
            "a part contains a delimiter"
        );
    }
}

/// Parses `body` in frames of the lengths that `cut` returns. Also returns the number of bytes read.
fn read(
    body: &[u8],
    cut: &mut dyn FnMut(usize) -> usize,
    boundary: &str,
    max: u64,
) -> (Result<Seen, PartsError>, u64) {
    let mut frames = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (frame, tail) = rest.split_at(cut(rest.len()).min(rest.len()));
        frames.push(Bytes::copy_from_slice(frame));
        rest = tail;
    }
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    let frames = frames.into_iter().map(move |frame| {
        count.fetch_add(frame.len() as u64, Ordering::Relaxed);
        Ok(frame)
    });
    let mut parts = Parts::new(stream::iter(frames), boundary, max, PHOTOS);
    let reading = async {
        let mut seen = Vec::new();
        while let Some(mut part) = parts.next().await? {
            let mut data = Vec::new();
            while let Some(chunk) = part.chunk().await? {
                assert!(!chunk.is_empty());
                data.extend_from_slice(&chunk);
            }
            seen.push((part.name().to_owned(), part.filename().map(str::to_owned), data));
        }
        Ok(seen)
    };
    let seen = RUNTIME.with_borrow(|runtime| runtime.block_on(reading));
    (seen, taken.load(Ordering::Relaxed))
}

const RECIPE: Recipe = super::pictures::RECIPE;

/// Detects the type of a file by its first bytes. The type must be a known one, only images have a decoder, and
/// reading the declared size must not panic.
pub fn sniff(data: &[u8]) {
    // A separate allocation makes reads beyond its end visible to the sanitizer.
    let head: Box<[u8]> = data[..data.len().min(HEAD_BYTES)].into();
    let Sniffed { mime, format, text } = crate::ingest::sniff::sniff(&head);
    assert_eq!(format, mime.and_then(Format::from_mime));
    assert!(text.is_none() || mime.is_none(), "{text:?} is text and {mime:?}");
    if let Some(mime) = mime {
        assert!(mime.starts_with("image/") || infer::is_mime_supported(mime), "{mime} is not a known type");
        assert!(format.is_none() || mime.starts_with("image/"), "{mime} is not an image but has a decoder");
    }
    if let Some(format) = format {
        let _verdict = imaging::check_declared(format, &head, &RECIPE);
    }
}

/// Evaluates a `Range` header (second line) for a file length (first line). The result must follow RFC 9110 section 14.
pub fn range_header(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((length, header)) = text.split_once('\n') else { return };
    let Ok(length) = length.parse::<u64>() else { return };
    let answer = requested(Some(header), length);
    if let Requested::Part(range) = &answer {
        assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
    }
    assert_eq!(answer, reference(header, length), "{header:?} of {length}");
    assert_eq!(requested(None, length), Requested::Whole);
}

/// Implements `Range` as a reference: follows the grammar, with numbers that cannot overflow.
fn reference(header: &str, length: u64) -> Requested {
    let Some((unit, spec)) = header.split_once('=') else { return Requested::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Requested::Whole };
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || !are_digits(first) || !are_digits(last) {
        return Requested::Whole;
    }
    // A number that does not fit u128 exceeds any length.
    let number = |digits: &str| digits.parse::<u128>().unwrap_or(u128::MAX);
    let padded = |digits: &str| format!("{digits:0>width$}", width = header.len());
    let length = u128::from(length);
    let (start, end) = match (first, last) {
        ("", "") => return Requested::Whole,
        ("", suffix) => (length.saturating_sub(number(suffix)), length),
        (first, "") => (number(first), length),
        (first, last) if padded(first) > padded(last) => return Requested::Whole,
        (first, last) => (number(first), number(last).saturating_add(1).min(length)),
    };
    if start >= end {
        return Requested::Unsatisfiable;
    }
    Requested::Part(u64::try_from(start).unwrap()..u64::try_from(end).unwrap())
}
