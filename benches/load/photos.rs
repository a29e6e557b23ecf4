//! Photos that are different crops of one noisy picture, and forms that contain them.

use turbojpeg::{Image, PixelFormat, Subsamp};

use crate::Outcome;

pub(crate) const BOUNDARY: &str = "load-boundary";

/// A form with one photo.
pub(crate) struct Body(Vec<u8>);

impl Body {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn pieces(&self, size: usize) -> impl Iterator<Item = &[u8]> {
        self.0.chunks(size)
    }
}

/// Number of crop offsets in each direction.
const SHIFTS: usize = 64;

/// Creates `count` forms, each with a photo of about `bytes` bytes.
pub(crate) fn bodies(count: u64, bytes: u64) -> Outcome<Vec<Body>> {
    let form = |(number, jpeg): (usize, Vec<u8>)| {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{number}.jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n"
        );
        Body([head.as_bytes(), &jpeg, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat())
    };
    Ok(photos(count, bytes)?.into_iter().enumerate().map(form).collect())
}

/// Creates a photo of about `bytes` bytes.
pub(crate) fn photo(bytes: u64) -> Outcome<Vec<u8>> {
    Ok(photos(1, bytes)?.concat())
}

/// Creates `count` photos of about `bytes` bytes each.
fn photos(count: u64, bytes: u64) -> Outcome<Vec<Vec<u8>>> {
    // At this noise and quality a pixel takes about two bits.
    let pixels = usize::try_from(bytes)? * 4;
    let width = (pixels * 4 / 3).isqrt().next_multiple_of(16);
    let height = (pixels / width).next_multiple_of(16).max(16);
    let pitch = (width + SHIFTS) * 3;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let picture: Vec<u8> = (0..pitch * (height + SHIFTS))
        .map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let (x, y) = (at % pitch, at / pitch);
            let shape = (x / 7 + y / 3) % 160;
            u8::try_from(shape).unwrap_or(0) + state.to_be_bytes()[0] / 8
        })
        .collect();
    let mut compressor = turbojpeg::Compressor::new()?;
    compressor.set_quality(85)?;
    compressor.set_subsamp(Subsamp::Sub2x2)?;
    (0..usize::try_from(count)?)
        .map(|number| {
            let at = (number / SHIFTS % SHIFTS) * pitch + number % SHIFTS * 3;
            let pixels = picture.get(at..).unwrap_or_default();
            let crop = Image { pixels, width, pitch, height, format: PixelFormat::RGB };
            Ok(compressor.compress_to_vec(crop)?)
        })
        .collect()
}
