//! Makes the renditions of a photo from the planes that its encoder took, while a worker holds them.
//!
//! Each rendition is resized from the next larger one. The quality of a rendition follows from that of the photo, as for one that is
//! made from the stored photo, but the bytes differ: these planes did not lose what the photo's encoder drops, and the resizer and the
//! encoder are others, which take less time.

use super::codec::jpeg;
use super::plane::Plane;
use super::recipe::Coding;
use super::rendition::{EncodedRendition, RenditionSize, RenditionSizes};
use super::scale::shrink;
use super::work_budget::WorkBudget;
use super::workspace::Workspace;

/// Returns an upper bound of the bytes that an encoded photo of this size and [`renditions`] hold, with the photo's planes made of
/// pixels.
pub(super) fn memory(sizes: &RenditionSizes, width: u32, height: u32) -> u64 {
    let sizes: Vec<RenditionSize> = sizes.of(width, height).collect();
    let Some(largest) = sizes.last() else { return 0 };
    let pixels = |width: u32, height: u32| u64::from(width) * u64::from(height);
    // Three bytes a pixel for each file and two for planes: see `finish::memory`.
    let photo = (3 + 2) * pixels(width, height);
    let files: u64 = sizes.iter().map(|size| 3 * pixels(size.width, size.height)).sum();
    // Its planes and those of the next one.
    let planes = (2 + 2) * pixels(largest.width, largest.height);
    photo + files + planes + shrink::memory((width, height), (largest.width, largest.height)) + (1 << 20)
}

/// A picture of which each plane may be turned: its rows are then the columns of the picture.
struct Picture {
    planes: [Plane; 3],
    is_turned: bool,
}

/// Makes the renditions of a photo with these planes, whose luma has the size of the photo. Largest first. Those for which no time is
/// left are missing.
pub(super) fn renditions(
    planes: &[Plane; 3],
    sizes: &RenditionSizes,
    coding: Coding,
    budget: &WorkBudget<'_>,
    workspace: &mut Workspace,
) -> Vec<EncodedRendition> {
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let sizes: Vec<RenditionSize> = sizes.of(side(planes[0].width), side(planes[0].height)).collect();
    let mut made = Vec::with_capacity(sizes.len());
    let mut last: Option<Picture> = None;
    for size in sizes.into_iter().rev() {
        if budget.check().is_err() {
            break;
        }
        let smaller = match &last {
            Some(larger) => shrunk(&larger.planes, larger.is_turned, size, workspace),
            None => shrunk(planes, false, size, workspace),
        };
        let Ok(bytes) = jpeg::encode_once(&smaller.planes, smaller.is_turned, coding.rendition(), workspace)
        else {
            break;
        };
        made.push(EncodedRendition { side: size.side, bytes });
        give_back(last.replace(smaller), workspace);
    }
    give_back(last, workspace);
    made
}

fn shrunk(planes: &[Plane; 3], is_turned: bool, size: RenditionSize, workspace: &mut Workspace) -> Picture {
    let (columns, rows) = (planes[0].width, planes[0].height);
    let (width, height) = (size.width as usize, size.height as usize);
    let to = if is_turned { (height, width) } else { (width, height) };
    let planes = shrink::shrink(planes, (columns, rows), to, workspace);
    Picture { planes, is_turned: !is_turned }
}

fn give_back(picture: Option<Picture>, workspace: &mut Workspace) {
    picture.into_iter().flat_map(|picture| picture.planes).for_each(|plane| workspace.give_plane(plane));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::recipe::{Effort, Recipe};
    use std::time::Duration;

    const CODING: Coding = Coding { quality: 80, effort: Effort::Standard };

    fn recipe(processor_time: Duration) -> Recipe {
        Recipe {
            max_dim: 1600,
            quality: 80,
            effort: Effort::Standard,
            max_pixels: 1 << 24,
            memory: 1 << 28,
            keep_exif: false,
            timeout: processor_time,
            processor_time,
        }
    }

    /// Luma grows to the right, blue chroma downwards, red chroma in both directions. Chroma is wider than half of the picture.
    fn planes(width: usize, height: usize) -> [Plane; 3] {
        let plane = |columns: usize, padded: usize, rows: usize, x: usize, y: usize| Plane {
            width: padded,
            height: rows,
            samples: (0..padded * rows)
                .map(|n| {
                    let (at, row) = ((n % padded).min(columns - 1), n / padded);
                    u8::try_from(30 + 90 * x * at / columns + 90 * y * row / rows).unwrap()
                })
                .collect(),
        };
        let (half, down) = (width.div_ceil(2), height.div_ceil(2));
        [plane(width, width, height, 2, 0), plane(half, half + 5, down, 0, 2), plane(half, half, down, 1, 1)]
    }

    fn made(planes: &[Plane; 3], sides: &[u32], coding: Coding) -> Vec<EncodedRendition> {
        let recipe = recipe(Duration::from_secs(60));
        let budget = WorkBudget::new(&recipe, &|| false);
        let sizes = RenditionSizes::new(sides.to_vec()).unwrap();
        renditions(planes, &sizes, coding, &budget, &mut Workspace::default())
    }

    #[test]
    fn renditions_have_their_sizes_and_the_colours_of_the_photo() {
        for (width, height) in [(400, 300), (301, 403), (173, 400), (400, 3), (5, 333)] {
            let source = planes(width, height);
            for effort in [Effort::Standard, Effort::Adaptive] {
                let made = made(&source, &[33, 100, 161, 299, 500], Coding { quality: 90, effort });
                let sides: Vec<u32> = made.iter().map(|rendition| rendition.side).collect();
                assert_eq!(sides, [299, 161, 100, 33], "{width} x {height}");
                for EncodedRendition { side, bytes } in made {
                    let picture = turbojpeg::decompress_to_yuv(&bytes).unwrap();
                    let expected = crate::imaging::plan::fit(
                        u32::try_from(width).unwrap(),
                        u32::try_from(height).unwrap(),
                        side,
                    );
                    let (columns, rows) = (expected.0 as usize, expected.1 as usize);
                    assert_eq!((picture.width, picture.height), (columns, rows));
                    let stride = columns.next_multiple_of(picture.align);
                    for (x, y) in [(0, 0), (columns - 1, 0), (columns / 2, rows / 2), (0, rows - 1)] {
                        let luma = picture.pixels[y * stride + x];
                        // The photo's luma at the middle of this sample, between two of its own.
                        let middle = (x as f64 + 0.5) * width as f64 / columns as f64 - 0.5;
                        let wanted = 30.0 + 180.0 * middle / width as f64;
                        assert!((f64::from(luma) - wanted).abs() <= 6.0, "{side} {x} {y}: {luma} {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn flat_picture_stays_flat() {
        let flat = |value: u8, width: usize, height: usize| Plane {
            width,
            height,
            samples: vec![value; width * height],
        };
        let planes = [flat(201, 640, 401), flat(90, 320, 201), flat(170, 320, 201)];
        for EncodedRendition { bytes, .. } in made(&planes, &[639, 320, 17], CODING) {
            let pixels = turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::RGB).unwrap().pixels;
            let first = &pixels[..3];
            assert!(pixels.chunks(3).all(|pixel| pixel.iter().zip(first).all(|(a, b)| a.abs_diff(*b) <= 1)));
        }
    }

    #[test]
    fn renditions_for_which_no_time_is_left_are_missing() {
        let recipe = recipe(Duration::ZERO);
        let budget = WorkBudget::new(&recipe, &|| false);
        let sizes = RenditionSizes::new(vec![320]).unwrap();
        let made = renditions(&planes(400, 300), &sizes, CODING, &budget, &mut Workspace::default());
        assert_eq!(made, []);
    }

    #[test]
    fn memory_covers_files_and_planes_and_is_zero_without_renditions() {
        let sizes = RenditionSizes::new(vec![320, 640, 1080]).unwrap();
        assert_eq!(memory(&RenditionSizes::default(), 1600, 1200), 0);
        assert_eq!(memory(&sizes, 320, 200), 0);
        let bytes = memory(&sizes, 1600, 1200);
        assert!((10 << 20..24 << 20).contains(&bytes), "{bytes}");
    }
}
