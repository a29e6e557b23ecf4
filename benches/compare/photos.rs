//! Chooses the photos to compare.
//!
//! From the corpus: colour JPEGs of 8 to 24 megapixels; three derived from them, so that there are more than six,
//! with a sampling (4:2:2) and sizes that cameras use and the corpus lacks; and one of 48 megapixels, which is
//! reported separately. `VINTEDBOT_COMPARE_PHOTOS` names a directory whose JPEGs are used instead.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::judge::Judge;
use crate::participant::variable;
use crate::shared::corpus;

/// Photos with more megapixels are reported separately.
const LARGE_MEGAPIXELS: f64 = 40.0;
/// Range of megapixels of the corpus photos to use: 3264 x 2448 is sold as 8.
const MEGAPIXELS: std::ops::RangeInclusive<f64> = 7.9..=24.5;

/// A photo to compare.
#[derive(Debug, Clone)]
pub(crate) struct Photo {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) megapixels: f64,
    /// Chroma subsampling, such as `4:2:0`.
    pub(crate) sampling: String,
}

impl Photo {
    fn read(name: &str, path: PathBuf) -> Outcome<Self> {
        let header = turbojpeg::read_header(&std::fs::read(&path)?)?;
        let pixels = u32::try_from(header.width * header.height)?;
        let sampling = match header.subsamp {
            turbojpeg::Subsamp::Sub2x2 => "4:2:0",
            turbojpeg::Subsamp::Sub2x1 => "4:2:2",
            turbojpeg::Subsamp::Sub1x2 => "4:4:0",
            turbojpeg::Subsamp::None => "4:4:4",
            turbojpeg::Subsamp::Gray => "grey",
            _ => "other",
        };
        let megapixels = f64::from(pixels) / 1e6;
        Ok(Self { name: name.to_owned(), path, megapixels, sampling: sampling.to_owned() })
    }

    /// Returns true if it is reported separately.
    pub(crate) fn is_large(&self) -> bool {
        self.megapixels > LARGE_MEGAPIXELS
    }
}

/// A crop of a corpus photo, encoded again by Pillow.
struct Derived {
    name: &'static str,
    source: &'static str,
    /// Left, top, width and height in the pixels of the source before rotation.
    cut: [u32; 4],
    quality: u8,
    sampling: &'static str,
    orientation: u8,
}

const DERIVED: [Derived; 3] = [
    Derived {
        name: "derived_8mp_422_o6",
        source: "apple_iphone6s_gps_train.jpg",
        cut: [384, 288, 3264, 2448],
        quality: 95,
        sampling: "4:2:2",
        orientation: 6,
    },
    Derived {
        name: "derived_12mp_422",
        source: "huawei_nexus6p_gps.jpg",
        cut: [0, 0, 4032, 3024],
        quality: 92,
        sampling: "4:2:2",
        orientation: 1,
    },
    Derived {
        name: "derived_24mp_420_o8",
        source: "synthetic_iphone_48mp_P3_o6_gps.jpg",
        cut: [1000, 1000, 6000, 4000],
        quality: 92,
        sampling: "4:2:0",
        orientation: 8,
    },
];

/// Finds the photos and creates the derived ones in `dir`.
pub(crate) fn choose(judge: &mut Judge, dir: &Path) -> Outcome<Vec<Photo>> {
    let photos = match variable("VINTEDBOT_COMPARE_PHOTOS") {
        Some(chosen) => all_in(Path::new(&chosen))?,
        None => {
            let corpus = corpus().ok_or(
                "there is no corpus of photos: VINTEDBOT_COMPARE_PHOTOS=DIR takes the JPEGs of a directory",
            )?;
            from_corpus(&corpus, judge, dir)?
        }
    };
    if photos.is_empty() { Err("there are no photos to compare with".into()) } else { Ok(photos) }
}

fn all_in(dir: &Path) -> Outcome<Vec<Photo>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = std::path::absolute(entry?.path())?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        if ["jpg", "jpeg"].iter().any(|known| known.eq_ignore_ascii_case(extension)) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| Photo::read(&stem(&path), path)).collect()
}

fn from_corpus(corpus: &Path, judge: &mut Judge, dir: &Path) -> Outcome<Vec<Photo>> {
    let corpus = std::path::absolute(corpus)?;
    let manifest = std::fs::read_to_string(corpus.join("MANIFEST.tsv"))?;
    let mut lines = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().ok_or("the corpus has an empty manifest")?;
    let column = |name: &str| {
        header.iter().position(|cell| *cell == name).ok_or("a column of the manifest is missing")
    };
    let (path, format, colour, expected) =
        (column("path")?, column("format")?, column("colour")?, column("expected")?);
    let (mut ordinary, mut large) = (Vec::new(), Vec::new());
    for row in lines {
        let cell = |column: usize| row.get(column).copied().unwrap_or("");
        let is_photo =
            cell(path).starts_with("photos/") && cell(format) == "JPEG" && cell(colour).starts_with("RGB");
        if !is_photo || cell(expected) != "accept" {
            continue;
        }
        let path = corpus.join(cell(path));
        let photo = Photo::read(&stem(&path), path)?;
        if MEGAPIXELS.contains(&photo.megapixels) {
            ordinary.push(photo);
        } else if photo.is_large() {
            large.push(photo);
        }
    }
    for derived in &DERIVED {
        let source = corpus.join("photos").join(derived.source);
        if !source.is_file() {
            eprintln!("compare: NO {}: {} IS LEFT OUT", derived.source, derived.name);
            continue;
        }
        let target = dir.join(format!("{}.jpg", derived.name));
        judge.derive(
            &source,
            derived.cut,
            derived.quality,
            derived.sampling,
            derived.orientation,
            &target,
        )?;
        ordinary.push(Photo::read(derived.name, target)?);
    }
    ordinary.append(&mut large);
    Ok(ordinary)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
