//! Chooses the photos to compare.
//!
//! From the corpus: colour JPEGs of 8 to 24 megapixels, one of 48, and other formats from half a megapixel on; and those that
//! are derived from them. `VINTEDBOT_COMPARE_PHOTOS` names a directory whose photos are used instead.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::derived;
use crate::format::{self, Format};
use crate::judge::Judge;
use crate::participant::variable;
use crate::shared::corpus;

/// Sizes of the corpus JPEGs to use: 3264 x 2448 is sold as 8 megapixels, and only the largest photo has more than 40.
const JPEG_MEGAPIXELS: [std::ops::RangeInclusive<f64>; 2] = [7.9..=24.5, 40.0..=60.0];
/// Sizes of other corpus photos to use.
const MEGAPIXELS: std::ops::RangeInclusive<f64> = 0.5..=60.0;

/// A photo to compare.
#[derive(Debug, Clone)]
pub(crate) struct Photo {
    pub(crate) format: Format,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) megapixels: f64,
    /// What else decides its cost, such as chroma subsampling.
    pub(crate) kind: String,
}

impl Photo {
    /// Describes a photo. Returns `None` if it is of another format.
    fn read(judge: &mut Judge, path: PathBuf) -> Outcome<Option<Self>> {
        let answer = judge.describe(&path)?;
        let words: Vec<_> = answer.split('\t').collect();
        let [format, width, height, kind] = words[..] else {
            return Err(format!("four words are the answer to describe, not {answer}").into());
        };
        let Some(format) = Format::of_word(format) else { return Ok(None) };
        let megapixels = width.parse::<f64>()? * height.parse::<f64>()? / 1e6;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        Ok(Some(Self { format, name, path, megapixels, kind: kind.to_owned() }))
    }
}

/// Finds the photos and creates the derived ones, ordered by format.
pub(crate) fn choose(judge: &mut Judge) -> Outcome<Vec<Photo>> {
    let formats = format::chosen()?;
    let mut photos = match variable("VINTEDBOT_COMPARE_PHOTOS") {
        Some(chosen) => all_in(Path::new(&chosen), judge)?,
        None => {
            let corpus = corpus().ok_or(
                "there is no corpus of photos: VINTEDBOT_COMPARE_PHOTOS=DIR takes the photos of a directory",
            )?;
            from_corpus(&std::path::absolute(corpus)?, &formats, judge)?
        }
    };
    photos.retain(|photo| formats.contains(&photo.format));
    photos.sort_by_key(|photo| photo.format);
    if photos.is_empty() { Err("there are no photos to compare with".into()) } else { Ok(photos) }
}

fn all_in(dir: &Path, judge: &mut Judge) -> Outcome<Vec<Photo>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = std::path::absolute(entry?.path())?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        let known = ["jpg", "jpeg", "heic", "heif", "avif", "webp", "png"];
        if known.iter().any(|known| known.eq_ignore_ascii_case(extension)) {
            paths.push(path);
        }
    }
    paths.sort();
    let photos = paths.into_iter().filter_map(|path| Photo::read(judge, path).transpose());
    photos.collect()
}

fn from_corpus(corpus: &Path, formats: &[Format], judge: &mut Judge) -> Outcome<Vec<Photo>> {
    let manifest = std::fs::read_to_string(corpus.join("MANIFEST.tsv"))?;
    let mut lines = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().ok_or("the corpus has an empty manifest")?;
    let column = |name: &str| {
        header.iter().position(|cell| *cell == name).ok_or("a column of the manifest is missing")
    };
    let (path, format, width, height) =
        (column("path")?, column("format")?, column("width")?, column("height")?);
    let (colour, expected) = (column("colour")?, column("expected")?);
    let mut photos = Vec::new();
    for row in lines {
        let cell = |column: usize| row.get(column).copied().unwrap_or("");
        let megapixels = match (cell(width).parse::<f64>(), cell(height).parse::<f64>()) {
            (Ok(width), Ok(height)) => width * height / 1e6,
            _ => continue,
        };
        let is_chosen = if cell(format) == "JPEG" {
            let is_photo = cell(path).starts_with("photos/") && cell(colour).starts_with("RGB");
            is_photo
                && cell(expected) == "accept"
                && JPEG_MEGAPIXELS.iter().any(|range| range.contains(&megapixels))
        } else {
            let is_good =
                ["accept", "either"].contains(&cell(expected)) && cell(path).starts_with("formats/");
            is_good
                && ["HEIC", "AVIF", "WEBP", "PNG"].contains(&cell(format))
                && MEGAPIXELS.contains(&megapixels)
        };
        if is_chosen {
            photos.extend(Photo::read(judge, corpus.join(cell(path)))?);
        }
    }
    for derived in derived::all()?.iter().filter(|derived| formats.contains(&derived.format)) {
        if let Some(file) = derived.file(corpus, judge)? {
            photos.extend(Photo::read(judge, file)?);
        }
    }
    Ok(photos)
}
