//! Single steps of the pipeline, for benchmarks. The server does not use this module.

use super::codec::jpeg::{self, decode as baseline};
use super::plane::Plane;
use super::scale::{Axis, Scaler};
use super::workspace::Workspace;
use super::{ImageError, plan};

/// Decodes a baseline JPEG to planes. Returns the number of samples, or `None` if our decoder does not support the file.
pub fn decode(file: &[u8]) -> Option<usize> {
    struct Discarding {
        buffers: Vec<(Vec<u8>, usize)>,
        samples: usize,
    }
    impl baseline::BandSink for Discarding {
        fn row_buffers(&mut self) -> [baseline::RowBuffer<'_>; 4] {
            let mut buffers = <[baseline::RowBuffer<'_>; 4]>::default();
            for (buffer, (samples, stride)) in buffers.iter_mut().zip(&mut self.buffers) {
                *buffer = baseline::RowBuffer { samples, stride: *stride };
            }
            buffers
        }

        fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError> {
            self.samples += rows * self.buffers[component].1;
            Ok(())
        }
    }
    let picture = baseline::Baseline::open(file)?;
    let planes = (0..4).map_while(|component| picture.plane_size(component, 1));
    let buffers = planes.map(|plane| (vec![0; plane.padded * plane.band], plane.padded)).collect();
    let mut bands = Discarding { buffers, samples: 0 };
    picture.decode(1, &mut bands).ok().map(|()| bands.samples)
}

/// Resizes one plane so that its longer side is `max_dim`, or returns `None` if `samples` is too short.
pub fn resize(
    samples: &[u8],
    (width, height): (u32, u32),
    max_dim: u32,
    workspace: &mut Workspace,
) -> Option<Vec<u8>> {
    let (to_width, to_height) = plan::fit(width, height, max_dim);
    let axis = |source: u32, target: u32| Axis {
        source: source as usize,
        target: target as usize,
        start: 0.0,
        step: f64::from(source) / f64::from(target),
    };
    let mut scaler = Scaler::new(&axis(width, to_width), &axis(height, to_height), None, workspace);
    let row = width as usize;
    for rows in samples.chunks(16 * row) {
        let count = rows.len() / row;
        let (buffer, stride) = scaler.row_buffer(count);
        for (to, from) in buffer.chunks_exact_mut(stride).zip(rows.chunks_exact(row)) {
            to[..row].copy_from_slice(from);
        }
        scaler.filled(count);
    }
    scaler.finish(workspace).map(|plane| plane.samples)
}

/// Encodes luma of `width` x `height` samples, and chroma of half that size rounded up, as a JPEG.
///
/// # Errors
/// The planes have other sizes.
pub fn encode(
    planes: [Vec<u8>; 3],
    (width, height): (usize, usize),
    quality: u8,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, ImageError> {
    let [luma, blue, red] = planes;
    let half = |samples| Plane { width: width.div_ceil(2), height: height.div_ceil(2), samples };
    jpeg::encode_ycbcr([Plane { width, height, samples: luma }, half(blue), half(red)], quality, workspace)
}
