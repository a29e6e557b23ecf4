//! Metadata in the output: none by default, and the allow-list with STRIP_GPS=false.

use std::io::Cursor;

use exif::{In, Tag};

use crate::support::{Server, corpus, file, file_named, form, photo, with_exif};

/// Returns the markers of a JPEG and the number of bytes after its end. Scans are skipped by their byte stuffing.
fn markers(jpeg: &[u8]) -> (Vec<u8>, usize) {
    assert!(jpeg.starts_with(&[0xFF, 0xD8]));
    let mut found = Vec::new();
    let mut at = 2;
    loop {
        assert_eq!(jpeg[at], 0xFF, "a marker at {at}");
        let marker = jpeg[at + 1];
        found.push(marker);
        at += 2;
        if marker == 0xD9 {
            return (found, jpeg.len() - at);
        }
        at += usize::from(u16::from_be_bytes([jpeg[at], jpeg[at + 1]]));
        if marker == 0xDA {
            while jpeg[at] != 0xFF || matches!(jpeg[at + 1], 0 | 0xD0..=0xD7) {
                at += 1;
            }
        }
    }
}

async fn stored(server: &Server, photo: &[u8]) -> (Vec<u8>, (u64, u64)) {
    let (status, draft) = server.upload(form(&[file(photo)])).await;
    assert_eq!(status, 201, "{draft}");
    let media = &draft["photos"][0]["media"];
    let bytes = server.get(media["url"].as_str().unwrap()).await.bytes().await.unwrap();
    (bytes.to_vec(), (media["width"].as_u64().unwrap(), media["height"].as_u64().unwrap()))
}

fn is_metadata(marker: u8) -> bool {
    matches!(marker, 0xE0..=0xEF | 0xFE)
}

#[tokio::test]
async fn default_output_has_no_metadata() {
    let server = Server::start(&[]);
    let mut sources = vec![with_exif(&photo(300, 200), 6)];
    if let Some(corpus) = corpus() {
        let names = [
            "huawei_nexus6p_gps.jpg",
            "synthetic_iphone_12mp_P3_o6_gps.jpg",
            "synthetic_motion_photo_o6.jpg",
        ];
        sources.extend(names.map(|name| std::fs::read(corpus.join("photos").join(name)).unwrap()));
    }
    for source in sources {
        let (bytes, _) = stored(&server, &source).await;
        let (found, trailing) = markers(&bytes);
        assert_eq!(found.into_iter().filter(|marker| is_metadata(*marker)).collect::<Vec<_>>(), [0xE0]);
        assert_eq!(trailing, 0);
    }
}

#[tokio::test]
async fn kept_exif_is_on_the_allow_list_and_matches_the_output() {
    let Some(corpus) = corpus() else { return };
    let server = Server::start(&[("STRIP_GPS", "false")]);
    for (name, make) in [
        ("huawei_nexus6p_gps.jpg", "Huawei"),
        ("synthetic_iphone_12mp_P3_o6_gps.jpg", "Apple"),
        ("apple_iphone6s_gps_train.jpg", "Apple"),
    ] {
        let source = std::fs::read(corpus.join("photos").join(name)).unwrap();
        let (bytes, (width, height)) = stored(&server, &source).await;
        let (found, trailing) = markers(&bytes);
        assert_eq!(found.into_iter().filter(|marker| is_metadata(*marker)).collect::<Vec<_>>(), [0xE0, 0xE1]);
        assert_eq!(trailing, 0);
        // Compared only as far as the source can be read: this reader rejects what some phones write.
        let before = exif::Reader::new()
            .continue_on_error(true)
            .read_from_container(&mut Cursor::new(&source))
            .or_else(|error| error.distill_partial_result(|_| ()))
            .unwrap();
        let after = exif::Reader::new().read_from_container(&mut Cursor::new(&bytes)).unwrap();
        let value = |exif: &exif::Exif, tag| {
            exif.get_field(tag, In::PRIMARY).map(|field| format!("{:?}", field.value))
        };
        assert!(value(&after, Tag::Make).unwrap().contains(make), "{name}");
        for tag in [
            Tag::Model,
            Tag::DateTimeOriginal,
            Tag::ExposureTime,
            Tag::FNumber,
            Tag::GPSLatitude,
            Tag::GPSLongitude,
            Tag::GPSLatitudeRef,
        ] {
            assert!(value(&after, tag).is_some(), "{name} {tag}");
            assert_eq!(value(&after, tag), value(&before, tag), "{name} {tag}");
        }
        let number =
            |tag| after.get_field(tag, In::PRIMARY).and_then(|field| field.value.get_uint(0)).map(u64::from);
        assert_eq!(number(Tag::Orientation), Some(1));
        assert_eq!((number(Tag::PixelXDimension), number(Tag::PixelYDimension)), (Some(width), Some(height)));
        assert_eq!(number(Tag::ColorSpace), Some(1));
        for field in after.fields() {
            assert_eq!(field.ifd_num, In::PRIMARY, "{name}: no thumbnail");
            assert!(
                ![Tag::MakerNote, Tag::UserComment, Tag::BodySerialNumber].contains(&field.tag),
                "{name}"
            );
        }
    }
}

/// Its EXIF block is longer than a JPEG segment may be, and than the other reader accepts in a HEIC.
#[tokio::test]
async fn exif_of_a_phone_heic_is_kept() {
    let Some(corpus) = corpus() else { return };
    let server = Server::start(&[("STRIP_GPS", "false")]);
    let source = std::fs::read(corpus.join("formats/heic/xiaomi.heic")).unwrap();
    let (bytes, _) = stored(&server, &source).await;
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(&bytes)).unwrap();
    let shown = |tag| exif.get_field(tag, In::PRIMARY).map(|field| field.display_value().to_string());
    for (tag, value) in [
        (Tag::Make, "\"Xiaomi\""),
        (Tag::Model, "\"M2012K11AG\""),
        (Tag::DateTimeOriginal, "2023-04-27 19:44:18"),
        (Tag::ExposureTime, "1/50"),
        (Tag::PhotographicSensitivity, "62"),
        (Tag::GPSLatitude, "47 deg 13 min 38.240039 sec"),
        (Tag::GPSLongitudeRef, "E"),
    ] {
        assert_eq!(shown(tag).as_deref(), Some(value), "{tag}");
    }
}

#[tokio::test]
async fn malformed_metadata_does_not_fail_an_upload() {
    let Some(corpus) = corpus() else { return };
    let server = Server::start(&[("STRIP_GPS", "false"), ("MAX_DIM_PX", "200")]);
    let mut kept = 0;
    let mut files: Vec<_> =
        ["bad/exif", "orientation"].into_iter().flat_map(|dir| files(&corpus.join(dir))).collect();
    files.sort();
    assert!(files.len() > 20, "{}", files.len());
    for path in files {
        let source = std::fs::read(&path).unwrap();
        let (status, draft) = server.upload(form(&[file_named("photo", &source)])).await;
        assert!(status == 201 || (400..500).contains(&status), "{} {status}", path.display());
        if status != 201 {
            continue;
        }
        let url = draft["photos"][0]["media"]["url"].as_str().unwrap();
        let bytes = server.get(url).await.bytes().await.unwrap();
        turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::RGB).unwrap();
        let (found, trailing) = markers(&bytes);
        assert!(
            found.iter().all(|marker| !is_metadata(*marker) || matches!(marker, 0xE0 | 0xE1))
                && trailing == 0
        );
        if found.contains(&0xE1) {
            exif::Reader::new().read_from_container(&mut Cursor::new(&bytes)).unwrap();
            kept += 1;
        }
    }
    assert!(kept > 0);
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
