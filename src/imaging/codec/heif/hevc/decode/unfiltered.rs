//! A picture before its loop filters.

use super::maps::Maps;
use super::sample::Plane;
use crate::imaging::codec::heif::hevc::pps::Pps;
use crate::imaging::codec::heif::hevc::sps::Sps;

/// The samples of a picture, which the loop filters change row by row, and what the filters need of it.
pub(super) struct Unfiltered<'p, S> {
    pub(super) sps: &'p Sps,
    pub(super) pps: &'p Pps,
    pub(super) maps: &'p Maps,
    pub(super) planes: &'p mut [Plane<S>; 3],
}
