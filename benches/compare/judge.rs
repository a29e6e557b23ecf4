//! Image quality: Pillow makes reference pictures, and the `score` crate computes SSIMULACRA2.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::participant::{About, Lines, peers_dir, python, variable};

/// Both helper processes, and a directory for their files.
pub(crate) struct Judge {
    pictures: Lines,
    score: Lines,
    dir: PathBuf,
    /// The reference that was made last.
    reference: String,
}

impl Judge {
    pub(crate) fn start(dir: &Path) -> Outcome<Self> {
        let score = variable("VINTEDBOT_SCORE").ok_or("VINTEDBOT_SCORE is not set: use `make compare`")?;
        Ok(Self {
            pictures: Lines::start(python()?.arg(peers_dir().join("judge.py")))?,
            score: Lines::start(&mut Command::new(score))?,
            dir: dir.to_owned(),
            reference: String::new(),
        })
    }

    /// Returns format, width, height and kind of a photo, separated by tabs.
    pub(crate) fn describe(&mut self, photo: &Path) -> Outcome<String> {
        self.pictures.ask(&format!("describe\t{}", photo.display()))
    }

    /// Makes another photo from `source`, as `peers/derive.py` explains.
    pub(crate) fn derive(&mut self, source: &Path, recipe: &str, target: &Path) -> Outcome<()> {
        self.pictures.ask(&format!("derive\t{}\t{recipe}\t{}", source.display(), target.display()))?;
        Ok(())
    }

    /// Returns SSIMULACRA2 of the JPEG at `output` against a reference of the same size made from `source`.
    pub(crate) fn score(&mut self, source: &Path, output: &Path, about: &About) -> Outcome<f64> {
        let picture = self.dir.join("picture.ppm");
        let reference = self.dir.join("reference.ppm");
        let (source, About { profile, alpha, .. }) = (source.display(), about);
        let size = self.pictures.ask(&format!(
            "picture\t{}\t{source}\t{profile}\t{}",
            output.display(),
            picture.display()
        ))?;
        let wanted = format!("reference\t{source}\t{size}\t{alpha}\t{}", reference.display());
        if self.reference != wanted {
            self.pictures.ask(&wanted)?;
            self.reference = wanted;
        }
        Ok(self.score.ask(&format!("{}\t{}", reference.display(), picture.display()))?.parse()?)
    }
}
