//! Decodes JPEGs with libjpeg-turbo, to planes if the library can return them, otherwise to whole pixels.

mod embedded;
mod ffi;
mod strict;
mod survey;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(in crate::imaging) use self::embedded::Embedded;
use self::ffi::Limits;
use self::survey::Survey;
use super::decode::FallbackReason;
use super::markers;
use crate::imaging::canvas::Canvas;
use crate::imaging::codec::picture::{DecodeError, Picture};
use crate::imaging::error::ImageError;
use crate::imaging::layout::{Component, Layout, Model};
use crate::imaging::limits::check_size;
use crate::imaging::plan;
use crate::imaging::recipe::Recipe;
use crate::imaging::work_budget::Input;

/// Most scans of a JPEG. Cameras and optimisers write 3 to about 15. The [`Survey`] bounds their total cost.
const MAX_SCANS: u64 = 100;
/// Pictures with a shorter side than this are not scaled during the decode: see `ffi::decode`.
const THIN: u32 = 64;
/// Bytes that the library needs besides coefficients and rows: tables.
const WORKING_MEMORY: u64 = 4 << 20;
/// Rows of each component that the library holds: a row of MCUs of up to four blocks, its neighbours, and upsampled copies.
const WORKING_ROWS: u64 = 64;

/// Decodes a file to planes with libjpeg-turbo. Returns them with the library's warning, or `None` if it gives no planes.
#[cfg(any(test, fuzzing))]
pub(in crate::imaging) fn planes(
    file: &[u8],
    divisor: u32,
    workspace: &mut crate::imaging::Workspace,
) -> Option<(Vec<crate::imaging::plane::Plane>, Option<String>)> {
    let limits = Limits { scans: 100, pixels: 1 << 24, memory: 64 << 20 };
    let (planes, result) = ffi::decode(file, divisor, &limits, workspace).ok()?;
    Some((planes, result.err().map(|complaint| complaint.0)))
}

pub(super) struct TurboJpeg<'a> {
    /// The file, or a tidied copy if the library warns of its header.
    file: Cow<'a, [u8]>,
    survey: Survey,
    width: u32,
    height: u32,
    divisor: u32,
    model: Model,
    /// Luma samples that a chroma sample covers across and down, or `None` if the picture is decoded to whole pixels.
    chroma: Option<(u32, u32)>,
    profile: Option<Vec<u8>>,
    limits: Limits,
    /// Why our decoder left the file after it had begun.
    reason: Option<FallbackReason>,
}

impl std::fmt::Debug for TurboJpeg<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TurboJpeg({} x {} / {}, {:?})", self.width, self.height, self.divisor, self.model)
    }
}

impl<'a> TurboJpeg<'a> {
    pub(super) fn open(input: &Input<'a>, recipe: &Recipe) -> Result<Self, ImageError> {
        let bytes = input.whole()?;
        let mut file = Cow::Borrowed(bytes);
        let header = match ffi::header(bytes) {
            Err(complaint) if complaint.is_harmless() => {
                let has_end = Survey::new(bytes, input.budget())?.has_end;
                file = Cow::Owned(markers::tidied(bytes, has_end).ok_or(ImageError::Truncated)?);
                ffi::header(&file)
            }
            result => result,
        };
        let header = header.map_err(|complaint| complaint.meaning())?;
        let (width, height) = check_size(header.width, header.height, recipe.max_pixels)?;
        let survey = Survey::new(&file, input.budget())?;
        if survey.scans > MAX_SCANS {
            return Err(ImageError::TooSlow);
        }
        let chroma = header.chroma;
        let model = header.model;
        let is_planar = !header.is_lossless
            && match model {
                Model::Grey => true,
                Model::YCbCr | Model::Rgb => chroma.is_some(),
                Model::Cmyk { .. } | Model::Ycck { .. } => false,
            };
        // Where the library gives no planes of luma and chroma, it converts to RGB.
        let model = if model == Model::YCbCr && !is_planar { Model::Rgb } else { model };
        let chroma = chroma.filter(|_| is_planar);
        let samples_per_4_pixels = match (chroma, model) {
            (_, Model::Grey) => 4,
            (Some((across, down)), _) => 4 + 8 / u64::from(across * down),
            (None, Model::Cmyk { .. }) => 16,
            (None, _) => 12,
        };
        // A thin picture has few pixels at any length.
        let divisor = if header.is_lossless || width.min(height) < THIN {
            1
        } else {
            let memory = recipe.memory.saturating_sub(survey.coefficients);
            plan::divisor_for_memory((width, height), recipe.max_dim, samples_per_4_pixels, memory)
        };
        let limits = Limits {
            scans: u32::try_from(survey.scans.max(1)).map_err(|_| ImageError::Corrupt)?,
            pixels: recipe.max_pixels,
            memory: survey.coefficients + WORKING_MEMORY,
        };
        let profile = markers::icc_profile(bytes);
        Ok(Self { file, survey, width, height, divisor, model, chroma, profile, limits, reason: None })
    }

    /// Records why our decoder left the file.
    pub(super) fn after(self, reason: FallbackReason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    fn decoded_size(&self) -> (u32, u32) {
        (self.width.div_ceil(self.divisor), self.height.div_ceil(self.divisor))
    }

    fn decode_planes(self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let mut planes = Vec::new();
        let budget = canvas.budget();
        strict::decode(&self.file, &self.survey, self.survey.longest, budget, |file| {
            planes.drain(..).for_each(|plane| canvas.workspace().give_plane(plane));
            let (decoded, result) = ffi::decode(file, self.divisor, &self.limits, canvas.workspace())?;
            planes = decoded;
            result
        })?;
        for (component, plane) in planes.into_iter().enumerate() {
            canvas.push(component, &plane)?;
            canvas.workspace().give_plane(plane);
        }
        Ok(())
    }

    fn decode_pixels(self, canvas: &mut Canvas<'_>) -> Result<(), ImageError> {
        let (width, height) = self.decoded_size();
        let channels = match self.model {
            Model::Grey => 1,
            Model::YCbCr | Model::Rgb => 3,
            Model::Cmyk { .. } | Model::Ycck { .. } => 4,
        };
        let budget = canvas.budget();
        let longest = self.survey.longest_with_pixels(u64::from(width) * u64::from(height));
        let mut pixels = canvas.workspace().take(width as usize * height as usize * channels);
        strict::decode(&self.file, &self.survey, longest, budget, |file| {
            ffi::decode_pixels(file, self.divisor, channels, &self.limits, &mut pixels)
        })?;
        canvas.push_whole(&pixels)?;
        canvas.workspace().give(pixels);
        Ok(())
    }
}

impl Picture for TurboJpeg<'_> {
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

    fn fallback_reason(&self) -> Option<&'static str> {
        self.reason.map(FallbackReason::label)
    }

    fn pushes_whole(&self) -> bool {
        self.chroma.is_none()
    }

    fn memory(&self) -> u64 {
        // `open` may make a tidied copy, and `strict::decode` another.
        let copies = if matches!(self.file, Cow::Owned(_)) { 2 } else { 1 };
        let copy = copies * self.file.len() as u64;
        let components = self.layout().components;
        let planes: usize = components.iter().map(|c| (c.width + c.across) * (c.height + c.down)).sum();
        let rows = WORKING_ROWS * u64::from(self.width) * components.len() as u64;
        copy + self.survey.coefficients + WORKING_MEMORY + rows + planes as u64
    }

    fn decode<'a>(self: Box<Self>, canvas: &mut Canvas<'_>) -> Result<(), DecodeError<'a>>
    where
        Self: 'a,
    {
        canvas.budget().grant(self.memory())?;
        canvas.budget().read(self.file.len() as u64)?;
        Ok(if self.chroma.is_some() { self.decode_planes(canvas) } else { self.decode_pixels(canvas) }?)
    }
}
