//! Samples of 8 bits, and of up to 12 bits in 16, and planes of them.

use std::ops::{Add, Mul, Shr};

use crate::imaging::codec::heif::picture::Samples;

/// Numbers in which weighted sums of samples fit.
pub(super) trait Wide:
    Copy + Add<Output = Self> + Mul<Output = Self> + Shr<u32, Output = Self> + From<u8>
{
}

impl Wide for u16 {}
impl Wide for u32 {}

pub(super) trait Sample: bytemuck::Pod + Default + PartialEq + Into<i32> {
    /// Holds 64 times the largest sample.
    type Wide: Wide + From<Self> + Into<u32>;

    #[inline(always)]
    fn wide(self) -> Self::Wide {
        Self::Wide::from(self)
    }

    /// Narrows a weighted mean of samples.
    #[inline(always)]
    fn narrow(wide: Self::Wide) -> Self {
        let wide: u32 = wide.into();
        Self::new(wide as i32)
    }

    #[inline(always)]
    fn get(self) -> i32 {
        self.into()
    }

    /// Narrows a value that was clipped to the depth.
    fn new(value: i32) -> Self;
    /// Returns the sum of a sample and a residual, clipped to `0..=most`.
    fn plus(self, residual: i16, most: i16) -> Self;
    fn samples(row: &[Self]) -> Samples<'_>;
}

impl Sample for u8 {
    type Wide = u16;

    #[inline(always)]
    fn new(value: i32) -> Self {
        value as Self
    }

    #[inline(always)]
    fn plus(self, residual: i16, _most: i16) -> Self {
        i16::from(self).saturating_add(residual).clamp(0, 255) as Self
    }

    fn samples(row: &[Self]) -> Samples<'_> {
        Samples::Bytes(row)
    }
}

impl Sample for u16 {
    type Wide = u32;

    #[inline(always)]
    fn new(value: i32) -> Self {
        value as Self
    }

    #[inline(always)]
    fn plus(self, residual: i16, most: i16) -> Self {
        (self as i16).saturating_add(residual).clamp(0, most) as Self
    }

    fn samples(row: &[Self]) -> Samples<'_> {
        Samples::Words(bytemuck::must_cast_slice(row))
    }
}

#[derive(Debug, Default)]
pub(super) struct Plane<S> {
    pub(super) samples: Vec<S>,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl<S: Sample> Plane<S> {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { samples: vec![S::default(); width * height], width, height }
    }

    #[inline(always)]
    pub(super) fn row(&self, y: usize) -> &[S] {
        self.samples.get(y * self.width..(y + 1) * self.width).unwrap_or_default()
    }

    /// Returns the samples of a block and all that follow, in rows of the plane.
    #[inline(always)]
    pub(super) fn block(&mut self, x: usize, y: usize) -> Block<'_, S> {
        let stride = self.width;
        Block { samples: self.samples.get_mut(y * stride + x..).unwrap_or_default(), stride }
    }
}

/// A block in a plane.
pub(super) struct Block<'p, S> {
    samples: &'p mut [S],
    stride: usize,
}

impl<S: Sample> Block<'_, S> {
    /// Passes each row of a block of `SIDE` rows to `write`.
    #[inline(always)]
    pub(super) fn rows<const SIDE: usize>(&mut self, mut write: impl FnMut(usize, &mut [S; SIDE])) {
        for (y, row) in self.samples.chunks_mut(self.stride.max(1)).enumerate().take(SIDE) {
            if let Some(row) = row.first_chunk_mut() {
                write(y, row);
            }
        }
    }
}
