//! JPEG: markers, our decoder and encoder, and libjpeg-turbo for the files that our decoder leaves to it.

mod dct;
pub(in crate::imaging) mod decode;
mod encode;
pub(in crate::imaging) mod markers;
mod regular;
mod turbo;

#[cfg(test)]
pub(in crate::imaging) use self::encode::encode_rgb;
pub(in crate::imaging) use self::encode::{encode_once, encode_ycbcr, planes_of_rgb};
pub(in crate::imaging) use self::turbo::Embedded;
#[cfg(any(test, fuzzing))]
pub(in crate::imaging) use self::turbo::planes;

use self::regular::RegularJpeg;
use self::turbo::TurboJpeg;
use super::picture::Picture;
use crate::imaging::error::ImageError;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

/// Reads the header of a JPEG and chooses the decoder for it.
pub(super) fn open<'a>(input: &Input<'a>, recipe: &Recipe) -> Result<Box<dyn Picture + 'a>, ImageError> {
    Ok(match RegularJpeg::open(input, recipe)? {
        Some(jpeg) => Box::new(jpeg),
        None => Box::new(TurboJpeg::open(input, recipe)?),
    })
}
