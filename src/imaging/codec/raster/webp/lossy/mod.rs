//! The lossy coding of WebP: a key frame of VP8 (RFC 6386).
//!
//! This decoder is our own, because the planes go to the resizer row by row as luma and chroma: no picture of pixels is made,
//! and memory does not grow with the height. `docs/decisions/0046-own-vp8-decoder.md` has the alternatives.

mod bits;
mod filter;
mod frame;
mod header;
mod modes;
mod predict;
#[cfg(any(test, fuzzing))]
pub(super) mod reference;
mod residual;
mod tables;
#[cfg(test)]
mod tests;

pub(super) use self::frame::{Frame, Planes, memory};
