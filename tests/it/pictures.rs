//! Pixels of the output.

use crate::support::{Server, card, file, form, with_exif};

struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn quadrants(&self) -> Vec<&'static str> {
        let name = |x: usize, y: usize| {
            let at = (y * self.width + x) * 3;
            match self.pixels[at..at + 3].iter().map(|value| value / 128).collect::<Vec<_>>()[..] {
                [1, 0, 0] => "red",
                [0, 1, 0] => "green",
                [0, 0, 1] => "blue",
                [1, 1, 1] => "white",
                _ => "?",
            }
        };
        let (x, y) = (self.width / 4, self.height / 4);
        vec![name(x, y), name(3 * x, y), name(x, 3 * y), name(3 * x, 3 * y)]
    }
}

async fn stored(server: &Server, photo: &[u8]) -> (Picture, Vec<u8>) {
    let (status, draft) = server.upload(form(&[file(photo)])).await;
    assert_eq!(status, 201, "{draft}");
    let media = &draft["photos"][0]["media"];
    let bytes = server.get(media["url"].as_str().unwrap()).await.bytes().await.unwrap().to_vec();
    let image = turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::RGB).unwrap();
    assert_eq!((&media["width"], &media["height"]), (&image.width.into(), &image.height.into()));
    (Picture { width: image.width, height: image.height, pixels: image.pixels }, bytes)
}

#[tokio::test]
async fn all_eight_orientations_are_upright_without_metadata() {
    let server = Server::start(&[("MAX_DIM_PX", "320")]);
    let card = card(640, 400);
    for (orientation, expected) in [
        (1, ["red", "green", "blue", "white"]),
        (2, ["green", "red", "white", "blue"]),
        (3, ["white", "blue", "green", "red"]),
        (4, ["blue", "white", "red", "green"]),
        (5, ["red", "blue", "green", "white"]),
        (6, ["blue", "red", "white", "green"]),
        (7, ["white", "green", "blue", "red"]),
        (8, ["green", "white", "red", "blue"]),
    ] {
        let (picture, bytes) = stored(&server, &with_exif(&card, orientation)).await;
        assert_eq!(picture.quadrants(), expected, "orientation {orientation}");
        let size = if orientation < 5 { (320, 200) } else { (200, 320) };
        assert_eq!((picture.width, picture.height), size);
        assert!(!bytes.windows(4).any(|four| four == b"Exif"), "no metadata is left");
    }
}

/// The file is a TIFF whose first image is a thumbnail of 16 x 16 grey pixels.
#[tokio::test]
async fn camera_raw_is_415_and_named() {
    let server = Server::start(&[]);
    let tags: [(u16, u32); 6] = [(254, 1), (256, 16), (257, 16), (258, 8), (273, 8), (50706, 0x0401)];
    let mut raw = [b"II*\0".as_slice(), &264u32.to_le_bytes(), &[77; 256], &[6, 0]].concat();
    for (tag, value) in tags {
        raw.extend([tag.to_le_bytes(), 4u16.to_le_bytes()].concat());
        raw.extend([1u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    raw.extend([0; 4]);
    let (status, problem) = server.upload(form(&[file(&raw)])).await;
    assert_eq!(status, 415, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("Camera RAW"), "{problem}");
    assert!(server.files().is_empty());
}

#[tokio::test]
async fn output_size_is_rounded_and_never_enlarged() {
    let server = Server::start(&[]);
    for ((width, height), expected) in [
        ((1601, 1200), (1600, 1199)),
        ((1600, 1200), (1600, 1200)),
        ((40, 30), (40, 30)),
        ((2, 3000), (1, 1600)),
        ((4000, 3), (1600, 1)),
    ] {
        let (picture, _) = stored(&server, &card(width, height)).await;
        assert_eq!((picture.width, picture.height), expected, "{width} x {height}");
    }
}
