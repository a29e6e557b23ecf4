//! Criterion benchmarks of every processing step of a photo, most of them beside another library.
//!
//! `cargo bench` runs all of them in some minutes, `cargo bench -- pipeline/jpeg` those whose id matches.
//! `BENCHMARKS.md` explains the figures. They measure the release profile with the server's allocator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::time::Duration;

use criterion::Criterion;

mod encode;
mod facts;
mod jpeg_decode;
mod multipart;
mod photos;
mod pipeline;
mod resize;
mod shared;
mod sniff;
mod upload;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // Ten samples are criterion's minimum. A photo takes tenths of a second, so more samples, or samples of growing
    // length (hence flat sampling in the slow groups), would take an hour.
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    pipeline::benches(&mut criterion);
    jpeg_decode::benches(&mut criterion);
    resize::benches(&mut criterion);
    encode::benches(&mut criterion);
    facts::benches(&mut criterion);
    multipart::benches(&mut criterion);
    sniff::benches(&mut criterion);
    upload::benches(&mut criterion);
    criterion.final_summary();
}
