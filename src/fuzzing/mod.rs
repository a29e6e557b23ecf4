//! The fuzz targets of `fuzz/`.
//!
//! The module is compiled only for fuzzing and tests. Each target accepts any bytes and panics if an invariant is broken.
//! `fuzz/README.md` explains how to run them. The tests here replay seeds and earlier findings without a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a target reports a finding by a panic"
)]

mod cost;
mod forms;
mod net;
mod pictures;
mod service;
#[cfg(test)]
mod tests;

pub use self::cost::{count_allocated, work_budget};
pub use self::forms::{multipart_guard, range_header, sniff};
pub use self::pictures::{exif_orientation, heic_avif, jpeg_pipeline, png_webp_gif_tiff};
pub use self::service::upload_request;

/// Returns a pseudorandom number derived from the data, for choices that a target makes.
fn seed_of(data: &[u8]) -> u64 {
    u64::from_le_bytes(*blake3::hash(data).as_bytes().first_chunk().unwrap())
}

/// Returns the next pseudorandom number (xorshift64*).
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
