//! Compares the decoder with libjpeg-turbo: samples must be equal, and libjpeg-turbo must give no warning.
#![allow(unsafe_code, reason = "the judge is libjpeg-turbo's raw interface")]

mod corpus;
mod generated;
mod hostile;
mod progressive;
mod reference;
mod script;

use turbojpeg::raw;

use super::*;
use crate::imaging::ImageError;

const SAMPLINGS: [raw::TJSAMP; 7] = [
    raw::TJSAMP_TJSAMP_444,
    raw::TJSAMP_TJSAMP_422,
    raw::TJSAMP_TJSAMP_420,
    raw::TJSAMP_TJSAMP_440,
    raw::TJSAMP_TJSAMP_411,
    raw::TJSAMP_TJSAMP_441,
    raw::TJSAMP_TJSAMP_GRAY,
];
/// Sizes at, below and above those of blocks and MCUs.
const SIZES: [(usize, usize); 8] =
    [(1, 1), (7, 9), (8, 8), (16, 17), (33, 31), (65, 3), (100, 75), (230, 190)];

/// Collects bands into whole planes, which never grow beyond the filled rows.
#[derive(Debug, Default)]
struct Collected {
    planes: Vec<PlaneSize>,
    samples: [Vec<u8>; 4],
    rows: [usize; 4],
    /// The number of bands after which the sink returns an error.
    stop_after: Option<usize>,
}

impl BandSink for Collected {
    fn row_buffers(&mut self) -> [RowBuffer<'_>; 4] {
        let mut buffers: [RowBuffer<'_>; 4] = Default::default();
        for (component, samples) in self.samples.iter_mut().enumerate().take(self.planes.len()) {
            let PlaneSize { padded, band, .. } = self.planes[component];
            let start = self.rows[component] * padded;
            samples.resize(start + band * padded, 0);
            buffers[component] = RowBuffer { samples: &mut samples[start..], stride: padded };
        }
        buffers
    }

    fn filled(&mut self, component: usize, rows: usize) -> Result<(), ImageError> {
        self.rows[component] += rows;
        if let Some(left) = &mut self.stop_after {
            *left = left.checked_sub(1).ok_or(ImageError::TooSlow)?;
        }
        Ok(())
    }
}

impl Collected {
    fn for_file(file: &Regular<'_>, divisor: u8) -> Self {
        let planes = (0..file.sampling().len()).map(|component| file.plane_size(component, divisor).unwrap());
        Self { planes: planes.collect(), ..Self::default() }
    }

    /// Returns width, height and samples of a plane, with rows without padding.
    fn plane(&self, component: usize) -> (usize, usize, Vec<u8>) {
        let PlaneSize { width, height, padded, .. } = self.planes[component];
        assert_eq!(self.rows[component], height, "all rows were filled");
        let rows = self.samples[component].chunks(padded).take(height);
        (width, height, rows.flat_map(|row| &row[..width]).copied().collect())
    }
}

/// Decodes a file at a divisor. Returns `None` if its header is not supported.
fn decode(file: &[u8], divisor: u8) -> Option<Result<Collected, RegularError>> {
    let file = Regular::open(file)?;
    let mut bands = Collected::for_file(&file, divisor);
    Some(file.decode(divisor, &mut bands).map(|()| bands))
}

/// Decodes a file at a divisor without SIMD.
fn decode_portably(file: &[u8], divisor: u8) -> Option<Result<Collected, RegularError>> {
    let file = Regular::open(file)?;
    let mut bands = Collected::for_file(&file, divisor);
    Some(file.decode_portably(divisor, &mut bands).map(|()| bands))
}

/// Asserts that the decoded samples are those of libjpeg-turbo.
fn assert_equal(ours: &Collected, file: &[u8], divisor: u8, name: &str) {
    let Some(theirs) = reference::planes(file, divisor).unwrap_or_else(|text| panic!("{name}: {text}"))
    else {
        return;
    };
    assert_eq!(ours.planes.len(), theirs.len(), "{name}");
    let file = Regular::open(file).unwrap();
    let (across, down) = Regular::factors(&file.header, Ord::max);
    for (component, (theirs, (h, v))) in theirs.iter().zip(file.sampling()).enumerate() {
        let (width, height, samples) = ours.plane(component);
        assert_eq!((width, height), (theirs.width, theirs.height), "{name}: plane {component} / {divisor}");
        // A scaled plane can be one sample wider or higher than its blocks. The library copies that sample from the memory
        // after them. Ours comes from the block that completes the MCU.
        let blocks = |side: u16, factor: u8, most: u8| {
            (usize::from(side) * usize::from(factor)).div_ceil(8 * usize::from(most))
                * usize::from(8 / divisor)
        };
        let columns = width.min(blocks(file.header.width, h, across));
        let rows = height.min(blocks(file.header.height, v, down));
        for row in 0..rows {
            let line = row * width..row * width + columns;
            assert_eq!(
                samples[line.clone()],
                theirs.samples[line],
                "{name}: plane {component} / {divisor}, row {row}"
            );
        }
    }
}

/// Asserts that `file` is decoded at all divisors to the samples of libjpeg-turbo.
fn assert_decodes(file: &[u8], name: &str) {
    for divisor in [1, 2, 4, 8] {
        for decode in [decode, decode_portably] {
            let ours = decode(file, divisor).unwrap_or_else(|| panic!("{name} is not regular"));
            assert_equal(&ours.unwrap_or_else(|error| panic!("{name}: {error:?}")), file, divisor, name);
        }
    }
}

/// Creates a picture with edges, ramps and noise, with `channels` bytes a pixel.
fn picture(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let mut noise = 0x2545_F491_u32;
    let mut pixels = Vec::with_capacity(width * height * channels);
    for (y, x, channel) in (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |channel| (y, x, channel))))
    {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        let [ramp, jitter] = [(3 * x + 2 * y + 40 * channel).to_le_bytes()[0], noise.to_le_bytes()[0]];
        pixels.push(match (x / 23 + y / 19) % 4 {
            0 => ramp,
            1 => jitter,
            2 => 255 * u8::from((x + y + channel) % 5 == 0),
            _ => 90,
        });
    }
    pixels
}
