//! Single steps of the pipeline, for benchmarks. The server does not use this module.

use super::canvas::{Canvas, Target};
use super::codec::jpeg::{self, decode as regular};
use super::layout::{Component, Layout, Model};
use super::orientation::Orientation;
use super::plane::Plane;
use super::{Coding, ImageError, Recipe, WorkBudget, Workspace, facts, plan};
use crate::model::PhotoFacts;

/// Decodes a JPEG to planes. Returns the number of samples, or `None` if our decoder does not support the file.
pub fn decode(file: &[u8]) -> Option<usize> {
    struct Discarding {
        buffers: Vec<(Vec<u8>, usize)>,
        samples: usize,
    }
    impl regular::BandSink for Discarding {
        fn row_buffers(&mut self) -> [regular::RowBuffer<'_>; 4] {
            let mut buffers = <[regular::RowBuffer<'_>; 4]>::default();
            for (buffer, (samples, stride)) in buffers.iter_mut().zip(&mut self.buffers) {
                *buffer = regular::RowBuffer { samples, stride: *stride };
            }
            buffers
        }

        fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError> {
            self.samples += rows * self.buffers[component].1;
            Ok(())
        }
    }
    let picture = regular::Regular::open(file)?;
    let planes = (0..4).map_while(|component| picture.plane_size(component, 1));
    let buffers = planes.map(|plane| (vec![0; plane.padded * plane.band], plane.padded)).collect();
    let mut bands = Discarding { buffers, samples: 0 };
    picture.decode(1, &mut bands).ok().map(|()| bands.samples)
}

/// Resizes interleaved pixels of one or three samples so that their longer side is at most that of the recipe, and returns the
/// planes one after the other. Resizes them as a picture that lies whole in memory, or in `rows` as a decoder gives them.
///
/// # Errors
/// There are too few pixels.
pub fn resize(
    pixels: &[u8],
    (width, height): (u32, u32),
    rows: Option<usize>,
    recipe: &Recipe,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
    let samples = pixels.len() / (width as usize * height as usize).max(1);
    let model = if samples == 1 { Model::Grey } else { Model::Rgb };
    let components = vec![Component::of(width, height, 1, 1); samples];
    let layout = Layout { width, height, divisor: 1, model, components };
    let (to_width, to_height) = plan::fit(width, height, recipe.max_dim);
    let target = Target { width: to_width, height: to_height, orientation: Orientation::Normal };
    let budget = WorkBudget::new(recipe, &|| false);
    let mut canvas = Canvas::new(&layout, &target, &budget, workspace);
    match rows {
        Some(rows) => {
            let mut bands = pixels.chunks(rows * samples * width as usize);
            bands.try_for_each(|band| canvas.push_pixels(band))?;
        }
        None => canvas.push_whole(pixels)?,
    }
    Ok(canvas.finish()?.into_iter().flat_map(|plane| plane.samples).collect())
}

/// Encodes luma of `width` x `height` samples, and chroma of half that size rounded up, as a JPEG.
///
/// # Errors
/// The planes have other sizes.
pub fn encode(
    planes: [Vec<u8>; 3],
    (width, height): (usize, usize),
    coding: Coding,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
    let planes = halved(planes, (width, height));
    let file = jpeg::encode_ycbcr(&planes, coding, workspace);
    planes.into_iter().for_each(|plane| workspace.give_plane(plane));
    file
}

/// Computes the facts of luma of `size` samples, and chroma of half that size rounded up. Returns `None` if a plane is too small.
pub fn measure(planes: [Vec<u8>; 3], size: (usize, usize)) -> Option<PhotoFacts> {
    facts::of(halved(planes, size).each_ref())
}

fn halved([luma, blue, red]: [Vec<u8>; 3], (width, height): (usize, usize)) -> [Plane; 3] {
    let half = |samples| Plane { width: width.div_ceil(2), height: height.div_ceil(2), samples };
    [Plane { width, height, samples: luma }, half(blue), half(red)]
}
