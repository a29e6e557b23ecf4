//! Decodes the slices of an intra picture (ITU-T H.265).
//!
//! A block is parsed, predicted and completed before the next one. The loop filters follow when the whole picture is there,
//! by rows of coding tree blocks. Each coding tree block is decoded at most once, and a picture with a missing one is refused,
//! so the size of the picture bounds the work.

#![expect(
    clippy::cast_possible_truncation,
    reason = "samples and coefficients are clipped as the standard says"
)]

mod block;
mod cabac;
mod contexts;
mod deblock;
mod intra;
mod isa;
mod maps;
mod neighbours;
mod picture;
mod reconstruct;
mod residual;
mod sample;
mod sao;
mod sao_syntax;
mod scaler;
mod tables;
mod transform;
mod tree;
mod unfiltered;
mod unit;

use self::isa::{Isa, Portable};
use self::picture::Decoder;
use self::sample::{Plane, Sample};
use super::pps::Pps;
use super::slice::Segment;
use super::sps::Sps;
use crate::imaging::codec::heif::picture::{Planes, Samples};
use crate::imaging::error::ImageError;

/// Why a slice cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The data ends before the slice does.
    Truncated,
    /// The data contradicts itself.
    Corrupt,
}

impl Fault {
    /// Returns the reason for clients. It is larger, so it is not passed through each block.
    fn reason(self) -> ImageError {
        match self {
            Self::Truncated => ImageError::Truncated,
            Self::Corrupt => ImageError::Corrupt,
        }
    }
}

/// The payload of a NAL unit with a slice segment, without escapes, and then [`cabac::PADDING`] zeros.
pub(super) struct Unit {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

impl Unit {
    pub(super) fn new(kind: u8, mut payload: Vec<u8>) -> Self {
        payload.extend([0; cabac::PADDING]);
        Self { kind, payload }
    }
}

/// Decodes a picture from its slice segments.
pub(super) fn decode(sps: &Sps, pps: &Pps, units: &[Unit]) -> Result<Box<dyn Planes>, ImageError> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if let Some(isa) = isa::Vector::detect() {
        return decode_on(isa, sps, pps, units);
    }
    decode_on(Portable, sps, pps, units)
}

/// Decodes a picture without SIMD.
#[cfg(any(test, fuzzing))]
pub(super) fn decode_anywhere(sps: &Sps, pps: &Pps, units: &[Unit]) -> Result<Box<dyn Planes>, ImageError> {
    decode_on(Portable, sps, pps, units)
}

fn decode_on<I: Isa>(isa: I, sps: &Sps, pps: &Pps, units: &[Unit]) -> Result<Box<dyn Planes>, ImageError> {
    if sps.header.depth == 8 {
        decode_as::<u8, I>(isa, sps, pps, units)
    } else {
        decode_as::<u16, I>(isa, sps, pps, units)
    }
}

fn decode_as<S: Sample, I: Isa>(
    isa: I,
    sps: &Sps,
    pps: &Pps,
    units: &[Unit],
) -> Result<Box<dyn Planes>, ImageError> {
    let mut decoder = Decoder::<S, I>::new(isa, sps, pps);
    let mut before = None;
    for Unit { kind, payload } in units {
        let segment = Segment::read(*kind, payload, sps, pps, before)?;
        before = Some(segment.slice);
        decoder.segment(&segment, payload.get(segment.data..).unwrap_or_default())?;
    }
    Ok(Box::new(Shown { planes: decoder.finish()?, cut: sps.cut, halves: sps.header.chroma.halves() }))
}

/// The part of a picture in its window.
struct Shown<S> {
    planes: [Plane<S>; 3],
    cut: (u32, u32),
    halves: (bool, bool),
}

impl<S: Sample> Planes for Shown<S> {
    fn row(&self, plane: usize, row: usize) -> Result<Samples<'_>, ImageError> {
        let is_chroma = plane > 0;
        let left = self.cut.0 >> u32::from(is_chroma && self.halves.0);
        let top = self.cut.1 >> u32::from(is_chroma && self.halves.1);
        let row = self.planes.get(plane).map(|plane| plane.row(row + top as usize)).unwrap_or_default();
        row.get(left as usize..).map(S::samples).ok_or(ImageError::Corrupt)
    }
}

#[cfg(test)]
mod tests;
