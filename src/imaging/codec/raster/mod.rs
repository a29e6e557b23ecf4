//! Decodes PNG, WebP, TIFF, GIF, BMP and ICO. If the decoder of a format gives rows, they are pushed to the canvas one by one.
//! Otherwise the whole picture is decoded first.

mod ico;
mod pixel;
mod png;
mod tiff;
mod webp;
mod whole;

pub(super) use self::ico::png_in_ico;
pub(super) use self::png::Png;
pub(super) use self::tiff::Tiff;
pub(super) use self::webp::WebP;
pub(super) use self::whole::Whole;

#[cfg(test)]
mod cost_tests;
