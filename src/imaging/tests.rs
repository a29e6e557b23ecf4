use super::*;
use std::cell::Cell;
use std::time::Duration;

const RECIPE: Recipe = Recipe { max_dim: 160, memory: 1 << 30, ..Recipe::TEST };

/// Returns a picture of four quadrants: red, green, blue, white in reading order.
fn card(width: u32, height: u32) -> image::RgbaImage {
    image::RgbaImage::from_fn(width, height, |x, y| {
        image::Rgba(match (x < width / 2, y < height / 2) {
            (true, true) => [255, 0, 0, 255],
            (false, true) => [0, 255, 0, 255],
            (true, false) => [0, 0, 255, 255],
            (false, false) => [255, 255, 255, 255],
        })
    })
}

fn file(image: &image::RgbaImage, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::DynamicImage::from(image.clone());
    let image = if format == image::ImageFormat::Bmp { image.into_rgb8().into() } else { image };
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let pixels = image::DynamicImage::from(card(width, height)).into_rgb8().into_raw();
    let coding = Coding { quality: 90, effort: Effort::Standard };
    codec::jpeg::encode_rgb(&pixels, width as usize, height as usize, coding, &mut Workspace::default())
        .unwrap()
}

fn make(format: Format, bytes: &[u8]) -> Result<Encoded, ImageError> {
    super::make(format, bytes, &RECIPE, &mut Workspace::default())
}

fn pixel(encoded: &Encoded, x: u32, y: u32) -> [u8; 3] {
    let image = turbojpeg::decompress(&encoded.bytes, turbojpeg::PixelFormat::RGB).unwrap();
    let at = y as usize * image.pitch + x as usize * 3;
    [image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]]
}

fn close(got: [u8; 3], expected: [u8; 3]) -> bool {
    got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 6)
}

#[test]
fn exceeded_budget_refuses_all_further_work() {
    let budget = WorkBudget::new(&RECIPE, &|| false);
    assert_eq!(budget.grant(RECIPE.memory + 1), Err(ImageError::TooMuchMemory));
    assert_eq!(budget.check(), Err(ImageError::TooMuchMemory));
    assert_eq!(budget.decode(1), Err(ImageError::TooMuchMemory));
}

#[test]
fn budget_of_a_disconnected_client_refuses_all_work() {
    let gone = || WorkBudget::new(&RECIPE, &|| true);
    assert_eq!(gone().decode(1), Err(ImageError::Abandoned));
    assert_eq!(gone().grant(1), Err(ImageError::Abandoned));
}

#[test]
fn small_file_may_be_read_more_often() {
    let budget = WorkBudget::new(&RECIPE, &|| false);
    let input = budget.input(b"small");
    assert!((0..1000).all(|_| input.whole().is_ok()));
}

#[test]
fn same_picture_in_every_format_gives_the_same_output() {
    use image::ImageFormat as F;
    let card = card(320, 200);
    let files = [
        (Format::Jpeg, jpeg(320, 200)),
        (Format::Png, file(&card, F::Png)),
        (Format::WebP, file(&card, F::WebP)),
        (Format::Gif, file(&card, F::Gif)),
        (Format::Bmp, file(&card, F::Bmp)),
        (Format::Tiff, file(&card, F::Tiff)),
    ];
    for (format, bytes) in files {
        let made = make(format, &bytes).unwrap();
        assert_eq!((made.width, made.height), (160, 100), "{format:?}");
        assert!(close(pixel(&made, 20, 20), [255, 0, 0]), "{format:?} {:?}", pixel(&made, 20, 20));
        assert!(close(pixel(&made, 140, 20), [0, 255, 0]), "{format:?}");
        assert!(close(pixel(&made, 20, 80), [0, 0, 255]), "{format:?}");
        assert!(close(pixel(&made, 140, 80), [255, 255, 255]), "{format:?}");
    }
}

#[test]
fn transparent_pixels_become_white() {
    let mut image = card(64, 64);
    for pixel in image.pixels_mut() {
        *pixel = image::Rgba([10, 20, 30, 0]);
    }
    let made = make(Format::Png, &file(&image, image::ImageFormat::Png)).unwrap();
    assert_eq!(pixel(&made, 32, 32), [255, 255, 255]);
}

/// Returns an ICO whose only picture is this PNG.
fn ico_of(png: &[u8]) -> Vec<u8> {
    let mut ico = b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0".to_vec();
    ico.extend(u32::try_from(png.len()).unwrap().to_le_bytes());
    ico.extend(22u32.to_le_bytes());
    ico.extend(png);
    ico
}

#[test]
fn png_in_ico_is_read_within_the_limits_of_png() {
    let png = file(&card(16, 16), image::ImageFormat::Png);
    assert_eq!(make(Format::Ico, &ico_of(&png)).unwrap(), make(Format::Png, &png).unwrap());
    let large = file(&card(1001, 1000), image::ImageFormat::Png);
    assert!(matches!(make(Format::Ico, &ico_of(&large)), Err(ImageError::TooManyPixels { .. })));
}

#[test]
fn output_has_no_metadata() {
    let made = make(Format::Jpeg, &jpeg(320, 200)).unwrap();
    let markers: Vec<u8> =
        codec::jpeg::markers::segments(&made.bytes).map(|segment| segment.marker).collect();
    let app_or_comment = |marker: &&u8| matches!(marker, 0xE0..=0xEF | 0xFE);
    assert_eq!(markers.iter().filter(app_or_comment).collect::<Vec<_>>(), [&0xE0], "JFIF alone");
    assert!(made.bytes.ends_with(&[0xFF, 0xD9]));
}

#[test]
fn too_large_size_is_refused_before_pixels_are_read() {
    let big = jpeg(1001, 1000);
    assert_eq!(
        make(Format::Jpeg, &big).unwrap_err(),
        ImageError::TooManyPixels { width: 1001, height: 1000, max: 1_000_000 }
    );
    let mut flat = jpeg(64, 64);
    let frame = flat.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    flat[frame + 5..frame + 7].fill(0);
    assert_eq!(make(Format::Jpeg, &flat).unwrap_err(), ImageError::Empty);
}

#[test]
fn truncated_jpeg_or_png_is_refused_at_every_cut() {
    for (format, whole) in
        [(Format::Jpeg, jpeg(160, 120)), (Format::Png, file(&card(40, 30), image::ImageFormat::Png))]
    {
        make(format, &whole).unwrap();
        // After the last pixel there are the IEND chunk of a PNG and the end marker of a JPEG.
        let pixels_end = whole.len() - if format == Format::Png { 12 } else { 2 };
        for cut in 0..pixels_end {
            assert!(make(format, &whole[..cut]).is_err(), "{format:?} cut at {cut} of {}", whole.len());
        }
    }
}

#[test]
fn jpeg_without_end_marker_is_accepted() {
    let whole = jpeg(160, 120);
    let clean = make(Format::Jpeg, &whole).unwrap();
    let open = &whole[..whole.len() - 2];
    assert_eq!(make(Format::Jpeg, open).unwrap(), clean);
    assert_eq!(make(Format::Jpeg, &[open, &[0; 500]].concat()).unwrap(), clean);
}

#[test]
fn progressive_jpeg_without_its_last_scans_is_truncated() {
    let pixels = image::DynamicImage::from(card(160, 120)).into_rgb8().into_raw();
    let mut encoder = turbojpeg::Compressor::new().unwrap();
    encoder.set_progressive(true).unwrap();
    let format = turbojpeg::PixelFormat::RGB;
    let whole = turbojpeg::Image { pixels: pixels.as_slice(), width: 160, pitch: 480, height: 120, format };
    let whole = encoder.compress_to_vec(whole).unwrap();
    make(Format::Jpeg, &whole).unwrap();
    let scans: Vec<usize> =
        whole.windows(2).enumerate().filter(|(_, pair)| *pair == [0xFF, 0xDA]).map(|(at, _)| at).collect();
    assert!(scans.len() > 3);
    for scan in scans {
        assert!(make(Format::Jpeg, &whole[..scan]).is_err(), "cut in front of the scan at {scan}");
    }
}

/// Returns the JPEG with `bytes` before its first segment of this kind.
fn with_bytes_before(jpeg: &[u8], marker: u8, bytes: &[u8]) -> Vec<u8> {
    let at = jpeg.windows(2).position(|pair| pair == [0xFF, marker]).unwrap();
    [&jpeg[..at], bytes, &jpeg[at..]].concat()
}

#[test]
fn unusual_header_before_complete_pixels_is_accepted() {
    let whole = jpeg(160, 120);
    let clean = make(Format::Jpeg, &whole).unwrap();
    for marker in [0xDB, 0xC0, 0xC4, 0xDA] {
        let strange = with_bytes_before(&whole, marker, b"\0\0");
        assert_eq!(make(Format::Jpeg, &strange).as_ref(), Ok(&clean), "garbage before {marker:#x}");
        let bad_profile = with_bytes_before(&whole, marker, b"\xff\xe2\0\x10ICC_PROFILE\0\x09\x02");
        assert_eq!(
            make(Format::Jpeg, &bad_profile).as_ref(),
            Ok(&clean),
            "bad ICC marker before {marker:#x}"
        );
    }
    let mut newer = whole.clone();
    let jfif = newer.windows(5).position(|name| name == b"JFIF\0").unwrap();
    newer[jfif + 5] = 2;
    assert_eq!(make(Format::Jpeg, &newer).as_ref(), Ok(&clean), "JFIF 2");
}

#[test]
fn harmless_warning_does_not_hide_missing_pixels() {
    let mut whole = jpeg(160, 120);
    let scan = whole.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    let parameters = scan + 2 + usize::from(whole[scan + 3]);
    assert_eq!(whole[parameters - 2], 63, "Se");
    whole[parameters - 2] = 62;
    assert!(make(Format::Jpeg, &whole).is_ok());
    let cut = [&whole[..scan + (whole.len() - scan) / 3], &[0xFF, 0xD9]].concat();
    assert!(make(Format::Jpeg, &cut).is_err());
}

fn memory_of(format: Format, bytes: &[u8], recipe: &Recipe) -> u64 {
    let budget = WorkBudget::new(recipe, &|| false);
    inspect(format, bytes, recipe, &budget).unwrap().memory()
}

#[test]
fn jpeg_of_several_scans_is_charged_for_its_coefficients() {
    let bytes = jpeg(160, 120);
    let one = memory_of(Format::Jpeg, &bytes, &RECIPE);
    // Each component has its own sequential scan: libjpeg then holds the whole image as coefficients.
    let scan = bytes.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    let mut split = bytes[..scan].to_vec();
    split.extend(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0");
    split.extend(&bytes[scan + 14..]);
    let several = memory_of(Format::Jpeg, &split, &RECIPE);
    // 4:2:0 has one and a half coefficients a pixel, of two bytes.
    assert!(several > one + 160 * 120 * 3);
}

#[test]
fn bytes_after_the_end_are_ignored() {
    let mut bytes = jpeg(160, 120);
    let clean = make(Format::Jpeg, &bytes).unwrap();
    bytes.extend_from_slice(b"a motion photo's film, or worse");
    assert_eq!(make(Format::Jpeg, &bytes).unwrap(), clean);
}

#[test]
fn expired_or_abandoned_work_is_stopped() {
    let files = [
        (Format::Jpeg, jpeg(320, 200), 8),
        (Format::Jpeg, with_bytes_before(&jpeg(320, 200), 0xDB, b"\0\0"), 8),
        (Format::Png, file(&card(320, 200), image::ImageFormat::Png), 8),
        // It is resized whole, as one band.
        (Format::Gif, file(&card(320, 200), image::ImageFormat::Gif), 5),
    ];
    for (format, bytes, least_checks) in files {
        let hurried = Recipe { timeout: Duration::ZERO, ..RECIPE };
        let late = super::make(format, &bytes, &hurried, &mut Workspace::default());
        assert_eq!(late, Err(ImageError::TooSlow), "{format:?}");
        // The client disconnects at some later check, in the header or among the pixels.
        for checks in 0..least_checks {
            let left = Cell::new(checks);
            let is_abandoned = || left.replace(left.get() - 1) == 0;
            let budget = WorkBudget::new(&RECIPE, &is_abandoned);
            let abandoned = match inspect(format, &bytes, &RECIPE, &budget) {
                Ok(inspected) => inspected.encode(&mut Workspace::default()).map(|_| ()),
                Err(error) => Err(error.into()),
            };
            assert!(
                matches!(
                    abandoned,
                    Err(EncodeError::Image(ImageError::Abandoned) | EncodeError::Fallback(_))
                ),
                "{format:?} {abandoned:?}"
            );
        }
    }
}

#[test]
fn large_picture_decoded_by_rows_takes_little_memory() {
    let recipe = Recipe { max_dim: 1600, max_pixels: 120_000_000, ..RECIPE };
    let memory = |format, bytes: &[u8]| memory_of(format, bytes, &recipe) >> 20;
    let mut large = jpeg(64, 64);
    let frame = large.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
    large[frame + 5..frame + 9].copy_from_slice(&[6048u16.to_be_bytes(), 8064u16.to_be_bytes()].concat());
    assert!(memory(Format::Jpeg, &large) < 40, "{}", memory(Format::Jpeg, &large));
    // A PNG is a chunk of its header, with a valid checksum, and any bytes after it.
    let mut png = std::io::Cursor::new(Vec::new());
    let mut encoder = png::Encoder::new(&mut png, 8064, 6048);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().unwrap();
    let mut png = png.into_inner();
    png.truncate(33);
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    assert!(memory(Format::Png, &png) < 48, "{}", memory(Format::Png, &png));
}

#[test]
fn cmyk_without_adobe_segment_is_not_inverted() {
    let pixels = vec![0; 4 * 64 * 64];
    let mut encoder = turbojpeg::Compressor::new().unwrap();
    encoder.set_quality(95).unwrap();
    encoder.set_subsamp(turbojpeg::Subsamp::None).unwrap();
    let format = turbojpeg::PixelFormat::CMYK;
    let image = turbojpeg::Image { pixels: pixels.as_slice(), width: 64, pitch: 256, height: 64, format };
    let marked = encoder.compress_to_vec(image).unwrap();
    // With the mark it is YCCK, and 0 is full ink: black. Without it, the same bytes (255, 128, 128, 0) are plain inks.
    let adobe = marked.windows(2).position(|pair| pair == [0xFF, 0xEE]).unwrap();
    let bare = [&marked[..adobe], &marked[adobe + 16..]].concat();
    assert!(close(pixel(&make(Format::Jpeg, &marked).unwrap(), 32, 32), [0, 0, 0]));
    assert!(close(pixel(&make(Format::Jpeg, &bare).unwrap(), 32, 32), [0, 127, 127]));
}

#[test]
fn deep_palette_and_grey_files_give_the_same_picture() {
    let card = image::DynamicImage::from(card(320, 200));
    let grey = |image: image::DynamicImage| {
        let mut file = std::io::Cursor::new(Vec::new());
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        make(Format::Png, file.get_ref()).unwrap()
    };
    let deep = grey(card.to_rgba16().into());
    assert!(close(pixel(&deep, 20, 20), [255, 0, 0]) && close(pixel(&deep, 140, 80), [255, 255, 255]));
    for image in [card.to_luma8().into(), card.to_luma16().into(), card.to_luma_alpha8().into()] {
        let made = grey(image);
        let red = pixel(&made, 20, 20);
        assert!(close(red, [red[0]; 3]) && (50..90).contains(&red[0]), "{red:?}");
        assert!(close(pixel(&made, 140, 80), [255; 3]));
    }
}

/// An edge between opaque and hidden pixels shows nothing of the hidden colour.
#[test]
fn transparent_edge_has_no_dark_fringe() {
    let half = image::RgbaImage::from_fn(640, 64, |x, _| {
        image::Rgba(if x < 321 { [255, 255, 255, 255] } else { [0, 0, 0, 0] })
    });
    let made = make(Format::Png, &file(&half, image::ImageFormat::Png)).unwrap();
    for x in 0..160 {
        assert_eq!(pixel(&made, x, 8), [255; 3], "{x}");
    }
}

/// Of two pictures the deeper one counts. The decoder may not choose, because it would read a PNG without limits.
#[test]
fn ico_of_several_pictures_gives_the_checked_one() {
    let (small, large) =
        (file(&card(16, 16), image::ImageFormat::Png), file(&card(64, 64), image::ImageFormat::Png));
    let ico = |first: (u8, &[u8], u8), second: (u8, &[u8], u8)| {
        let mut ico = b"\0\0\x01\0\x02\0".to_vec();
        let mut at = 6 + 2 * 16;
        for (side, data, depth) in [first, second] {
            ico.extend([side, side, 0, 0, 1, 0, depth, 0]);
            ico.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
            ico.extend(u32::try_from(at).unwrap().to_le_bytes());
            at += data.len();
        }
        ico.extend(first.1);
        ico.extend(second.1);
        ico
    };
    for ico in [ico((16, &small, 32), (64, &large, 24)), ico((64, &large, 24), (16, &small, 32))] {
        assert_eq!(make(Format::Ico, &ico).unwrap().width, 16, "the deeper one");
    }
    // An ICO whose chosen picture is not a PNG goes to the decoder with only that picture.
    let nothing = ico((16, b"neither PNG nor BMP", 32), (64, &large, 24));
    assert!(make(Format::Ico, &nothing).is_err());
}

#[test]
fn facts_are_those_of_the_pixels_that_are_stored() {
    let scene = image::GrayImage::from_fn(300, 200, |x, y| {
        let is_inside = x.abs_diff(90).pow(2) + y.abs_diff(120).pow(2) < 3600;
        let luma = x * y / 400 + if (x / 40 + y / 30).is_multiple_of(3) { 50 } else { 20 };
        image::Luma([if is_inside { 230 } else { u8::try_from(luma).unwrap() }])
    });
    let mut grey = std::io::Cursor::new(Vec::new());
    image::DynamicImage::from(scene).write_to(&mut grey, image::ImageFormat::Jpeg).unwrap();
    // The frequencies of quadrants are 0 in part, and their signs those of rounding.
    for (format, bytes, most) in [
        (Format::Jpeg, grey.into_inner(), 4),
        (Format::Jpeg, jpeg(320, 200), 64),
        (Format::Png, file(&card(301, 203), image::ImageFormat::Png), 64),
    ] {
        let (encoded, facts) =
            make_and_measure(format, &bytes, &RECIPE, &RenditionSizes::default(), &mut Workspace::default())
                .unwrap();
        let recipe = Recipe { max_dim: u32::MAX, ..RECIPE };
        let budget = WorkBudget::new(&recipe, &|| false);
        let stored = inspect(Format::Jpeg, &encoded.bytes, &recipe, &budget).unwrap();
        let stored = stored.measure(&mut Workspace::default()).unwrap();
        assert!(stored.brightness.abs_diff(facts.brightness) <= 100, "{stored:?} {facts:?}");
        assert!(stored.perceptual_hash.distance(facts.perceptual_hash) <= most, "{stored:?} {facts:?}");
        assert!(facts.brightness > 5_000 && facts.sharpness > 0, "{facts:?}");
    }
}
