//! What the fuzz targets in `fuzz/` do with their bytes.
//!
//! Exists for fuzzing and for tests alone, so that targets reach into every room without a wider interface for everybody. Each
//! target takes any bytes, and panics where a promise is broken. `fuzz/README.md` tells how they are run; the tests here
//! replay seeds and earlier findings without a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to panic is how a target tells what it found"
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

/// A number that looks random and depends on the bytes alone, for choices that a target makes.
fn seed_of(data: &[u8]) -> u64 {
    u64::from_le_bytes(*blake3::hash(data).as_bytes().first_chunk().unwrap())
}

/// The next of a series of numbers (xorshift64*).
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
