//! Estimates the worker time of a photo from the size that its first bytes declare.
//!
//! The queue orders waiting photos by the estimate. The measured time replaces it afterwards, so a wrong estimate moves one
//! photo in the queue and gives its client no lasting advantage.

use std::time::Duration;

use super::codec::Format;
use super::codec::jpeg::markers;
use super::{declared, metadata};

/// Bytes at the start of a file that [`estimated_cost`] reads, except for a TIFF, whose directory may be anywhere.
pub(crate) const COST_HEAD_BYTES: usize = 128 * 1024;

/// The estimate for a photo of unknown size. It counts as a long job: such files are rare, and may be the most expensive ones.
const UNKNOWN_SIZE: Duration = Duration::from_secs(2);
const FOR_A_PHOTO: u64 = 3_000_000;
const FOR_A_BYTE: u64 = 3;
/// With 4 ns for a pixel, 104 progressive photos of 2 to 33 megapixels took 0.44 to 1.33 times the estimate, and
/// sequential ones 0.44 to 1.27 times theirs (28 Nov 2026). With 5 ns for a pixel and 3 for a byte it was 1.5 times.
const FOR_A_PROGRESSIVE_BYTE: u64 = 10;
const FOR_A_PNG_BYTE: u64 = 4;

/// Estimates the worker time of a photo of `length` bytes that begins with `head`, on one core of 2020.
pub(crate) fn estimated_cost(format: Format, head: &[u8], length: u64) -> Duration {
    let Some(Costs { pixels, for_a_pixel, for_a_byte }) = costs(format, head) else { return UNKNOWN_SIZE };
    let nanos = pixels.saturating_mul(for_a_pixel).saturating_add(length.saturating_mul(for_a_byte));
    Duration::from_nanos(nanos.saturating_add(FOR_A_PHOTO))
}

/// The declared number of pixels, and the nanoseconds for each pixel and for each byte of the file.
struct Costs {
    pixels: u64,
    for_a_pixel: u64,
    for_a_byte: u64,
}

fn costs(format: Format, head: &[u8]) -> Option<Costs> {
    let file = head;
    let head = &file[..file.len().min(COST_HEAD_BYTES)];
    let mut for_a_byte = FOR_A_BYTE;
    let (width, height, for_a_pixel) = match format {
        Format::Jpeg => {
            let frame = markers::frame(head)?;
            let nanos = match (frame.is_sequential, frame.is_progressive) {
                (true, _) => 3,
                (_, true) => {
                    for_a_byte = FOR_A_PROGRESSIVE_BYTE;
                    4
                }
                // Other frames are decoded scan by scan.
                _ => 25,
            };
            (frame.width.into(), frame.height.into(), nanos)
        }
        Format::Tiff => {
            let (width, height) = metadata::tiff_sides(file)?;
            (width.into(), height.into(), 25)
        }
        #[cfg(any(feature = "heic", feature = "avif"))]
        Format::Heif => {
            let (width, height) = heif_sides(head)?;
            (width, height, 45)
        }
        Format::Png => {
            let (width, height) = declared::size(format, head)?;
            (width, height, png_pixel_bytes(head)? * FOR_A_PNG_BYTE)
        }
        Format::Gif | Format::Bmp | Format::WebP | Format::Ico => {
            let (width, height) = declared::size(format, head)?;
            (width, height, 20)
        }
    };
    Some(Costs { pixels: width.saturating_mul(height), for_a_pixel, for_a_byte })
}

/// Returns the bytes of a pixel by depth and colour type (PNG third edition, section 11.2.1), at least one.
fn png_pixel_bytes(head: &[u8]) -> Option<u64> {
    let (depth, colour_type) = (u64::from(*head.get(24)?), head.get(25)?);
    let channels = match colour_type {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    Some((channels * depth / 8).max(1))
}

/// Returns the largest size that an item declares (ISO/IEC 23008-12 section 6.5.3). For a grid this is the whole picture.
#[cfg(any(feature = "heic", feature = "avif"))]
fn heif_sides(head: &[u8]) -> Option<(u64, u64)> {
    let side = |at: usize| Some(u64::from(u32::from_be_bytes(*head.get(at..)?.first_chunk()?)));
    // Version and flags follow the name.
    let sides =
        memchr::memmem::find_iter(head, b"ispe").filter_map(|at| Some((side(at + 8)?, side(at + 12)?)));
    sides.max_by_key(|(width, height)| width.saturating_mul(*height))
}

#[cfg(test)]
mod tests {
    use super::super::fair_queue::SHORT_JOB;
    use super::*;
    use proptest::prelude::*;

    fn png(side: u32, depth: u8, colour_type: u8) -> Vec<u8> {
        let sides = [side.to_be_bytes(), side.to_be_bytes()].concat();
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &sides, &[depth, colour_type]].concat()
    }

    fn jpeg(marker: u8, width: u16, height: u16) -> Vec<u8> {
        let sides = [height.to_be_bytes(), width.to_be_bytes()].concat();
        [b"\xff\xd8\xff", [marker].as_slice(), b"\0\x0b\x08", &sides, &[1, 1, 0x11, 0], b"\xff\xda\0\x02"]
            .concat()
    }

    #[test]
    fn estimate_of_progressive_photo_is_near_the_measured_time() {
        // Sides, bytes of the file, and milliseconds (28 Nov 2026; measured beside other programs, and divided by the factor of
        // 1.3 that these cost a sequential photo of known time). The second file is the largest for its size.
        let measured = [
            (4000, 3000, 1_515_000, 45.0),
            (2592, 1944, 1_609_000, 49.0),
            (4000, 3000, 3_193_000, 71.0),
            (7008, 4672, 6_062_000, 167.0),
        ];
        for (width, height, length, milliseconds) in measured {
            let estimate = estimated_cost(Format::Jpeg, &jpeg(0xC2, width, height), length);
            let ratio = milliseconds / (estimate.as_secs_f64() * 1e3);
            assert!((0.6..1.3).contains(&ratio), "{width} x {height}: {ratio}");
        }
    }

    #[test]
    fn phone_photo_is_short_job_and_bomb_is_long_job() {
        let tiff = |side: u8| {
            let entry = |tag: u8| [0x01, tag, 0, 4, 0, 0, 0, 1, 0, 0, side, 0];
            [b"MM\0*\0\0\0\x08\0\x02".as_slice(), &entry(0), &entry(1)].concat()
        };
        let heic = |sides: &[[u8; 4]]| {
            let item = |side: &[u8; 4]| [b"ispe\0\0\0\0".as_slice(), side, side].concat();
            sides.iter().flat_map(item).collect::<Vec<_>>()
        };
        let short = [
            (Format::Jpeg, jpeg(0xC0, 8064, 6048), 15 << 20),
            (Format::Jpeg, jpeg(0xC2, 8064, 6048), 4 << 20),
            (Format::Png, png(4000, 8, 6), 15 << 20),
            (Format::Tiff, tiff(15), 15 << 20),
            #[cfg(feature = "heic")]
            (Format::Heif, heic(&[[0, 0, 2, 0], [0, 0, 19, 0]]), 3 << 20),
        ];
        for (format, head, length) in short {
            let cost = estimated_cost(format, &head, length);
            assert!(cost <= SHORT_JOB && cost >= Duration::from_millis(100), "{format:?}: {cost:?}");
        }
        let long = [
            (Format::Jpeg, jpeg(0xCA, 12_000, 10_000)),
            (Format::Png, png(10_950, 16, 6)),
            (Format::Tiff, tiff(42)),
            (Format::Tiff, b"II*\0\xff\xff\xff\0".to_vec()),
            (Format::Jpeg, b"\xff\xd8\xff\xe0".to_vec()),
            #[cfg(feature = "heic")]
            (Format::Heif, heic(&[[0, 0, 40, 0], [0, 0, 2, 0]])),
        ];
        for (format, head) in long {
            let cost = estimated_cost(format, &head, 1 << 20);
            assert!(cost > SHORT_JOB, "{format:?}: {cost:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_estimate(bytes: Vec<u8>, length: u64) {
            for format in [Format::Jpeg, Format::Png, Format::Tiff, Format::Gif, Format::Ico] {
                let _ = estimated_cost(format, &bytes, length);
            }
            #[cfg(any(feature = "heic", feature = "avif"))]
            let _ = estimated_cost(Format::Heif, &[b"ispe".as_slice(), &bytes].concat(), length);
        }
    }
}
