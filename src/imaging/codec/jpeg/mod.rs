//! JPEG: the header by libjpeg-turbo, the picture by the cheapest way that this file allows.

mod embedded;
mod encoder;
mod fast;
mod planar;
mod strict;

use std::borrow::Cow;

use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp};

pub(in crate::imaging) use self::embedded::Embedded;
pub(in crate::imaging) use self::encoder::{encode_rgb, encode_ycbcr};
use self::fast::Fast;
use self::planar::{Complaint, Limits};
use super::{Failed, Picture, check_size, markers};
use crate::imaging::canvas::{Canvas, Component, Layout, Model};
use crate::imaging::work_budget::Input;
use crate::imaging::{ImageError, Recipe, plan};

/// Most scans of a progressive JPEG. Cameras and optimisers write 3 to about 15; each costs a pass over the whole image,
/// so that 1,500 of them in a small file once took half a minute.
const MAX_SCANS: u64 = 100;
/// Scans that even the largest image may have.
const MIN_SCANS: u64 = 16;
/// Most pixels of all scans together: some seconds' work.
const MAX_SCANNED_PIXELS: u64 = 1_500_000_000;
/// Pictures with a side shorter than this are not scaled while they are decoded: see `planar::decode`.
const THIN: u32 = 64;
/// What the library needs beside coefficients: rows of samples, tables.
const WORKING_MEMORY: u64 = 4 << 20;

/// Reads the header of a JPEG.
pub(super) fn open<'a>(input: &Input<'a>, recipe: &Recipe) -> Result<Box<dyn Picture + 'a>, ImageError> {
    Ok(match Fast::open(input, recipe)? {
        Some(fast) => Box::new(fast),
        None => Box::new(Jpeg::open(input, recipe)?),
    })
}

/// The planes of a file as libjpeg-turbo decodes them, with what it wondered at; `None` if it gives none.
#[cfg(any(test, fuzzing))]
pub(in crate::imaging) fn planes(
    file: &[u8],
    divisor: u32,
    workspace: &mut crate::imaging::Workspace,
) -> Option<(Vec<crate::imaging::plane::Plane>, Option<String>)> {
    let limits = Limits { scans: 1, pixels: 1 << 24, memory: 64 << 20 };
    let (planes, result) = planar::decode(file, divisor, &limits, workspace).ok()?;
    Some((planes, result.err().map(|complaint| complaint.0)))
}

/// A JPEG whose header was read.
struct Jpeg<'a> {
    /// The file, or a tidied copy where the library stumbles over its header.
    file: Cow<'a, [u8]>,
    decoder: Decompressor,
    width: u32,
    height: u32,
    divisor: u32,
    model: Model,
    /// How many luma samples a chroma sample covers each way; `None` where the picture is decoded to whole pixels.
    chroma: Option<(u32, u32)>,
    profile: Option<Vec<u8>>,
    limits: Limits,
    /// Bytes for the coefficients that must be held whole, because not all pixels are in one scan.
    coefficients: u64,
}

impl std::fmt::Debug for Jpeg<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jpeg({} x {} / {}, {:?})", self.width, self.height, self.divisor, self.model)
    }
}

impl<'a> Jpeg<'a> {
    fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Self, ImageError> {
        let bytes = input.whole()?;
        let mut decoder = Decompressor::new().map_err(|_| ImageError::Corrupt)?;
        let mut file = Cow::Borrowed(bytes);
        let header = match decoder.read_header(bytes).map_err(Complaint::from) {
            Err(complaint) if complaint.is_harmless() => {
                file = Cow::Owned(markers::tidied(bytes).ok_or(ImageError::Truncated)?);
                decoder.read_header(&file).map_err(Complaint::from)
            }
            result => result,
        };
        let header = header.map_err(|complaint| complaint.meaning())?;
        let (width, height) = check_size(header.width as u64, header.height as u64, recipe.max_pixels)?;
        let pixels = u64::from(width) * u64::from(height);
        let chroma = match header.subsamp {
            Subsamp::None => Some((1, 1)),
            Subsamp::Sub2x1 => Some((2, 1)),
            Subsamp::Sub2x2 => Some((2, 2)),
            Subsamp::Sub1x2 => Some((1, 2)),
            Subsamp::Sub4x1 => Some((4, 1)),
            Subsamp::Sub1x4 => Some((1, 4)),
            _ => None,
        };
        let model = match header.colorspace {
            Colorspace::Gray => Model::Grey,
            Colorspace::YCbCr => Model::YCbCr,
            Colorspace::RGB => Model::Rgb,
            // The library makes CMYK of YCCK.
            Colorspace::CMYK | Colorspace::YCCK => Model::Cmyk { is_inverted: markers::has_adobe(bytes) },
        };
        let is_planar = !header.is_lossless
            && match model {
                Model::Grey => true,
                Model::YCbCr | Model::Rgb => chroma.is_some(),
                Model::Cmyk { .. } | Model::Ycck { .. } => false,
            };
        // Pixels, where they must be made, are made as RGB.
        let model = if is_planar || matches!(model, Model::Cmyk { .. }) { model } else { Model::Rgb };
        let chroma = if model == Model::Grey { Some((1, 1)) } else { chroma.filter(|_| is_planar) };
        let samples_per_4_pixels = match (chroma, model) {
            (_, Model::Grey) => 4,
            (Some((across, down)), _) => 4 + 8 / u64::from(across * down),
            (None, Model::Cmyk { .. }) => 16,
            (None, _) => 12,
        };
        let coefficients =
            if markers::has_one_scan(bytes) { 0 } else { pixels.div_ceil(2) * samples_per_4_pixels };
        // A thin picture is small at any length.
        let divisor = if header.is_lossless || width.min(height) < THIN {
            1
        } else {
            let memory = recipe.memory.saturating_sub(coefficients);
            plan::divisor_for_memory((width, height), recipe.max_dim, samples_per_4_pixels, memory)
        };
        let scans = (MAX_SCANNED_PIXELS / pixels).clamp(MIN_SCANS, MAX_SCANS);
        let limits = Limits {
            scans: u32::try_from(scans).map_err(|_| ImageError::Corrupt)?,
            pixels: recipe.max_pixels,
            memory: coefficients + WORKING_MEMORY,
        };
        let profile = markers::icc_profile(bytes);
        Ok(Self { file, decoder, width, height, divisor, model, chroma, profile, limits, coefficients })
    }

    fn decoded_size(&self) -> (u32, u32) {
        (self.width.div_ceil(self.divisor), self.height.div_ceil(self.divisor))
    }

    fn decode_planes(self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let mut planes = Vec::new();
        strict::decode(&self.file, |file| {
            planes.drain(..).for_each(|plane| canvas.workspace().give_plane(plane));
            let (decoded, result) = planar::decode(file, self.divisor, &self.limits, canvas.workspace())?;
            planes = decoded;
            result
        })?;
        for (component, plane) in planes.into_iter().enumerate() {
            canvas.push(component, &plane)?;
            canvas.workspace().give_plane(plane);
        }
        Ok(())
    }

    fn decode_pixels(mut self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let (width, height) = self.decoded_size();
        let (width, height) = (width as usize, height as usize);
        let (format, pixel) = match self.model {
            Model::Cmyk { .. } => (PixelFormat::CMYK, 4),
            _ => (PixelFormat::RGB, 3),
        };
        self.decoder.set_scan_limit(self.limits.scans).map_err(|_| ImageError::Corrupt)?;
        let factor = ScalingFactor::new(1, self.divisor as usize);
        self.decoder.set_scaling_factor(factor).map_err(|_| ImageError::Corrupt)?;
        let pitch = width * pixel;
        let mut pixels = canvas.workspace().take(pitch * height);
        strict::decode(&self.file, |file| {
            let image = Image { pixels: pixels.as_mut_slice(), width, pitch, height, format };
            self.decoder.decompress(file, image).map_err(Complaint::from)
        })?;
        canvas.push_pixels(&pixels)?;
        canvas.workspace().give(pixels);
        Ok(())
    }
}

impl Picture for Jpeg<'_> {
    fn layout(&self) -> Layout {
        let (width, height) = self.decoded_size();
        let luma = Component::of(width, height, 1, 1);
        let (across, down) = self.chroma.unwrap_or((1, 1));
        let chroma = Component::of(width, height, across, down);
        let components = match self.model {
            Model::Grey => vec![luma],
            Model::YCbCr | Model::Rgb => vec![luma, chroma, chroma],
            Model::Cmyk { .. } | Model::Ycck { .. } => vec![luma; 4],
        };
        Layout {
            width: self.width,
            height: self.height,
            divisor: self.divisor,
            model: self.model,
            components,
        }
    }

    fn profile(&self) -> Option<&[u8]> {
        self.profile.as_deref()
    }

    fn memory(&self) -> u64 {
        // Of an odd file a tidied copy is made, of an odder one another.
        let copies = if matches!(self.file, Cow::Owned(_)) { 2 } else { 1 };
        let copy = copies * self.file.len() as u64;
        let planes: usize =
            self.layout().components.iter().map(|c| (c.width + c.across) * (c.height + c.down)).sum();
        copy + self.coefficients + WORKING_MEMORY + planes as u64
    }

    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), Failed<'a>>
    where
        Self: 'a,
    {
        Ok(if self.chroma.is_some() { self.decode_planes(canvas) } else { self.decode_pixels(canvas) }?)
    }
}
