//! Parsing a multipart body of four photos, by the size of the frames in which it arrives.
//!
//! Compared with multer, which copies every byte. The body here is always ready; multer then buffers all of it before
//! it returns any part.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use futures_util::stream;
use vintedbot_ingest::ingest::parts::{Parts, StreamError};

const BOUNDARY: &str = "----vintedbot-bench";
const PHOTOS: usize = 4;
const PHOTO_BYTES: usize = 2 << 20;

pub(crate) fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = body();
    let mut group = criterion.benchmark_group("multipart");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for (label, piece) in [("1k", 1 << 10), ("16k", 16 << 10), ("64k", 64 << 10), ("1m", 1 << 20)] {
        group.bench_function(format!("{label}/ours"), |bencher| {
            bencher.iter(|| assert_eq!(runtime.block_on(ours(pieces(&body, piece))), PHOTOS * PHOTO_BYTES));
        });
        group.bench_function(format!("{label}/multer"), |bencher| {
            bencher.iter(|| assert_eq!(runtime.block_on(multer(pieces(&body, piece))), PHOTOS * PHOTO_BYTES));
        });
    }
    group.finish();
}

/// Random bytes, like compressed photos.
fn body() -> Bytes {
    let mut body = Vec::new();
    let mut state = 1u64;
    for number in 0..PHOTOS {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{number}.jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        for _ in 0..PHOTO_BYTES / 8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            body.extend_from_slice(&(state ^ state >> 29).to_le_bytes());
        }
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

fn pieces(
    body: &Bytes,
    size: usize,
) -> impl stream::Stream<Item = Result<Bytes, StreamError>> + Send + 'static {
    let body = body.clone();
    stream::iter((0..body.len()).step_by(size).map(move |at| Ok(body.slice(at..body.len().min(at + size)))))
}

async fn ours(body: impl stream::Stream<Item = Result<Bytes, StreamError>> + Send + 'static) -> usize {
    let mut parts = Parts::new(body, BOUNDARY, u64::MAX, PHOTOS);
    let mut read = 0;
    while let Some(mut part) = parts.next().await.unwrap() {
        while let Some(chunk) = part.chunk().await.unwrap() {
            read += black_box(chunk).len();
        }
    }
    read
}

async fn multer(body: impl stream::Stream<Item = Result<Bytes, StreamError>> + Send + 'static) -> usize {
    let mut parts = multer::Multipart::new(body, BOUNDARY);
    let mut read = 0;
    while let Some(mut part) = parts.next_field().await.unwrap() {
        while let Some(chunk) = part.chunk().await.unwrap() {
            read += black_box(chunk).len();
        }
    }
    read
}
