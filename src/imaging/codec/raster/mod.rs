//! Decodes PNG, WebP, TIFF, GIF, BMP and ICO. If the decoder of a format gives rows, they are pushed to the canvas one by one.
//! Otherwise the whole picture is decoded first.

mod ico;
mod pixel;
mod png;
mod tiff;
mod webp;
mod whole;

use self::ico::png_in_ico;
use self::png::Png;
use self::tiff::Tiff;
use self::webp::WebP;
use self::whole::Whole;
use super::format::Format;
use super::picture::Picture;
use crate::imaging::error::ImageError;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

pub(super) fn open<'a>(
    format: Format,
    input: &Input<'a>,
    recipe: &Recipe,
) -> Result<Box<dyn Picture + 'a>, ImageError> {
    match format {
        Format::Png => Ok(Box::new(Png::open(input, recipe)?)),
        Format::WebP => Ok(Box::new(WebP::open(input, recipe)?)),
        Format::Tiff => Ok(Box::new(Tiff::open(input, recipe)?)),
        Format::Ico => match png_in_ico(input)? {
            Some(png) => Ok(Box::new(Png::open(&png, recipe)?)),
            None => Ok(Box::new(Whole::open(format, input, recipe)?)),
        },
        _ => Ok(Box::new(Whole::open(format, input, recipe)?)),
    }
}

#[cfg(test)]
mod cost_tests;
