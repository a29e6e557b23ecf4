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
}

impl Judge {
    pub(crate) fn start(dir: &Path) -> Outcome<Self> {
        let score = variable("VINTEDBOT_SCORE").ok_or("VINTEDBOT_SCORE is not set: use `make compare`")?;
        Ok(Self {
            pictures: Lines::start(python()?.arg(peers_dir().join("judge.py")))?,
            score: Lines::start(&mut Command::new(score))?,
            dir: dir.to_owned(),
        })
    }

    /// Encodes a crop (left, top, width, height) of `source` again.
    pub(crate) fn derive(
        &mut self,
        source: &Path,
        cut: [u32; 4],
        quality: u8,
        sampling: &str,
        orientation: u8,
        target: &Path,
    ) -> Outcome<()> {
        let cut = cut.map(|number| number.to_string()).join("\t");
        let (source, target) = (source.display(), target.display());
        self.pictures
            .ask(&format!("derive\t{source}\t{cut}\t{quality}\t{sampling}\t{orientation}\t{target}"))?;
        Ok(())
    }

    /// Returns SSIMULACRA2 of the JPEG at `output` against a reference of the same size made from `source`.
    pub(crate) fn score(&mut self, source: &Path, output: &Path, about: &About) -> Outcome<f64> {
        let picture = self.dir.join("picture.ppm");
        let reference = self.dir.join("reference.ppm");
        let (source, profile) = (source.display(), &about.profile);
        let size = self.pictures.ask(&format!(
            "picture\t{}\t{source}\t{profile}\t{}",
            output.display(),
            picture.display()
        ))?;
        let size = size.replace(' ', "\t");
        self.pictures.ask(&format!("reference\t{source}\t{size}\t{}", reference.display()))?;
        Ok(self.score.ask(&format!("{}\t{}", reference.display(), picture.display()))?.parse()?)
    }
}
