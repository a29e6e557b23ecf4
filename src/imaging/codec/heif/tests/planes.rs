//! Pictures that become a JPEG by their planes, compared with the same pictures by way of red, green and blue.

use super::*;
use crate::imaging::layout::Model;

/// Makes a photo of an opened file.
fn made(heif: Heif<'_>) -> Encoded {
    let budget = WorkBudget::new(&RECIPE, &|| false);
    let orientation = heif.transform.orientation();
    let picture: Box<dyn Picture + '_> = Box::new(heif);
    let recipe = Recipe { quality: 95, ..RECIPE };
    let inspected = imaging::Inspected {
        budget: &budget,
        picture,
        exif: None,
        orientation,
        recipe,
        renditions: imaging::RenditionSizes::default(),
    };
    inspected.encode(&mut Workspace::default()).unwrap()
}

#[track_caller]
fn assert_planes_give_the_pixels_of_rgb(name: &str, file: &[u8]) {
    let by_planes = open(file, &RECIPE).unwrap();
    assert_eq!(by_planes.layout().model, Model::YCbCr, "{name}");
    let by_rgb = Heif { jfif: None, ..open(file, &RECIPE).unwrap() };
    assert_eq!(by_rgb.layout().model, Model::Rgb, "{name}");
    assert!(by_planes.memory() <= by_rgb.memory(), "{name}");
    let [planes, rgb] = [made(by_planes), made(by_rgb)];
    assert_eq!((planes.width, planes.height), (rgb.width, rgb.height), "{name}");
    let [planes, rgb] = [planes, rgb]
        .map(|made| turbojpeg::decompress(&made.bytes, turbojpeg::PixelFormat::RGB).unwrap().pixels);
    let differences = planes.iter().zip(&rgb).map(|(a, b)| u64::from(a.abs_diff(*b)));
    let sum: u64 = differences.sum();
    // Where colours meet, chroma is resized before or after it is enlarged.
    assert!(sum < 4 * planes.len() as u64, "{name}: {sum} of {}", planes.len());
}

#[cfg(feature = "heic")]
#[test]
fn planes_of_heic_give_the_pixels_of_rgb() {
    for (name, file) in [
        ("one picture", data!("turn0_mirror.heic")),
        ("turned and mirrored", data!("turn1_mirror1.heic")),
        ("Display P3", data!("p3.heic")),
        ("10 bits", data!("deep.heic")),
        ("4:2:2, 10 bits", data!("422.heic")),
        ("4:4:4", data!("444.heic")),
        ("a grid", data!("grid.heic")),
    ] {
        assert_planes_give_the_pixels_of_rgb(name, file);
    }
}

#[cfg(feature = "avif")]
#[test]
fn planes_of_avif_give_the_pixels_of_rgb() {
    for (name, file) in
        [("4:2:0", data!("420.avif")), ("4:2:2", data!("422.avif")), ("4:4:4", data!("444.avif"))]
    {
        assert_planes_give_the_pixels_of_rgb(name, file);
    }
}

#[cfg(feature = "heic")]
#[test]
fn picture_that_is_not_jfif_becomes_rgb() {
    for (name, file) in [
        ("BT.709", data!("limited.heic")),
        ("grey", data!("grey.heic")),
        ("alpha", data!("alpha.heic")),
        ("a grid with alpha", data!("grid_alpha.heic")),
    ] {
        assert_eq!(open(file, &RECIPE).unwrap().jfif, None, "{name}");
    }
}

/// A crop that begins at an odd column or row would cut samples of chroma apart.
#[cfg(feature = "heic")]
#[test]
fn crop_within_a_sample_of_chroma_becomes_rgb() {
    let file = data!("turn0_mirror.heic");
    let heif = open(file, &RECIPE).unwrap();
    let of = |x, y| {
        let crop = transform::Rect { x, y, width: 20, height: 20 };
        Jfif::of(&heif.colour, heif.cicp, crop).map(|jfif| jfif.layout().components[1].width)
    };
    assert_eq!([of(0, 0), of(2, 4), of(1, 0), of(0, 1)], [Some(10), Some(10), None, None]);
}
